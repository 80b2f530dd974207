//! keda.md §2.3 and §3.4: one metric that a formula makes of all triggers.

use super::*;

fn trigger(name: &str) -> Value {
    json!({"type": "test", "name": name, "metadata": {"queue": name, "target": "5"}})
}

fn object(formula: &str, fallback: &Value) -> Value {
    json!({
        "idleReplicaCount": null,
        "triggers": [trigger("a"), trigger("b")],
        "advanced": {"scalingModifiers": {"formula": formula, "target": "2", "activationTarget": "4"}},
        "fallback": fallback,
    })
}

#[tokio::test(start_paused = true)]
async fn section_2_3_the_hpa_reads_one_metric_that_the_formula_makes() {
    let world = World::new();
    world.deployment("web", 0);
    world.script.set("a", 12.0);
    world.script.set("b", 4.0);
    world.scaled_object("so", &object("a + b", &Value::Null));
    world.pass(1).await;
    assert_eq!(world.replicas("web"), 1);
    assert_eq!(
        world.hpa("keda-hpa-so").unwrap()["spec"]["metrics"],
        json!([{"type": "External", "external": {
            "metric": {
                "name": "composite-metric",
                "selector": {"matchLabels": {"scaledobject.keda.sh/name": "so"}},
            },
            "target": {"type": "AverageValue", "averageValue": "2"},
        }}])
    );
    let status = world.status("so");
    assert_eq!(status["compositeScalerName"], "composite-metric");
    assert_eq!(status["externalMetricNames"], json!(["s0-test-a", "s1-test-b"]));
    for name in ["composite-metric", "COMPOSITE-METRIC", "s0-test-a"] {
        assert_eq!(world.metric("so", name).await.unwrap(), "16", "{name}");
    }
    assert!(world.metric("so", "s2-test-c").await.is_err());
    let events = world.events("so");
    let activated = "Normal KEDAScaleTargetActivated Scaled apps/v1.Deployment default/web from 0 to 1, triggered by \
                     composite-metric";
    assert!(events.contains(&activated.to_owned()), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn the_formula_alone_decides_about_activity() {
    let world = World::new();
    world.deployment("web", 0);
    // Each trigger is active; together they are not above the activation target.
    world.script.set("a", 12.0);
    world.script.set("b", 8.0);
    world.scaled_object("so", &object("a - b", &Value::Null));
    world.pass(6).await;
    assert_eq!(
        (world.replicas("web"), world.condition("so", "Active").as_str()),
        (0, "False ScalerNotActive")
    );
    world.script.set("b", 7.0);
    world.pass(5).await;
    assert_eq!(world.replicas("web"), 1);
    world.script.set("a", 1.0);
    world.pass(20).await;
    assert_eq!(world.replicas("web"), 0);
    assert_eq!(world.metric("so", "composite-metric").await.unwrap(), "-6");
}

#[tokio::test(start_paused = true)]
async fn a_trigger_that_fails_makes_the_formula_fail_and_not_a_zero() {
    let world = World::new();
    world.deployment("web", 2);
    world.script.refuse("a");
    world.script.set("b", 8.0);
    world.scaled_object("so", &object("a + b", &Value::Null));
    world.pass(60).await;
    let error = world.metric("so", "composite-metric").await.unwrap_err();
    assert!(error.to_string().contains("a: connection refused"), "{error}");
    assert_eq!(
        (world.replicas("web"), world.condition("so", "Ready").as_str()),
        (2, "False TriggerError")
    );
}

#[tokio::test(start_paused = true)]
async fn a_classic_fallback_takes_the_place_of_the_formula() {
    let world = World::new();
    world.deployment("web", 0);
    world.script.refuse("a");
    world.script.set("b", 0.0);
    let fallback = json!({"failureThreshold": 2, "replicas": 5});
    world.scaled_object("so", &object("a + b", &fallback));
    world.pass(20).await;
    assert_eq!(world.metric("so", "composite-metric").await.unwrap(), "10");
    assert_eq!(
        (world.replicas("web"), world.condition("so", "Fallback").as_str()),
        (1, "True FallbackExists")
    );
    world.script.set("a", 20.0);
    world.pass(15).await;
    assert_eq!(world.metric("so", "composite-metric").await.unwrap(), "20");
    assert_eq!(world.condition("so", "Fallback"), "False NoFallbackFound");
}

#[tokio::test(start_paused = true)]
async fn a_formula_says_what_to_take_for_a_trigger_that_fails() {
    let world = World::new();
    world.deployment("web", 0);
    world.script.refuse("a");
    world.script.set("b", 1.0);
    let fallback = json!({"failureThreshold": 2, "replicas": 5, "behavior": "scalingModifiers"});
    world.scaled_object("so", &object("(a ?? 8) + b", &fallback));
    world.pass(1).await;
    let error = world.metric("so", "composite-metric").await.unwrap_err();
    assert!(
        error.to_string().contains("connection refused"),
        "before the threshold: {error}"
    );
    world.pass(20).await;
    assert_eq!(world.metric("so", "composite-metric").await.unwrap(), "9");
    assert_eq!(world.replicas("web"), 1);
    // A formula that does not say leaves it to the replicas of the fallback.
    world.scaled_object("other", &object("b > 0 ? a : b", &fallback));
    world.pass(30).await;
    assert_eq!(world.metric("other", "composite-metric").await.unwrap(), "10");
}

#[tokio::test(start_paused = true)]
async fn a_formula_that_is_wrong_is_refused_with_its_place() {
    let world = World::new();
    world.deployment("web", 0);
    world.scaled_object("so", &object("a + c", &Value::Null));
    world.pass(1).await;
    assert_eq!(world.condition("so", "Ready"), "False ScaledObjectCheckFailed");
    let message = world.message("so", "Ready");
    assert!(
        message.contains(
            "spec.advanced.scalingModifiers.formula: uses \"c\", expected the names of triggers: a, b"
        ),
        "{message}"
    );
}
