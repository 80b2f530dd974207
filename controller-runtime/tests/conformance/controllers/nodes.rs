//! Nodes: whose pods they take.

use std::time::Duration;

use serde_json::json;

use crate::harness::{Cluster, cases, contains, text};

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
    let pod = c
        .wait_object("the pod runs", Duration::from_secs(60), &path, |pod| {
            pod["status"]["phase"] == "Running"
        })
        .await?;
    anyhow::ensure!(text(&pod, "/spec/nodeName") == nodes[0], "{pod}");
    contains(
        &pod,
        json!({"status": {"containerStatuses": [{"name": "main", "ready": true}]}}),
    )
}
