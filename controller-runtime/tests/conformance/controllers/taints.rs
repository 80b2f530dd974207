//! Taints that evict, taints that follow conditions, and nodes that fall silent.

use std::time::Duration;

use serde_json::{Value, json};

use super::scene::{LIMIT, add_pod, condition, event, events, pause, pod, running};
use crate::harness::{Cluster, cases, contains, same, text};

cases![
    a_pod_that_does_not_tolerate_execution_goes,
    a_pod_that_tolerates_for_some_time_goes_then,
    a_taint_that_goes_in_time_spares_the_pod,
    the_shortest_toleration_counts,
    a_pod_put_on_a_tainted_node_goes,
    taints_against_scheduling_evict_nobody,
    every_pod_bears_a_lost_node_for_five_minutes,
    a_toleration_of_ones_own_is_kept,
    a_cordon_is_a_taint,
    a_condition_is_a_taint,
    a_new_node_is_not_ready_until_it_says_so,
    a_silent_node_is_unreachable,
];

/// Adds a taint to a node of this case, which has one already.
async fn taint(c: &Cluster, node: &str, taint: Value) -> anyhow::Result<()> {
    let path = format!("/api/v1/nodes/{node}");
    let patch = json!([{"op": "add", "path": "/spec/taints/-", "value": taint}]);
    c.patch("application/json-patch+json", &path, &patch)
        .await?
        .with_code(200)?;
    Ok(())
}

/// Takes the taint with this key away.
async fn untaint(c: &Cluster, node: &str, key: &str) -> anyhow::Result<()> {
    let path = format!("/api/v1/nodes/{node}");
    let object = c.get(&path).await?.ok()?;
    let taints: Vec<Value> = object["spec"]["taints"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|taint| taint["key"] != key)
        .cloned()
        .collect();
    c.merge(&path, &json!({"spec": {"taints": taints}})).await?.ok()?;
    Ok(())
}

/// The keys and effects of a node's taints other than those of the suite, sorted.
fn taints(node: &Value) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = node["spec"]["taints"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|taint| (text(taint, "/key").to_owned(), text(taint, "/effect").to_owned()))
        .filter(|(key, _)| key.contains("kubernetes.io"))
        .collect();
    found.sort();
    found
}

async fn has_taints(c: &Cluster, node: &str, wanted: &[(&str, &str)]) -> anyhow::Result<Value> {
    let what = format!("the node has the taints {wanted:?}");
    let is_so = |node: &Value| {
        let found = taints(node);
        found
            .iter()
            .map(|(key, effect)| (key.as_str(), effect.as_str()))
            .eq(wanted.iter().copied())
    };
    c.wait_object(&what, LIMIT, &format!("/api/v1/nodes/{node}"), is_so)
        .await
}

/// A running pod with tolerations.
async fn tolerating(c: &Cluster, name: &str, tolerations: Value) -> anyhow::Result<()> {
    let mut pod = pod(name);
    pod["spec"]["tolerations"] = tolerations;
    add_pod(c, pod).await?;
    running(c, name).await?;
    Ok(())
}

fn maintenance() -> Value {
    json!({"key": "maintenance", "value": "now", "effect": "NoExecute"})
}

async fn a_pod_that_does_not_tolerate_execution_goes(c: &Cluster) -> anyhow::Result<()> {
    let nodes = c.add_nodes(1, "4", "8Gi").await?;
    tolerating(
        c,
        "wrong",
        json!([{"key": "maintenance", "operator": "Equal", "value": "later", "effect": "NoExecute"}]),
    )
    .await?;
    tolerating(
        c,
        "right",
        json!([{"key": "maintenance", "operator": "Equal", "value": "now", "effect": "NoExecute"}]),
    )
    .await?;
    tolerating(c, "any", json!([{"operator": "Exists"}])).await?;
    let path = c.at("v1", "pods?fieldSelector=metadata.name%3Dwrong");
    let mut watch = c.watch(&path).await?;
    taint(c, &nodes[0], maintenance()).await?;
    let going = loop {
        let (_, pod) = watch.next().await?.unwrap_or_default();
        if pod["metadata"]["deletionTimestamp"].is_string() {
            break pod;
        }
    };
    contains(
        condition(&going, "DisruptionTarget"),
        json!({"status": "True", "reason": "DeletionByTaintManager", "message": "Taint manager: deleting due to NoExecute taint"}),
    )?;
    c.wait_gone(LIMIT, &c.at("v1", "pods/wrong")).await?;
    let event = event(c, "Pod", "wrong", "TaintManagerEviction").await?;
    contains(
        &event,
        json!({"type": "Normal", "message": format!("Marking for deletion Pod {}/wrong", c.namespace()), "source": {"component": "taint-eviction-controller"}}),
    )?;
    for name in ["right", "any"] {
        let pod = c
            .get(&c.at("v1", &format!("pods/{name}")))
            .await?
            .with_code(200)?;
        same(pod["metadata"]["deletionTimestamp"].is_null(), true)?;
    }
    Ok(())
}

fn for_seconds(seconds: i64) -> Value {
    json!({"key": "maintenance", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds})
}

async fn a_pod_that_tolerates_for_some_time_goes_then(c: &Cluster) -> anyhow::Result<()> {
    let nodes = c.add_nodes(1, "4", "8Gi").await?;
    tolerating(c, "a", json!([for_seconds(4)])).await?;
    let start = tokio::time::Instant::now();
    taint(c, &nodes[0], maintenance()).await?;
    c.wait_gone(LIMIT, &c.at("v1", "pods/a")).await?;
    let took = start.elapsed();
    same(
        (took >= Duration::from_secs(4), took < Duration::from_secs(30)),
        (true, true),
    )
}

async fn a_taint_that_goes_in_time_spares_the_pod(c: &Cluster) -> anyhow::Result<()> {
    let nodes = c.add_nodes(1, "4", "8Gi").await?;
    tolerating(c, "a", json!([for_seconds(6)])).await?;
    taint(c, &nodes[0], maintenance()).await?;
    pause(c, Duration::from_secs(2)).await?;
    untaint(c, &nodes[0], "maintenance").await?;
    let event = event(c, "Pod", "a", "TaintManagerEviction").await?;
    contains(
        &event,
        json!({"type": "Normal", "message": format!("Cancelling deletion of Pod {}/a", c.namespace())}),
    )?;
    pause(c, Duration::from_secs(5)).await?;
    let pod = c.get(&c.at("v1", "pods/a")).await?.with_code(200)?;
    same(pod["metadata"]["deletionTimestamp"].is_null(), true)
}

async fn the_shortest_toleration_counts(c: &Cluster) -> anyhow::Result<()> {
    let nodes = c.add_nodes(1, "4", "8Gi").await?;
    let other =
        json!({"key": "other", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 600});
    tolerating(c, "both", json!([for_seconds(3), other.clone()])).await?;
    tolerating(
        c,
        "long",
        json!([{"key": "maintenance", "operator": "Exists"}, other]),
    )
    .await?;
    taint(c, &nodes[0], maintenance()).await?;
    taint(c, &nodes[0], json!({"key": "other", "effect": "NoExecute"})).await?;
    c.wait_gone(LIMIT, &c.at("v1", "pods/both")).await?;
    c.get(&c.at("v1", "pods/long")).await?.with_code(200)?;
    Ok(())
}

async fn a_pod_put_on_a_tainted_node_goes(c: &Cluster) -> anyhow::Result<()> {
    let nodes = c.add_nodes(1, "4", "8Gi").await?;
    taint(c, &nodes[0], maintenance()).await?;
    let mut placed = pod("placed");
    placed["spec"]["nodeName"] = json!(nodes[0]);
    add_pod(c, placed).await?;
    c.wait_gone(LIMIT, &c.at("v1", "pods/placed")).await
}

async fn taints_against_scheduling_evict_nobody(c: &Cluster) -> anyhow::Result<()> {
    let nodes = c.add_nodes(1, "4", "8Gi").await?;
    tolerating(c, "a", json!([])).await?;
    taint(c, &nodes[0], json!({"key": "closed", "effect": "NoSchedule"})).await?;
    taint(
        c,
        &nodes[0],
        json!({"key": "avoided", "effect": "PreferNoSchedule"}),
    )
    .await?;
    pause(c, Duration::from_secs(3)).await?;
    let pod = c.get(&c.at("v1", "pods/a")).await?.with_code(200)?;
    same(pod["metadata"]["deletionTimestamp"].is_null(), true)?;
    let told = events(c, "Pod", "a").await?;
    same(
        told.iter().any(|event| event["reason"] == "TaintManagerEviction"),
        false,
    )
}

/// The tolerations of a created pod for lost nodes: key and seconds.
async fn lost_tolerations(
    c: &Cluster,
    name: &str,
    tolerations: Value,
) -> anyhow::Result<Vec<(String, Value)>> {
    let mut pod = pod(name);
    pod["spec"]["schedulerName"] = json!("nobody");
    pod["spec"]["tolerations"] = tolerations;
    let made = c.post(&c.at("v1", "pods"), &pod).await?.with_code(201)?;
    let all = made["spec"]["tolerations"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    Ok(all
        .iter()
        .map(|one| (text(one, "/key").to_owned(), one["tolerationSeconds"].clone()))
        .collect())
}

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

async fn every_pod_bears_a_lost_node_for_five_minutes(c: &Cluster) -> anyhow::Result<()> {
    let five = |key: &str| (key.to_owned(), json!(300));
    same(
        lost_tolerations(c, "a", Value::Null).await?,
        vec![five(NOT_READY), five(UNREACHABLE)],
    )
}

async fn a_toleration_of_ones_own_is_kept(c: &Cluster) -> anyhow::Result<()> {
    let own = json!({"key": NOT_READY, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 7});
    same(
        lost_tolerations(c, "short", json!([own])).await?,
        vec![
            (NOT_READY.to_owned(), json!(7)),
            (UNREACHABLE.to_owned(), json!(300)),
        ],
    )?;
    same(
        lost_tolerations(c, "all", json!([{"operator": "Exists"}])).await?,
        vec![(String::new(), Value::Null)],
    )
}

async fn a_cordon_is_a_taint(c: &Cluster) -> anyhow::Result<()> {
    let nodes = c.add_nodes(1, "4", "8Gi").await?;
    let path = format!("/api/v1/nodes/{}", nodes[0]);
    c.merge(&path, &json!({"spec": {"unschedulable": true}}))
        .await?
        .ok()?;
    let node = has_taints(
        c,
        &nodes[0],
        &[("node.kubernetes.io/unschedulable", "NoSchedule")],
    )
    .await?;
    let taint = node["spec"]["taints"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|taint| taint["key"] == "node.kubernetes.io/unschedulable");
    same(taint.is_some_and(|taint| taint["timeAdded"].is_string()), true)?;
    c.merge(&path, &json!({"spec": {"unschedulable": false}}))
        .await?
        .ok()?;
    has_taints(c, &nodes[0], &[]).await?;
    Ok(())
}

async fn a_condition_is_a_taint(c: &Cluster) -> anyhow::Result<()> {
    let nodes = c.add_nodes(1, "4", "8Gi").await?;
    let path = format!("/api/v1/nodes/{}/status", nodes[0]);
    for (kind, key) in [
        ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
        ("DiskPressure", "node.kubernetes.io/disk-pressure"),
        ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ] {
        let set = |status: &str| json!({"status": {"conditions": [{"type": kind, "status": status, "reason": "Test"}]}});
        c.patch("application/strategic-merge-patch+json", &path, &set("True"))
            .await?
            .ok()?;
        has_taints(c, &nodes[0], &[(key, "NoSchedule")]).await?;
        c.patch("application/strategic-merge-patch+json", &path, &set("False"))
            .await?
            .ok()?;
        has_taints(c, &nodes[0], &[]).await?;
    }
    Ok(())
}

async fn a_new_node_is_not_ready_until_it_says_so(c: &Cluster) -> anyhow::Result<()> {
    let node = c.node("new", "4", "8Gi");
    let made = c.post("/api/v1/nodes?dryRun=All", &node).await?.with_code(201)?;
    same(
        taints(&made),
        vec![(NOT_READY.to_owned(), "NoSchedule".to_owned())],
    )?;
    let name = c.add_node(&node).await?;
    has_taints(c, &name, &[]).await?;
    let path = format!("/api/v1/nodes/{name}");
    let node = c.get(&path).await?.ok()?;
    contains(
        condition(&node, "Ready"),
        json!({"status": "True", "reason": "KubeletReady"}),
    )
}

async fn a_silent_node_is_unreachable(c: &Cluster) -> anyhow::Result<()> {
    // Where every node is lost it is the control plane that is cut off, and nobody is evicted.
    c.add_nodes(1, "4", "8Gi").await?;
    let name = c.add_mortal_node(&c.node("mortal", "4", "8Gi")).await?;
    let mut lost = pod("a");
    lost["spec"]["nodeName"] = json!(name);
    add_pod(c, lost).await?;
    c.play("a").await?;
    running(c, "a").await?;
    c.silence(&name);
    let node = has_taints(
        c,
        &name,
        &[(UNREACHABLE, "NoExecute"), (UNREACHABLE, "NoSchedule")],
    )
    .await?;
    contains(
        condition(&node, "Ready"),
        json!({"status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}),
    )?;
    let path = c.at("v1", "pods/a");
    let pod = c
        .wait_object("the pod counts as not ready", LIMIT, &path, |pod| {
            condition(pod, "Ready")["status"] == "False"
        })
        .await?;
    contains(
        &pod,
        json!({"status": {"phase": "Running"}, "metadata": {"deletionTimestamp": null}}),
    )?;
    let told = event(c, "Pod", "a", "NodeNotReady").await?;
    contains(
        &told,
        json!({"type": "Warning", "message": "Node is not ready", "source": {"component": "node-controller"}}),
    )
}
