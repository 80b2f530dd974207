//! What cases of controllers begin with, and what they look for.

use std::time::Duration;

use anyhow::bail;
use serde_json::{Value, json};

use crate::harness::{Cluster, text};

/// How long a controller may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);
/// How long is waited where nothing is to happen.
pub(crate) const QUIET: Duration = Duration::from_secs(3);

/// A pod of one container, with its name as its label `app`.
pub(crate) fn pod(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "main", "image": "nginx:1"}]},
    })
}

/// A pod that asks for CPU.
pub(crate) fn asking(name: &str, cpu: &str) -> Value {
    let mut pod = pod(name);
    pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpu}});
    pod
}

/// Creates a pod that may go to the nodes of this case only.
pub(crate) async fn add_pod(c: &Cluster, mut pod: Value) -> anyhow::Result<Value> {
    pod["spec"] = c.place(pod["spec"].take());
    c.post(&c.at("v1", "pods"), &pod).await?.with_code(201)
}

/// A node of this case with labels of its own; its name.
pub(crate) async fn add_labelled(
    c: &Cluster,
    name: &str,
    cpu: &str,
    labels: Value,
) -> anyhow::Result<String> {
    let mut node = c.node(name, cpu, "8Gi");
    for (key, value) in labels.as_object().into_iter().flatten() {
        node["metadata"]["labels"][key] = value.clone();
    }
    c.add_node(&node).await
}

/// Waits until the pod has a node; which.
pub(crate) async fn bound(c: &Cluster, name: &str) -> anyhow::Result<String> {
    let path = c.at("v1", &format!("pods/{name}"));
    let pod = c
        .wait_object(&format!("{name} has a node"), LIMIT, &path, |pod| {
            !pod["spec"]["nodeName"].is_null()
        })
        .await?;
    Ok(text(&pod, "/spec/nodeName").to_owned())
}

/// Waits until the pod runs and is ready.
pub(crate) async fn running(c: &Cluster, name: &str) -> anyhow::Result<Value> {
    let path = c.at("v1", &format!("pods/{name}"));
    c.wait_object(&format!("{name} runs"), LIMIT, &path, |pod| {
        pod["status"]["phase"] == "Running" && condition(pod, "Ready")["status"] == "True"
    })
    .await
}

/// The condition of a type; null if there is none.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|one| one["type"] == kind);
    found.unwrap_or(&Value::Null)
}

/// The events about an object, oldest first.
pub(crate) async fn events(c: &Cluster, kind: &str, name: &str) -> anyhow::Result<Vec<Value>> {
    let selector = format!("events?fieldSelector=involvedObject.kind%3D{kind},involvedObject.name%3D{name}");
    let mut list = c.get(&c.at("v1", &selector)).await?.with_code(200)?;
    let Value::Array(events) = list["items"].take() else {
        bail!("no list of events: {list}");
    };
    Ok(events)
}

/// Waits for an event about an object with this reason.
pub(crate) async fn event(c: &Cluster, kind: &str, name: &str, reason: &str) -> anyhow::Result<Value> {
    let what = format!("an event {reason} about {name}");
    c.wait_for(&what, LIMIT, async || {
        let events = events(c, kind, name).await?;
        Ok(events.into_iter().find(|event| event["reason"] == reason))
    })
    .await
}

/// Lets time pass in which nothing is to happen.
pub(crate) async fn pause(c: &Cluster, how_long: Duration) -> anyhow::Result<()> {
    let start = tokio::time::Instant::now();
    c.wait_until("some time has passed", how_long * 2, async || {
        Ok(start.elapsed() >= how_long)
    })
    .await
}

/// Waits until the scheduler has found that the pod goes nowhere for exactly these reasons of this case's nodes, each
/// with its number of nodes; the condition's message.
pub(crate) async fn refused(c: &Cluster, name: &str, reasons: &[&str]) -> anyhow::Result<String> {
    let path = c.at("v1", &format!("pods/{name}"));
    let mut last = String::new();
    let found = c
        .wait_for(&format!("{name} goes nowhere"), LIMIT / 3, async || {
            let pod = c.get(&path).await?.with_code(200)?;
            let scheduled = condition(&pod, "PodScheduled");
            if scheduled["status"] != "False" || scheduled["reason"] != "Unschedulable" {
                return Ok(None);
            }
            last = text(scheduled, "/message").to_owned();
            let mut wanted = reasons.to_vec();
            wanted.sort_unstable();
            Ok((own_reasons(&last, reasons) == wanted).then(|| last.clone()))
        })
        .await;
    found.map_err(|error| error.context(format!("the pod was last refused with {last:?}, not {reasons:?}")))
}

/// The reasons in the scheduler's message, without those for which the nodes of other cases are refused.
fn own_reasons<'a>(message: &'a str, wanted: &[&str]) -> Vec<&'a str> {
    const FOREIGN: [&str; 2] = [" node(s) had untolerated taint(s)", " node(s) were unschedulable"];
    let Some((_, rest)) = message.split_once(" nodes are available: ") else {
        return Vec::new();
    };
    let (reasons, _) = rest.split_once(". ").unwrap_or((rest, ""));
    let mut reasons: Vec<&str> = reasons
        .split(", ")
        .filter(|one| wanted.contains(one) || !FOREIGN.iter().any(|foreign| one.ends_with(foreign)))
        .collect();
    reasons.sort_unstable();
    reasons
}

/// A workload of the application `name` on the nodes of this case: a Deployment, ReplicaSet or StatefulSet.
pub(crate) fn workload(c: &Cluster, kind: &str, name: &str, replicas: i32) -> Value {
    let mut template = pod(name);
    template["metadata"] = json!({"labels": {"app": name}});
    template["spec"] = c.place(template["spec"].take());
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": kind,
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template},
    });
    if kind == "StatefulSet" {
        object["spec"]["serviceName"] = json!("none");
        object["spec"]["podManagementPolicy"] = json!("Parallel");
    }
    object
}

/// A priority class of this case; its name.
pub(crate) async fn priority(c: &Cluster, name: &str, value: i32, policy: &str) -> anyhow::Result<String> {
    let name = c.unique(name);
    let class = json!({"metadata": {"name": name}, "value": value, "preemptionPolicy": policy});
    c.post("/apis/scheduling.k8s.io/v1/priorityclasses", &class)
        .await?
        .with_code(201)?;
    c.delete_at_end(format!("/apis/scheduling.k8s.io/v1/priorityclasses/{name}"));
    Ok(name)
}
