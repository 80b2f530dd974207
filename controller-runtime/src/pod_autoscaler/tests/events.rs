//! keda.md §8: the reasons of events, and §1.1, §1.2, §2.3, §3.1, §3.3, §3.4, §3.7 for when they are given.

use scaler_api::ErrorKind;

use super::*;

const OBJECT: &str = "/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects/so";
const JOB: &str = "/apis/keda.sh/v1alpha1/namespaces/default/scaledjobs/work";

/// Where it is specified, type, reason, and what the text begins with.
type Row = (&'static str, &'static str, &'static str, &'static str);

#[track_caller]
fn assert_rows(said: &[String], rows: &[Row]) {
    for (section, event_type, reason, text) in rows {
        let expected = format!("{event_type} {reason} {text}");
        assert!(
            said.iter().any(|line| line.starts_with(&expected)),
            "{section}: {expected} is missing in\n{}",
            said.join("\n")
        );
    }
}

fn paused(value: &Value) -> Value {
    json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": value}}})
}

#[tokio::test(start_paused = true)]
async fn events_of_a_scaled_object() {
    let world = World::new();
    world.deployment("web", 0);
    world.script.set("orders", 10.0);
    let fallback = json!({"fallback": {"failureThreshold": 1, "replicas": 2}});
    world.scaled_object("so", &fallback);
    world.pass(1).await;
    world.script.fail("orders", ErrorKind::Unavailable);
    world.pass(12).await;
    world.script.set("orders", 0.0);
    world.pass(30).await;
    world.patch(OBJECT, &paused(&json!("true"))).await;
    world.pass(1).await;
    world.patch(OBJECT, &paused(&Value::Null)).await;
    world.pass(1).await;
    let broken = json!({"spec": {"triggers": [{"type": "test", "metadata": {"queue": "orders"}}]}});
    world.patch(OBJECT, &broken).await;
    world.pass(1).await;
    world.delete(OBJECT).await;
    world.pass(1).await;
    assert_rows(
        &world.events("so"),
        &[
            ("§3.1", "Normal", "KEDAScalersStarted", "Scaler test is built."),
            ("§3.1", "Normal", "KEDAScalersStarted", "Started scalers watch"),
            (
                "§1.1",
                "Normal",
                "ScaledObjectReady",
                "ScaledObject is ready for scaling",
            ),
            (
                "§3.3",
                "Normal",
                "KEDAScaleTargetActivated",
                "Scaled apps/v1.Deployment default/web from 0 to 1, triggered by s0-test-orders",
            ),
            (
                "§3.2",
                "Warning",
                "KEDAScalerFailed",
                "the queue's service does not answer",
            ),
            (
                "§3.4",
                "Normal",
                "ScaledObjectFallbackActivated",
                "ScaledObject fallback is active",
            ),
            (
                "§3.4",
                "Normal",
                "ScaledObjectFallbackDeactivated",
                "ScaledObject fallback is no longer active",
            ),
            ("§3.3", "Normal", "KEDAScaleTargetDeactivated", ""),
            ("§1.1", "Normal", "ScaledObjectPaused", "ScaledObject is paused"),
            ("§3.1", "Normal", "KEDAScalersStopped", "Stopped scalers watch"),
            (
                "§1.1",
                "Normal",
                "ScaledObjectUnpaused",
                "pause annotation removed for ScaledObject",
            ),
            ("§8", "Warning", "KEDAScalerFailed", ""),
            ("§8", "Warning", "ScaledObjectCheckFailed", ""),
            ("§8", "Warning", "ScaledObjectDeleted", "ScaledObject was deleted"),
        ],
    );
}

#[tokio::test(start_paused = true)]
async fn a_source_of_a_formula_that_fails_has_a_reason_of_its_own() {
    let world = World::new();
    world.deployment("web", 0);
    world.script.fail("orders", ErrorKind::Unavailable);
    let trigger = json!({"type": "test", "name": "a", "metadata": {"queue": "orders", "target": "5"}});
    let modifiers = json!({"formula": "a * 2", "target": "2"});
    world.scaled_object(
        "so",
        &json!({"triggers": [trigger], "advanced": {"scalingModifiers": modifiers}}),
    );
    world.pass(1).await;
    let said = world.events("so");
    let text = "the queue's service does not answer";
    assert_rows(&said, &[("§2.3", "Warning", "KEDAMetricSourceFailed", text)]);
    assert!(
        !said.iter().any(|line| line.contains("KEDAScalerFailed")),
        "{said:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn events_of_a_scaled_job() {
    let world = World::new();
    world.script.set("orders", 2.0);
    world.scaled_job(&json!({"rollout": {"strategy": "immediate"}}));
    world.pass(1).await;
    world.script.fail("orders", ErrorKind::Unavailable);
    world.pass(5).await;
    world.script.set("orders", 0.0);
    world.pass(5).await;
    world.patch(JOB, &json!({"spec": {"maxReplicaCount": 5}})).await;
    world.pass(1).await;
    world.patch(JOB, &paused(&json!("true"))).await;
    world.pass(1).await;
    world.patch(JOB, &paused(&Value::Null)).await;
    world.pass(1).await;
    let broken = json!({"spec": {"triggers": [{"type": "test", "metadata": {"queue": "orders"}}]}});
    world.patch(JOB, &broken).await;
    world.pass(1).await;
    world.delete(JOB).await;
    world.pass(1).await;
    assert_rows(
        &world.events("work"),
        &[
            ("§3.1", "Normal", "KEDAScalersStarted", "Scaler test is built."),
            ("§3.1", "Normal", "KEDAScalersStarted", "Started scalers watch"),
            (
                "§1.2",
                "Normal",
                "ScaledJobReady",
                "ScaledJob is ready for scaling",
            ),
            ("§3.7", "Normal", "ScaledJobActive", ""),
            ("§3.7", "Normal", "KEDAJobsCreated", "Created 2 jobs"),
            (
                "§3.7",
                "Warning",
                "KEDAScalerFailed",
                "the queue's service does not answer",
            ),
            ("§3.7", "Normal", "ScaledJobInactive", ""),
            (
                "§3.7",
                "Normal",
                "ScaledJobRolloutCleanupStarted",
                "Deleting 2 jobs",
            ),
            (
                "§3.7",
                "Normal",
                "ScaledJobRolloutCleanupCompleted",
                "Deleted 2 jobs",
            ),
            ("§1.2", "Normal", "ScaledJobPaused", "ScaledJob is paused"),
            ("§3.1", "Normal", "KEDAScalersStopped", "Stopped scalers watch"),
            (
                "§1.2",
                "Normal",
                "ScaledJobUnpaused",
                "pause annotation removed for ScaledJob",
            ),
            ("§8", "Warning", "ScaledJobCheckFailed", ""),
            ("§8", "Warning", "ScaledJobDeleted", "ScaledJob was deleted"),
        ],
    );
}

/// A definition whose status takes no conditions.
fn takes_no_status(world: &World, kind: &str) {
    let definitions = keda::crds().into_iter();
    let definition = definitions
        .map(|definition| serde_json::to_value(definition).unwrap())
        .find(|definition| definition["spec"]["names"]["kind"] == kind);
    let mut definition = definition.unwrap();
    definition["spec"]["versions"][0]["schema"] = json!({"openAPIV3Schema": {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "status": {"type": "object", "properties": {"conditions": {"type": "string"}}},
        },
    }});
    world.apply(definition);
}

#[tokio::test(start_paused = true)]
async fn a_status_that_cannot_be_written_is_said_once() {
    let mut world = World::idle();
    takes_no_status(&world, "ScaledObject");
    takes_no_status(&world, "ScaledJob");
    world.deployment("web", 0);
    world.scaled_object("so", &json!({}));
    world.scaled_job(&json!({}));
    world.restart();
    world.pass(10).await;
    for (object, reason) in [
        ("so", "ScaledObjectUpdateFailed"),
        ("work", "ScaledJobUpdateFailed"),
    ] {
        let said = world.events(object);
        let failures = said
            .iter()
            .filter(|line| line.starts_with(&format!("Warning {reason} ")));
        assert_eq!(failures.count(), 1, "§8 {reason}: {said:?}");
        let events = world.server.objects("", "events", Some("default"));
        let event = events.iter().find(|event| event["reason"] == reason).unwrap();
        assert_eq!(event["count"], 1, "tried again each second, said once");
    }
}
