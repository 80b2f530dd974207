//! What the measurements need of a cluster.

use std::time::Duration;

use anyhow::bail;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use scaler_api::keda::{self, ScaledObject};
use tokio::time::{Instant, sleep};

/// Makes KEDA's kinds known, and returns when they are served.
pub(crate) async fn define_scaled_objects(client: &Client) -> anyhow::Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in keda::crds() {
        definitions.create(&PostParams::default(), &definition).await?;
    }
    eventually("the ScaledObject definition is served", async || {
        let objects: Api<ScaledObject> = Api::default_namespaced(client.clone());
        objects.list(&ListParams::default()).await.ok().map(|_| ())
    })
    .await
}

/// Asks again and again, for a minute at most, until there is an answer.
pub(crate) async fn eventually<T>(
    what: &str,
    mut attempt: impl AsyncFnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        if let Some(found) = attempt().await {
            return Ok(found);
        }
        sleep(Duration::from_millis(200)).await;
    }
    bail!("not within a minute: {what}")
}
