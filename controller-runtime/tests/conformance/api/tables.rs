//! Tables: the columns that `kubectl get` prints.

use serde_json::{Value, json};

use super::objects::{config_map, create, deployment, pod};
use crate::harness::{Cluster, cases, contains, same, text};

cases![
    a_table_of_pods,
    a_table_of_deployments,
    a_table_of_autoscalers,
    a_table_of_nodes,
    a_table_of_jobs,
    a_table_of_budgets,
    a_table_of_an_object_may_include_it,
];

async fn table(c: &Cluster, path: &str, name: &str) -> anyhow::Result<(Vec<String>, Vec<Value>)> {
    let accept = [(
        "accept",
        "application/json;as=Table;g=meta.k8s.io;v=v1,application/json",
    )];
    let found = c.ask("GET", path, &accept, String::new()).await?.with_code(200)?;
    contains(&found, json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1"}))?;
    let columns = found["columnDefinitions"].as_array().cloned().unwrap_or_default();
    let names = columns
        .iter()
        .map(|column| text(column, "/name").to_owned())
        .collect();
    let rows = found["rows"].as_array().cloned().unwrap_or_default();
    let row = rows
        .iter()
        .find(|row| row["object"]["metadata"]["name"] == name)
        .cloned()
        .unwrap_or_default();
    contains(
        &row["object"],
        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}),
    )?;
    Ok((names, row["cells"].as_array().cloned().unwrap_or_default()))
}

fn cells(found: &[Value], expected: Value) -> anyhow::Result<()> {
    let expected = expected.as_array().cloned().unwrap_or_default();
    let fits = found.len() == expected.len()
        && found
            .iter()
            .zip(&expected)
            .all(|(one, other)| other.is_null() || one == other);
    anyhow::ensure!(fits, "{found:?}");
    Ok(())
}

fn words(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

async fn a_table_of_pods(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "pods", &pod("a")).await?;
    let (columns, row) = table(c, &c.at("v1", "pods"), "a").await?;
    same(
        columns,
        words("Name,Ready,Status,Restarts,Age,IP,Node,Nominated Node,Readiness Gates"),
    )?;
    cells(
        &row,
        json!([
            "a", "0/1", "Pending", "0", null, "<none>", "<none>", "<none>", "<none>"
        ]),
    )
}

async fn a_table_of_deployments(c: &Cluster) -> anyhow::Result<()> {
    create(c, "apps/v1", "deployments", &deployment("a")).await?;
    let (columns, row) = table(c, &c.at("apps/v1", "deployments"), "a").await?;
    same(
        columns,
        words("Name,Ready,Up-to-date,Available,Age,Containers,Images,Selector"),
    )?;
    cells(&row, json!(["a", "0/0", 0, 0, null, "main", "nginx:1", "app=a"]))
}

async fn a_table_of_autoscalers(c: &Cluster) -> anyhow::Result<()> {
    let object = json!({"metadata": {"name": "a"}, "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"}, "minReplicas": 2, "maxReplicas": 5}});
    create(c, "autoscaling/v2", "horizontalpodautoscalers", &object).await?;
    let (columns, row) = table(c, &c.at("autoscaling/v2", "horizontalpodautoscalers"), "a").await?;
    same(
        columns,
        words("Name,Reference,Targets,MinPods,MaxPods,Replicas,Age"),
    )?;
    cells(
        &row,
        json!(["a", "Deployment/none", "cpu: <unknown>/80%", "2", 5, 0, null]),
    )
}

async fn a_table_of_nodes(c: &Cluster) -> anyhow::Result<()> {
    let name = c.unique("node");
    c.post("/api/v1/nodes", &json!({"metadata": {"name": name, "labels": {"node-role.kubernetes.io/worker": ""}}, "spec": {"unschedulable": true}})).await?.with_code(201)?;
    c.delete_at_end(format!("/api/v1/nodes/{name}"));
    let (columns, row) = table(c, "/api/v1/nodes", &name).await?;
    same(
        columns,
        words(
            "Name,Status,Roles,Age,Version,Internal-IP,External-IP,OS-Image,Kernel-Version,Container-Runtime",
        ),
    )?;
    // Whether it is ready depends on who plays it.
    anyhow::ensure!(
        row[1]
            .as_str()
            .is_some_and(|status| status.ends_with(",SchedulingDisabled")),
        "{row:?}"
    );
    cells(
        &row,
        json!([name, null, "worker", null, null, null, null, null, null, null]),
    )
}

async fn a_table_of_jobs(c: &Cluster) -> anyhow::Result<()> {
    let object = json!({"metadata": {"name": "a"}, "spec": {"suspend": true, "completions": 3, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x:1"}]}}}});
    create(c, "batch/v1", "jobs", &object).await?;
    let (columns, row) = table(c, &c.at("batch/v1", "jobs"), "a").await?;
    same(
        columns,
        words("Name,Status,Completions,Duration,Age,Containers,Images,Selector"),
    )?;
    cells(&row, json!(["a", null, "0/3", "", null, "main", "x:1", null]))
}

async fn a_table_of_budgets(c: &Cluster) -> anyhow::Result<()> {
    let object = json!({"metadata": {"name": "a"}, "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "none"}}}});
    create(c, "policy/v1", "poddisruptionbudgets", &object).await?;
    let (columns, row) = table(c, &c.at("policy/v1", "poddisruptionbudgets"), "a").await?;
    same(
        columns,
        words("Name,Min Available,Max Unavailable,Allowed Disruptions,Age"),
    )?;
    cells(&row, json!(["a", "2", "N/A", 0, null]))
}

async fn a_table_of_an_object_may_include_it(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "configmaps", &config_map("a")).await?;
    let accept = [("accept", "application/json;as=Table;g=meta.k8s.io;v=v1")];
    let path = c.at("v1", "configmaps/a");
    for (include, pattern) in [
        (
            "Object",
            json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"k": "v"}}),
        ),
        (
            "Metadata",
            json!({"kind": "PartialObjectMetadata", "data": null, "metadata": {"name": "a"}}),
        ),
        ("None", json!(null)),
    ] {
        let found = c
            .ask(
                "GET",
                &format!("{path}?includeObject={include}"),
                &accept,
                String::new(),
            )
            .await?
            .with_code(200)?;
        contains(&found["rows"][0]["object"], pattern)?;
        same(found["rows"][0]["cells"][1].clone(), json!(1))?;
    }
    Ok(())
}
