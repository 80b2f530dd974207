//! How a process ends that was told to: at its slowest, since the API server does not take the lease back.

use std::time::Duration;

use axum::http::Method;
use controller_runtime::envtest::{self, ControlPlane};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    PODS,
    pair::{Replica, holder, install, led_by},
    run_support::{
        door::{Held, Side, Write},
        until,
    },
};

/// Whether a write gives a Lease back.
fn releases(write: &Write) -> bool {
    write.is(&Method::PUT, "/leases/") && write.body["spec"]["holderIdentity"] == ""
}

/// A leader of its own namespace.
async fn leader(client: &Client, namespace: &str, arguments: &[&str]) -> Replica {
    install(client, namespace).await;
    let watch = format!("--namespace={namespace}");
    let arguments = [&["--only=pods", &watch][..], arguments].concat();
    let replica = Replica::start(client, namespace, &arguments).await.ready().await;
    led_by(client, namespace, &replica).await;
    replica
}

/// Tells a leader to end; it waits for its lease to be taken back.
async fn told(replica: &Replica) -> Held {
    let release = replica.door.hold("its release", Side::Before, releases);
    replica.running.tell_to_end();
    release.caught().await
}

/// What the metrics adapter answers when it is asked at its own address.
async fn asked(plane: &ControlPlane, replica: &Replica) -> Value {
    let kubeconfig = Kubeconfig::read_from(plane.kubeconfig()).unwrap();
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .unwrap();
    let address = replica.running.started("adapter");
    config.cluster_url = format!("https://{address}").parse().unwrap();
    config.accept_invalid_certs = true;
    let client = Client::try_from(config).unwrap();
    let request = http::Request::get("/apis/external.metrics.k8s.io/v1beta1").body(Vec::new());
    client.request(request.unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_process_that_ends_is_unready_first_and_answers_to_the_last() {
    let _only = PODS.lock().await;
    let Some(plane) = envtest::shared_or_skip().await else {
        return;
    };
    let client = plane.client("default");

    let mut orderly = leader(&client, "orderly", &[]).await;
    let held = told(&orderly).await;
    let (code, text) = orderly.running.health("readyz").await;
    assert_eq!(code, 500, "{text}");
    assert!(text.contains("the process is ending"), "{text}");
    assert_eq!(orderly.running.health("livez").await.0, 200);
    assert!(
        orderly
            .running
            .metrics("metrics")
            .await
            .contains("autoscaler_leader 0"),
        "it does not write any more"
    );
    assert_eq!(
        asked(plane, &orderly).await["groupVersion"],
        "external.metrics.k8s.io/v1beta1"
    );
    assert!(!orderly.running.has_ended());
    held.let_go();
    let (status, _) = orderly.running.ended().await;
    assert_eq!(status.code(), Some(0));
    assert_eq!(holder(&client, "orderly").await.as_deref(), Some(""));

    let mut impatient = leader(&client, "impatient", &[]).await;
    let _held = told(&impatient).await;
    impatient.running.tell_to_end();
    let (status, took) = impatient.running.ended().await;
    assert_eq!(status.code(), Some(130));
    assert!(took < Duration::from_secs(1), "{took:?}");

    let mut late = leader(&client, "late", &["--shutdown-grace-period=1s"]).await;
    let since = Instant::now();
    let _held = told(&late).await;
    let (status, _) = late.running.ended().await;
    let took = since.elapsed();
    assert_eq!(status.code(), Some(1));
    assert!((1..4).contains(&took.as_secs()), "{took:?}");
    until("the reason is said", async || {
        late.running
            .says("an orderly end took longer than 1 s")
            .then_some(())
    })
    .await;
}
