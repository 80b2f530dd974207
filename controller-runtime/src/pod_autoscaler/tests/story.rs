//! walkthroughs.md A: from nothing to one and back, and a source that goes down.

use super::*;

const NAME: &str = "aws-sqs-queue-scaledobject";
const METRIC: &str = "s0-test-orders";

fn tutorial(world: &World) {
    world.deployment("web", 0);
    world.scaled_object(NAME, &json!({"fallback": {"failureThreshold": 5, "replicas": 2}}));
}

#[tokio::test(start_paused = true)]
async fn a_new_object_gets_its_label_finalizer_and_status() {
    let world = World::new();
    tutorial(&world);
    world.pass(1).await;
    let object = world.object("keda.sh", "scaledobjects", NAME).unwrap();
    assert_eq!(object["metadata"]["finalizers"], json!(["finalizer.keda.sh"]));
    assert_eq!(
        object["metadata"]["labels"],
        json!({"scaledobject.keda.sh/name": NAME})
    );
    let mut status = object["status"].clone();
    let conditions = status.as_object_mut().unwrap().remove("conditions").unwrap();
    assert_eq!(
        status,
        json!({
            "scaleTargetKind": "apps/v1.Deployment",
            "scaleTargetGVKR": {"group": "apps", "version": "v1", "kind": "Deployment", "resource": "deployments"},
            "originalReplicaCount": 0,
            "externalMetricNames": [METRIC],
            "health": {METRIC: {"numberOfFailures": 0, "status": "Happy"}},
            "triggersActivity": {METRIC: {"isActive": false}},
            "hpaName": "keda-hpa-aws-sqs-queue-scaledobject",
            "triggersTypes": "test",
        })
    );
    let shown: Vec<_> = conditions
        .as_array()
        .unwrap()
        .iter()
        .map(|condition| {
            format!(
                "{} {} {}",
                condition["type"], condition["status"], condition["reason"]
            )
            .replace('"', "")
        })
        .collect();
    assert_eq!(
        shown,
        [
            "Ready True ScaledObjectReady",
            "Active False ScalerNotActive",
            "Fallback False NoFallbackFound",
            "Paused False null",
        ]
    );
    assert_eq!(
        world.events(NAME),
        [
            "Normal KEDAScalerInfo spec.idleReplicaCount: is 0 as minReplicaCount is, so it makes no difference",
            "Normal KEDAScalersStarted Scaler test is built.",
            "Normal KEDAScalersStarted Started scalers watch",
            "Normal ScaledObjectReady ScaledObject is ready for scaling",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_new_object_gets_its_hpa() {
    let world = World::new();
    tutorial(&world);
    world.pass(1).await;
    let object = world.object("keda.sh", "scaledobjects", NAME).unwrap();
    let hpa = world.hpa("keda-hpa-aws-sqs-queue-scaledobject").unwrap();
    assert_eq!(
        hpa["metadata"]["labels"],
        json!({
            "app.kubernetes.io/managed-by": "keda-operator",
            "app.kubernetes.io/name": "keda-hpa-aws-sqs-queue-scaledobject",
            "app.kubernetes.io/part-of": NAME,
            "app.kubernetes.io/version": keda::KEDA_VERSION,
            "scaledobject.keda.sh/name": NAME,
        })
    );
    assert_eq!(
        hpa["metadata"]["ownerReferences"][0]["uid"],
        object["metadata"]["uid"]
    );
    assert_eq!(
        (&hpa["spec"]["minReplicas"], &hpa["spec"]["maxReplicas"]),
        (&json!(1), &json!(3))
    );
    assert_eq!(
        hpa["spec"]["metrics"],
        json!([{
            "type": "External",
            "external": {
                "metric": {"name": METRIC, "selector": {"matchLabels": {"scaledobject.keda.sh/name": NAME}}},
                "target": {"type": "AverageValue", "averageValue": "5"},
            },
        }])
    );
}

#[tokio::test(start_paused = true)]
async fn events_wake_the_target_and_it_rests_after_the_cooldown() {
    let world = World::new();
    tutorial(&world);
    world.pass(11).await;
    assert_eq!(world.replicas("web"), 0);
    world.script.set("orders", 8.0);
    world.pass(5).await;
    assert_eq!(world.replicas("web"), 1);
    assert_eq!(world.condition(NAME, "Active"), "True ScalerActive");
    assert_eq!(world.metric(NAME, METRIC).await.unwrap(), "8");
    assert_eq!(world.metric(NAME, &METRIC.to_uppercase()).await.unwrap(), "8");
    assert_eq!(world.status(NAME)["lastActiveTime"], "2026-01-01T00:00:15Z");
    world.script.set("orders", 0.0);
    world.pass(5).await;
    assert_eq!(
        (world.replicas("web"), world.condition(NAME, "Active").as_str()),
        (1, "False ScalerCooldown")
    );
    world.pass(10).await;
    assert_eq!(
        (world.replicas("web"), world.condition(NAME, "Active").as_str()),
        (0, "False ScalerNotActive")
    );
    let events = world.events(NAME);
    assert_eq!(
        events[4..],
        [
            "Normal KEDAScaleTargetActivated Scaled apps/v1.Deployment default/web from 0 to 1, triggered by s0-test-orders",
            "Normal KEDAScaleTargetDeactivated Deactivated apps/v1.Deployment default/web from 1 to 0",
        ]
    );
    let decided: Vec<_> = world
        .decisions
        .recent()
        .iter()
        .filter(|decision| decision.to == "0" || decision.to == "1")
        .map(|decision| {
            format!(
                "{} {}->{}: {}",
                decision.object, decision.from, decision.to, decision.reason
            )
        })
        .collect();
    assert_eq!(
        decided,
        [
            "ScaledObject/default/aws-sqs-queue-scaledobject 0->1: s0-test-orders is active (value 8, target 5 per replica)",
            "ScaledObject/default/aws-sqs-queue-scaledobject 1->0: s0-test-orders is not active (value 0, target 5 per \
             replica); 15 s since the last activity, the cooldown of 10 s is over",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_down_falls_back_after_the_threshold_and_recovers() {
    let world = World::new();
    tutorial(&world);
    world.pass(1).await;
    world.script.fail("orders", scaler_api::ErrorKind::Unavailable);
    world.pass(25).await;
    // Five failed polls, of which the threshold bears five.
    assert_eq!(world.replicas("web"), 0);
    assert_eq!(
        world.status(NAME)["health"][METRIC],
        json!({"numberOfFailures": 5, "status": "Failing"})
    );
    let error = world.metric(NAME, METRIC).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "metric:s0-test-orders encountered error: the queue's service does not answer"
    );
    assert_eq!(world.condition(NAME, "Fallback"), "False NoFallbackFound");
    assert_eq!(
        world.status(NAME)["health"][METRIC]["numberOfFailures"],
        5,
        "a query of the same sample counts no more"
    );
    world.pass(5).await;
    assert_eq!(world.condition(NAME, "Fallback"), "True FallbackExists");
    assert_eq!(world.condition(NAME, "Ready"), "True ScaledObjectReady");
    assert_eq!(world.replicas("web"), 1);
    assert_eq!(
        world.metric(NAME, METRIC).await.unwrap(),
        "10",
        "target 5 times 2 replicas"
    );
    // Down for good: nothing more is written but when it was last active.
    world.pass(60).await;
    assert_eq!(world.status(NAME)["health"][METRIC]["numberOfFailures"], 6);
    world.script.set("orders", 0.0);
    world.pass(5).await;
    assert_eq!(world.condition(NAME, "Fallback"), "False NoFallbackFound");
    assert_eq!(world.metric(NAME, METRIC).await.unwrap(), "0");
    world.pass(15).await;
    assert_eq!(world.replicas("web"), 0);
    let events = world.events(NAME).join("\n");
    for expected in [
        "Warning KEDAScalerFailed the queue's service does not answer",
        "Normal ScaledObjectFallbackActivated ScaledObject fallback is active",
        "Normal ScaledObjectFallbackDeactivated ScaledObject fallback is no longer active",
    ] {
        assert!(events.contains(expected), "{expected} in\n{events}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_down_without_a_fallback_moves_nothing() {
    let world = World::new();
    world.deployment("web", 2);
    world.script.refuse("orders");
    world.scaled_object(NAME, &json!({}));
    world.pass(600).await;
    assert_eq!(world.replicas("web"), 2);
    assert_eq!(world.condition(NAME, "Ready"), "False TriggerError");
    assert!(
        world.hpa("keda-hpa-aws-sqs-queue-scaledobject").is_some(),
        "the HPA comes from metadata alone"
    );
    assert!(world.metric(NAME, METRIC).await.is_err(), "an outage is no zero");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_while_nothing_changes() {
    for setting in [0.0, 8.0] {
        let world = World::new();
        tutorial(&world);
        world.script.set("orders", setting);
        world.pass(60).await;
        let (revision, samples) = (world.server.resource_version(), world.script.samples("orders"));
        world.pass(600).await;
        let written = world.server.resource_version() - revision;
        // While it is active, when it was last active is written every 30 s.
        assert_eq!(written, if setting > 0.0 { 20 } else { 0 }, "queue at {setting}");
        assert_eq!(world.script.samples("orders") - samples, 120);
    }
}

#[tokio::test(start_paused = true)]
async fn a_down_source_without_fallback_writes_nothing_after_it_was_said() {
    let world = World::new();
    world.deployment("web", 2);
    world.script.refuse("orders");
    world.scaled_object(NAME, &json!({}));
    world.pass(60).await;
    let revision = world.server.resource_version();
    world.pass(600).await;
    assert_eq!(world.server.resource_version(), revision);
}

#[tokio::test(start_paused = true)]
async fn the_same_story_is_written_in_the_same_order() {
    async fn story() -> Vec<String> {
        let world = World::new();
        let mut changes = world.server.observe();
        tutorial(&world);
        world.pass(11).await;
        world.script.set("orders", 8.0);
        world.pass(30).await;
        world.script.hang("orders");
        world.pass(120).await;
        let mut told = Vec::new();
        while let Ok(change) = changes.try_recv() {
            told.push(format!("{:?} {}", change.verb, change.object));
        }
        told
    }
    let (first, second) = (story().await, story().await);
    assert!(first.len() > 10);
    assert_eq!(first, second);
}
