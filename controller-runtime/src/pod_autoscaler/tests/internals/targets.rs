//! keda.md §9: kinds of targets, and the HPA's name.

use super::*;

#[tokio::test(start_paused = true)]
async fn section_9_replica_sets_and_stateful_sets_go_from_0_to_5_and_back() {
    for (kind, plural) in [("ReplicaSet", "replicasets"), ("StatefulSet", "statefulsets")] {
        let stage = Stage::new();
        stage.apply(json!({
            "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "replicas": 0, "serviceName": "web", "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "app", "image": "nginx"}]},
                },
            },
        }));
        stage
            .apply_object(&json!({"scaleTargetRef": {"name": "web", "kind": kind, "apiVersion": "apps/v1"}}));
        let replicas = async |orders: f64| {
            stage.script.set("orders", orders);
            stage.pass(A_WHILE).await;
            let found = stage.object("apps", plural, "web").unwrap();
            (
                found["spec"]["replicas"].as_i64().unwrap(),
                found["status"]["readyReplicas"].as_i64().unwrap_or(0),
            )
        };
        assert_eq!(replicas(3.0).await, (1, 1), "{kind}");
        assert_eq!(replicas(50.0).await, (5, 5), "{kind}");
        assert_eq!(replicas(0.0).await, (0, 0), "{kind}");
        let status = stage.status("so");
        assert_eq!(status["scaleTargetKind"], format!("apps/v1.{kind}"));
        assert_eq!(status["scaleTargetGVKR"]["resource"], plural);
    }
}

#[tokio::test(start_paused = true)]
async fn section_9_a_custom_resource_with_scale_is_scaled_and_put_back() {
    let stage = Stage::new();
    stage.rollout(2);
    let advanced = json!({"restoreToOriginalReplicaCount": true, "horizontalPodAutoscalerConfig": quick()});
    stage.apply_object(&json!({
        "scaleTargetRef": {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "canary"},
        "advanced": advanced,
    }));
    let replicas = || stage.object("argoproj.io", "rollouts", "canary").unwrap()["spec"]["replicas"].clone();
    let mut found = Vec::new();
    for orders in [0.0, 3.0, 50.0, 11.0, 0.0] {
        stage.script.set("orders", orders);
        stage.pass(A_WHILE).await;
        found.push(replicas());
    }
    assert_eq!(found, [0, 1, 5, 3, 0]);
    stage.annotate("paused-replicas", "4").await;
    stage.pass(5).await;
    assert_eq!(replicas(), 4);
    stage.delete(OBJECT).await;
    stage.pass(5).await;
    assert_eq!(replicas(), 2);
}

#[tokio::test(start_paused = true)]
async fn section_9_a_custom_hpa_name_and_its_renaming_leave_the_replicas_alone() {
    let stage = Stage::new();
    stage.deployment("web", 0);
    let name = |name: Value| {
        let mut config = quick();
        config["name"] = name;
        json!({"spec": {"advanced": {"horizontalPodAutoscalerConfig": config}}})
    };
    let mut changes = stage.server.observe();
    stage.apply_object(&name(json!("first"))["spec"]);
    assert_eq!(stage.with_orders(20.0).await, 4);
    for (given, expected) in [(json!("second"), "second"), (Value::Null, HPA)] {
        stage.patch(OBJECT, &name(given)).await;
        stage.pass(A_WHILE).await;
        let all = stage
            .server
            .objects("autoscaling", "horizontalpodautoscalers", None);
        let names: Vec<_> = all.iter().map(|hpa| hpa["metadata"]["name"].clone()).collect();
        assert_eq!(names, [expected]);
        assert_eq!(stage.status("so")["hpaName"], expected);
        assert_eq!(stage.replicas("web"), 4);
    }
    let mut replicas = Vec::new();
    while let Ok(change) = changes.try_recv() {
        if change.resource == "deployments" {
            replicas.extend(change.object["spec"]["replicas"].as_i64());
        }
    }
    replicas.dedup();
    assert_eq!(replicas, [0, 1, 4], "nobody lost a replica");
    assert_eq!(stage.with_orders(10.0).await, 2, "the new one is at work");
}
