//! What is scaled, and by what.

use std::{fmt, str::FromStr, time::Duration};

use examples::install::apply::apply;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{
    Api, Client,
    api::PostParams,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{polls::Source, requests};
use crate::cluster;

pub(super) const NAMESPACE: &str = "default";
/// Kubernetes' default.
pub(super) const HPA_SYNC_PERIOD: Duration = Duration::from_secs(15);
/// How many objects are made at once.
const CREATORS: usize = 32;

/// How many ScaledObjects, and how often they poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(super) struct Fleet {
    pub(super) objects: usize,
    pub(super) polling_interval: u64,
}

impl FromStr for Fleet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text
            .split_once(':')
            .and_then(|(objects, seconds)| Some((objects.parse().ok()?, seconds.parse().ok()?)));
        match parsed {
            Some((objects, polling_interval)) if objects > 0 && polling_interval > 0 => Ok(Self {
                objects,
                polling_interval,
            }),
            _ => Err(format!(
                "expected OBJECTS:SECONDS, both above 0, such as 1000:5, got {text:?}"
            )),
        }
    }
}

impl fmt::Display for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ScaledObjects, pollingInterval {} s",
            self.objects, self.polling_interval
        )
    }
}

impl Fleet {
    /// KEDA's kinds, the rights of the process, and a Deployment at rest for every ScaledObject.
    pub(super) async fn prepare(self, client: &Client) -> anyhow::Result<()> {
        cluster::define_scaled_objects(client).await?;
        apply(client, &[administrator()], &|_| {}).await?;
        let deployments = dynamic(client, "apps", "v1", "Deployment");
        create(&deployments, (0..self.objects).map(deployment)).await
    }

    /// The ScaledObjects; when the last one was made.
    pub(super) async fn create(self, client: &Client, source: &Source) -> anyhow::Result<Instant> {
        let scaled_objects = dynamic(client, "keda.sh", "v1alpha1", "ScaledObject");
        let objects = (0..self.objects).map(|number| self.scaled_object(number, source));
        create(&scaled_objects, objects).await?;
        Ok(Instant::now())
    }

    fn scaled_object(self, number: usize, source: &Source) -> Value {
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": { "name": name(number), "namespace": NAMESPACE },
            "spec": {
                "scaleTargetRef": { "name": name(number) },
                "pollingInterval": self.polling_interval,
                "triggers": [{
                    "type": "metrics-api",
                    "metadata": {
                        "url": source.url(number),
                        "valueLocation": "jobs",
                        "targetValue": "5",
                    },
                }],
            },
        })
    }
}

async fn create(api: &Api<DynamicObject>, objects: impl Iterator<Item = Value>) -> anyhow::Result<()> {
    stream::iter(objects)
        .map(|object| async move {
            let object: DynamicObject = serde_json::from_value(object)?;
            api.create(&PostParams::default(), &object).await?;
            anyhow::Ok(())
        })
        .buffer_unordered(CREATORS)
        .try_collect()
        .await
}

fn dynamic(client: &Client, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    Api::default_namespaced_with(client.clone(), &resource)
}

fn name(number: usize) -> String {
    format!("fleet-{number:05}")
}

fn administrator() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": { "name": requests::USER },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": requests::USER }],
    })
}

fn deployment(number: usize) -> Value {
    let labels = json!({ "app": name(number) });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": name(number), "namespace": NAMESPACE },
        "spec": {
            "replicas": 0,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "main", "image": "fleet" }] },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_is_a_number_of_objects_and_of_seconds() {
        let expected = Fleet {
            objects: 1000,
            polling_interval: 5,
        };
        assert_eq!("1000:5".parse(), Ok(expected));
        for wrong in ["", "1000", "0:5", "5:0", "a:b", "1:2:3"] {
            assert!(wrong.parse::<Fleet>().is_err(), "{wrong}");
        }
    }
}
