//! Rows of keda.md §1.1, §2 and §3 that show only with an API server.

use super::*;

#[tokio::test(start_paused = true)]
async fn section_2_2_values_have_three_decimals_and_no_number_is_nothing() {
    for (value, expected) in [
        (8.0, "8"),
        (2.345_67, "2346m"),
        (0.000_4, "0"),
        (-3.0, "0"),
        (f64::NAN, "0"),
        (f64::INFINITY, "0"),
    ] {
        let world = World::new();
        world.deployment("web", 1);
        world.script.set("orders", value);
        world.scaled_object("so", &json!({}));
        world.pass(1).await;
        assert_eq!(
            world.metric("so", "s0-test-orders").await.unwrap(),
            expected,
            "{value}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn section_3_3_1a_a_step_that_fails_is_said_and_is_no_activity() {
    let world = World::new();
    let replicas = json!({"type": "integer", "maximum": 0});
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"replicas": replicas}},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }});
    world.apply(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "sleepers.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "sleepers", "singular": "sleeper", "kind": "Sleeper"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                "subresources": {"scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                }},
            }],
        },
    }));
    world.apply(json!({
        "apiVersion": "example.com/v1", "kind": "Sleeper",
        "metadata": {"name": "web", "namespace": "default"}, "spec": {"replicas": 0},
    }));
    world.script.set("orders", 8.0);
    let target = json!({"apiVersion": "example.com/v1", "kind": "Sleeper", "name": "web"});
    world.scaled_object("so", &json!({"scaleTargetRef": target}));
    world.pass(12).await;
    let events = world.events("so");
    let failed = "Warning KEDAScaleTargetActivationFailed Failed to scale example.com/v1.Sleeper default/web from 0 to 1";
    assert!(
        events.iter().any(|event| event.starts_with(failed)),
        "{events:#?}"
    );
    assert!(
        !events
            .iter()
            .any(|event| event.contains("KEDAScaleTargetActivated ")),
        "{events:#?}"
    );
    assert_eq!(world.condition("so", "Active"), "True ScalerActive");
    assert_eq!(
        world.status("so")["lastActiveTime"],
        Value::Null,
        "only on success"
    );
}

#[tokio::test(start_paused = true)]
async fn section_1_1_conditions_say_what_users_know() {
    let world = World::new();
    world.deployment("web", 0);
    world.scaled_object("so", &json!({}));
    world.pass(1).await;
    let ready = "ScaledObject is defined correctly and is ready for scaling";
    assert_eq!(world.message("so", "Ready"), ready);
    let pause = json!({"metadata": {"annotations": {"autoscaling.keda.sh/paused": "true"}}});
    let path = "/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects/so";
    world.patch(path, &pause).await;
    world.pass(1).await;
    assert_eq!(world.message("so", "Paused"), "ScaledObject is paused");
    world.deployment("other", 0);
    world.scaled_object(
        "broken",
        &json!({"triggers": [{"type": "tset", "metadata": {}}], "scaleTargetRef": {"name": "other"}}),
    );
    world.pass(1).await;
    assert_eq!(world.message("broken", "Active"), "ScaledObject check failed");
}
