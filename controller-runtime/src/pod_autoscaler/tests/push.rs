//! keda.md §3.6: sources that tell when they become active.

use super::*;

const OBJECT: &str = "/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects/so";

fn pushing(queue: &str) -> Value {
    json!({"type": "test", "name": queue, "metadata": {"queue": queue, "target": "5", "push": "true"}})
}

/// The ScaledObject `so` on the Deployment `web`, which is polled every minute.
async fn listening(spec: &Value) -> World {
    let world = World::new();
    world.deployment("web", 0);
    let mut all = json!({"pollingInterval": 60, "idleReplicaCount": null, "triggers": [pushing("orders")]});
    for (key, value) in spec.as_object().unwrap() {
        all[key] = value.clone();
    }
    world.scaled_object("so", &all);
    world.pass(5).await;
    assert_eq!((world.replicas("web"), world.script.listeners("orders")), (0, 1));
    world
}

fn moment() -> Duration {
    Duration::from_millis(50)
}

#[tokio::test(start_paused = true)]
async fn section_3_6_true_wakes_the_target_at_once_and_is_named() {
    let world = listening(&json!({"minReplicaCount": 0, "cooldownPeriod": 90})).await;
    let samples = world.script.samples("orders");
    world.script.push("orders", true);
    tokio::time::sleep(moment()).await;
    assert_eq!(world.replicas("web"), 1);
    assert_eq!(
        world.script.samples("orders"),
        samples,
        "it is not asked whether that is so"
    );
    assert_eq!(world.condition("so", "Active"), "True ScalerActive");
    assert_eq!(
        world.status("so")["triggersActivity"]["s0-test-orders"]["isActive"],
        true
    );
    assert_eq!(world.status("so")["lastActiveTime"], "2026-01-01T00:00:05Z");
    let events = world.events("so");
    let activated = "Normal KEDAScaleTargetActivated Scaled apps/v1.Deployment default/web from 0 to 1, triggered by \
                     s0-test-orders";
    assert!(events.contains(&activated.to_owned()), "{events:#?}");
    // The poll at 60 s finds nothing; 90 s after the push the cooldown is over, which the poll at 120 s sees.
    world.pass(110).await;
    assert_eq!(
        (world.replicas("web"), world.condition("so", "Active").as_str()),
        (1, "False ScalerCooldown")
    );
    world.pass(10).await;
    assert_eq!(world.replicas("web"), 0);
}

#[tokio::test(start_paused = true)]
async fn section_3_6_true_wakes_from_idle_to_the_minimum() {
    let world = listening(&json!({"idleReplicaCount": 0, "minReplicaCount": 2})).await;
    world.script.push("orders", true);
    tokio::time::sleep(moment()).await;
    assert_eq!(world.replicas("web"), 2);
}

#[tokio::test(start_paused = true)]
async fn section_3_6_true_keeps_an_active_target_awake() {
    let world = listening(&json!({"cooldownPeriod": 50})).await;
    for _ in 0..10 {
        world.script.push("orders", true);
        world.pass(30).await;
        assert_eq!(world.replicas("web"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn section_3_6_false_is_left_to_the_poll_and_the_cooldown() {
    let world = listening(&json!({"pollingInterval": 20})).await;
    let revision = world.server.resource_version();
    world.script.push("orders", false);
    world.pass(5).await;
    assert_eq!(world.server.resource_version(), revision);
    world.script.set("orders", 5.0);
    world.pass(15).await;
    assert_eq!(world.replicas("web"), 1);
    world.script.push("orders", false);
    world.pass(2).await;
    assert_eq!(
        (world.replicas("web"), world.condition("so", "Active").as_str()),
        (1, "True ScalerActive")
    );
}

#[tokio::test(start_paused = true)]
async fn section_3_6_a_stream_that_fails_or_ends_is_opened_after_2_s_doubling_to_60() {
    for error in [Some(scaler_api::ErrorKind::Unavailable), None] {
        let world = listening(&json!({})).await;
        world.script.end_streams("orders", error, true);
        world.pass(250).await;
        let opened = world.script.streams("orders");
        let waits: Vec<_> = opened
            .windows(2)
            .skip(1)
            .map(|pair| (pair[1] - pair[0]).as_secs())
            .collect();
        assert_eq!(waits, [4, 8, 16, 32, 60, 60, 60], "{error:?}");
        let first = opened[1] - opened[0];
        assert!((6..8).contains(&first.as_secs()), "5 s, and then 2 s: {first:?}");
        // It is back, and what it says is heard again; then the wait is short again.
        world.script.end_streams("orders", None, false);
        world.pass(60).await;
        world.script.push("orders", true);
        tokio::time::sleep(moment()).await;
        assert_eq!(world.replicas("web"), 1);
        world.script.end_streams("orders", error, false);
        let before = world.script.streams("orders").len();
        world.pass(3).await;
        assert_eq!(world.script.streams("orders").len(), before + 1);
        assert_eq!(world.condition("so", "Ready"), "True ScaledObjectReady");
    }
}

#[tokio::test(start_paused = true)]
async fn section_3_6_a_pause_is_respected() {
    for annotation in ["paused", "paused-scale-out"] {
        let world = listening(&json!({})).await;
        let annotate = async |value: Value| {
            let annotations = json!({format!("autoscaling.keda.sh/{annotation}"): value});
            world
                .patch(OBJECT, &json!({"metadata": {"annotations": annotations}}))
                .await;
            world.pass(5).await;
        };
        annotate(json!("true")).await;
        world.script.push("orders", true);
        world.pass(5).await;
        assert_eq!(world.replicas("web"), 0, "{annotation}");
        let listeners = usize::from(annotation != "paused");
        assert_eq!(world.script.listeners("orders"), listeners, "{annotation}");
        annotate(Value::Null).await;
        assert_eq!(
            world.replicas("web"),
            0,
            "{annotation}: what was heard meanwhile is over"
        );
        world.script.push("orders", true);
        world.pass(1).await;
        assert_eq!(world.replicas("web"), 1, "{annotation}");
    }
}

#[tokio::test(start_paused = true)]
async fn section_3_6_with_modifiers_the_formula_decides_on_new_values() {
    let modifiers = json!({"formula": "orders - 3", "target": "2"});
    let world = listening(&json!({"advanced": {"scalingModifiers": modifiers}})).await;
    for (orders, expected) in [(3.0, 0), (4.0, 1)] {
        world.script.set("orders", orders);
        world.script.push("orders", true);
        tokio::time::sleep(moment()).await;
        assert_eq!(world.replicas("web"), expected, "{orders} - 3");
    }
}

#[tokio::test(start_paused = true)]
async fn section_3_6_objects_share_a_stream_and_it_ends_with_the_last_of_them() {
    let world = listening(&json!({})).await;
    world.deployment("other", 0);
    let other = json!({
        "scaleTargetRef": {"name": "other"}, "pollingInterval": 60, "triggers": [pushing("orders")],
    });
    world.scaled_object("other", &other);
    world.pass(5).await;
    assert_eq!(world.script.streams("orders").len(), 1);
    world.script.push("orders", true);
    tokio::time::sleep(moment()).await;
    assert_eq!((world.replicas("web"), world.replicas("other")), (1, 1));
    world.delete(OBJECT).await;
    world.pass(1).await;
    assert_eq!(world.script.listeners("orders"), 1);
    let path = OBJECT.replace("/so", "/other");
    let triggers = json!({"spec": {"triggers": [pushing("another")]}});
    world.patch(&path, &triggers).await;
    world.pass(1).await;
    assert_eq!(
        (
            world.script.listeners("orders"),
            world.script.listeners("another")
        ),
        (0, 1)
    );
    world.delete(&path).await;
    world.pass(1).await;
    assert_eq!(world.script.listeners("another"), 0);
}

#[tokio::test(start_paused = true)]
async fn section_3_6_a_scaled_job_does_not_listen_and_says_so_once() {
    let world = World::new();
    world.scaled_job(&json!({"triggers": [pushing("orders")]}));
    world.pass(60).await;
    assert_eq!(world.script.streams("orders").len(), 0);
    let events = world.events("work");
    let warned = events.iter().filter(|event| {
        event.starts_with(
            "Warning KEDAScalerInfo s0-test-orders pushes activations, which a ScaledJob does not hear",
        )
    });
    assert_eq!(warned.count(), 1, "{events:#?}");
    world.script.set("orders", 2.0);
    world.pass(5).await;
    assert_eq!(world.jobs().len(), 1, "it is polled");
}
