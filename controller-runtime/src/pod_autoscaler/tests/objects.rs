//! keda.md §1.1, §2: what happens to the object, its HPA and its target.

use super::*;

const HPA: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/keda-hpa-so";
const OBJECT: &str = "/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects/so";

fn annotate(annotation: &str, value: &Value) -> Value {
    json!({"metadata": {"annotations": {annotation: value}}})
}

#[tokio::test(start_paused = true)]
async fn an_hpa_that_is_deleted_or_changed_is_restored() {
    let world = World::new();
    world.deployment("web", 1);
    world.scaled_object("so", &json!({}));
    world.pass(1).await;
    let uid = world.hpa("keda-hpa-so").unwrap()["metadata"]["uid"].clone();
    world.delete(HPA).await;
    world.pass(1).await;
    let restored = world.hpa("keda-hpa-so").unwrap();
    assert_ne!(restored["metadata"]["uid"], uid);
    world
        .patch(
            HPA,
            &json!({"spec": {"maxReplicas": 9}, "metadata": {"labels": {"mine": "x"}}}),
        )
        .await;
    world.pass(1).await;
    let restored = world.hpa("keda-hpa-so").unwrap();
    assert_eq!(restored["spec"]["maxReplicas"], 3);
    let revision = world.server.resource_version();
    world
        .patch(HPA, &json!({"metadata": {"labels": {"mine": "x"}}}))
        .await;
    world.pass(1).await;
    assert_eq!(
        world.server.resource_version(),
        revision + 1,
        "a label more is no drift"
    );
}

#[tokio::test(start_paused = true)]
async fn a_changed_specification_changes_the_hpa_and_a_new_name_moves_it() {
    let world = World::new();
    world.deployment("web", 1);
    world.scaled_object("so", &json!({}));
    world.pass(1).await;
    world
        .patch(OBJECT, &json!({"spec": {"maxReplicaCount": 7}}))
        .await;
    world.pass(1).await;
    assert_eq!(world.hpa("keda-hpa-so").unwrap()["spec"]["maxReplicas"], 7);
    let config = json!({"spec": {"advanced": {"horizontalPodAutoscalerConfig": {"name": "other"}}}});
    world.patch(OBJECT, &config).await;
    world.pass(1).await;
    assert!(world.hpa("keda-hpa-so").is_none());
    assert!(world.hpa("other").is_some());
    assert_eq!(world.status("so")["hpaName"], "other");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_object_goes_with_its_hpa_and_leaves_the_replicas() {
    let world = World::new();
    world.deployment("web", 2);
    world.script.set("orders", 8.0);
    world.scaled_object("so", &json!({}));
    world.pass(1).await;
    world.delete(OBJECT).await;
    world.pass(5).await;
    assert!(world.object("keda.sh", "scaledobjects", "so").is_none());
    assert!(world.hpa("keda-hpa-so").is_none());
    assert_eq!(world.replicas("web"), 2);
    assert!(
        world
            .events("so")
            .contains(&"Warning ScaledObjectDeleted ScaledObject was deleted".to_owned())
    );
    assert!(world.metric("so", "s0-test-orders").await.is_err());
    let samples = world.script.samples("orders");
    world.pass(60).await;
    assert_eq!(
        world.script.samples("orders"),
        samples,
        "nobody polls for an object that is gone"
    );
}

#[tokio::test(start_paused = true)]
async fn the_original_replicas_come_back_if_asked_for() {
    let world = World::new();
    world.deployment("web", 4);
    world.scaled_object(
        "so",
        &json!({"advanced": {"restoreToOriginalReplicaCount": true}}),
    );
    world.pass(30).await;
    assert_eq!(world.replicas("web"), 0);
    world.delete(OBJECT).await;
    world.pass(1).await;
    assert_eq!(world.replicas("web"), 4);
}

#[tokio::test(start_paused = true)]
async fn a_pause_deletes_the_hpa_fixes_the_replicas_and_ends() {
    let world = World::new();
    world.deployment("web", 1);
    world.script.set("orders", 8.0);
    world.scaled_object("so", &json!({}));
    world.pass(1).await;
    world
        .patch(
            OBJECT,
            &annotate("autoscaling.keda.sh/paused-replicas", &json!("2")),
        )
        .await;
    world.pass(1).await;
    assert!(world.hpa("keda-hpa-so").is_none());
    assert_eq!(
        (world.replicas("web"), world.condition("so", "Paused").as_str()),
        (2, "True ScaledObjectPaused")
    );
    assert_eq!(world.status("so")["pausedReplicaCount"], 2);
    let samples = world.script.samples("orders");
    world.pass(60).await;
    assert_eq!(world.script.samples("orders"), samples);
    world
        .patch(
            OBJECT,
            &annotate("autoscaling.keda.sh/paused-replicas", &Value::Null),
        )
        .await;
    world.pass(1).await;
    assert!(world.hpa("keda-hpa-so").is_some());
    assert_eq!(world.condition("so", "Paused"), "False ScaledObjectUnpaused");
    assert_eq!(world.status("so")["pausedReplicaCount"], Value::Null);
    assert!(world.script.samples("orders") > samples);
}

#[tokio::test(start_paused = true)]
async fn activation_can_be_forced_and_directions_paused() {
    let world = World::new();
    world.deployment("web", 0);
    world.scaled_object("so", &json!({}));
    world.pass(1).await;
    world
        .patch(
            OBJECT,
            &annotate("autoscaling.keda.sh/force-activation", &json!("true")),
        )
        .await;
    world.pass(5).await;
    assert_eq!(world.replicas("web"), 1);
    world
        .patch(
            OBJECT,
            &annotate("autoscaling.keda.sh/paused-scale-in", &json!("true")),
        )
        .await;
    world
        .patch(
            OBJECT,
            &annotate("autoscaling.keda.sh/force-activation", &Value::Null),
        )
        .await;
    world.pass(60).await;
    assert_eq!(world.replicas("web"), 1);
    assert_eq!(
        world.hpa("keda-hpa-so").unwrap()["spec"]["behavior"]["scaleDown"]["selectPolicy"],
        "Disabled"
    );
    world
        .patch(
            OBJECT,
            &annotate("autoscaling.keda.sh/paused-scale-in", &Value::Null),
        )
        .await;
    world.pass(10).await;
    assert_eq!(world.replicas("web"), 0);
}

#[tokio::test(start_paused = true)]
async fn any_kind_with_a_scale_is_a_target() {
    let world = World::new();
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    world.apply(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "rollouts.argoproj.io"},
        "spec": {
            "group": "argoproj.io", "scope": "Namespaced",
            "names": {"plural": "rollouts", "singular": "rollout", "kind": "Rollout"},
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                "subresources": {"scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                }},
            }],
        },
    }));
    world.apply(json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "canary", "namespace": "default"}, "spec": {"replicas": 0},
    }));
    world.script.set("orders", 8.0);
    let target = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "canary"});
    world.scaled_object("so", &json!({"scaleTargetRef": target}));
    world.pass(1).await;
    assert_eq!(
        world.object("argoproj.io", "rollouts", "canary").unwrap()["spec"]["replicas"],
        1
    );
    assert_eq!(
        world.status("so")["scaleTargetKind"],
        "argoproj.io/v1alpha1.Rollout"
    );
    assert_eq!(
        world.hpa("keda-hpa-so").unwrap()["spec"]["scaleTargetRef"]["kind"],
        "Rollout"
    );
    assert_eq!(
        world.hpa("keda-hpa-so").unwrap()["spec"]["scaleTargetRef"]["name"],
        "canary"
    );
}

#[tokio::test(start_paused = true)]
async fn a_rotated_secret_is_used_without_an_error_first() {
    let world = World::new();
    let secret = |word: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "words", "namespace": "default"},
            "stringData": {"password": word},
        })
    };
    world.deployment("web", 0);
    world.apply(secret("one"));
    world.apply(json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
        "metadata": {"name": "auth", "namespace": "default"},
        "spec": {"secretTargetRef": [{"parameter": "password", "name": "words", "key": "password"}]},
    }));
    let trigger = json!([{
        "type": "test", "metadata": {"queue": "orders", "target": "5"}, "authenticationRef": {"name": "auth"},
    }]);
    world.scaled_object("so", &json!({"triggers": trigger}));
    world.pass(1).await;
    assert_eq!(world.script.password("orders"), "one");
    assert_eq!(world.status("so")["authenticationsTypes"], "auth");
    world.apply(secret("two"));
    world.pass(6).await;
    assert_eq!(world.script.password("orders"), "two");
    assert!(
        !world
            .server
            .objects("", "events", None)
            .iter()
            .any(|event| event["type"] == "Warning")
    );
}

#[tokio::test(start_paused = true)]
async fn the_environment_of_the_targets_container_is_looked_up() {
    let world = World::new();
    world.deployment("web", 0);
    let metadata = json!({"queue": "orders", "target": "5", "passwordFromEnv": "WORD"});
    world.scaled_object(
        "so",
        &json!({"triggers": [{"type": "test", "metadata": metadata}]}),
    );
    world.pass(1).await;
    assert_eq!(world.script.password("orders"), "from env");
}

#[tokio::test(start_paused = true)]
async fn objects_with_the_same_source_share_its_samples() {
    let world = World::new();
    for name in ["a", "b", "c"] {
        world.deployment(name, 0);
        world.scaled_object(
            name,
            &json!({"scaleTargetRef": {"name": name}, "pollingInterval": 30}),
        );
    }
    world.pass(1).await;
    assert_eq!(
        (world.script.connections("orders"), world.script.samples("orders")),
        (1, 1)
    );
    for name in ["a", "b", "c"] {
        world.metric(name, "s0-test-orders").await.unwrap();
    }
    assert_eq!(world.script.samples("orders"), 1, "young enough for the HPA");
    world.pass(10).await;
    for name in ["a", "b", "c"] {
        world.metric(name, "s0-test-orders").await.unwrap();
    }
    assert_eq!(world.script.samples("orders"), 2, "one new sample for all");
}

#[tokio::test(start_paused = true)]
async fn section_3_5_cached_metrics_are_those_of_the_last_poll() {
    let world = World::new();
    world.deployment("web", 1);
    world.script.set("orders", 3.0);
    let trigger =
        json!([{"type": "test", "metadata": {"queue": "orders", "target": "5"}, "useCachedMetrics": true}]);
    world.scaled_object("so", &json!({"triggers": trigger, "pollingInterval": 60}));
    world.pass(1).await;
    world.script.set("orders", 9.0);
    world.pass(50).await;
    assert_eq!(world.metric("so", "s0-test-orders").await.unwrap(), "3");
    world.pass(10).await;
    assert_eq!(world.metric("so", "s0-test-orders").await.unwrap(), "9");
}

#[tokio::test(start_paused = true)]
async fn what_the_hpa_says_becomes_hpa_active() {
    let world = World::new();
    world.deployment("web", 1);
    world.scaled_object("so", &json!({}));
    world.pass(1).await;
    assert_eq!(world.condition("so", "HPAActive"), "");
    for (status, reason, expected) in [
        ("True", "ValidMetricFound", "True HPAActive"),
        (
            "False",
            "FailedGetExternalMetric",
            "False FailedGetExternalMetric",
        ),
        ("False", "ScalingDisabled", "True ScalingDisabled"),
    ] {
        let condition = json!({
            "type": "ScalingActive", "status": status, "reason": reason, "message": "m",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        world
            .patch(
                &format!("{HPA}/status"),
                &json!({"status": {"conditions": [condition]}}),
            )
            .await;
        world.pass(1).await;
        assert_eq!(world.condition("so", "HPAActive"), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_writes_nothing_and_forgets_no_cooldown() {
    let mut world = World::new();
    world.deployment("web", 0);
    world.script.set("orders", 8.0);
    world.scaled_object("so", &json!({"cooldownPeriod": 60, "pollingInterval": 10}));
    world.pass(33).await;
    let revision = world.server.resource_version();
    world.restart();
    // The next poll, at once, finds what the last one found.
    world.pass(5).await;
    assert_eq!(
        world.server.resource_version(),
        revision,
        "{:?}",
        world.events("so")
    );
    world.script.set("orders", 0.0);
    // Active last at 33 s; polled at 43, 53, ... s.
    world.pass(50).await;
    assert_eq!(world.replicas("web"), 1);
    world.pass(20).await;
    assert_eq!(world.replicas("web"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_fallback_stays_in_force_over_a_restart() {
    let mut world = World::new();
    world.deployment("web", 0);
    world.script.fail("orders", scaler_api::ErrorKind::Unavailable);
    let fallback = json!({"failureThreshold": 2, "replicas": 3, "behavior": "currentReplicasIfHigher"});
    world.scaled_object("so", &json!({"fallback": fallback}));
    world.pass(16).await;
    assert_eq!(world.condition("so", "Fallback"), "True FallbackExists");
    world.restart();
    world.pass(1).await;
    assert_eq!(
        world.metric("so", "s0-test-orders").await.unwrap(),
        "15",
        "5 times 3, more than the 1 there is"
    );
    world.deployment("web", 4);
    world.pass(1).await;
    assert_eq!(
        world.metric("so", "s0-test-orders").await.unwrap(),
        "20",
        "5 times the 4 there are"
    );
}
