//! What runs on nodes that kwok keeps alive.

use controller_runtime::envtest::{ControlPlane, shared_or_skip};
use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::Job,
    coordination::v1::Lease,
    core::v1::{Node, Pod},
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::support::eventually;

async fn create_node(control_plane: &ControlPlane, name: &str, annotations: serde_json::Value) -> Api<Node> {
    let nodes: Api<Node> = Api::all(control_plane.client("default"));
    let capacity = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
    let node = json!({
        "metadata": {"name": name, "annotations": annotations, "labels": {"kubernetes.io/hostname": name}},
        "status": {"capacity": capacity, "allocatable": capacity},
    });
    let node = serde_json::from_value(node).expect("a node");
    nodes
        .create(&PostParams::default(), &node)
        .await
        .expect("the administrator may");
    nodes
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[tokio::test]
async fn a_deployment_runs_on_a_fake_node_and_goes_again() {
    let Some(control_plane) = shared_or_skip().await else {
        return;
    };
    let name = "fake-deployment";
    let nodes = create_node(control_plane, name, json!({"kwok.x-k8s.io/node": "fake"})).await;
    eventually("the node is ready", || async {
        nodes.get(name).await.ok().filter(is_ready)
    })
    .await;
    let leases: Api<Lease> = Api::namespaced(control_plane.client("default"), "kube-node-lease");
    eventually("the node has a lease", || async {
        leases.get(name).await.ok()?.spec?.renew_time
    })
    .await;

    let client = control_plane.client("default");
    let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
    let deployment = json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "nodeSelector": {"kubernetes.io/hostname": name},
                    "containers": [{"name": "web", "image": "web", "resources": {"requests": {"cpu": "100m"}}}],
                },
            },
        },
    });
    let deployment = serde_json::from_value(deployment).expect("a deployment");
    deployments
        .create(&PostParams::default(), &deployment)
        .await
        .expect("the administrator may");
    eventually("three replicas are available", || async {
        let status = deployments.get("web").await.ok()?.status?;
        (status.available_replicas == Some(3)).then_some(())
    })
    .await;
    let pods: Api<Pod> = Api::default_namespaced(client);
    let of_web = ListParams::default().labels("app=web");
    for pod in pods.list(&of_web).await.expect("pods").items {
        let status = pod.status.as_ref().expect("a status");
        assert_eq!(status.phase.as_deref(), Some("Running"), "{}", pod.name_any());
        assert!(status.pod_ip.is_some(), "{}", pod.name_any());
    }

    let scale = json!({"spec": {"replicas": 0}});
    deployments
        .patch_scale("web", &PatchParams::default(), &Patch::Merge(scale))
        .await
        .expect("scaled");
    eventually("the pods are gone", || async {
        pods.list(&of_web).await.ok()?.items.is_empty().then_some(())
    })
    .await;
    deployments
        .delete("web", &DeleteParams::default())
        .await
        .expect("deleted");
    nodes
        .delete(name, &DeleteParams::default())
        .await
        .expect("deleted");
}

#[tokio::test]
async fn the_pods_of_a_job_complete() {
    let Some(control_plane) = shared_or_skip().await else {
        return;
    };
    let name = "fake-job";
    let nodes = create_node(control_plane, name, json!({"kwok.x-k8s.io/node": "fake"})).await;
    let jobs: Api<Job> = Api::default_namespaced(control_plane.client("default"));
    let job = json!({
        "metadata": {"name": "work"},
        "spec": {"completions": 2, "parallelism": 2, "template": {"spec": {
            "restartPolicy": "Never",
            "nodeSelector": {"kubernetes.io/hostname": name},
            "containers": [{"name": "work", "image": "work"}],
        }}},
    });
    let job = serde_json::from_value(job).expect("a job");
    jobs.create(&PostParams::default(), &job)
        .await
        .expect("the administrator may");
    eventually("both pods have succeeded", || async {
        let status = jobs.get("work").await.ok()?.status?;
        (status.succeeded == Some(2)).then_some(())
    })
    .await;
    nodes
        .delete(name, &DeleteParams::default())
        .await
        .expect("deleted");
}

#[tokio::test]
async fn a_node_that_does_not_say_it_is_fake_is_left_alone() {
    let Some(control_plane) = shared_or_skip().await else {
        return;
    };
    let nodes = create_node(control_plane, "real", json!({})).await;
    create_node(control_plane, "fake", json!({"kwok.x-k8s.io/node": "fake"})).await;
    eventually("the fake node is ready", || async {
        nodes.get("fake").await.ok().filter(is_ready)
    })
    .await;
    assert!(!is_ready(&nodes.get("real").await.expect("there")));
    for name in ["real", "fake"] {
        nodes
            .delete(name, &DeleteParams::default())
            .await
            .expect("deleted");
    }
}
