//! The provisioner for kwok passes the provisioners' suite on the embedded API server, in virtual time.

use std::sync::Arc;

use controller_runtime::sim::cluster::{Cluster, Options};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
};
use provisioner::{
    InstanceState, LaunchRequest, Provisioner as _, Termination,
    conformance::Suite,
    karpenter::{KwokNodeClass, KwokNodeClassSpec, NodeClaim, labels},
    kwok::{KwokCatalog, KwokOptions, KwokProvisioner},
};
use scaler_api::{SharedClock, TokioClock};
use serde_json::json;

fn clock() -> SharedClock {
    Arc::new(TokioClock::starting_at(
        "2026-01-01T00:00:00Z".parse().expect("a time"),
    ))
}

fn class() -> KwokNodeClass {
    KwokNodeClass::new("default", KwokNodeClassSpec::default())
}

fn claim() -> NodeClaim {
    let claim = json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "metadata": {"name": "one"},
        "spec": {
            "requirements": [],
            "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"},
        },
    });
    serde_json::from_value(claim).expect("a claim")
}

#[tokio::test(start_paused = true)]
async fn kwok_passes_the_suite() {
    let clock = clock();
    let cluster = Cluster::new(Options::new(clock.clone(), 7));
    let running = tokio::spawn(cluster.run());
    let client = cluster.client("default");
    let make = move || {
        KwokProvisioner::new(
            client.clone(),
            KwokCatalog::builtin(),
            clock.clone(),
            KwokOptions::default(),
        )
    };
    let report = Suite::new(make, class()).run().await;
    assert!(report.passed(), "{report}");
    assert!(
        cluster.api().objects("", "nodes", None).is_empty(),
        "the suite leaves none"
    );
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_held_node_is_shutting_down_until_it_was_returned() {
    let clock = clock();
    let cluster = Cluster::new(Options::new(clock.clone(), 7));
    let client = cluster.client("default");
    let kwok = KwokProvisioner::new(
        client.clone(),
        KwokCatalog::builtin(),
        clock,
        KwokOptions::default(),
    );
    let (claim, class) = (claim(), class());
    let request = LaunchRequest {
        claim: &claim,
        class: &class,
        token: "token",
    };
    let instance = kwok.launch(&request).await.expect("launched");
    let name = instance.node_name.clone().expect("a name");
    let nodes: Api<Node> = Api::all(client);
    let held = json!({"metadata": {"finalizers": [labels::TERMINATION_FINALIZER]}});
    nodes
        .patch(&name, &PatchParams::default(), &Patch::Merge(&held))
        .await
        .expect("held");
    nodes
        .delete(&name, &Default::default())
        .await
        .expect("being deleted");

    let state = async || kwok.get(&instance.id).await.expect("asked").map(|got| got.state);
    assert_eq!(state().await, Some(InstanceState::ShuttingDown));
    let terminate = async || kwok.terminate(&instance.id).await.expect("asked");
    assert_eq!(terminate().await, Termination::Requested);
    assert_eq!(terminate().await, Termination::Gone);
    assert_eq!(state().await, None);
    assert!(kwok.list().await.expect("asked").is_empty());
    let error = kwok.launch(&request).await.expect_err("it is gone");
    assert_eq!(error.kind(), provisioner::ErrorKind::NotFound);
    let node = nodes.get(&name).await.expect("still held");
    assert_eq!(node.finalizers(), [labels::TERMINATION_FINALIZER]);
}

#[tokio::test(start_paused = true)]
async fn nodes_that_were_not_bought_are_left_alone() {
    let clock = clock();
    let cluster = Cluster::new(Options::new(clock.clone(), 7));
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "mine", "annotations": {"kwok.x-k8s.io/node": "fake"}},
        "spec": {"providerID": "kwok://mine"},
    });
    cluster.load(vec![node]).expect("a node");
    let client = cluster.client("default");
    let kwok = KwokProvisioner::new(client, KwokCatalog::builtin(), clock, KwokOptions::default());
    let id = provisioner::ProviderId("kwok://mine".to_owned());
    assert!(kwok.list().await.expect("asked").is_empty());
    assert_eq!(kwok.get(&id).await.expect("asked"), None);
    assert_eq!(kwok.terminate(&id).await.expect("asked"), Termination::Gone);
    let nodes = cluster.api().objects("", "nodes", None);
    assert!(nodes[0]["metadata"]["deletionTimestamp"].is_null());
}
