//! What is scaled, and autoscalers that cannot scale it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    PLURAL, add, autoscaler, average, deploy, external, has_pods, idle, prompt, replicas, status, told,
};
use crate::{
    controllers::scene::{LIMIT, condition, event, pause},
    harness::{Cluster, cases, contains, same},
};

cases![
    a_missing_target_is_reported,
    an_unknown_kind_is_reported,
    a_target_scaled_to_zero_is_left_alone,
    a_minimum_of_zero_needs_a_gate,
    a_stateful_set_is_scaled,
    a_replica_set_is_scaled,
    a_custom_resource_is_scaled_by_its_scale,
    a_scale_without_a_selector_is_refused,
    two_autoscalers_for_the_same_pods_do_nothing,
    the_first_version_keeps_the_rest_in_annotations,
    the_first_version_makes_a_full_autoscaler,
];

fn orders() -> Value {
    json!([external("orders", average("5"))])
}

async fn a_missing_target_is_reported(c: &Cluster) -> anyhow::Result<()> {
    add(c, &autoscaler(1, 10, orders())).await?;
    let message = told(c, "AbleToScale", "False", "FailedGetScale").await?;
    same(
        message.as_str(),
        "the HPA controller was unable to get the target's current scale: deployments.apps \"web\" not found",
    )?;
    let event = event(c, "HorizontalPodAutoscaler", "web", "FailedGetScale").await?;
    contains(
        &event,
        json!({"type": "Warning", "message": "deployments.apps \"web\" not found"}),
    )?;
    let path = c.at("autoscaling/v2", &format!("{PLURAL}/web"));
    let object = c.get(&path).await?.ok()?;
    contains(
        &object["status"],
        json!({"currentReplicas": null, "desiredReplicas": 0, "currentMetrics": null}),
    )?;
    same(condition(&object, "ScalingActive").is_null(), true)
}

async fn an_unknown_kind_is_reported(c: &Cluster) -> anyhow::Result<()> {
    let mut object = autoscaler(1, 10, orders());
    object["spec"]["scaleTargetRef"]["kind"] = json!("Nothing");
    add(c, &object).await?;
    let message = told(c, "AbleToScale", "False", "FailedGetScale").await?;
    same(
        message.as_str(),
        "the HPA controller was unable to get the target's current scale: no matches for kind \"Nothing\" in group \"apps\"",
    )?;
    let event = event(c, "HorizontalPodAutoscaler", "web", "FailedGetScale").await?;
    contains(
        &event,
        json!({"type": "Warning", "message": "no matches for kind \"Nothing\" in group \"apps\""}),
    )
}

async fn a_target_scaled_to_zero_is_left_alone(c: &Cluster) -> anyhow::Result<()> {
    let _held = c.with_metrics().await?;
    c.set_metric("orders", Ok(&[100]));
    deploy(c, 0).await?;
    add(c, &autoscaler(1, 10, orders())).await?;
    let message = told(c, "ScalingActive", "False", "ScalingDisabled").await?;
    same(
        message.as_str(),
        "scaling is disabled since the replica count of the target is zero",
    )?;
    pause(c, Duration::from_secs(4)).await?;
    replicas(c, 0).await?;
    let path = c.at("autoscaling/v2", &format!("{PLURAL}/web"));
    let object = c.get(&path).await?.ok()?;
    contains(
        &object["status"],
        json!({"desiredReplicas": 0, "lastScaleTime": null}),
    )?;
    c.merge(
        &c.at("apps/v1", "deployments/web/scale"),
        &json!({"spec": {"replicas": 1}}),
    )
    .await?
    .ok()?;
    replicas(c, 4).await
}

async fn a_minimum_of_zero_needs_a_gate(c: &Cluster) -> anyhow::Result<()> {
    c.post(&c.at("autoscaling/v2", PLURAL), &autoscaler(0, 10, orders())).await?.refused(
        422,
        "Invalid",
        "HorizontalPodAutoscaler.autoscaling \"web\" is invalid: spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
    )?;
    Ok(())
}

async fn scales_in_apps(c: &Cluster, kind: &str, plural: &str) -> anyhow::Result<()> {
    let _held = c.with_metrics().await?;
    c.set_metric("orders", Ok(&[15]));
    c.post(&c.at("apps/v1", plural), &idle(kind, 1))
        .await?
        .with_code(201)?;
    has_pods(c, &format!("{plural}/web"), 1).await?;
    let mut object = prompt(1, 10, orders());
    object["spec"]["scaleTargetRef"]["kind"] = json!(kind);
    add(c, &object).await?;
    has_pods(c, &format!("{plural}/web"), 3).await?;
    status(c, json!({"currentReplicas": 3, "desiredReplicas": 3})).await?;
    c.set_metric("orders", Ok(&[5]));
    has_pods(c, &format!("{plural}/web"), 1).await
}

async fn a_stateful_set_is_scaled(c: &Cluster) -> anyhow::Result<()> {
    scales_in_apps(c, "StatefulSet", "statefulsets").await
}

async fn a_replica_set_is_scaled(c: &Cluster) -> anyhow::Result<()> {
    scales_in_apps(c, "ReplicaSet", "replicasets").await
}

/// A kind `Fleet` whose scale has a selector or not; its group.
async fn fleets(c: &Cluster, selector: bool) -> anyhow::Result<String> {
    let group = format!("{}.example.com", c.unique("g"));
    let mut scale = json!({"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"});
    if selector {
        scale["labelSelectorPath"] = json!(".status.selector");
    }
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("fleets.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": "fleets", "singular": "fleet", "kind": "Fleet", "listKind": "FleetList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
                "subresources": {"scale": scale, "status": {}},
            }],
        },
    });
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    c.post(path, &definition).await?.with_code(201)?;
    c.delete_at_end(format!("{path}/fleets.{group}"));
    let version = format!("{group}/v1");
    let fleet =
        json!({"apiVersion": version, "kind": "Fleet", "metadata": {"name": "web"}, "spec": {"size": 2}});
    let path = c.at(&version, "fleets");
    c.wait_until("the kind takes objects", LIMIT, async || {
        Ok(c.post(&path, &fleet).await?.code == 201)
    })
    .await?;
    let status = json!({"status": {"size": 2, "selector": "app=web"}});
    c.merge(&c.at(&version, "fleets/web/status"), &status)
        .await?
        .ok()?;
    Ok(group)
}

/// An autoscaler of the fleet.
fn of_fleet(group: &str) -> Value {
    let mut object = prompt(1, 10, orders());
    object["spec"]["scaleTargetRef"] =
        json!({"apiVersion": format!("{group}/v1"), "kind": "Fleet", "name": "web"});
    object
}

async fn a_custom_resource_is_scaled_by_its_scale(c: &Cluster) -> anyhow::Result<()> {
    let _held = c.with_metrics().await?;
    c.set_metric("orders", Ok(&[20]));
    let group = fleets(c, true).await?;
    add(c, &of_fleet(&group)).await?;
    let path = c.at(&format!("{group}/v1"), "fleets/web");
    c.wait_object("the fleet is scaled", LIMIT, &path, |fleet| {
        fleet["spec"]["size"] == 4
    })
    .await?;
    status(c, json!({"currentReplicas": 2, "desiredReplicas": 4, "currentMetrics": [{"external": {"current": {"averageValue": "10"}}}]})).await?;
    c.merge(&format!("{path}/status"), &json!({"status": {"size": 4}}))
        .await?
        .ok()?;
    status(c, json!({"currentReplicas": 4, "desiredReplicas": 4, "currentMetrics": [{"external": {"current": {"averageValue": "5"}}}]})).await?;
    Ok(())
}

async fn a_scale_without_a_selector_is_refused(c: &Cluster) -> anyhow::Result<()> {
    let _held = c.with_metrics().await?;
    c.set_metric("orders", Ok(&[20]));
    let group = fleets(c, false).await?;
    add(c, &of_fleet(&group)).await?;
    let message = c
        .wait_for("the selector is missed", LIMIT, async || {
            let path = c.at("autoscaling/v2", &format!("{PLURAL}/web"));
            let object = c.get(&path).await?.ok()?;
            let found = condition(&object, "ScalingActive");
            Ok((found["reason"] == "InvalidSelector").then(|| found["message"].clone()))
        })
        .await?;
    same(message, json!("the HPA target's scale is missing a selector"))?;
    let event = event(c, "HorizontalPodAutoscaler", "web", "SelectorRequired").await?;
    contains(
        &event,
        json!({"type": "Warning", "message": "selector is required"}),
    )
}

async fn two_autoscalers_for_the_same_pods_do_nothing(c: &Cluster) -> anyhow::Result<()> {
    let _held = c.with_metrics().await?;
    c.set_metric("orders", Ok(&[20]));
    deploy(c, 1).await?;
    for name in ["web", "other"] {
        let mut object = autoscaler(1, 10, orders());
        object["metadata"]["name"] = json!(name);
        add(c, &object).await?;
    }
    let message = told(c, "ScalingActive", "False", "AmbiguousSelector").await?;
    let namespace = c.namespace();
    let pair = |first: &str, second: &str| {
        format!(
            "pods by selector app=web are controlled by multiple HPAs: [{namespace}/{first} {namespace}/{second}]"
        )
    };
    same(
        message == pair("web", "other") || message == pair("other", "web"),
        true,
    )?;
    let event = event(c, "HorizontalPodAutoscaler", "web", "AmbiguousSelector").await?;
    contains(&event, json!({"type": "Warning"}))
}

/// The JSON in an annotation.
fn annotation(object: &Value, name: &str) -> anyhow::Result<Value> {
    let key = format!("autoscaling.alpha.kubernetes.io/{name}");
    let text = object["metadata"]["annotations"][&key]
        .as_str()
        .unwrap_or_default();
    serde_json::from_str(text).map_err(|error| anyhow::anyhow!("{key} is {text:?}: {error}"))
}

async fn the_first_version_keeps_the_rest_in_annotations(c: &Cluster) -> anyhow::Result<()> {
    let _held = c.with_metrics().await?;
    c.set_metric("orders", Ok(&[10]));
    deploy(c, 2).await?;
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}});
    let mut metric = external("orders", average("5"));
    metric["external"]["metric"]["selector"] = json!({"matchLabels": {"queue": "q"}});
    let mut object = autoscaler(
        1,
        10,
        json!([
            cpu,
            metric,
            external("returns", json!({"type": "Value", "value": "3"}))
        ]),
    );
    object["metadata"]["annotations"] = json!({"mine": "kept"});
    object["spec"]["behavior"] = json!({"scaleDown": {"stabilizationWindowSeconds": 7, "policies": [{"type": "Pods", "value": 1, "periodSeconds": 30}]}});
    add(c, &object).await?;
    told(c, "ScalingActive", "True", "ValidMetricFound").await?;
    let old = c
        .get(&c.at("autoscaling/v1", &format!("{PLURAL}/web")))
        .await?
        .with_code(200)?;
    contains(
        &old,
        json!({
            "apiVersion": "autoscaling/v1",
            "metadata": {"annotations": {"mine": "kept"}},
            "spec": {"minReplicas": 1, "maxReplicas": 10, "targetCPUUtilizationPercentage": 60, "metrics": null, "behavior": null},
            "status": {"currentReplicas": 2, "conditions": null, "currentMetrics": null},
        }),
    )?;
    same(
        annotation(&old, "metrics")?,
        json!([
            {"type": "External", "external": {"metricName": "orders", "metricSelector": {"matchLabels": {"queue": "q"}}, "targetAverageValue": "5"}},
            {"type": "External", "external": {"metricName": "returns", "targetValue": "3"}},
        ]),
    )?;
    same(
        annotation(&old, "behavior")?["ScaleDown"].clone(),
        json!({"StabilizationWindowSeconds": 7, "SelectPolicy": "Max", "Policies": [{"Type": "Pods", "Value": 1, "PeriodSeconds": 30}], "Tolerance": null}),
    )?;
    let conditions = annotation(&old, "conditions")?;
    same(conditions[0]["type"].clone(), json!("AbleToScale"))?;
    let current = annotation(&old, "current-metrics")?;
    contains(
        &current[1],
        json!({"type": "External", "external": {"metricName": "orders", "metricSelector": {"matchLabels": {"queue": "q"}}, "currentValue": "0", "currentAverageValue": "5"}}),
    )?;
    // Written back it is what it was.
    c.put(&c.at("autoscaling/v1", &format!("{PLURAL}/web")), &old)
        .await?
        .with_code(200)?;
    let path = c.at("autoscaling/v2", &format!("{PLURAL}/web"));
    let after = c.get(&path).await?.ok()?;
    contains(
        &after,
        json!({"metadata": {"annotations": {"mine": "kept", "autoscaling.alpha.kubernetes.io/metrics": null}}, "spec": {"behavior": object["spec"]["behavior"]}}),
    )?;
    let targets: Vec<Value> = after["spec"]["metrics"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|metric| metric["type"].clone())
        .collect();
    same(
        targets,
        vec![json!("External"), json!("External"), json!("Resource")],
    )
}

async fn the_first_version_makes_a_full_autoscaler(c: &Cluster) -> anyhow::Result<()> {
    let object = json!({
        "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxReplicas": 3},
    });
    c.post(&c.at("autoscaling/v1", PLURAL), &object)
        .await?
        .with_code(201)?;
    let path = c.at("autoscaling/v2", &format!("{PLURAL}/web"));
    let made = c.get(&path).await?.ok()?;
    contains(
        &made,
        json!({"apiVersion": "autoscaling/v2", "spec": {"minReplicas": 1, "maxReplicas": 3, "behavior": null, "metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}},
        ]}}),
    )
}
