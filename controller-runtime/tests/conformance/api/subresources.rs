//! Scale, eviction, binding, token and the rest.

use std::time::Duration;

use serde_json::{Value, json};

use super::objects::{config_map, create, deployment, pod};
use crate::harness::{Cluster, cases, contains, same, text};

cases![
    a_scale_shows_replicas_and_selector,
    a_scale_is_put,
    a_scale_is_patched,
    a_scale_at_an_old_version_conflicts,
    a_negative_scale_is_refused,
    a_scale_of_a_missing_object_is_not_found,
    a_scale_of_a_kind_without_one_is_not_found,
    a_pod_is_bound_once,
    a_binding_needs_a_target,
    an_eviction_deletes,
    an_eviction_waits_for_the_budget,
    an_eviction_of_a_missing_pod_is_not_found,
    an_eviction_by_dry_run_deletes_nothing,
    a_status_is_read_as_the_object,
    a_subresource_refuses_other_verbs,
    the_log_of_a_pod_without_a_node,
    a_token_is_made_for_a_service_account,
    a_budgets_status_counts,
];

fn scaled() -> Value {
    let mut object = deployment("a");
    object["spec"]["template"]["spec"]["schedulerName"] = json!("nobody");
    object
}

async fn a_scale_shows_replicas_and_selector(c: &Cluster) -> anyhow::Result<()> {
    let made = create(c, "apps/v1", "deployments", &scaled()).await?;
    let scale = c
        .get(&c.at("apps/v1", "deployments/a/scale"))
        .await?
        .with_code(200)?;
    contains(
        &scale,
        json!({"kind": "Scale", "apiVersion": "autoscaling/v1",
            "metadata": {"name": "a", "namespace": c.namespace(), "uid": made["metadata"]["uid"], "creationTimestamp": made["metadata"]["creationTimestamp"], "labels": null},
            "status": {"replicas": 0, "selector": "app=a"}}),
    )?;
    same(scale["spec"].clone(), json!({}))
}

async fn a_scale_is_put(c: &Cluster) -> anyhow::Result<()> {
    create(c, "apps/v1", "deployments", &scaled()).await?;
    let path = c.at("apps/v1", "deployments/a/scale");
    let scale = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "a", "namespace": c.namespace()}, "spec": {"replicas": 2}});
    let after = c.put(&path, &scale).await?.with_code(200)?;
    contains(&after, json!({"kind": "Scale", "spec": {"replicas": 2}}))?;
    let object = c.get(&c.at("apps/v1", "deployments/a")).await?.ok()?;
    contains(
        &object,
        json!({"spec": {"replicas": 2}, "metadata": {"generation": 2}}),
    )
}

async fn a_scale_is_patched(c: &Cluster) -> anyhow::Result<()> {
    let mut set = scaled();
    set["kind"] = json!("StatefulSet");
    set["spec"]["serviceName"] = json!("none");
    create(c, "apps/v1", "statefulsets", &set).await?;
    let after = c
        .merge(
            &c.at("apps/v1", "statefulsets/a/scale"),
            &json!({"spec": {"replicas": 1}}),
        )
        .await?
        .with_code(200)?;
    contains(&after, json!({"kind": "Scale", "spec": {"replicas": 1}}))?;
    let patch = json!([{"op": "replace", "path": "/spec/replicas", "value": 2}]);
    let after = c
        .patch(
            "application/json-patch+json",
            &c.at("apps/v1", "statefulsets/a/scale"),
            &patch,
        )
        .await?
        .with_code(200)?;
    contains(&after, json!({"spec": {"replicas": 2}}))
}

async fn a_scale_at_an_old_version_conflicts(c: &Cluster) -> anyhow::Result<()> {
    create(c, "apps/v1", "deployments", &scaled()).await?;
    let path = c.at("apps/v1", "deployments/a/scale");
    let mut scale = c.get(&path).await?.ok()?;
    c.merge(
        &c.at("apps/v1", "deployments/a"),
        &json!({"metadata": {"labels": {"x": "y"}}}),
    )
    .await?
    .ok()?;
    scale["spec"]["replicas"] = json!(4);
    c.put(&path, &scale).await?.refused_with(
        409,
        "Conflict",
        "Operation cannot be fulfilled on deployments.apps \"a\"",
    )?;
    Ok(())
}

async fn a_negative_scale_is_refused(c: &Cluster) -> anyhow::Result<()> {
    create(c, "apps/v1", "deployments", &scaled()).await?;
    c.merge(&c.at("apps/v1", "deployments/a/scale"), &json!({"spec": {"replicas": -3}})).await?.refused(
        422,
        "Invalid",
        "Scale.autoscaling \"a\" is invalid: spec.replicas: Invalid value: -3: must be greater than or equal to 0",
    )?;
    Ok(())
}

async fn a_scale_of_a_missing_object_is_not_found(c: &Cluster) -> anyhow::Result<()> {
    c.get(&c.at("apps/v1", "deployments/a/scale")).await?.refused(
        404,
        "NotFound",
        "deployments.apps \"a\" not found",
    )?;
    Ok(())
}

async fn a_scale_of_a_kind_without_one_is_not_found(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "configmaps", &config_map("a")).await?;
    c.get(&c.at("v1", "configmaps/a/scale")).await?.refused(
        404,
        "NotFound",
        "the server could not find the requested resource",
    )?;
    Ok(())
}

async fn a_pod_is_bound_once(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "pods", &pod("a")).await?;
    let node = c.unique("silent");
    let binding = |node: &str| json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"}, "target": {"apiVersion": "v1", "kind": "Node", "name": node}});
    let status = c
        .post(&c.at("v1", "pods/a/binding"), &binding(&node))
        .await?
        .with_code(201)?;
    contains(
        &status,
        json!({"kind": "Status", "status": "Success", "code": 201}),
    )?;
    let bound = c.get(&c.at("v1", "pods/a")).await?.ok()?;
    contains(
        &bound,
        json!({"spec": {"nodeName": node}, "status": {"conditions": [{"type": "PodScheduled", "status": "True"}]}}),
    )?;
    c.post(&c.at("v1", "pods/a/binding"), &binding("other")).await?.refused(
        409,
        "Conflict",
        &format!("Operation cannot be fulfilled on pods/binding \"a\": pod a is already assigned to node \"{node}\""),
    )?;
    Ok(())
}

async fn a_binding_needs_a_target(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "pods", &pod("a")).await?;
    let binding =
        json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"}, "target": {"kind": "Node"}});
    c.post(&c.at("v1", "pods/a/binding"), &binding)
        .await?
        .with_code(500)
        .and_then(|status| {
            contains(
                &status,
                json!({"kind": "Status", "reason": null, "message": "target.name: Required value"}),
            )
        })
}

fn eviction(name: &str) -> Value {
    json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}})
}

async fn an_eviction_deletes(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "pods", &pod("a")).await?;
    let status = c
        .post(&c.at("v1", "pods/a/eviction"), &eviction("a"))
        .await?
        .with_code(201)?;
    contains(
        &status,
        json!({"kind": "Status", "status": "Success", "code": 201}),
    )?;
    c.get(&c.at("v1", "pods/a")).await?.with_code(404)?;
    Ok(())
}

/// A budget that wants `min` pods of the app, once its status is there.
async fn budget(c: &Cluster, min: i32) -> anyhow::Result<Value> {
    let budget = json!({"metadata": {"name": "a"}, "spec": {"minAvailable": min, "selector": {"matchLabels": {"app": "web"}}}});
    create(c, "policy/v1", "poddisruptionbudgets", &budget).await?;
    let path = c.at("policy/v1", "poddisruptionbudgets/a");
    c.wait_object(
        "the budget has been looked at",
        Duration::from_secs(60),
        &path,
        |budget| budget["status"]["observedGeneration"] == 1,
    )
    .await
}

/// A pod that says it is ready, though it runs nowhere.
async fn ready(c: &Cluster, name: &str) -> anyhow::Result<()> {
    let mut pod = pod(name);
    pod["spec"]["nodeName"] = json!(c.unique("silent"));
    create(c, "v1", "pods", &pod).await?;
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    c.merge(&c.at("v1", &format!("pods/{name}/status")), &status)
        .await?
        .with_code(200)?;
    Ok(())
}

async fn an_eviction_waits_for_the_budget(c: &Cluster) -> anyhow::Result<()> {
    ready(c, "a").await?;
    budget(c, 1).await?;
    let status = c
        .post(&c.at("v1", "pods/a/eviction"), &eviction("a"))
        .await?
        .refused(
            429,
            "TooManyRequests",
            "Cannot evict pod as it would violate the pod's disruption budget.",
        )?;
    contains(
        &status,
        json!({"details": {"causes": [{"reason": "DisruptionBudget",
            "message": "The disruption budget a needs 1 healthy pods and has 1 currently"}]}}),
    )?;
    c.get(&c.at("v1", "pods/a")).await?.with_code(200)?;
    Ok(())
}

async fn an_eviction_of_a_missing_pod_is_not_found(c: &Cluster) -> anyhow::Result<()> {
    c.post(&c.at("v1", "pods/a/eviction"), &eviction("a"))
        .await?
        .refused(404, "NotFound", "pods \"a\" not found")?;
    Ok(())
}

async fn an_eviction_by_dry_run_deletes_nothing(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "pods", &pod("a")).await?;
    let mut body = eviction("a");
    body["deleteOptions"] = json!({"dryRun": ["All"]});
    c.post(&c.at("v1", "pods/a/eviction"), &body)
        .await?
        .with_code(201)?;
    c.post(&c.at("v1", "pods/a/eviction?dryRun=All"), &eviction("a"))
        .await?
        .with_code(201)?;
    c.get(&c.at("v1", "pods/a")).await?.with_code(200)?;
    Ok(())
}

async fn a_status_is_read_as_the_object(c: &Cluster) -> anyhow::Result<()> {
    let made = create(c, "v1", "pods", &pod("a")).await?;
    same(c.get(&c.at("v1", "pods/a/status")).await?.with_code(200)?, made)
}

async fn a_subresource_refuses_other_verbs(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "pods", &pod("a")).await?;
    const MESSAGE: &str = "the server does not allow this method on the requested resource";
    c.delete(&c.at("v1", "pods/a/status"))
        .await?
        .refused(405, "MethodNotAllowed", MESSAGE)?;
    c.get(&c.at("v1", "pods/a/eviction"))
        .await?
        .refused(405, "MethodNotAllowed", MESSAGE)?;
    c.post(&c.at("v1", "pods/a"), &pod("a"))
        .await?
        .refused(405, "MethodNotAllowed", MESSAGE)?;
    c.put(&c.at("v1", "pods"), &pod("a"))
        .await?
        .refused(405, "MethodNotAllowed", MESSAGE)?;
    c.merge(&c.at("v1", "pods"), &json!({}))
        .await?
        .refused(405, "MethodNotAllowed", MESSAGE)?;
    Ok(())
}

async fn the_log_of_a_pod_without_a_node(c: &Cluster) -> anyhow::Result<()> {
    create(c, "v1", "pods", &pod("a")).await?;
    let answer = c.get(&c.at("v1", "pods/a/log")).await?;
    same(answer.with_code(204)?, json!(""))?;
    c.get(&c.at("v1", "pods/a/log?container=none")).await?.refused(
        400,
        "BadRequest",
        "container none is not valid for pod a",
    )?;
    c.get(&c.at("v1", "pods/b/log"))
        .await?
        .refused(404, "NotFound", "pods \"b\" not found")?;
    Ok(())
}

async fn a_token_is_made_for_a_service_account(c: &Cluster) -> anyhow::Result<()> {
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}});
    let answer = c
        .post(&c.at("v1", "serviceaccounts/default/token"), &request)
        .await?
        .with_code(201)?;
    contains(
        &answer,
        json!({"kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}),
    )?;
    same(text(&answer, "/status/token").split('.').count(), 3)?;
    anyhow::ensure!(!text(&answer, "/status/expirationTimestamp").is_empty());
    c.post(&c.at("v1", "serviceaccounts/nobody/token"), &request)
        .await?
        .refused(404, "NotFound", "serviceaccounts \"nobody\" not found")?;
    Ok(())
}

async fn a_budgets_status_counts(c: &Cluster) -> anyhow::Result<()> {
    ready(c, "a").await?;
    ready(c, "b").await?;
    create(c, "v1", "pods", &pod("c")).await?;
    budget(c, 1).await?;
    let path = c.at("policy/v1", "poddisruptionbudgets/a");
    let found = c
        .wait_object("the budget counts", Duration::from_secs(60), &path, |budget| {
            budget["status"]["expectedPods"] == 3
        })
        .await?;
    contains(
        &found,
        json!({"status": {"currentHealthy": 2, "desiredHealthy": 1, "disruptionsAllowed": 1, "expectedPods": 3,
        "conditions": [{"type": "DisruptionAllowed", "status": "True", "reason": "SufficientPods"}]}}),
    )
}
