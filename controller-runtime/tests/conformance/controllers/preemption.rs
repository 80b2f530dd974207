//! Pods that make room for more important ones.

use serde_json::{Value, json};

use super::scene::{LIMIT, add_pod, asking, bound, condition, event, pod, priority, refused, running};
use crate::harness::{Cluster, cases, contains, same, text};

cases![
    an_important_pod_makes_a_lesser_one_go,
    no_more_pods_go_than_have_to,
    the_node_whose_victims_matter_least_is_chosen,
    fewer_victims_are_better,
    a_budget_is_respected_where_it_can_be,
    a_pod_that_never_preempts_waits,
    equals_do_not_preempt_each_other,
    preemption_does_not_help_where_the_node_is_too_small,
    room_that_was_made_is_kept,
];

/// Creates a pod that asks for CPU, with a priority class.
async fn add(c: &Cluster, name: &str, cpu: &str, class: &str) -> anyhow::Result<Value> {
    let mut pod = asking(name, cpu);
    pod["spec"]["priorityClassName"] = json!(class);
    add_pod(c, pod).await
}

/// Whether nothing has happened to a pod.
async fn stays(c: &Cluster, name: &str) -> anyhow::Result<()> {
    let pod = c
        .get(&c.at("v1", &format!("pods/{name}")))
        .await?
        .with_code(200)?;
    same(
        (name, pod["metadata"]["deletionTimestamp"].is_null()),
        (name, true),
    )
}

async fn an_important_pod_makes_a_lesser_one_go(c: &Cluster) -> anyhow::Result<()> {
    let class = priority(c, "important", 1000, "PreemptLowerPriority").await?;
    let nodes = c.add_nodes(1, "1", "8Gi").await?;
    add_pod(c, asking("lesser", "800m")).await?;
    running(c, "lesser").await?;
    let mut lesser = c
        .watch(&c.at("v1", "pods?fieldSelector=metadata.name%3Dlesser"))
        .await?;
    let mut important = c
        .watch(&c.at("v1", "pods?fieldSelector=metadata.name%3Dimportant"))
        .await?;
    let made = add(c, "important", "800m", &class).await?;
    let refused = loop {
        let (_, pod) = important.next().await?.unwrap_or_default();
        if pod["status"]["nominatedNodeName"].is_string() {
            break pod;
        }
    };
    contains(
        &refused,
        json!({"spec": {"nodeName": null}, "status": {"phase": "Pending", "nominatedNodeName": nodes[0]}}),
    )?;
    let message = text(condition(&refused, "PodScheduled"), "/message");
    let (_, reasons) = message.split_once(" nodes are available: ").unwrap_or_default();
    same(
        (
            reasons.contains("1 Insufficient cpu"),
            reasons.contains("preemption:"),
        ),
        (true, false),
    )?;
    let going = loop {
        let (_, pod) = lesser.next().await?.unwrap_or_default();
        if pod["metadata"]["deletionTimestamp"].is_string() {
            break pod;
        }
    };
    contains(
        condition(&going, "DisruptionTarget"),
        json!({"status": "True", "reason": "PreemptionByScheduler",
            "message": "default-scheduler: preempting to accommodate a higher priority pod"}),
    )?;
    let told = event(c, "Pod", "lesser", "Preempted").await?;
    let message = format!(
        "Preempted by pod {} on node {}",
        text(&made, "/metadata/uid"),
        nodes[0]
    );
    contains(
        &told,
        json!({"type": "Normal", "message": message, "action": "Preempting"}),
    )?;
    let pod = running(c, "important").await?;
    contains(
        &pod,
        json!({"spec": {"nodeName": nodes[0]}, "status": {"nominatedNodeName": null}}),
    )
}

async fn no_more_pods_go_than_have_to(c: &Cluster) -> anyhow::Result<()> {
    let high = priority(c, "high", 1000, "PreemptLowerPriority").await?;
    let middle = priority(c, "middle", 10, "PreemptLowerPriority").await?;
    c.add_nodes(1, "2", "8Gi").await?;
    add(c, "middle", "600m", &middle).await?;
    add_pod(c, asking("low", "600m")).await?;
    add(c, "other", "600m", &middle).await?;
    for name in ["middle", "low", "other"] {
        running(c, name).await?;
    }
    add(c, "high", "600m", &high).await?;
    running(c, "high").await?;
    c.wait_gone(LIMIT, &c.at("v1", "pods/low")).await?;
    stays(c, "middle").await?;
    stays(c, "other").await
}

/// A running pod on one node.
async fn occupy(c: &Cluster, name: &str, cpu: &str, node: &str, class: Option<&str>) -> anyhow::Result<()> {
    let mut pod = asking(name, cpu);
    pod["spec"]["nodeName"] = json!(node);
    if let Some(class) = class {
        pod["spec"]["priorityClassName"] = json!(class);
    }
    add_pod(c, pod).await?;
    running(c, name).await?;
    Ok(())
}

async fn the_node_whose_victims_matter_least_is_chosen(c: &Cluster) -> anyhow::Result<()> {
    let high = priority(c, "high", 1000, "PreemptLowerPriority").await?;
    let middle = priority(c, "middle", 10, "PreemptLowerPriority").await?;
    let nodes = c.add_nodes(2, "1", "8Gi").await?;
    occupy(c, "middle", "800m", &nodes[0], Some(&middle)).await?;
    occupy(c, "low0", "400m", &nodes[1], None).await?;
    occupy(c, "low1", "400m", &nodes[1], None).await?;
    add(c, "high", "800m", &high).await?;
    running(c, "high").await?;
    same(&bound(c, "high").await?, &nodes[1])?;
    stays(c, "middle").await
}

async fn fewer_victims_are_better(c: &Cluster) -> anyhow::Result<()> {
    let high = priority(c, "high", 1000, "PreemptLowerPriority").await?;
    let nodes = c.add_nodes(2, "1", "8Gi").await?;
    occupy(c, "half0", "400m", &nodes[0], None).await?;
    occupy(c, "half1", "400m", &nodes[0], None).await?;
    occupy(c, "whole", "800m", &nodes[1], None).await?;
    add(c, "high", "800m", &high).await?;
    running(c, "high").await?;
    same(&bound(c, "high").await?, &nodes[1])?;
    stays(c, "half0").await?;
    stays(c, "half1").await
}

async fn a_budget_is_respected_where_it_can_be(c: &Cluster) -> anyhow::Result<()> {
    let high = priority(c, "high", 1000, "PreemptLowerPriority").await?;
    let nodes = c.add_nodes(2, "1", "8Gi").await?;
    occupy(c, "guarded", "800m", &nodes[0], None).await?;
    occupy(c, "half0", "400m", &nodes[1], None).await?;
    occupy(c, "half1", "400m", &nodes[1], None).await?;
    let budget = json!({"metadata": {"name": "guarded"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "guarded"}}}});
    c.post(&c.at("policy/v1", "poddisruptionbudgets"), &budget)
        .await?
        .with_code(201)?;
    let path = c.at("policy/v1", "poddisruptionbudgets/guarded");
    c.wait_object("the budget counts", LIMIT, &path, |budget| {
        budget["status"]["currentHealthy"] == 1
    })
    .await?;
    add(c, "first", "800m", &high).await?;
    running(c, "first").await?;
    same(&bound(c, "first").await?, &nodes[1])?;
    stays(c, "guarded").await?;
    // Where there is no other way it goes all the same.
    add(c, "second", "800m", &high).await?;
    running(c, "second").await?;
    same(&bound(c, "second").await?, &nodes[0])?;
    c.wait_gone(LIMIT, &c.at("v1", "pods/guarded")).await
}

async fn a_pod_that_never_preempts_waits(c: &Cluster) -> anyhow::Result<()> {
    let class = priority(c, "patient", 1000, "Never").await?;
    c.add_nodes(1, "1", "8Gi").await?;
    add_pod(c, asking("lesser", "800m")).await?;
    running(c, "lesser").await?;
    add(c, "patient", "800m", &class).await?;
    let message = refused(c, "patient", &["1 Insufficient cpu"]).await?;
    let ending = ". no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never.";
    same(
        (message.as_str(), message.ends_with(ending)),
        (message.as_str(), true),
    )?;
    stays(c, "lesser").await
}

async fn equals_do_not_preempt_each_other(c: &Cluster) -> anyhow::Result<()> {
    c.add_nodes(1, "1", "8Gi").await?;
    add_pod(c, asking("first", "800m")).await?;
    running(c, "first").await?;
    add_pod(c, asking("second", "800m")).await?;
    let message = refused(c, "second", &["1 Insufficient cpu"]).await?;
    same(
        message.contains("1 No preemption victims found for incoming pod"),
        true,
    )?;
    stays(c, "first").await
}

async fn preemption_does_not_help_where_the_node_is_too_small(c: &Cluster) -> anyhow::Result<()> {
    let class = priority(c, "high", 1000, "PreemptLowerPriority").await?;
    c.add_nodes(1, "1", "8Gi").await?;
    add_pod(c, asking("lesser", "800m")).await?;
    running(c, "lesser").await?;
    add(c, "large", "1200m", &class).await?;
    let message = refused(c, "large", &["1 Insufficient cpu"]).await?;
    same(message.contains("No preemption victims found"), false)?;
    same(
        message.ends_with("Preemption is not helpful for scheduling."),
        true,
    )?;
    stays(c, "lesser").await
}

async fn room_that_was_made_is_kept(c: &Cluster) -> anyhow::Result<()> {
    let class = priority(c, "high", 1000, "PreemptLowerPriority").await?;
    c.add_nodes(1, "1", "8Gi").await?;
    let mut slow = asking("slow", "800m");
    slow["metadata"]["finalizers"] = json!(["example.com/hold"]);
    slow["spec"]["schedulerName"] = json!("nobody");
    slow["spec"]["nodeName"] = json!(c.unique("node0"));
    add_pod(c, slow).await?;
    bound(c, "slow").await?;
    add(c, "high", "800m", &class).await?;
    let path = c.at("v1", "pods/high");
    c.wait_object("room is made", LIMIT, &path, |pod| {
        !pod["status"]["nominatedNodeName"].is_null() || !pod["spec"]["nodeName"].is_null()
    })
    .await?;
    add_pod(c, asking("low", "800m")).await?;
    let mut little = pod("little");
    little["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "100m"}});
    add_pod(c, little).await?;
    let slow = c.at("v1", "pods/slow");
    c.ask(
        "PATCH",
        &slow,
        &[("content-type", "application/merge-patch+json")],
        json!({"metadata": {"finalizers": null}}).to_string(),
    )
    .await?;
    running(c, "high").await?;
    running(c, "little").await?;
    refused(c, "low", &["1 Insufficient cpu"]).await?;
    Ok(())
}
