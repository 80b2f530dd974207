//! keda.md §9: `value_metric_type`, `cache_metrics`.

use super::*;

#[tokio::test(start_paused = true)]
async fn section_9_value_metric_type_8_gives_4_as_average_value_and_10_as_value() {
    for (metric_type, expected) in [("AverageValue", 4), ("Value", 10)] {
        let stage = Stage::new();
        stage.deployment("web", 0);
        let mut trigger = trigger("orders", "2");
        trigger["metricType"] = json!(metric_type);
        stage.apply_object(&json!({"maxReplicaCount": 10, "triggers": [trigger]}));
        assert_eq!(stage.with_orders(8.0).await, expected, "{metric_type}");
    }
}

#[tokio::test(start_paused = true)]
async fn section_9_a_value_in_total_falls_back_by_what_each_ready_pod_does() {
    let stage = Stage::new();
    stage.deployment("web", 0);
    let mut trigger = trigger("orders", "2");
    trigger["metricType"] = json!("Value");
    let fallback = json!({"failureThreshold": 3, "replicas": 3});
    stage.apply_object(&json!({"triggers": [trigger], "fallback": fallback}));
    assert_eq!(stage.with_orders(8.0).await, 5, "as many as there may be");
    assert_eq!(stage.without_orders().await, 3, "§3.4 target * R / readyPods");
}

#[tokio::test(start_paused = true)]
async fn section_9_cached_metrics_move_the_replicas_with_the_next_poll_only() {
    for (cached, expected) in [(true, 4), (false, 2)] {
        let stage = Stage::new();
        stage.deployment("web", 0);
        stage.script.set("orders", 20.0);
        let mut trigger = trigger("orders", "5");
        trigger["useCachedMetrics"] = json!(cached);
        stage.apply_object(&json!({"pollingInterval": 600, "triggers": [trigger]}));
        stage.pass(A_WHILE).await;
        assert_eq!(stage.replicas("web"), 4);
        assert_eq!(stage.with_orders(10.0).await, expected, "cached: {cached}");
        stage.pass(540).await;
        assert_eq!(stage.replicas("web"), 2, "cached: {cached}, after the next poll");
    }
}
