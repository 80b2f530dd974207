//! HorizontalPodAutoscalers.

pub(super) mod failures;
pub(super) mod metrics;
pub(super) mod targets;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::scene::{LIMIT, condition};
use crate::harness::{Cluster, contains, text};

const PLURAL: &str = "horizontalpodautoscalers";

/// A workload whose pods nobody runs: they are there, and never ready.
fn idle(kind: &str, replicas: i32) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": kind,
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"schedulerName": "nobody", "containers": [{"name": "main", "image": "nginx:1"}]},
            },
        },
    });
    if kind == "StatefulSet" {
        object["spec"]["serviceName"] = json!("none");
        object["spec"]["podManagementPolicy"] = json!("Parallel");
    }
    object
}

/// Creates a Deployment `web` and waits until its status counts its pods.
async fn deploy(c: &Cluster, replicas: i32) -> anyhow::Result<()> {
    c.post(&c.at("apps/v1", "deployments"), &idle("Deployment", replicas))
        .await?
        .with_code(201)?;
    has_pods(c, "deployments/web", replicas).await
}

async fn has_pods(c: &Cluster, path: &str, replicas: i32) -> anyhow::Result<()> {
    let path = c.at("apps/v1", path);
    c.wait_object("its pods are counted", LIMIT, &path, |object| {
        object["status"]["observedGeneration"].is_number()
            && object["status"]["replicas"].as_i64().unwrap_or(0) == i64::from(replicas)
    })
    .await?;
    Ok(())
}

/// An external metric with a target.
fn external(name: &str, target: Value) -> Value {
    json!({"type": "External", "external": {"metric": {"name": name}, "target": target}})
}

fn average(value: &str) -> Value {
    json!({"type": "AverageValue", "averageValue": value})
}

fn total(value: &str) -> Value {
    json!({"type": "Value", "value": value})
}

/// An autoscaler `web` of the Deployment `web`.
fn autoscaler(min: i32, max: i32, metrics: Value) -> Value {
    json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": min, "maxReplicas": max, "metrics": metrics,
        },
    })
}

/// One that scales in at once.
fn prompt(min: i32, max: i32, metrics: Value) -> Value {
    let mut object = autoscaler(min, max, metrics);
    object["spec"]["behavior"] = json!({"scaleDown": {"stabilizationWindowSeconds": 0}});
    object
}

async fn add(c: &Cluster, autoscaler: &Value) -> anyhow::Result<Value> {
    c.post(&c.at("autoscaling/v2", PLURAL), autoscaler)
        .await?
        .with_code(201)
}

/// Waits until the status of `web` has what `pattern` has.
async fn status(c: &Cluster, pattern: Value) -> anyhow::Result<Value> {
    until(c, &format!("the status has {pattern}"), |object| {
        contains(&object["status"], pattern.clone()).is_ok()
    })
    .await
}

/// Waits until a condition of `web` has this status and reason, and gives its message.
async fn told(c: &Cluster, kind: &str, status: &str, reason: &str) -> anyhow::Result<String> {
    let what = format!("{kind}={status} because of {reason}");
    let object = until(c, &what, |object| {
        let found = condition(object, kind);
        found["status"] == status && found["reason"] == reason
    })
    .await?;
    Ok(text(condition(&object, kind), "/message").to_owned())
}

async fn until(c: &Cluster, what: &str, is_so: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
    let path = c.at("autoscaling/v2", &format!("{PLURAL}/web"));
    let mut last = Value::Null;
    let found = c
        .wait_for(what, LIMIT / 2, async || {
            last = c.get(&path).await?.with_code(200)?;
            Ok(is_so(&last).then(|| last.clone()))
        })
        .await;
    found.with_context(|| format!("the status is {}", last["status"]))
}

/// Waits until the Deployment `web` has so many replicas in its specification.
async fn replicas(c: &Cluster, wanted: i32) -> anyhow::Result<()> {
    let path = c.at("apps/v1", "deployments/web");
    let what = format!("the Deployment is scaled to {wanted}");
    c.wait_object(&what, LIMIT / 2, &path, |object| {
        object["spec"]["replicas"] == wanted
    })
    .await?;
    Ok(())
}
