//! `horizontal_test.go`: what cannot be read or written holds the replicas, and says why.

use super::{
    now,
    world::{
        World, active, conditions, cpu_metric, cpu_usage, events, external_metric, message, object_metric,
        pods_metric, world,
    },
};
use crate::{
    hpa::{
        Reading, Scale, Status,
        pods::PodPhase,
        scale_unavailable,
        spec::{Metric, ScalingRules, Target},
        status::ConditionType,
    },
    store::ObjectKey,
};

#[test]
fn a_scale_that_cannot_be_written_is_reported_and_not_remembered() {
    let mut world = world(1, 5, 3)
        .cpu(100, &[150; 3], &[100; 3])
        .up(ScalingRules::default_up());
    let mut outcome = world.unwritten();
    outcome.rescale_failed("something went wrong", now());
    assert_eq!(
        conditions(&outcome),
        "!AbleToScale=FailedUpdateScale ScalingActive=ValidMetricFound !ScalingLimited=DesiredWithinRange"
    );
    assert_eq!(
        message(&outcome, ConditionType::AbleToScale),
        "the HPA controller was unable to update the target scale: something went wrong"
    );
    assert_eq!(
        events(&outcome),
        [
            "Warning FailedRescale New size: 5; reason: cpu resource utilization (percentage of request) above target; \
          error: something went wrong"
        ]
    );
    assert_eq!(
        (outcome.desired_replicas(), outcome.status.last_scale_time),
        (3, None)
    );
    assert!(world.state.scale_up_events.is_empty());
}

#[test]
fn a_scale_that_cannot_be_read_is_reported() {
    let outcome = scale_unavailable(&Status::default(), "deployments.apps \"web\" not found", now());
    assert_eq!(conditions(&outcome), "!AbleToScale=FailedGetScale");
    assert_eq!(
        message(&outcome, ConditionType::AbleToScale),
        "the HPA controller was unable to get the target's current scale: deployments.apps \"web\" not found"
    );
    assert_eq!(
        events(&outcome),
        ["Warning FailedGetScale deployments.apps \"web\" not found"]
    );
    assert_eq!(outcome.rescale, None);
}

#[test]
fn a_selector_that_is_missing_wrong_or_shared_holds_the_replicas() {
    let busy = || world(2, 6, 3).cpu(30, &[300, 500, 700], &[1000; 3]);
    let two = vec![ObjectKey::new("shop", "other"), ObjectKey::new("shop", "web")];
    let selector = |selector: &str| Scale {
        selector: selector.into(),
        ..busy().scale
    };
    for (mut world, reason, condition, event) in [
        (
            World {
                scale: selector(""),
                ..busy()
            },
            "InvalidSelector",
            "the HPA target's scale is missing a selector",
            "Warning SelectorRequired selector is required",
        ),
        (
            World {
                scale: selector("cheddar cheese"),
                ..busy()
            },
            "InvalidSelector",
            "couldn't convert selector into a corresponding internal selector object: unable to parse requirement: \
             found 'cheese', expected: in, notin, =, ==, !=, gt, lt",
            "Warning InvalidSelector couldn't convert selector into a corresponding internal selector object",
        ),
        (
            World {
                controllers: two,
                ..busy()
            },
            "AmbiguousSelector",
            "pods by selector name=test-pod are controlled by multiple HPAs: [shop/other shop/web]",
            "Warning AmbiguousSelector pods by selector name=test-pod are controlled by multiple HPAs",
        ),
    ] {
        let outcome = world.run();
        assert_eq!(
            conditions(&outcome),
            format!("AbleToScale=SucceededGetScale !ScalingActive={reason}")
        );
        assert_eq!(message(&outcome, ConditionType::ScalingActive), condition);
        let events = events(&outcome);
        assert!(events[0].starts_with(event), "{events:?}");
        assert!(
            events[1].starts_with("Warning FailedComputeMetricsReplicas "),
            "{events:?}"
        );
        assert_eq!(
            (outcome.desired_replicas(), outcome.status.current_metrics),
            (3, None)
        );
    }
}

/// Every type of metric whose API says `something went wrong`: its reason, and the errors of both events.
#[test]
fn a_metric_that_cannot_be_read_holds_the_replicas_and_says_why() {
    let wrong = || Reading::Failed("something went wrong".to_owned());
    let selector =
        "&LabelSelector{MatchLabels:map[string]string{},MatchExpressions:[]LabelSelectorRequirement{},}";
    let external = format!(
        "unable to get external metric shop/qps/{selector}: unable to fetch metrics from external metrics API: \
         something went wrong"
    );
    let resource = "failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from \
                    resource metrics API: something went wrong";
    let pods =
        "unable to get metric qps: unable to fetch metrics from custom metrics API: something went wrong";
    let object = "unable to get metric qps: Deployment on shop some-deployment/unable to fetch metrics from custom \
                  metrics API: something went wrong";
    for (metric, reason, error, context) in [
        (
            cpu_metric(10),
            "FailedGetResourceMetric",
            resource,
            "failed to get cpu resource metric value: ",
        ),
        (
            pods_metric(15000),
            "FailedGetPodsMetric",
            pods,
            "failed to get pods metric value: ",
        ),
        (
            object_metric(Target::value(15000)),
            "FailedGetObjectMetric",
            object,
            "failed to get object metric value: ",
        ),
        (
            object_metric(Target::average_value(15000)),
            "FailedGetObjectMetric",
            object,
            "failed to get object metric value: failed to get qps object metric: ",
        ),
        (
            external_metric(Target::value(300)),
            "FailedGetExternalMetric",
            &external,
            "failed to get qps external metric value: failed to get external metric qps: ",
        ),
        (
            external_metric(Target::average_value(300)),
            "FailedGetExternalMetric",
            &external,
            "failed to get qps external metric value: failed to get qps external metric: ",
        ),
        (
            external_metric(Target::default()),
            "FailedGetExternalMetric",
            "invalid external metric source: neither a value target nor an average value target was set",
            "failed to get qps external metric value: ",
        ),
        (
            Metric::Unknown("CheddarCheese".into()),
            "InvalidMetricSourceType",
            "unknown metric source type \"CheddarCheese\"",
            "",
        ),
    ] {
        let outcome = world(1, 100, 3).metric(metric, wrong()).run();
        assert_eq!(
            conditions(&outcome),
            format!("AbleToScale=SucceededGetScale !ScalingActive={reason}")
        );
        assert_eq!(
            message(&outcome, ConditionType::ScalingActive),
            format!("the HPA was unable to compute the replica count: {error}")
        );
        let all = format!("invalid metrics (1 invalid out of 1), first error is: {context}{error}");
        assert_eq!(
            events(&outcome),
            [
                format!("Warning {reason} {error}"),
                format!("Warning FailedComputeMetricsReplicas {all}")
            ]
        );
        assert_eq!((outcome.desired_replicas(), outcome.error), (3, Some(all)));
        assert_eq!(
            serde_json::to_value(&outcome.status.current_metrics).unwrap(),
            serde_json::json!([{ "type": "" }])
        );
    }
}

/// Case 42, and what else is no number: never taken for zero.
#[test]
fn an_answer_that_says_nothing_is_an_error_and_not_zero() {
    let other_pod = |reading: Reading| match reading {
        Reading::Resource(mut usage) => {
            usage[0].pod = "an-older-pod-name".into();
            Reading::Resource(usage)
        }
        other => other,
    };
    let cpu = |levels: &[i64], requests: &[i64]| world(0, 9, 4).cpu(100, levels, requests);
    let mut disjoint = cpu(&[100], &[1000]);
    disjoint.readings = vec![other_pod(cpu_usage(&[100]))];
    let mut unready = cpu(&[100], &[1000]);
    unready.pods[0].phase = PodPhase::Pending;
    let mut without_request = cpu(&[200], &[1000]);
    without_request.pods[0].containers[0].requests.clear();
    let mut without_pods = cpu(&[200], &[]);
    without_pods.pods.clear();
    let empty = || {
        world(0, 9, 4).metric(
            external_metric(Target::average_value(1)),
            Reading::External(Vec::new()),
        )
    };
    let mut unread = empty();
    unread.readings.clear();
    for (name, mut world, error) in [
        (
            "42 samples of another pod",
            disjoint,
            "no metrics returned matched known pods",
        ),
        (
            "42 no samples",
            cpu(&[], &[1000; 4]),
            "unable to get metrics for resource cpu: no metrics returned from resource metrics API",
        ),
        (
            "42 no request",
            without_request,
            "missing request for cpu in container container1 of Pod test-pod-0",
        ),
        (
            "no pod that counts",
            unready,
            "did not receive metrics for targeted pods (pods might be unready)",
        ),
        (
            "no pods",
            without_pods,
            "no pods returned by selector while calculating replica count",
        ),
        (
            "no series",
            empty(),
            "no metrics returned from external metrics API",
        ),
        (
            "not read",
            unread,
            "unable to fetch metrics from external metrics API: the metric was not read",
        ),
    ] {
        let outcome = world.run();
        assert_eq!(outcome.desired_replicas(), 4, "{name}");
        assert_eq!(outcome.rescale, None, "{name}");
        let text = message(&outcome, ConditionType::ScalingActive);
        assert!(text.ends_with(error), "{name}: {text}");
    }
}

#[test]
fn one_invalid_metric_of_two_stops_scaling_down_and_not_up() {
    let wrong = || Reading::Failed("something went wrong".to_owned());
    let failing = || external_metric(Target::value(1000));
    let unknown = || Metric::Unknown("CheddarCheese".into());
    for (name, mut world, replicas, expected) in [
        (
            "TestScaleUpOneMetricEmpty",
            world(2, 6, 3)
                .cpu(30, &[300, 400, 500], &[1000; 3])
                .metric(failing(), wrong()),
            4,
            active("SucceededRescale", "!ScalingLimited=DesiredWithinRange"),
        ),
        (
            "TestScaleUpOneMetricInvalid",
            world(2, 6, 3)
                .cpu(30, &[300, 400, 500], &[1000; 3])
                .metric(unknown(), wrong()),
            4,
            active("SucceededRescale", "!ScalingLimited=DesiredWithinRange"),
        ),
        (
            "TestScaleUpFromZeroOneMetricInvalid",
            world(0, 6, 0)
                .cpu(30, &[300, 400, 500], &[1000; 3])
                .metric(unknown(), wrong()),
            4,
            active("SucceededRescale", "!ScalingLimited=DesiredWithinRange"),
        ),
        (
            "TestNoScaleDownOneMetricEmpty",
            world(2, 6, 5)
                .cpu(50, &[100, 300, 500, 250, 250], &[1000; 5])
                .metric(failing(), wrong()),
            5,
            "AbleToScale=SucceededGetScale !ScalingActive=FailedGetExternalMetric".to_owned(),
        ),
        (
            "TestNoScaleDownOneMetricInvalid",
            world(2, 6, 5)
                .cpu(50, &[100, 300, 500, 250, 250], &[1000; 5])
                .metric(unknown(), wrong()),
            5,
            "AbleToScale=SucceededGetScale !ScalingActive=InvalidMetricSourceType".to_owned(),
        ),
        (
            "one invalid, the other holds",
            world(2, 6, 4)
                .metric(failing(), wrong())
                .external(Target::average_value(2500), 10000),
            4,
            active("ReadyForNewScale", "!ScalingLimited=DesiredWithinRange"),
        ),
    ] {
        let outcome = world.run();
        assert_eq!(
            (outcome.desired_replicas(), conditions(&outcome)),
            (replicas, expected),
            "{name}"
        );
        let error = outcome.error.unwrap();
        assert!(
            error.starts_with("invalid metrics (1 invalid out of 2), first error is: "),
            "{name}: {error}"
        );
    }
}
