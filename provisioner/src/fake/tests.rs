#![allow(
    clippy::needless_pass_by_value,
    reason = "`json!` at the call reads best without a borrow"
)]

use futures::StreamExt as _;
use scaler_api::TokioClock;
use serde_json::json;

use super::*;
use crate::{
    ErrorKind, InstanceState, LaunchRequest, Machines as _, Provisioner as _, Termination,
    karpenter::{Ec2NodeClass, KwokNodeClass, NodeClaim, labels},
    testing::{instance_type, node_pool},
};

fn settings() -> FakeSettings {
    FakeSettings {
        instance_types: vec![
            instance_type("small", 2, 8, 0.1),
            instance_type("large", 8, 32, 0.4),
        ],
        clock: Arc::new(TokioClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap())),
        seed: 1,
        ..FakeSettings::new("eu-west-1")
    }
}

fn claim(name: &str, requirements: serde_json::Value) -> NodeClaim {
    serde_json::from_value(json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
        "metadata": { "name": name, "labels": { labels::NODEPOOL: "default" } },
        "spec": {
            "requirements": requirements, "resources": { "requests": { "cpu": "1" } },
            "startupTaints": [{ "key": "agent", "effect": "NoExecute" }],
            "nodeClassRef": { "group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default" },
        },
    }))
    .unwrap()
}

fn class() -> Ec2NodeClass {
    Ec2NodeClass::new("default", crate::karpenter::Ec2NodeClassSpec::default())
}

async fn buy(cloud: &Fake<Ec2NodeClass>, claim: &NodeClaim) -> Result<crate::Instance, crate::Error> {
    let token = claim.metadata.name.clone().unwrap();
    cloud
        .launch(&LaunchRequest {
            claim,
            class: &class(),
            token: &token,
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_bought_boots_runs_and_goes() {
    let cloud = Fake::<Ec2NodeClass>::new(settings());
    let start = Instant::now();
    let instance = buy(&cloud, &claim("one", json!([]))).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(2));
    assert_eq!(
        (instance.instance_type.as_str(), instance.capacity_type),
        ("small", CapacityType::Spot)
    );
    assert!(instance.id.as_str().starts_with("aws:///a/i-"), "{}", instance.id);
    assert_eq!(
        instance.node_name.as_deref(),
        Some("ip-10-0-0-10.eu-west-1.compute.internal")
    );
    assert_eq!(instance.state, InstanceState::Pending);
    assert!(cloud.running().is_empty());
    cloud.changed().await;
    assert_eq!(start.elapsed(), Duration::from_secs(30));
    let machine = cloud.running().remove(0);
    assert_eq!(machine.labels[labels::HOSTNAME], machine.node_name);
    assert_eq!(
        (
            machine.labels[labels::NODEPOOL].as_str(),
            machine.labels[labels::ARCH].as_str()
        ),
        ("default", "amd64")
    );
    let taints: Vec<&str> = machine.taints.iter().map(|taint| taint.key.as_str()).collect();
    assert_eq!(taints, ["agent", labels::UNREGISTERED_TAINT]);
    assert_eq!(
        cloud.terminate(&instance.id).await.unwrap(),
        Termination::Requested
    );
    assert_eq!(
        cloud.get(&instance.id).await.unwrap().unwrap().state,
        InstanceState::ShuttingDown
    );
    cloud.changed().await;
    assert_eq!(start.elapsed(), Duration::from_secs(50));
    assert!(cloud.running().is_empty());
    assert_eq!(cloud.terminate(&instance.id).await.unwrap(), Termination::Gone);
    assert!(cloud.get(&instance.id).await.unwrap().is_none() && cloud.list().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn capacity_runs_out_by_offering_and_comes_back_after_three_minutes() {
    let cloud = Fake::<Ec2NodeClass>::new(settings());
    cloud.limit(
        |offering| offering.instance_type == "small" && offering.zone == "a",
        0,
    );
    let instance = buy(&cloud, &claim("one", json!([]))).await.unwrap();
    assert_eq!(
        (instance.zone.as_str(), instance.capacity_type),
        ("b", CapacityType::Spot)
    );
    let catalog = cloud.catalog(&node_pool("p", json!({})), &class()).await.unwrap();
    let short: Vec<_> = catalog.instance_types[0]
        .offerings
        .iter()
        .filter(|offering| !offering.available)
        .collect();
    assert_eq!(
        short
            .iter()
            .map(|o| (o.zone.as_str(), o.capacity_type))
            .collect::<Vec<_>>(),
        [("a", CapacityType::Spot)]
    );
    assert!(short[0].unavailable_since.is_some());
    tokio::time::advance(Duration::from_secs(181)).await;
    let later = cloud.catalog(&node_pool("p", json!({})), &class()).await.unwrap();
    assert!(later.version > catalog.version && later.instance_types[0].offerings.iter().all(|o| o.available));
}

#[tokio::test(start_paused = true)]
async fn no_capacity_anywhere_is_an_error_of_that_kind() {
    let cloud = Fake::<Ec2NodeClass>::new(settings());
    cloud.limit(|_| true, 1);
    buy(&cloud, &claim("one", json!([]))).await.unwrap();
    let error = buy(&cloud, &claim("two", json!([]))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InsufficientCapacity);
    assert_eq!(cloud.launched(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_ids() {
    let one = buy(&Fake::new(settings()), &claim("one", json!([])))
        .await
        .unwrap();
    let again = buy(&Fake::new(settings()), &claim("one", json!([])))
        .await
        .unwrap();
    let other = buy(
        &Fake::new(FakeSettings {
            seed: 2,
            ..settings()
        }),
        &claim("one", json!([])),
    )
    .await
    .unwrap();
    assert_eq!(one.id, again.id);
    assert_ne!(one.id, other.id);
}

#[tokio::test(start_paused = true)]
async fn other_classes_have_ids_of_their_own() {
    let cloud = Fake::<KwokNodeClass>::new(settings());
    let class = KwokNodeClass::new("default", crate::karpenter::KwokNodeClassSpec::default());
    let claim = claim("one", json!([]));
    let instance = cloud
        .launch(&LaunchRequest {
            claim: &claim,
            class: &class,
            token: "t",
        })
        .await
        .unwrap();
    assert_eq!(instance.id.as_str(), "kwok://one");
    let status = cloud.resolve(&class).await.unwrap();
    assert_eq!(class.status_json(&status)["conditions"][1]["type"], "Ready");
}

#[tokio::test(start_paused = true)]
async fn spot_is_taken_back_after_its_notice_and_the_notice_is_repeated() {
    let cloud = Fake::<Ec2NodeClass>::new(settings());
    let instance = buy(&cloud, &claim("one", json!([]))).await.unwrap();
    cloud.interrupt(&instance.id, InterruptionKind::SpotInterrupted);
    let mut stream = cloud.interruptions().unwrap();
    let first = stream.next().await.unwrap();
    assert_eq!(
        (first.instance, first.kind),
        (instance.id.clone(), InterruptionKind::SpotInterrupted)
    );
    drop(first.acknowledge);
    let again = stream.next().await.unwrap();
    again.acknowledge.acknowledge();
    let nothing = tokio::time::timeout(Duration::from_secs(60), stream.next()).await;
    assert!(nothing.is_err(), "an acknowledged interruption is not said again");
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(cloud.get(&instance.id).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_class_problem_is_a_condition_and_an_image_change_is_drift() {
    let cloud = Fake::<Ec2NodeClass>::new(settings());
    let instance = buy(&cloud, &claim("one", json!([]))).await.unwrap();
    assert_eq!(cloud.drift(&instance, &class()).await.unwrap(), None);
    cloud.set_image("ami-2");
    assert_eq!(
        cloud.drift(&instance, &class()).await.unwrap().unwrap().0,
        "AMIDrift"
    );
    cloud.set_class_problem(Some(ClassProblem {
        kind: "SubnetsReady".into(),
        reason: "SubnetsNotFound".into(),
        message: "none".into(),
    }));
    let status = class().status_json(&cloud.resolve(&class()).await.unwrap());
    let ready = status["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["type"] == "Ready")
        .unwrap()
        .clone();
    assert_eq!(
        (ready["status"].as_str(), ready["message"].as_str()),
        (Some("False"), Some("SubnetsReady=False"))
    );
    assert_eq!(status["subnets"].as_array().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn injected_errors_are_transient() {
    let cloud = Fake::<Ec2NodeClass>::new(FakeSettings {
        error_rate: 1.0,
        ..settings()
    });
    assert!(cloud.list().await.unwrap_err().kind().is_transient());
}
