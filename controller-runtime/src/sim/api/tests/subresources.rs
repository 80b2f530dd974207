//! Status, scale, binding, eviction.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod, policy::v1::PodDisruptionBudget};
use kube::{
    Api, ResourceExt,
    api::{EvictParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use super::{client, deployment, make_pod, of, raw, refusal, server};

#[tokio::test(start_paused = true)]
async fn status_and_spec_are_written_apart() {
    let client = client(&server());
    let deployments: Api<Deployment> = Api::default_namespaced(client);
    deployments
        .create(&PostParams::default(), &of(deployment("web")))
        .await
        .unwrap();
    let both = json!({"spec": {"replicas": 9}, "status": {"readyReplicas": 1}});
    let by_status = deployments
        .patch_status("web", &PatchParams::default(), &Patch::Merge(&both))
        .await
        .unwrap();
    assert_eq!(by_status.spec.unwrap().replicas, Some(1));
    assert_eq!(by_status.status.unwrap().ready_replicas, Some(1));
    assert_eq!(by_status.metadata.generation, Some(1));
    let other = json!({"spec": {"replicas": 2}, "status": {"readyReplicas": 5}});
    let by_main = deployments
        .patch("web", &PatchParams::default(), &Patch::Merge(&other))
        .await
        .unwrap();
    assert_eq!(by_main.spec.unwrap().replicas, Some(2));
    assert_eq!(by_main.status.unwrap().ready_replicas, Some(1));
}

#[tokio::test(start_paused = true)]
async fn scale_shows_and_sets_replicas() {
    let client = client(&server());
    let deployments: Api<Deployment> = Api::default_namespaced(client);
    deployments
        .create(&PostParams::default(), &of(deployment("web")))
        .await
        .unwrap();
    let scale = deployments.get_scale("web").await.unwrap();
    assert_eq!(scale.spec.as_ref().unwrap().replicas, Some(1));
    assert_eq!(
        scale.status.as_ref().unwrap().selector.as_deref(),
        Some("app=web")
    );
    let patch = json!({"spec": {"replicas": 4}});
    deployments
        .patch_scale("web", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .unwrap();
    let object = deployments.get("web").await.unwrap();
    assert_eq!(
        (object.spec.unwrap().replicas, object.metadata.generation),
        (Some(4), Some(2))
    );
    let (code, ..) = refusal(
        deployments
            .patch_scale(
                "web",
                &PatchParams::default(),
                &Patch::Merge(json!({"spec": {"replicas": -1}})),
            )
            .await,
    );
    assert_eq!(code, 422);
    let zero = json!({"spec": {"replicas": 0}});
    let scale = deployments
        .patch_scale("web", &PatchParams::default(), &Patch::Merge(zero))
        .await
        .unwrap();
    assert_eq!(scale.spec.unwrap().replicas, None, "zero is omitted on the wire");
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_bound_once() {
    let server = server();
    let client = client(&server);
    make_pod(&client, "a").await;
    let body = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"},
        "target": {"kind": "Node", "name": "n1"}})
    .to_string();
    let path = "/api/v1/namespaces/default/pods/a/binding";
    let (code, _) = raw(&server, "POST", path, &[], &body).await;
    assert_eq!(code, 201);
    let pods: Api<Pod> = Api::default_namespaced(client);
    let pod = pods.get("a").await.unwrap();
    assert_eq!(pod.spec.unwrap().node_name.as_deref(), Some("n1"));
    assert_eq!(pod.status.unwrap().conditions.unwrap()[0].type_, "PodScheduled");
    let (code, status) = raw(&server, "POST", path, &[], &body).await;
    assert_eq!(code, 409);
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .contains("pod a is already assigned to node \"n1\"")
    );
    let bound = pods
        .list(&kube::api::ListParams::default().fields("spec.nodeName=n1"))
        .await
        .unwrap();
    assert_eq!(bound.items.len(), 1);
}

async fn running(pods: &Api<Pod>, name: &str) {
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
}

async fn budget(client: &kube::Client, name: &str, allowed: i64) {
    let budgets: Api<PodDisruptionBudget> = Api::default_namespaced(client.clone());
    let object = json!({"metadata": {"name": name}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    budgets.create(&PostParams::default(), &of(object)).await.unwrap();
    let status = json!({"status": {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1,
        "expectedPods": 1, "observedGeneration": 1}});
    budgets
        .patch_status(name, &PatchParams::default(), &Patch::Merge(status))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn evictions_ask_the_budget() {
    let client = client(&server());
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    for name in ["a", "b", "pending"] {
        make_pod(&client, name).await;
    }
    running(&pods, "a").await;
    running(&pods, "b").await;
    budget(&client, "web", 1).await;
    pods.evict("pending", &EvictParams::default()).await.unwrap();
    pods.evict("a", &EvictParams::default()).await.unwrap();
    assert!(
        pods.get_opt("a").await.unwrap().is_none(),
        "an unbound pod goes at once"
    );
    let (code, reason, message) = refusal(pods.evict("b", &EvictParams::default()).await);
    assert_eq!((code, reason.as_str()), (429, "TooManyRequests"));
    assert_eq!(
        message,
        "Cannot evict pod as it would violate the pod's disruption budget."
    );
    budget(&client, "second", 1).await;
    let (code, _, message) = refusal(pods.evict("b", &EvictParams::default()).await);
    assert_eq!(code, 500);
    assert_eq!(
        message,
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_eviction_names_its_cause() {
    let server = server();
    let client = client(&server);
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    make_pod(&client, "a").await;
    running(&pods, "a").await;
    budget(&client, "web", 0).await;
    let path = "/api/v1/namespaces/default/pods/a/eviction";
    let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}}).to_string();
    let (_, status) = raw(&server, "POST", path, &[], &body).await;
    assert_eq!(
        status["details"]["causes"],
        json!([{
            "reason": "DisruptionBudget",
            "message": "The disruption budget web needs 1 healthy pods and has 1 currently",
        }])
    );
    assert_eq!(pods.get("a").await.unwrap().name_any(), "a");
}
