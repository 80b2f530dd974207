//! Small objects that many cases begin with.

use serde_json::{Value, json};

use crate::harness::Cluster;

pub(crate) fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}})
}

/// A pod that no node takes, since nothing in the suite has its scheduler.
pub(crate) fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"schedulerName": "nobody", "containers": [{"name": "main", "image": "nginx:1"}]},
    })
}

/// A deployment without replicas, so that no controller has much to do with it.
pub(crate) fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "nginx:1"}]},
            },
        },
    })
}

/// Creates `object` in the case's namespace.
pub(crate) async fn create(
    c: &Cluster,
    version: &str,
    plural: &str,
    object: &Value,
) -> anyhow::Result<Value> {
    c.post(&c.at(version, plural), object).await?.with_code(201)
}

/// The names of a list's items.
pub(crate) fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().map_or(&[][..], Vec::as_slice);
    items
        .iter()
        .filter_map(|item| item["metadata"]["name"].as_str())
        .collect()
}
