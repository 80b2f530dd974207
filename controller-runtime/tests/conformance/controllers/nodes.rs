//! Nodes: whose pods they take.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::json;

use crate::harness::{Cluster, cases, same};

cases![a_placed_pod_runs_on_a_node_of_its_case];

async fn a_placed_pod_runs_on_a_node_of_its_case(c: &Cluster) -> anyhow::Result<()> {
    let nodes = c.add_nodes(1, "4", "8Gi").await?;
    let spec = c.place(json!({"containers": [{"name": "main", "image": "nginx:1"}]}));
    c.post(
        &c.at("v1", "pods"),
        &json!({"metadata": {"name": "a"}, "spec": spec}),
    )
    .await?
    .with_code(201)?;
    let path = c.at("v1", "pods/a");
    c.wait_object("the pod runs", Duration::from_secs(60), &path, |pod| {
        pod["status"]["phase"] == "Running"
    })
    .await?;
    let pods: Api<Pod> = Api::namespaced(c.client(), c.namespace());
    let pod = pods.get("a").await?;
    same(pod.spec.and_then(|spec| spec.node_name).as_ref(), nodes.first())?;
    let containers = pod
        .status
        .and_then(|status| status.container_statuses)
        .unwrap_or_default();
    same(
        containers
            .iter()
            .map(|one| (one.name.as_str(), one.ready))
            .collect(),
        vec![("main", true)],
    )
}
