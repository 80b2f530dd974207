//! What is wrong becomes a condition and an event, and what is repaired runs.

use super::*;

const OBJECT: &str = "/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects/so";

#[tokio::test(start_paused = true)]
async fn every_problem_of_an_object_is_said_at_once_and_a_repair_is_seen() {
    let world = World::new();
    world.deployment("web", 1);
    let triggers = json!([
        {"type": "tset", "metadata": {}},
        {"type": "test", "metadata": {"target": "many"}},
    ]);
    world.scaled_object(
        "so",
        &json!({"triggers": triggers, "idleReplicaCount": 4, "minReplicaCount": 2}),
    );
    world.pass(1).await;
    assert_eq!(world.condition("so", "Ready"), "False ScaledObjectCheckFailed");
    assert_eq!(world.condition("so", "Active"), "Unknown UnknownState");
    let message = world.message("so", "Ready");
    for expected in [
        "spec.idleReplicaCount: is 4, expected less than minReplicaCount, which is 2",
        "spec.triggers[0].type: no scaler found for type: tset (did you mean \"test\"?)",
        "spec.triggers[1].metadata.queue",
        "spec.triggers[1].metadata.target",
    ] {
        assert!(message.contains(expected), "{expected} in {message}");
    }
    let events = world.events("so");
    assert_eq!(
        events,
        [
            format!("Warning KEDAScalerFailed {message}"),
            format!("Warning ScaledObjectCheckFailed {message}")
        ]
    );
    assert!(world.hpa("keda-hpa-so").is_none());
    let error = world.metric("so", "s1-test-orders").await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("ScaledObject default/so is not running"),
        "{error}"
    );
    let revision = world.server.resource_version();
    world.pass(600).await;
    assert_eq!(world.server.resource_version(), revision, "said once");
    let repaired = json!([{"type": "test", "metadata": {"queue": "orders", "target": "5"}}]);
    world
        .patch(
            OBJECT,
            &json!({"spec": {"triggers": repaired, "idleReplicaCount": 0}}),
        )
        .await;
    world.pass(1).await;
    assert_eq!(world.condition("so", "Ready"), "True ScaledObjectReady");
    assert!(world.hpa("keda-hpa-so").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_target_that_comes_late_or_goes_is_seen_at_once() {
    let world = World::new();
    world.script.set("orders", 8.0);
    world.scaled_object("so", &json!({}));
    world.pass(300).await;
    assert_eq!(world.condition("so", "Ready"), "False ScaledObjectCheckFailed");
    assert_eq!(
        world.message("so", "Ready"),
        "Target resource doesn't exist: there is no apps/v1.Deployment default/web"
    );
    world.deployment("web", 0);
    world.pass(1).await;
    assert_eq!(
        (world.condition("so", "Ready").as_str(), world.replicas("web")),
        ("True ScaledObjectReady", 1)
    );
    world
        .delete("/apis/apps/v1/namespaces/default/deployments/web")
        .await;
    world.pass(1).await;
    assert_eq!(world.condition("so", "Ready"), "False ScaledObjectCheckFailed");
    assert!(world.hpa("keda-hpa-so").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_unknown_or_has_no_scale_is_named() {
    let world = World::new();
    let target = |kind: &str, version: &str| json!({"scaleTargetRef": {"name": "x", "kind": kind, "apiVersion": version}});
    world.scaled_object("unknown", &target("Rollout", "argoproj.io/v1alpha1"));
    world.scaled_object("so", &target("ConfigMap", "v1"));
    world.pass(1).await;
    assert_eq!(
        world.message("unknown", "Ready"),
        "ScaledObject doesn't have correct scaleTargetRef specification: the API server does not know kind \
         \"Rollout\" of \"argoproj.io/v1alpha1\""
    );
    assert_eq!(
        world.message("so", "Ready"),
        "Target resource doesn't expose /scale subresource: \"ConfigMap\" of \"v1\" has none"
    );
}

#[tokio::test(start_paused = true)]
async fn a_missing_secret_is_named_and_found_when_it_comes() {
    let world = World::new();
    world.deployment("web", 0);
    let trigger = json!([{
        "type": "test", "metadata": {"queue": "orders", "target": "5"}, "authenticationRef": {"name": "auth"},
    }]);
    world.scaled_object("so", &json!({"triggers": trigger}));
    world.pass(1).await;
    let missing = "Warning KEDAScalerFailed spec.triggers[0].authenticationRef: TriggerAuthentication \"auth\" does \
                   not exist in namespace \"default\"";
    assert!(
        world.events("so").contains(&missing.to_owned()),
        "{:?}",
        world.events("so")
    );
    world.apply(json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
        "metadata": {"name": "auth", "namespace": "default"},
        "spec": {"secretTargetRef": [{"parameter": "password", "name": "words", "key": "password"}]},
    }));
    world.pass(1).await;
    world.apply(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "words", "namespace": "default"},
        "stringData": {"password": "late"},
    }));
    world.pass(6).await;
    assert_eq!(world.script.password("orders"), "late");
}

#[tokio::test(start_paused = true)]
async fn sources_that_hang_make_nobody_else_late() {
    let world = World::new();
    world.deployment("web", 0);
    world.script.hang("stuck");
    for index in 0..50 {
        let trigger =
            json!([{"type": "test", "metadata": {"queue": "stuck", "target": format!("{}", index + 1)}}]);
        let name = format!("stuck-{index}");
        world.deployment(&name, 1);
        world.scaled_object(
            &name,
            &json!({"triggers": trigger, "scaleTargetRef": {"name": name}}),
        );
    }
    world.scaled_object("so", &json!({}));
    world.pass(20).await;
    world.script.set("orders", 8.0);
    world.pass(5).await;
    assert_eq!(world.replicas("web"), 1);
    assert_eq!(world.replicas("stuck-0"), 1);
    let error = world.metric("stuck-0", "s0-test-stuck").await.unwrap_err();
    assert_eq!(error.kind(), metrics_adapter::MetricErrorKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn one_failing_trigger_of_two_leaves_the_other_at_work() {
    let world = World::new();
    world.deployment("web", 0);
    let trigger = |queue: &str| json!({"type": "test", "metadata": {"queue": queue, "target": "5"}});
    world.script.set("orders", 8.0);
    world.script.refuse("broken");
    world.scaled_object("so", &json!({"triggers": [trigger("broken"), trigger("orders")]}));
    world.pass(6).await;
    assert_eq!(
        (world.replicas("web"), world.condition("so", "Ready").as_str()),
        (1, "Unknown PartialTriggerError")
    );
    assert_eq!(world.metric("so", "s1-test-orders").await.unwrap(), "8");
    assert!(world.metric("so", "s0-test-broken").await.is_err());
    assert_eq!(
        world.script.connections("orders"),
        1,
        "only the broken trigger is connected anew"
    );
}

#[tokio::test(start_paused = true)]
async fn a_query_without_the_selector_or_for_another_metric_is_refused() {
    let world = World::new();
    world.deployment("web", 0);
    world.scaled_object("so", &json!({}));
    world.pass(1).await;
    let request = MetricRequest {
        namespace: "default".into(),
        metric: "s0-test-orders".into(),
        selector: Selector::everything(),
    };
    let error = world.metrics.get(&request).await.unwrap_err();
    assert!(
        error.to_string().contains("scaledObject name is not specified"),
        "{error}"
    );
    for (object, metric) in [("so", "s1-test-orders"), ("none", "s0-test-orders")] {
        let error = world.metric(object, metric).await.unwrap_err();
        assert_eq!(error.kind(), metrics_adapter::MetricErrorKind::NotFound);
    }
}

/// KEDA's definitions may be of another version, and take what these types cannot read.
fn takes_anything(world: &World) {
    let mut definition = serde_json::to_value(&keda::crds()[0]).unwrap();
    let version = &mut definition["spec"]["versions"][0];
    version["schema"] = json!({"openAPIV3Schema": {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        },
    }});
    world.apply(definition);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_read_keeps_no_other_one_from_being_scaled() {
    let mut world = World::idle();
    takes_anything(&world);
    world.deployment("web", 0);
    let odd = |name: &str| {
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {"name": name, "namespace": "default"},
        })
    };
    world.apply(odd("odd"));
    world.scaled_object("so", &json!({}));
    world.script.set("orders", 10.0);
    world.restart();
    world.pass(1).await;
    assert_eq!(world.replicas("web"), 1);
    let said = "Warning ScaledObjectCheckFailed the object cannot be read: missing field `spec`";
    assert_eq!(world.events("odd"), [said]);

    // One that comes later, and one that becomes so, which goes on as it was.
    world.apply(odd("later"));
    world
        .patch(OBJECT, &json!({"spec": {"maxReplicaCount": "ten"}}))
        .await;
    world.pass(1).await;
    assert_eq!(world.events("later"), [said]);
    let said = "Warning ScaledObjectCheckFailed the object cannot be read: spec.maxReplicaCount: \
                invalid type: string \"ten\", expected i32";
    assert!(
        world.events("so").contains(&said.to_owned()),
        "{:?}",
        world.events("so")
    );
    assert_eq!(world.metric("so", "s0-test-orders").await.unwrap(), "10");
    world.script.set("orders", 0.0);
    world.pass(30).await;
    assert_eq!(world.replicas("web"), 0);
    assert_eq!(world.hpa("keda-hpa-so").unwrap()["spec"]["maxReplicas"], 3);

    // Repaired, and repaired by being gone.
    world
        .patch(OBJECT, &json!({"spec": {"maxReplicaCount": 7}}))
        .await;
    world.delete(&OBJECT.replace("/so", "/odd")).await;
    world.pass(1).await;
    assert_eq!(world.hpa("keda-hpa-so").unwrap()["spec"]["maxReplicas"], 7);
    world.restart();
    world.script.set("orders", 10.0);
    world.pass(1).await;
    assert_eq!(world.replicas("web"), 1);
}
