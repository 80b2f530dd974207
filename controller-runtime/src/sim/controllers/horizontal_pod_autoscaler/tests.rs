//! The controller under the unmodified client, in virtual time.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use metrics_adapter::selector::Selector;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Options, ResourceMetrics, testing::Server};
use crate::hpa::{self, pods::PodUsage};

fn external(name: &str, target: &Value) -> Value {
    let selector = json!({ "matchLabels": { "scaledobject.keda.sh/name": "orders" } });
    json!({ "type": "External", "external": { "metric": { "name": name, "selector": selector }, "target": target } })
}

fn backlog() -> Value {
    json!([external(
        "s0-aws-sqs-Orders",
        &json!({ "type": "AverageValue", "averageValue": "5" })
    )])
}

fn with_backlog(replicas: i32, messages: Option<i64>) -> Server {
    let server = Server::new(&backlog(), replicas);
    server.change(|world| {
        world
            .metrics
            .insert("s0-aws-sqs-orders".into(), messages.map(|count| count * 1000))
    });
    server
}

/// Until just after the run at this many seconds.
async fn until(server: &Server, seconds: u64) {
    let at = Duration::from_secs(seconds) + Duration::from_millis(100);
    sleep(at.saturating_sub(server.clock.elapsed())).await;
}

const METRIC: &str = "external metric s0-aws-sqs-Orders(&LabelSelector{MatchLabels:map[string]string{\
                      scaledobject.keda.sh/name: orders,},MatchExpressions:[]LabelSelectorRequirement{},})";

#[tokio::test(start_paused = true)]
async fn a_backlog_becomes_replicas_with_an_event_a_status_and_a_decision() {
    let server = with_backlog(1, Some(18));
    let decisions = server.start(Options::default());
    until(&server, 14).await;
    assert_eq!(
        server.replicas(),
        1,
        "the first run is a period after the autoscaler appeared"
    );
    until(&server, 15).await;
    assert_eq!(server.replicas(), 4);
    assert_eq!(
        server.change(|world| world.events.clone()),
        [format!(
            "Normal SuccessfulRescale: New size: 4; reason: {METRIC} above target"
        )]
    );
    assert_eq!(
        server.conditions(),
        [
            "AbleToScale=SucceededRescale",
            "ScalingActive=ValidMetricFound",
            "!ScalingLimited=DesiredWithinRange"
        ]
    );
    let status = server.change(|world| world.autoscaler["status"].clone());
    assert_eq!(status["currentReplicas"], 1);
    assert_eq!(status["desiredReplicas"], 4);
    assert_eq!(status["lastScaleTime"], "2026-01-01T00:00:15Z");
    assert_eq!(
        status["currentMetrics"],
        json!([{
            "type": "External",
            "external": {
                "current": { "averageValue": "18" },
                "metric": {
                    "name": "s0-aws-sqs-Orders",
                    "selector": { "matchLabels": { "scaledobject.keda.sh/name": "orders" } },
                },
            },
        }])
    );
    let decisions = decisions.recent();
    let decision = &decisions[0];
    assert_eq!(
        (decision.controller, decision.object.as_str()),
        ("horizontal-pod-autoscaler", "Deployment/shop/web")
    );
    assert_eq!((decision.from.as_str(), decision.to.as_str()), ("1", "4"));
    assert_eq!(
        decision.reason,
        "external metric s0-aws-sqs-Orders above target (18 per replica, target 5)"
    );
}

#[tokio::test(start_paused = true)]
async fn runs_come_every_fifteen_seconds_whatever_changes_between() {
    let server = with_backlog(1, Some(3));
    server.start(Options::default());
    until(&server, 20).await;
    server.change(|world| world.autoscaler["spec"]["maxReplicas"] = json!(5));
    server.notify("MODIFIED");
    until(&server, 62).await;
    assert_eq!(server.change(|world| world.scale_reads.clone()), [15, 30, 45, 60]);
    server.notify("DELETED");
    until(&server, 120).await;
    assert_eq!(server.change(|world| world.scale_reads.len()), 4);
}

#[tokio::test(start_paused = true)]
async fn a_status_is_written_only_when_it_changes() {
    let server = with_backlog(1, Some(5));
    server.start(Options::default());
    until(&server, 120).await;
    assert_eq!(server.change(|world| world.status_writes), 1);
    assert!(server.change(|world| world.events.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_metric_that_cannot_be_read_holds_the_replicas_with_the_servers_words() {
    let server = with_backlog(3, None);
    server.start(Options::default());
    until(&server, 300).await;
    assert_eq!(server.replicas(), 3);
    let error = "unable to get external metric shop/s0-aws-sqs-Orders/&LabelSelector{MatchLabels:map[string]string{\
                 scaledobject.keda.sh/name: orders,},MatchExpressions:[]LabelSelectorRequirement{},}: unable to fetch \
                 metrics from external metrics API: the queue cannot be reached";
    assert_eq!(
        server.conditions(),
        [
            "AbleToScale=SucceededGetScale",
            "!ScalingActive=FailedGetExternalMetric"
        ]
    );
    assert_eq!(
        server.message("ScalingActive"),
        format!("the HPA was unable to compute the replica count: {error}")
    );
    assert_eq!(
        server.change(|world| world.events.clone()),
        [
            format!("Warning FailedGetExternalMetric: {error}"),
            format!(
                "Warning FailedComputeMetricsReplicas: invalid metrics (1 invalid out of 1), first error is: failed to \
                 get s0-aws-sqs-Orders external metric value: failed to get s0-aws-sqs-Orders external metric: {error}"
            ),
        ],
        "each once, then counted up"
    );
    // An unknown metric is no zero either.
    server.change(|world| world.metrics.clear());
    until(&server, 400).await;
    assert_eq!(server.replicas(), 3);
    assert!(
        server
            .message("ScalingActive")
            .ends_with("could not find the metric s0-aws-sqs-orders for namespace shop")
    );
}

#[tokio::test(start_paused = true)]
async fn an_empty_queue_scales_down_after_the_stabilisation_window_in_one_step() {
    let server = with_backlog(6, Some(30));
    let decisions = server.start(Options::default());
    until(&server, 15).await;
    server.change(|world| world.metrics.insert("s0-aws-sqs-orders".into(), Some(0)));
    // The last recommendation of 6 is of second 15: five minutes later it still counts, then no more.
    until(&server, 315).await;
    assert_eq!(server.replicas(), 6);
    assert_eq!(server.conditions()[0], "AbleToScale=ScaleDownStabilized");
    until(&server, 330).await;
    assert_eq!(server.replicas(), 1);
    assert_eq!(
        decisions.recent()[0].reason,
        "All metrics below target (s0-aws-sqs-Orders: 0 per replica, target 5); limited: the desired replica count is \
         less than the minimum replica count"
    );
    assert_eq!(
        server.conditions(),
        [
            "AbleToScale=SucceededRescale",
            "ScalingActive=ValidMetricFound",
            "ScalingLimited=TooFewReplicas"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_tried_again_and_five_are_reported() {
    let server = with_backlog(1, Some(18));
    server.change(|world| world.conflicts = 4);
    server.start(Options::default());
    until(&server, 15).await;
    assert_eq!(server.replicas(), 4);
    server.change(|world| {
        world.conflicts = 5;
        world.metrics.insert("s0-aws-sqs-orders".into(), Some(40_000));
    });
    until(&server, 30).await;
    assert_eq!(server.replicas(), 4);
    assert_eq!(server.conditions()[0], "!AbleToScale=FailedUpdateScale");
    assert_eq!(
        server.message("AbleToScale"),
        "the HPA controller was unable to update the target scale: the object has been modified"
    );
    until(&server, 45).await;
    assert_eq!(
        (server.replicas(), server.conditions()[0].as_str()),
        (8, "AbleToScale=SucceededRescale")
    );
}

#[tokio::test(start_paused = true)]
async fn a_target_that_was_scaled_to_zero_meanwhile_stays_there() {
    let server = with_backlog(1, Some(18));
    server.change(|world| {
        world.conflicts = 1;
        world.zero_on_conflict = true;
    });
    let decisions = server.start(Options::default());
    until(&server, 15).await;
    assert_eq!((server.replicas(), decisions.recent().len()), (0, 0));
    assert_eq!(
        server.conditions(),
        ["AbleToScale=SucceededGetScale", "!ScalingActive=ScalingDisabled"]
    );
    assert!(server.change(|world| world.events.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_not_there_is_reported() {
    for (reference, expected) in [
        (
            json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "other" }),
            "/apis/apps/v1/namespaces/shop/deployments/other/scale not found",
        ),
        (
            json!({ "apiVersion": "apps/v1", "kind": "Dployment", "name": "web" }),
            "no matches for kind \"Dployment\" in group \"apps\"",
        ),
        (
            json!({ "apiVersion": "argoproj.io/v1", "kind": "Rollout", "name": "web" }),
            "no matches for kind \"Rollout\" in group \"argoproj.io\"",
        ),
        (
            json!({ "apiVersion": "a/b/c", "kind": "Rollout", "name": "web" }),
            "unexpected GroupVersion string: a/b/c",
        ),
    ] {
        let server = with_backlog(1, Some(18));
        server.change(|world| world.autoscaler["spec"]["scaleTargetRef"] = reference);
        server.start(Options::default());
        sleep(Duration::from_secs(16)).await;
        assert_eq!(server.conditions(), ["!AbleToScale=FailedGetScale"], "{expected}");
        assert_eq!(
            server.message("AbleToScale"),
            format!("the HPA controller was unable to get the target's current scale: {expected}")
        );
        let events = server.change(|world| world.events.clone());
        assert_eq!(events, [format!("Warning FailedGetScale: {expected}")]);
    }
}

/// Every pod uses half a CPU.
#[derive(Debug)]
struct HalfACpu;

#[async_trait]
impl ResourceMetrics for HalfACpu {
    async fn usage(&self, namespace: &str, selector: &Selector) -> Result<Vec<PodUsage>, String> {
        assert_eq!((namespace, selector.to_string().as_str()), ("shop", "app=web"));
        let usage = |index: usize| PodUsage {
            pod: format!("web-{index}"),
            timestamp: Timestamp::MAX,
            window: SignedDuration::from_secs(15),
            containers: vec![("web".into(), [("cpu".to_owned(), 500)].into())],
        };
        Ok((0..2).map(usage).collect())
    }
}

fn pod(index: usize, labels: &Value) -> Value {
    json!({
        "metadata": { "name": format!("web-{index}"), "namespace": "shop", "labels": labels, "resourceVersion": "1" },
        "spec": { "containers": [{ "name": "web", "resources": { "requests": { "cpu": "500m" } } }] },
        "status": {
            "phase": "Running",
            "startTime": "2025-12-31T00:00:00Z",
            "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": "2025-12-31T00:00:05Z" }],
        },
    })
}

fn on_cpu() -> Server {
    let target = json!({ "type": "Utilization", "averageUtilization": 50 });
    let server = Server::new(
        &json!([{ "type": "Resource", "resource": { "name": "cpu", "target": target } }]),
        2,
    );
    let labels = json!({ "app": "web" });
    let other = json!({ "app": "other" });
    server.change(|world| world.pods = vec![pod(0, &labels), pod(1, &labels), pod(2, &other)]);
    server
}

#[tokio::test(start_paused = true)]
async fn cpu_comes_from_whoever_measures_it() {
    let server = on_cpu();
    server.start(Options {
        resource_metrics: Some(Arc::new(HalfACpu)),
        ..Options::default()
    });
    until(&server, 15).await;
    assert_eq!(server.replicas(), 4);
    let status = server.change(|world| world.autoscaler["status"]["currentMetrics"].clone());
    let current = json!({ "averageUtilization": 100, "averageValue": "500m" });
    assert_eq!(
        status,
        json!([{ "type": "Resource", "resource": { "name": "cpu", "current": current } }])
    );
}

#[tokio::test(start_paused = true)]
async fn without_anybody_who_measures_cpu_it_says_what_a_cluster_without_metrics_server_says() {
    let server = on_cpu();
    server.start(Options::default());
    until(&server, 15).await;
    assert_eq!(server.replicas(), 2);
    assert_eq!(
        server.message("ScalingActive"),
        "the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for \
         resource cpu: unable to fetch metrics from resource metrics API: the server could not find the requested \
         resource (get pods.metrics.k8s.io)"
    );
}

#[tokio::test(start_paused = true)]
async fn a_target_in_total_counts_ready_pods_and_the_parameters_are_the_callers() {
    let metric = external("s0-aws-sqs-Orders", &json!({ "type": "Value", "value": "10" }));
    let server = Server::new(&json!([metric]), 2);
    let labels = json!({ "app": "web" });
    server.change(|world| {
        world.pods = vec![pod(0, &labels), pod(1, &labels)];
        world.pods[1]["status"]["conditions"][0]["status"] = json!("False");
        world.metrics.insert("s0-aws-sqs-orders".into(), Some(50_000));
    });
    let config = hpa::Config {
        sync_period: SignedDuration::from_secs(2),
        ..hpa::Config::default()
    };
    server.start(Options {
        config,
        ..Options::default()
    });
    until(&server, 2).await;
    assert_eq!(
        server.replicas(),
        4,
        "five times the target on one ready pod, of which a step allows four"
    );
    assert_eq!(server.conditions()[2], "ScalingLimited=ScaleUpLimit");
}
