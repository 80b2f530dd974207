//! What is reported: `HorizontalPodAutoscalerStatus` of `autoscaling/v2`.

use std::fmt;

use jiff::Timestamp;
use scaler_api::{Format, Quantity};
use serde::{Deserialize, Serialize};

use super::{
    pods::ConditionStatus,
    spec::{CrossVersionObjectReference, MetricIdentifier},
};

/// The status of one autoscaler.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// The replicas of the target, as last seen.
    #[serde(skip_serializing_if = "is_zero")]
    pub current_replicas: i32,
    /// The replicas that were last decided.
    pub desired_replicas: i32,
    /// When the number of replicas was last changed.
    #[serde(with = "seconds", skip_serializing_if = "Option::is_none")]
    pub last_scale_time: Option<Timestamp>,
    /// What was measured, in the order of the specification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_metrics: Option<Vec<MetricStatus>>,
    /// Whether and why it can scale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Vec<Condition>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(replicas: &i32) -> bool {
    *replicas == 0
}

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConditionType {
    /// The target's scale can be read and written, and is not held back by stabilisation.
    AbleToScale,
    /// A number of replicas can be computed.
    ScalingActive,
    /// The number that was computed was limited.
    ScalingLimited,
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it is about.
    #[serde(rename = "type")]
    pub condition_type: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// When that last changed.
    #[serde(default, with = "seconds", skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Timestamp>,
    /// Why, in one word.
    #[serde(default)]
    pub reason: String,
    /// Why, in a sentence.
    #[serde(default)]
    pub message: String,
}

impl Status {
    /// Sets a condition; its time changes only with its status.
    pub fn set_condition(
        &mut self,
        condition_type: ConditionType,
        status: ConditionStatus,
        reason: &str,
        message: impl Into<String>,
        now: Timestamp,
    ) {
        let conditions = self.conditions.get_or_insert_default();
        let known = conditions
            .iter_mut()
            .find(|condition| condition.condition_type == condition_type);
        let (reason, message) = (reason.to_owned(), message.into());
        if let Some(known) = known {
            if known.status != status {
                known.last_transition_time = Some(now);
            }
            (known.status, known.reason, known.message) = (status, reason, message);
        } else {
            let last_transition_time = Some(now);
            conditions.push(Condition {
                condition_type,
                status,
                last_transition_time,
                reason,
                message,
            });
        }
    }

    /// The condition of a type.
    #[must_use]
    pub fn condition(&self, condition_type: ConditionType) -> Option<&Condition> {
        self.conditions
            .iter()
            .flatten()
            .find(|condition| condition.condition_type == condition_type)
    }
}

/// What was measured of one metric. One that could not be read has an empty type, as Kubernetes reports it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MetricStatus {
    /// The type of the metric.
    #[serde(rename = "type")]
    pub metric_type: String,
    /// If it is an external metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalMetricStatus>,
    /// If it is a metric of an object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectMetricStatus>,
    /// If it is a custom metric of pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<PodsMetricStatus>,
    /// If it is CPU or memory of pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<ResourceMetricStatus>,
    /// If it is CPU or memory of containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_resource: Option<ContainerResourceMetricStatus>,
}

/// See [`MetricStatus::external`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExternalMetricStatus {
    /// What was measured.
    pub current: MetricValueStatus,
    /// Of which metric.
    pub metric: MetricIdentifier,
}

/// See [`MetricStatus::object`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectMetricStatus {
    /// What was measured.
    pub current: MetricValueStatus,
    /// Of which object.
    pub described_object: CrossVersionObjectReference,
    /// Of which metric.
    pub metric: MetricIdentifier,
}

/// See [`MetricStatus::pods`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PodsMetricStatus {
    /// What was measured.
    pub current: MetricValueStatus,
    /// Of which metric.
    pub metric: MetricIdentifier,
}

/// See [`MetricStatus::resource`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResourceMetricStatus {
    /// What was measured.
    pub current: MetricValueStatus,
    /// Of which resource.
    pub name: String,
}

/// See [`MetricStatus::container_resource`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerResourceMetricStatus {
    /// Of which container.
    pub container: String,
    /// What was measured.
    pub current: MetricValueStatus,
    /// Of which resource.
    pub name: String,
}

/// A measured value, in the form of its target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MetricValueStatus {
    /// In percent of the requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average_utilization: Option<i32>,
    /// Per replica.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average_value: Option<Quantity>,
    /// In total.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Quantity>,
}

impl MetricValueStatus {
    /// So many thousandths in total.
    #[must_use]
    pub fn value(millis: i64) -> Self {
        Self {
            value: Some(Quantity::from_millis(millis)),
            ..Self::default()
        }
    }

    /// So many thousandths per replica.
    #[must_use]
    pub fn average_value(millis: i64) -> Self {
        Self {
            average_value: Some(Quantity::from_millis(millis)),
            ..Self::default()
        }
    }

    /// So many thousandths of a resource per replica; memory prints with binary suffixes.
    #[must_use]
    pub fn resource(name: &str, millis: i64) -> Self {
        let format = if name == "memory" {
            Format::BinarySi
        } else {
            Format::DecimalSi
        };
        Self {
            average_value: Some(Quantity::from_millis(millis).with_format(format)),
            ..Self::default()
        }
    }
}

/// Whether an event is good news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// For information.
    Normal,
    /// Something is wrong.
    Warning,
}

/// Something to tell about the autoscaler, in the order in which Kubernetes tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whether it is good news.
    pub event_type: EventType,
    /// In one word.
    pub reason: String,
    /// In a sentence.
    pub message: String,
}

impl Event {
    /// A warning.
    pub(super) fn warning(reason: &str, message: impl Into<String>) -> Self {
        Self {
            event_type: EventType::Warning,
            reason: reason.to_owned(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} {}", self.event_type, self.reason, self.message)
    }
}

/// Times as the API has them: whole seconds.
mod seconds {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.collect_str(&time.strftime("%Y-%m-%dT%H:%M:%SZ")),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        Option::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_time_of_a_condition_changes_only_with_its_status() {
        let mut status = Status::default();
        for (second, condition_status, expected) in [
            (1, ConditionStatus::True, 1),
            (2, ConditionStatus::True, 1),
            (3, ConditionStatus::False, 3),
        ] {
            let message = format!("at {second}");
            status.set_condition(
                ConditionType::AbleToScale,
                condition_status,
                "Why",
                message.clone(),
                at(second),
            );
            let condition = status.condition(ConditionType::AbleToScale).unwrap();
            assert_eq!(
                (condition.last_transition_time, &condition.message),
                (Some(at(expected)), &message)
            );
        }
        assert_eq!(status.conditions.unwrap().len(), 1);
    }

    #[test]
    fn a_status_is_written_as_the_api_has_it_and_read_back() {
        let mut status = Status {
            current_replicas: 2,
            desired_replicas: 3,
            ..Status::default()
        };
        status.last_scale_time = Some("2026-01-01T00:00:05Z".parse().unwrap());
        let metric = MetricIdentifier {
            name: "qps".into(),
            selector: None,
        };
        let external = ExternalMetricStatus {
            current: MetricValueStatus::average_value(4500),
            metric,
        };
        let memory = ResourceMetricStatus {
            current: MetricValueStatus::resource("memory", 2_048_000),
            name: "memory".into(),
        };
        status.current_metrics = Some(vec![
            MetricStatus {
                metric_type: "External".into(),
                external: Some(external),
                ..MetricStatus::default()
            },
            MetricStatus {
                metric_type: "Resource".into(),
                resource: Some(memory),
                ..MetricStatus::default()
            },
            MetricStatus::default(),
        ]);
        let now = "2026-01-01T00:00:07Z".parse().unwrap();
        status.set_condition(
            ConditionType::ScalingLimited,
            ConditionStatus::False,
            "DesiredWithinRange",
            "fine",
            now,
        );
        let written = serde_json::to_value(&status).unwrap();
        assert_eq!(
            written,
            json!({
                "currentReplicas": 2,
                "desiredReplicas": 3,
                "lastScaleTime": "2026-01-01T00:00:05Z",
                "currentMetrics": [
                    { "type": "External", "external": { "current": { "averageValue": "4500m" }, "metric": { "name": "qps" } } },
                    { "type": "Resource", "resource": { "current": { "averageValue": "2Ki" }, "name": "memory" } },
                    { "type": "" },
                ],
                "conditions": [{
                    "type": "ScalingLimited", "status": "False", "lastTransitionTime": "2026-01-01T00:00:07Z",
                    "reason": "DesiredWithinRange", "message": "fine",
                }],
            })
        );
        assert_eq!(serde_json::from_value::<Status>(written).unwrap(), status);
    }
}
