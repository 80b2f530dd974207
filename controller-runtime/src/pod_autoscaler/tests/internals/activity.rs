//! keda.md §9: idle replicas, cooldowns, force activation, restored replicas.

use super::*;

#[tokio::test(start_paused = true)]
async fn section_9_idle_0_goes_to_2_then_4_and_back_to_0() {
    let stage = Stage::new();
    stage.deployment("web", 0);
    stage.apply_object(&json!({"idleReplicaCount": 0, "minReplicaCount": 2, "maxReplicaCount": 4}));
    stage.pass(A_WHILE).await;
    assert_eq!(stage.replicas("web"), 0, "at rest it stays below its minimum");
    assert_eq!(stage.with_orders(1.0).await, 2);
    assert_eq!(stage.with_orders(50.0).await, 4);
    assert_eq!(stage.with_orders(0.0).await, 0);
}

#[tokio::test(start_paused = true)]
async fn section_9_initial_cooldown_of_120_s_keeps_the_replicas_that_there_were() {
    let stage = Stage::new();
    stage.deployment("web", 2);
    stage.apply_object(&json!({"initialCooldownPeriod": 120, "minReplicaCount": 0}));
    stage.pass(118).await;
    assert_eq!(stage.condition("so", "Active"), "False ScalerCooldown");
    assert!(stage.replicas("web") > 0);
    stage.pass(12).await;
    assert_eq!(stage.replicas("web"), 0);
    // Once it was active the other period counts.
    assert_eq!(stage.with_orders(5.0).await, 1);
    stage.script.set("orders", 0.0);
    stage.pass(25).await;
    assert_eq!(stage.replicas("web"), 0);
}

#[tokio::test(start_paused = true)]
async fn section_9_an_activation_threshold_keeps_the_target_at_zero() {
    let stage = Stage::new();
    stage.deployment("web", 0);
    let metadata = json!({"queue": "orders", "target": "5", "activation": "20"});
    stage.apply_object(&json!({"triggers": [{"type": "test", "metadata": metadata}]}));
    assert_eq!(stage.with_orders(10.0).await, 0, "10 stays");
    assert_eq!(stage.with_orders(50.0).await, 5);
}

#[tokio::test(start_paused = true)]
async fn section_9_force_activation_wakes_a_target_without_work() {
    for (value, expected) in [("true", 1), ("", 1), ("anything", 1), ("false", 0)] {
        let stage = Stage::new();
        stage.deployment("web", 0);
        stage.apply_object(&json!({}));
        stage.annotate("force-activation", value).await;
        stage.pass(60).await;
        assert_eq!(stage.replicas("web"), expected, "§1.1 {value:?}");
        stage.annotate("force-activation", Value::Null).await;
        stage.pass(30).await;
        assert_eq!(stage.replicas("web"), 0, "{value:?} is gone");
    }
}

#[tokio::test(start_paused = true)]
async fn section_9_restore_original_puts_back_the_2_that_there_were() {
    for (restores, expected) in [(true, 2), (false, 5)] {
        let mut stage = Stage::new();
        stage.deployment("web", 2);
        let advanced = json!({
            "restoreToOriginalReplicaCount": restores, "horizontalPodAutoscalerConfig": quick(),
        });
        stage.apply_object(&json!({"advanced": advanced}));
        assert_eq!(stage.with_orders(50.0).await, 5);
        stage.restart();
        stage.pass(1).await;
        stage.delete(OBJECT).await;
        stage.pass(A_WHILE).await;
        assert!(stage.hpa(HPA).is_none());
        assert_eq!(stage.replicas("web"), expected, "restores: {restores}");
    }
}
