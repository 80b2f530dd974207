//! keda.md §9: scaling modifiers and their fallback, with the HPA at work.

use super::*;

/// Two triggers, `a` and `b`, a formula, and a target of 2.
fn formula(formula: &str, more: &Value) -> Value {
    let modifiers = json!({"formula": formula, "target": "2"});
    let mut spec = json!({
        "maxReplicaCount": 10,
        "triggers": [trigger("a", "5"), trigger("b", "5")],
        "advanced": {"horizontalPodAutoscalerConfig": quick(), "scalingModifiers": modifiers},
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

async fn replicas_with(stage: &Stage, a: Option<f64>, b: f64) -> i64 {
    match a {
        Some(a) => stage.script.set("a", a),
        None => stage.script.fail("a", scaler_api::ErrorKind::Unavailable),
    }
    stage.script.set("b", b);
    stage.pass(A_WHILE).await;
    stage.replicas("web")
}

#[tokio::test(start_paused = true)]
async fn section_9_fallback_with_modifiers_16_by_2_gives_8_12_by_2_gives_6() {
    let stage = Stage::new();
    stage.deployment("web", 0);
    let fallback = json!({"fallback": {"failureThreshold": 2, "replicas": 6}});
    stage.apply_object(&formula("a + b", &fallback));
    assert_eq!(replicas_with(&stage, Some(12.0), 4.0).await, 8, "16 / 2");
    assert_eq!(replicas_with(&stage, None, 4.0).await, 6, "6 * 2 = 12, 12 / 2");
    assert_eq!(stage.metric("so", "composite-metric").await.unwrap(), "12");
    assert_eq!(stage.condition("so", "Fallback"), "True FallbackExists");
    assert_eq!(replicas_with(&stage, Some(12.0), 4.0).await, 8);
}

#[tokio::test(start_paused = true)]
async fn section_9_fallback_with_modifiers_a_formula_that_takes_8_instead_gives_4() {
    let stage = Stage::new();
    stage.deployment("web", 0);
    let fallback =
        json!({"fallback": {"failureThreshold": 2, "replicas": 9, "behavior": "scalingModifiers"}});
    stage.apply_object(&formula("(a ?? 8) + b", &fallback));
    assert_eq!(replicas_with(&stage, Some(12.0), 0.0).await, 6, "12 / 2");
    assert_eq!(
        replicas_with(&stage, None, 0.0).await,
        4,
        "`?? 8`, and not the fallback's 9"
    );
    assert_eq!(replicas_with(&stage, Some(16.0), 0.0).await, 8);
}

#[tokio::test(start_paused = true)]
async fn section_9_scaling_modifiers_decide_about_zero_and_about_the_number() {
    // (formula, a, b, replicas)
    for (text, a, b, expected) in [
        ("a + b", 4.0, 6.0, 5),
        ("(a + b) / 2", 4.0, 6.0, 3),
        ("count([a, b], {# > 1}) > 1 ? 5 : 0", 2.0, 2.0, 3),
        ("count([a, b], {# > 1}) > 1 ? 5 : 0", 2.0, 1.0, 0),
        ("a > 10 ? b : 0", 4.0, 6.0, 0),
        ("max(a, b) - min(a, b)", 1.0, 7.0, 3),
        ("float(sum([a, b]))", 3.0, 3.0, 3),
    ] {
        let stage = Stage::new();
        stage.deployment("web", 0);
        stage.apply_object(&formula(text, &json!({"cooldownPeriod": 5})));
        assert_eq!(
            replicas_with(&stage, Some(a), b).await,
            expected,
            "{text} of {a} and {b}"
        );
        assert_eq!(
            replicas_with(&stage, Some(0.0), 0.0).await,
            0,
            "{text} of nothing"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn section_9_scaling_modifiers_wake_the_target_above_their_activation_target_only() {
    let stage = Stage::new();
    stage.deployment("web", 0);
    let mut spec = formula("a + b", &json!({}));
    spec["advanced"]["scalingModifiers"]["activationTarget"] = json!("4");
    stage.apply_object(&spec);
    assert_eq!(replicas_with(&stage, Some(2.0), 2.0).await, 0, "4 is not above 4");
    assert_eq!(replicas_with(&stage, Some(2.0), 3.0).await, 3);
}
