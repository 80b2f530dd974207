//! One autoscaler with its target and metrics, for tests of whole runs.

use super::{now, test_config};
use crate::{
    hpa::{
        Config, Input, LabelSelector, Outcome, Pod, Reading, Scale, Spec, State, Status, decide,
        pods::ConditionStatus,
        spec::{
            CrossVersionObjectReference, ExternalMetric, Metric, MetricIdentifier, ObjectMetric, PodsMetric,
            Policy, ResourceMetric, ScalingRules, Target,
        },
        status::ConditionType,
    },
    store::ObjectKey,
};

/// One autoscaler and its world. The usual: nothing was recommended before, so nothing is stabilised.
pub(super) struct World {
    pub(super) spec: Spec,
    pub(super) scale: Scale,
    pub(super) pods: Vec<Pod>,
    pub(super) readings: Vec<Reading>,
    pub(super) controllers: Vec<ObjectKey>,
    pub(super) config: Config,
    pub(super) status: Status,
    pub(super) state: State,
}

pub(super) fn world(min: i32, max: i32, replicas: i32) -> World {
    let scale_target_ref = CrossVersionObjectReference {
        api_version: Some("apps/v1".into()),
        kind: "Deployment".into(),
        name: "web".into(),
    };
    World {
        spec: Spec {
            scale_target_ref,
            min_replicas: Some(min),
            max_replicas: max,
            metrics: Vec::new(),
            behavior: None,
        },
        scale: Scale {
            spec_replicas: replicas,
            status_replicas: replicas,
            selector: "name=test-pod".into(),
        },
        pods: pods(&vec![1000; usize::try_from(replicas).unwrap()]),
        readings: Vec::new(),
        controllers: vec![ObjectKey::new("shop", "web")],
        config: test_config(),
        status: Status {
            current_replicas: replicas,
            desired_replicas: replicas,
            ..Status::default()
        },
        state: State {
            recommendations: Some(Vec::new()),
            ..State::default()
        },
    }
}

/// Pods that request so much CPU each, halved over two containers.
pub(super) fn pods(requests: &[i64]) -> Vec<Pod> {
    let pod = |(index, request): (usize, &i64)| {
        let mut pod = super::Pods {
            count: 1,
            ..super::Pods::default()
        }
        .build()
        .remove(0);
        pod.name = format!("test-pod-{index}");
        for container in &mut pod.containers {
            container.requests.insert("cpu".into(), request / 2);
        }
        pod
    };
    requests.iter().enumerate().map(pod).collect()
}

pub(super) fn cpu_usage(levels: &[i64]) -> Reading {
    let half = |(index, level): (usize, &i64)| super::usage(index, &[level / 2, level / 2], now());
    Reading::Resource(levels.iter().enumerate().map(half).collect())
}

pub(super) fn cpu_metric(percent: i32) -> Metric {
    Metric::Resource(ResourceMetric {
        name: "cpu".into(),
        target: Target::utilization(percent),
    })
}

pub(super) fn qps() -> MetricIdentifier {
    MetricIdentifier {
        name: "qps".into(),
        selector: Some(LabelSelector::default()),
    }
}

pub(super) fn external_metric(target: Target) -> Metric {
    Metric::External(ExternalMetric {
        metric: qps(),
        target,
    })
}

pub(super) fn object_metric(target: Target) -> Metric {
    let described_object = CrossVersionObjectReference {
        api_version: Some("apps/v1".into()),
        kind: "Deployment".into(),
        name: "some-deployment".into(),
    };
    let metric = MetricIdentifier {
        name: "qps".into(),
        selector: None,
    };
    Metric::Object(ObjectMetric {
        described_object,
        metric,
        target,
    })
}

pub(super) fn pods_metric(target: i64) -> Metric {
    let metric = MetricIdentifier {
        name: "qps".into(),
        selector: None,
    };
    Metric::Pods(PodsMetric {
        metric,
        target: Target::average_value(target),
    })
}

impl World {
    pub(super) fn metric(mut self, metric: Metric, reading: Reading) -> Self {
        self.spec.metrics.push(metric);
        self.readings.push(reading);
        self
    }

    pub(super) fn cpu(self, target: i32, levels: &[i64], requests: &[i64]) -> Self {
        Self {
            pods: pods(requests),
            ..self
        }
        .metric(cpu_metric(target), cpu_usage(levels))
    }

    pub(super) fn external(self, target: Target, usage: i64) -> Self {
        self.metric(external_metric(target), Reading::External(vec![usage]))
    }

    pub(super) fn object(self, target: Target, usage: i64) -> Self {
        self.metric(object_metric(target), Reading::Object(usage))
    }

    pub(super) fn up(mut self, scale_up: ScalingRules) -> Self {
        self.spec.behavior.get_or_insert_default().scale_up = scale_up;
        self
    }

    pub(super) fn unwritten(&mut self) -> Outcome {
        let input = Input {
            namespace: "shop",
            spec: &self.spec,
            status: &self.status,
            scale: &self.scale,
            pods: &self.pods,
            controllers: &self.controllers,
            readings: &self.readings,
            config: &self.config,
        };
        decide(&input, &mut self.state, now())
    }

    /// A run whose scale is written.
    pub(super) fn run(&mut self) -> Outcome {
        let mut outcome = self.unwritten();
        outcome.rescaled(self.spec.behavior.as_ref(), &mut self.state, now());
        outcome
    }
}

/// The conditions in one line: type, `!` if it does not hold, reason.
pub(super) fn conditions(outcome: &Outcome) -> String {
    let conditions = outcome.status.conditions.iter().flatten().map(|condition| {
        let mark = if condition.status == ConditionStatus::True {
            ""
        } else {
            "!"
        };
        format!("{mark}{:?}={}", condition.condition_type, condition.reason)
    });
    conditions.collect::<Vec<_>>().join(" ")
}

pub(super) fn message(outcome: &Outcome, condition_type: ConditionType) -> &str {
    &outcome.status.condition(condition_type).unwrap().message
}

pub(super) fn events(outcome: &Outcome) -> Vec<String> {
    outcome.events.iter().map(ToString::to_string).collect()
}

pub(super) fn rates(policy: Policy) -> ScalingRules {
    ScalingRules {
        policies: vec![policy],
        ..ScalingRules::default_up()
    }
}

/// `AbleToScale`, then what `ScalingLimited` says.
pub(super) fn active(able: &str, limited: &str) -> String {
    format!("AbleToScale={able} ScalingActive=ValidMetricFound {limited}")
}
