//! keda.md §9: broken objects, `update_ta`, `status_update`.

use super::*;

#[tokio::test(start_paused = true)]
async fn section_9_broken_objects_disturb_no_other_5083() {
    let stage = Stage::new();
    for name in ["web", "refused", "unknown", "hanging", "unauthenticated"] {
        stage.deployment(name, 1);
    }
    stage.script.refuse("refused");
    stage.script.hang("hanging");
    let broken = |name: &str, trigger: Value| {
        let spec = json!({"scaleTargetRef": {"name": name}, "triggers": [trigger], "idleReplicaCount": null});
        stage.scaled_object(name, &spec);
    };
    broken("refused", trigger("refused", "5"));
    broken("unknown", json!({"type": "tset", "metadata": {}}));
    broken("hanging", trigger("hanging", "5"));
    let mut unauthenticated = trigger("unauthenticated", "5");
    unauthenticated["authenticationRef"] = json!({"name": "nobody"});
    broken("unauthenticated", unauthenticated);
    stage.pass(60).await;
    stage.apply_object(&json!({}));
    for (orders, expected) in [(3.0, 1), (50.0, 5), (0.0, 0), (20.0, 4)] {
        stage.script.set("orders", orders);
        stage.pass(6).await;
        let woken = stage.replicas("web") > 0;
        stage.pass(A_WHILE).await;
        assert_eq!(stage.replicas("web"), expected);
        assert!(woken || expected == 0, "within one poll");
    }
    for name in ["refused", "unknown", "hanging"] {
        assert_eq!(stage.replicas(name), 1, "{name}");
    }
    assert_eq!(stage.condition("so", "Ready"), "True ScaledObjectReady");
}

#[tokio::test(start_paused = true)]
async fn section_9_a_broken_trigger_beside_a_working_one_scales_out_and_never_in() {
    let stage = Stage::new();
    stage.deployment("web", 0);
    stage.script.refuse("broken");
    stage.apply_object(&json!({"triggers": [trigger("broken", "5"), trigger("orders", "5")]}));
    assert_eq!(stage.with_orders(10.0).await, 2);
    assert_eq!(stage.with_orders(20.0).await, 4);
    assert_eq!(
        stage.with_orders(10.0).await,
        4,
        "§3.5 the HPA refuses to scale in while a metric is missing"
    );
    assert_eq!(stage.condition("so", "Ready"), "Unknown PartialTriggerError");
    stage.script.set("broken", 0.0);
    assert_eq!(stage.with_orders(10.0).await, 2);
    assert_eq!(stage.condition("so", "Ready"), "True ScaledObjectReady");
}

#[tokio::test(start_paused = true)]
async fn section_9_an_updated_trigger_authentication_is_used() {
    let stage = Stage::new();
    stage.deployment("web", 0);
    let secret = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "default"},
            "stringData": {"password": format!("of {name}")},
        })
    };
    let authentication = |secret: &str| {
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
            "metadata": {"name": "auth", "namespace": "default"},
            "spec": {"secretTargetRef": [{"parameter": "password", "name": secret, "key": "password"}]},
        })
    };
    stage.apply(secret("old"));
    stage.apply(secret("new"));
    stage.apply(authentication("old"));
    let mut trigger = trigger("orders", "5");
    trigger["authenticationRef"] = json!({"name": "auth"});
    stage.apply_object(&json!({"triggers": [trigger]}));
    assert_eq!(stage.with_orders(20.0).await, 4);
    assert_eq!(stage.script.password("orders"), "of old");
    stage.apply(authentication("new"));
    stage.pass(6).await;
    assert_eq!(stage.script.password("orders"), "of new", "within one poll");
    assert_eq!(stage.with_orders(10.0).await, 2);
    assert_eq!(stage.condition("so", "Ready"), "True ScaledObjectReady");
}

#[tokio::test(start_paused = true)]
async fn section_9_status_update_follows_the_triggers() {
    let stage = Stage::new();
    stage.deployment("web", 0);
    let mut with_authentication = trigger("b", "5");
    with_authentication["authenticationRef"] = json!({"name": "auth"});
    stage.apply(json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
        "metadata": {"name": "auth", "namespace": "default"}, "spec": {"env": []},
    }));
    stage.apply_object(&json!({"minReplicaCount": 1, "triggers": [trigger("a", "5"), trigger("b", "5")]}));
    stage.pass(6).await;
    let shown = || {
        let mut status = stage.status("so");
        let fields = [
            "externalMetricNames",
            "triggersTypes",
            "authenticationsTypes",
            "compositeScalerName",
        ];
        let kept = fields.map(|field| status[field].take());
        let names = |value: &Value| {
            let fields = value.as_object().into_iter().flatten();
            fields.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        (
            json!(kept),
            names(&status["health"]),
            names(&status["triggersActivity"]),
        )
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let both = names(&["s0-test-a", "s1-test-b"]);
    assert_eq!(
        shown(),
        (json!([both, "test", null, null]), both.clone(), both.clone())
    );
    // One goes, one gets an authentication and another place.
    let one = json!({"spec": {"triggers": [with_authentication]}});
    stage.patch(OBJECT, &one).await;
    stage.pass(6).await;
    let b = names(&["s0-test-b"]);
    assert_eq!(
        shown(),
        (json!([b, "test", "auth", null]), b.clone(), b.clone()),
        "§3.4 health of metrics that are gone is forgotten"
    );
    let modifiers = json!({"formula": "a * 2", "target": "2"});
    let formula =
        json!({"spec": {"triggers": [trigger("a", "5")], "advanced": {"scalingModifiers": modifiers}}});
    stage.patch(OBJECT, &formula).await;
    stage.pass(6).await;
    let a = names(&["s0-test-a"]);
    assert_eq!(
        shown(),
        (json!([a, "test", null, "composite-metric"]), a.clone(), a)
    );
}
