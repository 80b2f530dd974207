//! Disruption budgets: what they count, and what the eviction API makes of it.

pub(super) mod budgets;
pub(super) mod evictions;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::scene::{LIMIT, add_pod, condition, pod, running, workload};
use crate::harness::{Cluster, contains};

fn budget(name: &str, app: &str, spec: Value) -> Value {
    let mut object = json!({"metadata": {"name": name}, "spec": spec});
    object["spec"]["selector"] = json!({"matchLabels": {"app": app}});
    object
}

/// Creates a budget.
async fn add_budget(c: &Cluster, budget: Value) -> anyhow::Result<()> {
    c.post(&c.at("policy/v1", "poddisruptionbudgets"), &budget)
        .await?
        .with_code(201)?;
    Ok(())
}

/// Waits until the status of a budget has what `pattern` has.
async fn counted(c: &Cluster, name: &str, pattern: Value) -> anyhow::Result<Value> {
    let path = c.at("policy/v1", &format!("poddisruptionbudgets/{name}"));
    let mut last = Value::Null;
    let found = c
        .wait_for(&format!("{name} counts {pattern}"), LIMIT / 2, async || {
            last = c.get(&path).await?.with_code(200)?;
            Ok(contains(&last["status"], pattern.clone())
                .is_ok()
                .then(|| last.clone()))
        })
        .await;
    found.with_context(|| format!("the status is {}", last["status"]))
}

/// As [`counted`], for kinds that are new: the controller learns of those only from time to time, and tries again only
/// when something changes.
async fn counted_at_last(c: &Cluster, name: &str, pattern: Value) -> anyhow::Result<Value> {
    let path = c.at("policy/v1", &format!("poddisruptionbudgets/{name}"));
    let mut last = Value::Null;
    let mut tries = 0;
    let found = c
        .wait_for(&format!("{name} counts {pattern} at last"), LIMIT, async || {
            tries += 1;
            if tries % 10 == 0 {
                let nudge = json!({"metadata": {"annotations": {"nudge": tries.to_string()}}});
                c.merge(&path, &nudge).await?.ok()?;
            }
            last = c.get(&path).await?.with_code(200)?;
            Ok(contains(&last["status"], pattern.clone())
                .is_ok()
                .then(|| last.clone()))
        })
        .await;
    found.with_context(|| format!("the status is {}", last["status"]))
}

fn numbers(expected: i32, healthy: i32, desired: i32, allowed: i32) -> Value {
    json!({"expectedPods": expected, "currentHealthy": healthy, "desiredHealthy": desired, "disruptionsAllowed": allowed})
}

/// Three ready pods of a Deployment `web`.
async fn three(c: &Cluster) -> anyhow::Result<()> {
    c.add_nodes(1, "4", "8Gi").await?;
    c.post(
        &c.at("apps/v1", "deployments"),
        &workload(c, "Deployment", "web", 3),
    )
    .await?
    .with_code(201)?;
    let path = c.at("apps/v1", "deployments/web");
    c.wait_object("three pods are ready", LIMIT, &path, |web| {
        web["status"]["readyReplicas"] == 3
    })
    .await?;
    Ok(())
}

/// A kind of this case with or without a scale; its group.
async fn kind_with_scale(c: &Cluster, scale: bool) -> anyhow::Result<String> {
    let group = format!("{}.example.com", c.unique("g"));
    let mut version = json!({
        "name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
    });
    if scale {
        version["subresources"] =
            json!({"scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}});
    }
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("fleets.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced", "versions": [version],
            "names": {"plural": "fleets", "singular": "fleet", "kind": "Fleet", "listKind": "FleetList"},
        },
    });
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    c.post(path, &definition).await?.with_code(201)?;
    let path = format!("{path}/fleets.{group}");
    c.delete_at_end(path.clone());
    c.wait_object("the kind is served", LIMIT, &path, |definition| {
        condition(definition, "Established")["status"] == "True"
    })
    .await?;
    Ok(group)
}

/// A ready pod that a Fleet of size 4 controls.
async fn fleet(c: &Cluster, group: &str) -> anyhow::Result<()> {
    c.add_nodes(1, "4", "8Gi").await?;
    let version = format!("{group}/v1");
    let fleet =
        json!({"apiVersion": version, "kind": "Fleet", "metadata": {"name": "fleet"}, "spec": {"size": 4}});
    let path = c.at(&version, "fleets");
    let made = c
        .wait_for("the kind takes objects", LIMIT, async || {
            let answer = c.post(&path, &fleet).await?;
            Ok((answer.code == 201).then_some(answer.body))
        })
        .await?;
    let mut ship = pod("ship");
    ship["metadata"]["ownerReferences"] = json!([{
        "apiVersion": version, "kind": "Fleet", "name": "fleet", "uid": made["metadata"]["uid"], "controller": true,
    }]);
    add_pod(c, ship).await?;
    running(c, "ship").await?;
    Ok(())
}

/// A pod of no kubelet's that says it runs.
async fn silent(c: &Cluster, name: &str, ready: bool) -> anyhow::Result<()> {
    let mut pod = pod(name);
    pod["spec"]["nodeName"] = json!(c.unique("silent"));
    c.post(&c.at("v1", "pods"), &pod).await?.with_code(201)?;
    let ready = if ready { "True" } else { "False" };
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}});
    c.merge(&c.at("v1", &format!("pods/{name}/status")), &status)
        .await?
        .with_code(200)?;
    Ok(())
}
