//! What is said when a metric cannot be had, and what is done then.

use std::time::Duration;

use serde_json::{Value, json};

use super::{add, autoscaler, average, deploy, external, prompt, replicas, status, told};
use crate::{
    controllers::scene::{LIMIT, events, pause},
    harness::{Cluster, cases, contains, same},
};

cases![
    a_cluster_without_external_metrics_says_so,
    a_metric_that_does_not_exist_is_named,
    a_metric_that_fails_keeps_the_replicas,
    a_failing_metric_holds_back_scaling_down_but_not_up,
    without_metrics_of_resources_cpu_is_unknown,
    without_custom_metrics_pods_and_objects_are_unknown,
    a_metric_that_comes_back_scales_again,
];

/// Waits for an event about `web` with this reason and message.
async fn complained(c: &Cluster, reason: &str, message: &str) -> anyhow::Result<Value> {
    let mut all = Vec::new();
    let found = c
        .wait_for(&format!("an event {reason}: {message}"), LIMIT / 3, async || {
            all = events(c, "HorizontalPodAutoscaler", "web").await?;
            let found = all
                .iter()
                .find(|event| event["reason"] == reason && event["message"] == message);
            Ok(found.cloned())
        })
        .await;
    found.map_err(|error| {
        let all: Vec<_> = all
            .iter()
            .map(|event| format!("{}: {}", event["reason"], event["message"]))
            .collect();
        error.context(format!("the events are\n{}", all.join("\n")))
    })
}

/// That an external metric `orders` fails with this error, in every place where it is said.
async fn fails_with(c: &Cluster, error: &str) -> anyhow::Result<()> {
    let namespace = c.namespace();
    let why = format!(
        "unable to get external metric {namespace}/orders/nil: unable to fetch metrics from external metrics API: {error}"
    );
    let message = told(c, "ScalingActive", "False", "FailedGetExternalMetric").await?;
    same(
        message,
        format!("the HPA was unable to compute the replica count: {why}"),
    )?;
    let event = complained(c, "FailedGetExternalMetric", &why).await?;
    contains(&event, json!({"type": "Warning"}))?;
    let all = format!(
        "invalid metrics (1 invalid out of 1), first error is: failed to get orders external metric value: failed to get orders external metric: {why}"
    );
    complained(c, "FailedComputeMetricsReplicas", &all).await?;
    let message = told(c, "AbleToScale", "True", "SucceededGetScale").await?;
    same(
        message.as_str(),
        "the HPA controller was able to get the target's current scale",
    )
}

async fn a_cluster_without_external_metrics_says_so(c: &Cluster) -> anyhow::Result<()> {
    let _held = c.without_metrics().await?;
    deploy(c, 1).await?;
    add(c, &autoscaler(1, 10, json!([external("orders", average("5"))]))).await?;
    fails_with(
        c,
        "the server could not find the requested resource (get orders.external.metrics.k8s.io)",
    )
    .await
}

async fn a_metric_that_does_not_exist_is_named(c: &Cluster) -> anyhow::Result<()> {
    let _held = c.with_metrics().await?;
    deploy(c, 1).await?;
    add(c, &autoscaler(1, 10, json!([external("orders", average("5"))]))).await?;
    let error = format!(
        "the server could not find the metric orders for namespace {}",
        c.namespace()
    );
    fails_with(c, &error).await?;
    let event = c
        .wait_for("it is said again and again", LIMIT / 3, async || {
            let events = events(c, "HorizontalPodAutoscaler", "web").await?;
            let told = |event: &&Value| {
                event["reason"] == "FailedGetExternalMetric" && event["count"].as_i64() > Some(2)
            };
            Ok(events.iter().find(told).cloned())
        })
        .await?;
    same(
        event["firstTimestamp"].as_str() < event["lastTimestamp"].as_str(),
        true,
    )
}

async fn a_metric_that_fails_keeps_the_replicas(c: &Cluster) -> anyhow::Result<()> {
    let _held = c.with_metrics().await?;
    c.set_metric("orders", Err("the queue cannot be reached"));
    deploy(c, 3).await?;
    add(c, &prompt(1, 10, json!([external("orders", average("5"))]))).await?;
    fails_with(c, "the queue cannot be reached").await?;
    pause(c, Duration::from_secs(4)).await?;
    replicas(c, 3).await?;
    // Those of the failed metrics are gone, and so is what was wanted.
    status(
        c,
        json!({"currentReplicas": 3, "desiredReplicas": 0, "currentMetrics": [{"type": ""}]}),
    )
    .await?;
    Ok(())
}

async fn a_failing_metric_holds_back_scaling_down_but_not_up(c: &Cluster) -> anyhow::Result<()> {
    let _held = c.with_metrics().await?;
    c.set_metric("broken", Err("the queue cannot be reached"));
    c.set_metric("orders", Ok(&[5]));
    deploy(c, 3).await?;
    let metrics = json!([external("broken", average("5")), external("orders", average("5"))]);
    add(c, &prompt(1, 10, metrics)).await?;
    told(c, "ScalingActive", "False", "FailedGetExternalMetric").await?;
    pause(c, Duration::from_secs(4)).await?;
    replicas(c, 3).await?;
    c.set_metric("orders", Ok(&[25]));
    replicas(c, 5).await?;
    let message = told(c, "ScalingActive", "True", "ValidMetricFound").await?;
    same(
        message.as_str(),
        "the HPA was able to successfully calculate a replica count from external metric orders(nil)",
    )
}

async fn without_metrics_of_resources_cpu_is_unknown(c: &Cluster) -> anyhow::Result<()> {
    deploy(c, 1).await?;
    let mut object = autoscaler(1, 10, json!([]));
    object["spec"]["metrics"] = Value::Null;
    let made = add(c, &object).await?;
    contains(
        &made,
        json!({"spec": {"metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]}}),
    )?;
    let why = "unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: \
        the server could not find the requested resource (get pods.metrics.k8s.io)";
    let message = told(c, "ScalingActive", "False", "FailedGetResourceMetric").await?;
    same(
        message,
        format!("the HPA was unable to compute the replica count: failed to get cpu utilization: {why}"),
    )?;
    complained(
        c,
        "FailedGetResourceMetric",
        &format!("failed to get cpu utilization: {why}"),
    )
    .await?;
    let all = format!(
        "invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: failed to get cpu utilization: {why}"
    );
    complained(c, "FailedComputeMetricsReplicas", &all).await?;
    Ok(())
}

async fn without_custom_metrics_pods_and_objects_are_unknown(c: &Cluster) -> anyhow::Result<()> {
    deploy(c, 1).await?;
    let pods = json!({"type": "Pods", "pods": {"metric": {"name": "rate"}, "target": average("5")}});
    let object = json!({"type": "Object", "object": {
        "metric": {"name": "backlog"}, "target": total("5"),
        "describedObject": {"apiVersion": "v1", "kind": "Service", "name": "shop"},
    }});
    add(c, &autoscaler(1, 10, json!([pods, object]))).await?;
    let why = "unable to get metric rate: unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered";
    let message = told(c, "ScalingActive", "False", "FailedGetPodsMetric").await?;
    same(
        message,
        format!("the HPA was unable to compute the replica count: {why}"),
    )?;
    complained(c, "FailedGetPodsMetric", why).await?;
    let why = format!(
        "unable to get metric backlog: Service on {} shop/unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered",
        c.namespace()
    );
    complained(c, "FailedGetObjectMetric", &why).await?;
    let first = "invalid metrics (2 invalid out of 2), first error is: failed to get pods metric value: unable to get metric rate: \
        unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered";
    complained(c, "FailedComputeMetricsReplicas", first).await?;
    Ok(())
}

fn total(value: &str) -> Value {
    json!({"type": "Value", "value": value})
}

async fn a_metric_that_comes_back_scales_again(c: &Cluster) -> anyhow::Result<()> {
    let _held = c.with_metrics().await?;
    deploy(c, 1).await?;
    add(c, &prompt(1, 10, json!([external("orders", average("5"))]))).await?;
    told(c, "ScalingActive", "False", "FailedGetExternalMetric").await?;
    c.set_metric("orders", Ok(&[15]));
    replicas(c, 3).await?;
    told(c, "ScalingActive", "True", "ValidMetricFound").await?;
    Ok(())
}
