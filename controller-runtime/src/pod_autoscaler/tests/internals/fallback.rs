//! keda.md §9: fallback, with the HPA at work.

use super::*;

fn fallback(behavior: &str) -> Value {
    json!({"fallback": {"failureThreshold": 3, "replicas": 3, "behavior": behavior}})
}

#[tokio::test(start_paused = true)]
async fn section_9_fallback_50_gives_5_a_source_that_is_down_3_and_one_that_is_back_5() {
    let stage = Stage::new();
    stage.deployment("web", 0);
    stage.apply_object(&fallback("static"));
    assert_eq!(stage.with_orders(50.0).await, 5);
    assert_eq!(stage.without_orders().await, 3);
    assert_eq!(stage.condition("so", "Fallback"), "True FallbackExists");
    assert_eq!(stage.with_orders(50.0).await, 5);
    assert_eq!(stage.condition("so", "Fallback"), "False NoFallbackFound");
    assert_eq!(stage.with_orders(0.0).await, 0);
}

#[tokio::test(start_paused = true)]
async fn section_9_fallback_behaviours_keep_raise_or_lower_what_there_is() {
    // (behaviour, messages before, replicas before, while the source is down)
    for (behavior, orders, before, expected) in [
        ("static", 20.0, 4, 3),
        ("currentReplicas", 20.0, 4, 4),
        ("currentReplicas", 10.0, 2, 2),
        ("currentReplicasIfHigher", 20.0, 4, 4),
        ("currentReplicasIfHigher", 10.0, 2, 3),
        ("currentReplicasIfLower", 20.0, 4, 3),
        ("currentReplicasIfLower", 10.0, 2, 2),
    ] {
        let stage = Stage::new();
        stage.deployment("web", 0);
        stage.apply_object(&fallback(behavior));
        assert_eq!(stage.with_orders(orders).await, before);
        assert_eq!(stage.without_orders().await, expected, "{behavior} from {before}");
    }
}

#[tokio::test(start_paused = true)]
async fn section_9_fallback_from_zero_gives_3_for_a_source_that_was_never_up() {
    for refuses in [true, false] {
        let stage = Stage::new();
        stage.deployment("web", 0);
        if refuses {
            stage.script.refuse("orders");
        } else {
            stage.script.fail("orders", scaler_api::ErrorKind::Unavailable);
        }
        stage.apply_object(&fallback("static"));
        stage.pass(15).await;
        assert_eq!(stage.replicas("web"), 0, "three failures are borne");
        stage.pass(A_WHILE).await;
        assert_eq!(stage.replicas("web"), 3, "§3.2, §9 from zero; refuses: {refuses}");
        assert_eq!(stage.with_orders(0.0).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn section_9_fallback_works_on_a_custom_resource_with_scale() {
    let stage = Stage::new();
    stage.rollout(0);
    let mut spec = fallback("static");
    spec["scaleTargetRef"] =
        json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "canary"});
    stage.apply_object(&spec);
    let step = async |orders: Option<f64>| {
        match orders {
            Some(orders) => stage.script.set("orders", orders),
            None => stage.script.fail("orders", scaler_api::ErrorKind::Unavailable),
        }
        stage.pass(A_WHILE).await;
        stage.object("argoproj.io", "rollouts", "canary").unwrap()["spec"]["replicas"].clone()
    };
    let mut found = Vec::new();
    for orders in [Some(50.0), None, Some(50.0), Some(0.0)] {
        found.push(step(orders).await);
    }
    assert_eq!(found, [5, 3, 5, 0]);
}
