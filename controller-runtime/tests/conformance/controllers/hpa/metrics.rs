//! From metrics to replicas: targets, tolerance, bounds, rates and stabilisation.

use std::time::Duration;

use serde_json::{Value, json};

use super::{add, autoscaler, average, deploy, external, prompt, replicas, status, told, total, until};
use crate::{
    controllers::scene::{LIMIT, condition, event, pause, running, workload},
    harness::{Cluster, cases, contains, same, text},
};

cases![
    scaling_up_at_most_doubles_without_policies,
    scaling_up_is_as_fast_as_the_default_policies_allow,
    no_more_than_the_maximum,
    no_fewer_than_the_minimum,
    scaling_down_waits_for_the_window,
    small_deviations_are_tolerated,
    a_tolerance_of_ones_own,
    a_total_is_compared_with_its_target,
    the_values_of_a_metric_are_summed,
    the_largest_of_several_metrics_counts,
    a_selector_belongs_to_a_metric,
    a_policy_limits_the_rate,
    a_disabled_direction_does_not_scale,
    the_status_says_what_was_observed,
];

async fn scaling_up_at_most_doubles_without_policies(c: &Cluster) -> anyhow::Result<()> {
    let _held = c.with_metrics().await?;
    c.set_metric("orders", Ok(&[100]));
    deploy(c, 1).await?;
    let path = c.at("apps/v1", "deployments?fieldSelector=metadata.name%3Dweb");
    let mut watch = c.watch(&path).await?;
    add(c, &autoscaler(1, 30, json!([external("orders", average("5"))]))).await?;
    let mut sizes = vec![json!(1)];
    while sizes.last() != Some(&json!(20)) {
        let (_, object) = watch.next().await?.unwrap_or_default();
        let size = object["spec"]["replicas"].clone();
        if sizes.last() != Some(&size) {
            sizes.push(size);
        }
    }
    same(sizes, vec![json!(1), json!(4), json!(8), json!(16), json!(20)])?;
    let event = event(c, "HorizontalPodAutoscaler", "web", "SuccessfulRescale").await?;
    contains(
        &event,
        json!({
            "type": "Normal", "message": "New size: 4; reason: external metric orders(nil) above target",
            "source": {"component": "horizontal-pod-autoscaler"}, "reportingComponent": "horizontal-pod-autoscaler",
            "count": 1, "involvedObject": {"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v2", "name": "web"},
        }),
    )
}

async fn scaling_up_is_as_fast_as_the_default_policies_allow(c: &Cluster) -> anyhow::Result<()> {
    let _held = c.with_metrics().await?;
    c.set_metric("orders", Ok(&[100]));
    deploy(c, 1).await?;
    let mut object = autoscaler(1, 30, json!([external("orders", average("5"))]));
    object["spec"]["behavior"] = json!({"scaleUp": {}});
    let made = add(c, &object).await?;
    contains(
        &made["spec"]["behavior"],
        json!({
            "scaleUp": {"stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [
                {"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15},
            ]},
            "scaleDown": {"stabilizationWindowSeconds": null, "selectPolicy": "Max", "policies": [
                {"type": "Percent", "value": 100, "periodSeconds": 15},
            ]},
        }),
    )?;
    replicas(c, 5).await?;
    let message = told(c, "ScalingLimited", "True", "ScaleUpLimit").await?;
    same(
        message.as_str(),
        "the desired replica count is increasing faster than the maximum scale rate",
    )?;
    replicas(c, 10).await
}

async fn no_more_than_the_maximum(c: &Cluster) -> anyhow::Result<()> {
    let _held = c.with_metrics().await?;
    c.set_metric("orders", Ok(&[100]));
    deploy(c, 1).await?;
    add(c, &autoscaler(1, 4, json!([external("orders", average("5"))]))).await?;
    replicas(c, 4).await?;
    let message = told(c, "ScalingLimited", "True", "TooManyReplicas").await?;
    same(
        message.as_str(),
        "the desired replica count is more than the maximum replica count",
    )?;
    let message = told(c, "ScalingActive", "True", "ValidMetricFound").await?;
    same(
        message.as_str(),
        "the HPA was able to successfully calculate a replica count from external metric orders(nil)",
    )?;
    // Some other number is put right, without any metric.
    c.merge(
        &c.at("apps/v1", "deployments/web/scale"),
        &json!({"spec": {"replicas": 9}}),
    )
    .await?
    .ok()?;
    replicas(c, 4).await?;
    c.wait_until("the event says why", LIMIT, async || {
        let events = crate::controllers::scene::events(c, "HorizontalPodAutoscaler", "web").await?;
        Ok(events.iter().any(|event| {
            event["message"] == "New size: 4; reason: Current number of replicas above Spec.MaxReplicas"
        }))
    })
    .await
}

async fn no_fewer_than_the_minimum(c: &Cluster) -> anyhow::Result<()> {
    let _held = c.with_metrics().await?;
    c.set_metric("orders", Ok(&[0]));
    deploy(c, 3).await?;
    add(c, &prompt(2, 10, json!([external("orders", average("5"))]))).await?;
    replicas(c, 2).await?;
    let message = told(c, "ScalingLimited", "True", "TooFewReplicas").await?;
    same(
        message.as_str(),
        "the desired replica count is less than the minimum replica count",
    )?;
    let event = event(c, "HorizontalPodAutoscaler", "web", "SuccessfulRescale").await?;
    contains(
        &event,
        json!({"message": "New size: 2; reason: All metrics below target"}),
    )
}

async fn scaling_down_waits_for_the_window(c: &Cluster) -> anyhow::Result<()> {
    let _held = c.with_metrics().await?;
    c.set_metric("orders", Ok(&[20]));
    deploy(c, 4).await?;
    add(c, &autoscaler(1, 10, json!([external("orders", average("5"))]))).await?;
    let message = told(c, "AbleToScale", "True", "ReadyForNewScale").await?;
    same(message.as_str(), "recommended size matches current size")?;
    c.set_metric("orders", Ok(&[5]));
    let message = told(c, "AbleToScale", "True", "ScaleDownStabilized").await?;
    same(
        message.as_str(),
        "recent recommendations were higher than current one, applying the highest recent recommendation",
    )?;
    let path = c.at("autoscaling/v2", "horizontalpodautoscalers/web");
    let object = c.get(&path).await?.ok()?;
    contains(
        &object["status"],
        json!({"desiredReplicas": 4, "lastScaleTime": null}),
    )?;
    c.merge(
        &path,
        &json!({"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}}),
    )
    .await?
    .ok()?;
    replicas(c, 1).await?;
    let event = event(c, "HorizontalPodAutoscaler", "web", "SuccessfulRescale").await?;
    contains(
        &event,
        json!({"message": "New size: 1; reason: All metrics below target"}),
    )
}

async fn small_deviations_are_tolerated(c: &Cluster) -> anyhow::Result<()> {
    let _held = c.with_metrics().await?;
    c.set_metric("orders", Ok(&[219]));
    deploy(c, 2).await?;
    add(c, &prompt(1, 10, json!([external("orders", average("100"))]))).await?;
    status(
        c,
        json!({"currentReplicas": 2, "desiredReplicas": 2, "currentMetrics": [
            {"type": "External", "external": {"metric": {"name": "orders", "selector": null}, "current": {"averageValue": "109500m", "value": null}}},
        ]}),
    )
    .await?;
    c.set_metric("orders", Ok(&[181]));
    status(c, json!({"currentReplicas": 2, "desiredReplicas": 2, "currentMetrics": [{"external": {"current": {"averageValue": "90500m"}}}]}))
        .await?;
    told(c, "ScalingLimited", "False", "DesiredWithinRange").await?;
    c.set_metric("orders", Ok(&[221]));
    replicas(c, 3).await
}

async fn a_tolerance_of_ones_own(c: &Cluster) -> anyhow::Result<()> {
    let _held = c.with_metrics().await?;
    c.set_metric("orders", Ok(&[280]));
    deploy(c, 2).await?;
    let mut object = prompt(1, 10, json!([external("orders", average("100"))]));
    object["spec"]["behavior"]["scaleUp"] = json!({"tolerance": "500m"});
    let made = add(c, &object).await?;
    contains(
        &made,
        json!({"spec": {"behavior": {"scaleUp": {"tolerance": "500m"}}}}),
    )?;
    status(
        c,
        json!({"desiredReplicas": 2, "currentMetrics": [{"external": {"current": {"averageValue": "140"}}}]}),
    )
    .await?;
    c.set_metric("orders", Ok(&[301]));
    replicas(c, 4).await
}

async fn a_total_is_compared_with_its_target(c: &Cluster) -> anyhow::Result<()> {
    let _held = c.with_metrics().await?;
    c.set_metric("orders", Ok(&[10]));
    c.add_nodes(1, "4", "8Gi").await?;
    c.post(
        &c.at("apps/v1", "deployments"),
        &workload(c, "Deployment", "web", 2),
    )
    .await?
    .with_code(201)?;
    let list = c.at("v1", "pods?labelSelector=app%3Dweb");
    let pods = c
        .wait_for("there are two pods", LIMIT, async || {
            let list = c.get(&list).await?.ok()?;
            Ok(list["items"].as_array().filter(|items| items.len() == 2).cloned())
        })
        .await?;
    for pod in &pods {
        running(c, text(pod, "/metadata/name")).await?;
    }
    add(c, &prompt(1, 10, json!([external("orders", total("10"))]))).await?;
    status(
        c,
        json!({"desiredReplicas": 2, "currentMetrics": [
            {"type": "External", "external": {"metric": {"name": "orders"}, "current": {"value": "10", "averageValue": null}}},
        ]}),
    )
    .await?;
    c.set_metric("orders", Ok(&[15]));
    replicas(c, 3).await
}

async fn the_values_of_a_metric_are_summed(c: &Cluster) -> anyhow::Result<()> {
    let _held = c.with_metrics().await?;
    c.set_metric("orders", Ok(&[4, 5, 6]));
    deploy(c, 1).await?;
    add(c, &prompt(1, 10, json!([external("orders", average("5"))]))).await?;
    replicas(c, 3).await?;
    status(
        c,
        json!({"currentMetrics": [{"external": {"current": {"averageValue": "5"}}}]}),
    )
    .await?;
    Ok(())
}

async fn the_largest_of_several_metrics_counts(c: &Cluster) -> anyhow::Result<()> {
    let _held = c.with_metrics().await?;
    c.set_metric("orders", Ok(&[10]));
    c.set_metric("returns", Ok(&[16]));
    deploy(c, 1).await?;
    let metrics = json!([
        external("orders", average("5")),
        external("returns", average("4"))
    ]);
    add(c, &prompt(1, 10, metrics)).await?;
    replicas(c, 4).await?;
    let event = event(c, "HorizontalPodAutoscaler", "web", "SuccessfulRescale").await?;
    contains(
        &event,
        json!({"message": "New size: 4; reason: external metric returns(nil) above target"}),
    )?;
    status(
        c,
        json!({"currentReplicas": 4, "currentMetrics": [
            {"external": {"metric": {"name": "orders"}, "current": {"averageValue": "2500m"}}},
            {"external": {"metric": {"name": "returns"}, "current": {"averageValue": "4"}}},
        ]}),
    )
    .await?;
    c.set_metric("returns", Ok(&[1]));
    replicas(c, 2).await
}

async fn a_selector_belongs_to_a_metric(c: &Cluster) -> anyhow::Result<()> {
    let _held = c.with_metrics().await?;
    c.set_metric("orders", Ok(&[15]));
    deploy(c, 1).await?;
    let mut metric = external("Orders", average("5"));
    let selector = json!({"matchLabels": {"queue": "q"}, "matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "b"]}]});
    metric["external"]["metric"]["selector"] = selector.clone();
    add(c, &prompt(1, 10, json!([metric]))).await?;
    replicas(c, 3).await?;
    let printed = "Orders(&LabelSelector{MatchLabels:map[string]string{queue: q,},MatchExpressions:[]LabelSelectorRequirement{\
         LabelSelectorRequirement{Key:tier,Operator:In,Values:[a b],},},})";
    let event = event(c, "HorizontalPodAutoscaler", "web", "SuccessfulRescale").await?;
    contains(
        &event,
        json!({"message": format!("New size: 3; reason: external metric {printed} above target")}),
    )?;
    status(c, json!({"currentMetrics": [{"external": {"metric": {"name": "Orders", "selector": selector}, "current": {"averageValue": "5"}}}]}))
        .await?;
    let message = told(c, "ScalingActive", "True", "ValidMetricFound").await?;
    same(
        message,
        format!("the HPA was able to successfully calculate a replica count from external metric {printed}"),
    )
}

async fn a_policy_limits_the_rate(c: &Cluster) -> anyhow::Result<()> {
    let _held = c.with_metrics().await?;
    c.set_metric("orders", Ok(&[50]));
    deploy(c, 1).await?;
    let mut object = prompt(1, 10, json!([external("orders", average("5"))]));
    object["spec"]["behavior"]["scaleUp"] =
        json!({"policies": [{"type": "Pods", "value": 2, "periodSeconds": 600}]});
    add(c, &object).await?;
    replicas(c, 3).await?;
    told(c, "ScalingLimited", "True", "ScaleUpLimit").await?;
    pause(c, Duration::from_secs(5)).await?;
    replicas(c, 3).await?;
    c.set_metric("orders", Ok(&[0]));
    replicas(c, 1).await
}

async fn a_disabled_direction_does_not_scale(c: &Cluster) -> anyhow::Result<()> {
    let _held = c.with_metrics().await?;
    c.set_metric("orders", Ok(&[5]));
    deploy(c, 3).await?;
    let mut object = autoscaler(1, 10, json!([external("orders", average("5"))]));
    object["spec"]["behavior"] =
        json!({"scaleDown": {"selectPolicy": "Disabled", "stabilizationWindowSeconds": 0}});
    add(c, &object).await?;
    let message = told(c, "ScalingLimited", "True", "ScaleDownLimit").await?;
    same(
        message.as_str(),
        "the desired replica count is decreasing faster than the maximum scale rate",
    )?;
    pause(c, Duration::from_secs(5)).await?;
    replicas(c, 3).await?;
    c.set_metric("orders", Ok(&[20]));
    replicas(c, 4).await
}

async fn the_status_says_what_was_observed(c: &Cluster) -> anyhow::Result<()> {
    let _held = c.with_metrics().await?;
    c.set_metric("orders", Ok(&[15]));
    deploy(c, 1).await?;
    let made = add(c, &prompt(1, 10, json!([external("orders", average("5"))]))).await?;
    contains(
        &made["status"],
        json!({"currentMetrics": null, "desiredReplicas": 0, "observedGeneration": null, "conditions": null}),
    )?;
    replicas(c, 3).await?;
    let object = until(c, "all is quiet", |object| {
        condition(object, "AbleToScale")["reason"] == "ReadyForNewScale"
            && object["status"]["currentReplicas"] == 3
    })
    .await?;
    contains(
        &object["status"],
        json!({"desiredReplicas": 3, "observedGeneration": null}),
    )?;
    same(object["status"]["lastScaleTime"].is_string(), true)?;
    let kinds: Vec<Value> = object["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| one["type"].clone())
        .collect();
    same(
        kinds,
        vec![
            json!("AbleToScale"),
            json!("ScalingActive"),
            json!("ScalingLimited"),
        ],
    )?;
    same(
        text(condition(&object, "ScalingLimited"), "/message"),
        "the desired count is within the acceptable range",
    )
}
