//! The scheduler: which nodes a pod can go to, which it goes to, and what is said if there is none.

use serde_json::{Value, json};

use super::scene::{
    LIMIT, QUIET, add_labelled, add_pod, asking, bound, condition, event, events, pause, pod, priority,
    refused, running,
};
use crate::harness::{Cluster, cases, contains, same, text};

cases![
    nodes_are_counted_by_the_reason_that_refuses_them,
    every_resource_that_is_short_is_named,
    the_largest_init_container_counts_and_not_their_sum,
    a_node_takes_so_many_pods,
    a_node_selector_picks_the_node,
    required_node_affinity_is_alternatives_of_conjunctions,
    preferred_node_affinity_outweighs_an_emptier_node,
    a_pod_goes_to_the_emptier_node,
    a_host_port_is_taken_once,
    a_taint_refuses_who_does_not_tolerate_it,
    a_preferred_taint_is_avoided_but_not_refused,
    a_cordoned_node_takes_no_pods,
    a_preset_node_needs_no_scheduler,
    a_pod_of_another_scheduler_is_left_alone,
    a_gated_pod_waits_until_its_gates_are_gone,
    a_refused_pod_goes_to_a_node_that_appears,
    a_refused_pod_goes_where_another_leaves,
    the_important_pod_goes_first,
    a_scheduled_pod_says_so,
];

async fn nodes_are_counted_by_the_reason_that_refuses_them(c: &Cluster) -> anyhow::Result<()> {
    add_labelled(c, "small0", "1", json!({"size": "small"})).await?;
    add_labelled(c, "small1", "1", json!({"size": "small"})).await?;
    add_labelled(c, "other", "8", json!({"size": "other"})).await?;
    let mut asked = asking("a", "2");
    asked["spec"]["nodeSelector"] = json!({"size": "small"});
    add_pod(c, asked).await?;
    let message = refused(
        c,
        "a",
        &[
            "2 Insufficient cpu",
            "1 node(s) didn't match Pod's node affinity/selector",
        ],
    )
    .await?;
    let event = event(c, "Pod", "a", "FailedScheduling").await?;
    contains(
        &event,
        json!({"type": "Warning", "involvedObject": {"kind": "Pod", "name": "a"}}),
    )?;
    let (all, _) = message.split_once(" nodes are available: ").unwrap_or_default();
    let preemption = format!(" no new claims to deallocate, preemption: {all} nodes are available: ");
    same(message.contains(&preemption), true)?;
    same(
        message.ends_with("Preemption is not helpful for scheduling."),
        true,
    )
}

async fn every_resource_that_is_short_is_named(c: &Cluster) -> anyhow::Result<()> {
    c.add_nodes(1, "1", "1Gi").await?;
    let mut asked = pod("a");
    let requests = json!({"cpu": "1100m", "memory": "2Gi", "example.com/gpu": "1"});
    asked["spec"]["containers"][0]["resources"] =
        json!({"requests": requests, "limits": {"example.com/gpu": "1"}});
    add_pod(c, asked).await?;
    let short = [
        "1 Insufficient cpu",
        "1 Insufficient memory",
        "1 Insufficient example.com/gpu",
    ];
    refused(c, "a", &short).await?;
    Ok(())
}

async fn the_largest_init_container_counts_and_not_their_sum(c: &Cluster) -> anyhow::Result<()> {
    c.add_nodes(1, "1", "1Gi").await?;
    let container = |name: &str, cpu: &str| json!({"name": name, "image": "busybox:1", "resources": {"requests": {"cpu": cpu}}});
    let mut fits = asking("fits", "300m");
    fits["spec"]["initContainers"] = json!([container("one", "900m"), container("two", "800m")]);
    add_pod(c, fits).await?;
    bound(c, "fits").await?;
    add_pod(c, asking("rest", "200m")).await?;
    refused(c, "rest", &["1 Insufficient cpu"]).await?;
    add_pod(c, asking("little", "100m")).await?;
    bound(c, "little").await?;
    Ok(())
}

async fn a_node_takes_so_many_pods(c: &Cluster) -> anyhow::Result<()> {
    let mut node = c.node("few", "4", "8Gi");
    node["status"]["capacity"]["pods"] = json!("1");
    node["status"]["allocatable"]["pods"] = json!("1");
    c.add_node(&node).await?;
    add_pod(c, pod("a")).await?;
    bound(c, "a").await?;
    add_pod(c, pod("b")).await?;
    refused(c, "b", &["1 Too many pods"]).await?;
    Ok(())
}

async fn a_node_selector_picks_the_node(c: &Cluster) -> anyhow::Result<()> {
    add_labelled(c, "a", "4", json!({"disk": "slow"})).await?;
    let fast = add_labelled(c, "b", "4", json!({"disk": "fast"})).await?;
    for name in ["one", "two", "three"] {
        let mut pod = pod(name);
        pod["spec"]["nodeSelector"] = json!({"disk": "fast"});
        add_pod(c, pod).await?;
        same(bound(c, name).await?, fast.clone())?;
    }
    Ok(())
}

/// Required node affinity with these terms.
fn required(terms: Value) -> Value {
    json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}})
}

fn expression(key: &str, operator: &str, values: &[&str]) -> Value {
    json!({"key": key, "operator": operator, "values": values})
}

async fn required_node_affinity_is_alternatives_of_conjunctions(c: &Cluster) -> anyhow::Result<()> {
    let first = add_labelled(c, "a", "4", json!({"cores": "4", "zone": "one"})).await?;
    let second = add_labelled(c, "b", "4", json!({"cores": "16", "zone": "two"})).await?;
    for (name, terms, node) in [
        (
            "gt",
            json!([{"matchExpressions": [expression("cores", "Gt", &["8"])]}]),
            &second,
        ),
        (
            "lt",
            json!([{"matchExpressions": [expression("cores", "Lt", &["8"])]}]),
            &first,
        ),
        (
            "conjunction",
            json!([{"matchExpressions": [expression("cores", "Exists", &[]), expression("zone", "NotIn", &["one"])]}]),
            &second,
        ),
        (
            "alternative",
            json!([
                {"matchExpressions": [expression("gpu", "Exists", &[])]},
                {"matchExpressions": [expression("zone", "In", &["one", "three"])]},
            ]),
            &first,
        ),
        (
            "field",
            json!([{"matchFields": [expression("metadata.name", "In", &[&second])]}]),
            &second,
        ),
    ] {
        let mut pod = pod(name);
        pod["spec"]["affinity"] = required(terms);
        add_pod(c, pod).await?;
        same((name, &bound(c, name).await?), (name, node))?;
    }
    let mut pod = pod("nowhere");
    pod["spec"]["affinity"] = required(json!([{"matchExpressions": [expression("gpu", "Exists", &[])]}]));
    add_pod(c, pod).await?;
    refused(
        c,
        "nowhere",
        &["2 node(s) didn't match Pod's node affinity/selector"],
    )
    .await?;
    Ok(())
}

async fn preferred_node_affinity_outweighs_an_emptier_node(c: &Cluster) -> anyhow::Result<()> {
    let liked = add_labelled(c, "a", "4", json!({"disk": "fast"})).await?;
    add_labelled(c, "b", "8", json!({"disk": "slow"})).await?;
    let mut pod = asking("a", "1");
    pod["spec"]["affinity"] = json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 50, "preference": {"matchExpressions": [expression("disk", "In", &["fast"])]}},
    ]}});
    add_pod(c, pod).await?;
    same(bound(c, "a").await?, liked)
}

async fn a_pod_goes_to_the_emptier_node(c: &Cluster) -> anyhow::Result<()> {
    let nodes = c.add_nodes(2, "4", "8Gi").await?;
    let mut first = asking("first", "2");
    first["spec"]["nodeName"] = json!(nodes[0]);
    add_pod(c, first).await?;
    running(c, "first").await?;
    add_pod(c, asking("second", "1")).await?;
    same(&bound(c, "second").await?, &nodes[1])
}

async fn a_host_port_is_taken_once(c: &Cluster) -> anyhow::Result<()> {
    c.add_nodes(1, "4", "8Gi").await?;
    let with_port = |name: &str, protocol: &str| {
        let mut pod = pod(name);
        pod["spec"]["containers"][0]["ports"] =
            json!([{"containerPort": 80, "hostPort": 8080, "protocol": protocol}]);
        pod
    };
    add_pod(c, with_port("a", "TCP")).await?;
    bound(c, "a").await?;
    add_pod(c, with_port("b", "TCP")).await?;
    refused(
        c,
        "b",
        &["1 node(s) didn't have free ports for the requested pod ports"],
    )
    .await?;
    add_pod(c, with_port("c", "UDP")).await?;
    bound(c, "c").await?;
    Ok(())
}

/// Affinity to a node by its name, so that no other is looked at.
fn only(node: &str) -> Value {
    required(json!([{"matchFields": [expression("metadata.name", "In", &[node])]}]))
}

async fn a_taint_refuses_who_does_not_tolerate_it(c: &Cluster) -> anyhow::Result<()> {
    let mut node = c.node("tainted", "4", "8Gi");
    let taint = json!({"key": "dedicated", "value": "db", "effect": "NoSchedule"});
    node["spec"]["taints"]
        .as_array_mut()
        .into_iter()
        .for_each(|taints| taints.push(taint.clone()));
    let name = c.add_node(&node).await?;
    let with = |pod_name: &str, tolerations: Value| {
        let mut pod = pod(pod_name);
        pod["spec"]["affinity"] = only(&name);
        pod["spec"]["tolerations"] = tolerations;
        pod
    };
    add_pod(c, with("without", json!([]))).await?;
    add_pod(
        c,
        with(
            "wrong",
            json!([{"key": "dedicated", "operator": "Equal", "value": "web", "effect": "NoSchedule"}]),
        ),
    )
    .await?;
    let other = |name: &str| format!("1 node(s) had untolerated taint(s){name}");
    for pod in ["without", "wrong"] {
        let message = refused_by_taint(c, pod).await?;
        same(message.contains(&other("")), true)?;
    }
    add_pod(
        c,
        with("exists", json!([{"key": "dedicated", "operator": "Exists"}])),
    )
    .await?;
    add_pod(
        c,
        with(
            "equal",
            json!([{"key": "dedicated", "value": "db", "effect": "NoSchedule"}]),
        ),
    )
    .await?;
    for pod in ["exists", "equal"] {
        same(&bound(c, pod).await?, &name)?;
    }
    Ok(())
}

/// The message of a pod that no node takes.
async fn refused_by_taint(c: &Cluster, name: &str) -> anyhow::Result<String> {
    let path = c.at("v1", &format!("pods/{name}"));
    let pod = c
        .wait_object("the pod is refused", LIMIT, &path, |pod| {
            condition(pod, "PodScheduled")["reason"] == "Unschedulable"
        })
        .await?;
    Ok(text(condition(&pod, "PodScheduled"), "/message").to_owned())
}

async fn a_preferred_taint_is_avoided_but_not_refused(c: &Cluster) -> anyhow::Result<()> {
    let mut node = c.node("avoided", "8", "16Gi");
    let taint = json!({"key": "spot", "effect": "PreferNoSchedule"});
    node["spec"]["taints"]
        .as_array_mut()
        .into_iter()
        .for_each(|taints| taints.push(taint.clone()));
    let avoided = c.add_node(&node).await?;
    let plain = c.add_node(&c.node("plain", "2", "4Gi")).await?;
    add_pod(c, asking("a", "1500m")).await?;
    same(bound(c, "a").await?, plain)?;
    add_pod(c, asking("b", "1500m")).await?;
    same(bound(c, "b").await?, avoided)
}

async fn a_cordoned_node_takes_no_pods(c: &Cluster) -> anyhow::Result<()> {
    let node = c.add_node(&c.node("cordoned", "4", "8Gi")).await?;
    let path = format!("/api/v1/nodes/{node}");
    c.merge(&path, &json!({"spec": {"unschedulable": true}}))
        .await?
        .ok()?;
    let tainted = |node: &Value| {
        let taints = node["spec"]["taints"].as_array();
        taints
            .into_iter()
            .flatten()
            .any(|taint| taint["key"] == "node.kubernetes.io/unschedulable")
    };
    c.wait_object("the node has its taint", LIMIT, &path, tainted)
        .await?;
    let mut waits = pod("waits");
    waits["spec"]["affinity"] = only(&node);
    add_pod(c, waits).await?;
    let message = refused_by_taint(c, "waits").await?;
    same(
        message.contains(": 1 node(s) were unschedulable")
            || message.contains(", 1 node(s) were unschedulable"),
        true,
    )?;
    let mut goes = pod("goes");
    goes["spec"]["affinity"] = only(&node);
    goes["spec"]["tolerations"] = json!([{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]);
    add_pod(c, goes).await?;
    same(&bound(c, "goes").await?, &node)?;
    c.merge(&path, &json!({"spec": {"unschedulable": null}}))
        .await?
        .ok()?;
    same(bound(c, "waits").await?, node)
}

async fn a_preset_node_needs_no_scheduler(c: &Cluster) -> anyhow::Result<()> {
    let node = c.add_node(&c.node("cordoned", "4", "8Gi")).await?;
    c.merge(
        &format!("/api/v1/nodes/{node}"),
        &json!({"spec": {"unschedulable": true}}),
    )
    .await?
    .ok()?;
    let mut preset = pod("preset");
    preset["spec"]["nodeName"] = json!(node);
    c.post(&c.at("v1", "pods"), &preset).await?.with_code(201)?;
    let pod = running(c, "preset").await?;
    same(text(&pod, "/spec/nodeName"), &node)?;
    let events = events(c, "Pod", "preset").await?;
    same(events.iter().any(|event| event["reason"] == "Scheduled"), false)
}

async fn a_pod_of_another_scheduler_is_left_alone(c: &Cluster) -> anyhow::Result<()> {
    c.add_nodes(1, "4", "8Gi").await?;
    let mut other = pod("other");
    other["spec"]["schedulerName"] = json!("somebody-else");
    add_pod(c, other).await?;
    pause(c, QUIET).await?;
    let pod = c.get(&c.at("v1", "pods/other")).await?.ok()?;
    contains(
        &pod,
        json!({"spec": {"nodeName": null}, "status": {"phase": "Pending", "conditions": null}}),
    )?;
    same(events(c, "Pod", "other").await?.len(), 0)
}

async fn a_gated_pod_waits_until_its_gates_are_gone(c: &Cluster) -> anyhow::Result<()> {
    c.add_nodes(1, "4", "8Gi").await?;
    let mut gated = pod("gated");
    gated["spec"]["schedulingGates"] = json!([{"name": "example.com/quota"}]);
    add_pod(c, gated).await?;
    let path = c.at("v1", "pods/gated");
    let pod = c
        .wait_object("the pod is gated", LIMIT, &path, |pod| {
            !condition(pod, "PodScheduled").is_null()
        })
        .await?;
    contains(
        condition(&pod, "PodScheduled"),
        json!({"status": "False", "reason": "SchedulingGated", "message": "Scheduling is blocked due to non-empty scheduling gates"}),
    )?;
    pause(c, QUIET).await?;
    same(events(c, "Pod", "gated").await?.len(), 0)?;
    c.merge(&path, &json!({"spec": {"schedulingGates": null}}))
        .await?
        .ok()?;
    bound(c, "gated").await?;
    Ok(())
}

async fn a_refused_pod_goes_to_a_node_that_appears(c: &Cluster) -> anyhow::Result<()> {
    add_pod(c, asking("a", "1")).await?;
    let path = c.at("v1", "pods/a");
    c.wait_object("the pod is refused", LIMIT, &path, |pod| {
        condition(pod, "PodScheduled")["reason"] == "Unschedulable"
    })
    .await?;
    let nodes = c.add_nodes(1, "4", "8Gi").await?;
    same(&bound(c, "a").await?, &nodes[0])
}

async fn a_refused_pod_goes_where_another_leaves(c: &Cluster) -> anyhow::Result<()> {
    c.add_nodes(1, "1", "8Gi").await?;
    add_pod(c, asking("first", "800m")).await?;
    running(c, "first").await?;
    add_pod(c, asking("second", "800m")).await?;
    refused(c, "second", &["1 Insufficient cpu"]).await?;
    c.delete(&c.at("v1", "pods/first")).await?.ok()?;
    running(c, "second").await?;
    Ok(())
}

async fn the_important_pod_goes_first(c: &Cluster) -> anyhow::Result<()> {
    let class = priority(c, "important", 1000, "Never").await?;
    for name in ["plain0", "plain1"] {
        add_pod(c, asking(name, "800m")).await?;
    }
    let mut important = asking("important", "800m");
    important["spec"]["priorityClassName"] = json!(class);
    let made = add_pod(c, important).await?;
    contains(
        &made,
        json!({"spec": {"priority": 1000, "preemptionPolicy": "Never"}}),
    )?;
    for name in ["plain0", "plain1", "important"] {
        let path = c.at("v1", &format!("pods/{name}"));
        c.wait_object("the pod is refused", LIMIT, &path, |pod| {
            condition(pod, "PodScheduled")["reason"] == "Unschedulable"
        })
        .await?;
    }
    // Beyond the back-off of each, so that all are in the queue at once.
    pause(c, QUIET).await?;
    c.add_nodes(1, "1", "8Gi").await?;
    bound(c, "important").await?;
    for name in ["plain0", "plain1"] {
        refused(c, name, &["1 Insufficient cpu"]).await?;
    }
    Ok(())
}

async fn a_scheduled_pod_says_so(c: &Cluster) -> anyhow::Result<()> {
    let nodes = c.add_nodes(1, "4", "8Gi").await?;
    add_pod(c, pod("a")).await?;
    let pod = running(c, "a").await?;
    contains(
        condition(&pod, "PodScheduled"),
        json!({"status": "True", "reason": null, "message": null}),
    )?;
    let event = event(c, "Pod", "a", "Scheduled").await?;
    let message = format!("Successfully assigned {}/a to {}", c.namespace(), nodes[0]);
    contains(
        &event,
        json!({"type": "Normal", "message": message, "reportingComponent": "default-scheduler"}),
    )
}
