//! What a trigger measures and at what value it wants another replica.

use std::{fmt, time::Duration};

use crate::{Problems, Quantity};

/// A metric of one trigger, as the HPA will ask for it.
///
/// It is known from metadata alone: an HPA and a fallback exist even if the source is down from the start.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum MetricSpec {
    /// Read through `external.metrics.k8s.io`.
    External {
        /// The name without its `s<index>-` prefix, already normalised (see [`normalize_name`]).
        name: String,
        /// Value per replica, or in total.
        target: MetricTarget,
    },
    /// CPU or memory of the target's pods, read by the HPA itself.
    Resource {
        /// `cpu` or `memory`.
        name: String,
        /// Utilization or average value.
        target: MetricTarget,
    },
    /// CPU or memory of one container of the target's pods.
    ContainerResource {
        /// `cpu` or `memory`.
        name: String,
        /// The container.
        container: String,
        /// Utilization or average value.
        target: MetricTarget,
    },
}

impl MetricSpec {
    /// A metric of the source, as most triggers have one. `name` is normalised here; a `metric_type` of `Utilization`
    /// makes no sense and was [refused](MetricType::check_external) before.
    #[must_use]
    pub fn external(name: &str, metric_type: MetricType, target: Quantity) -> Self {
        Self::External {
            name: normalize_name(name),
            target: match metric_type {
                MetricType::Value => MetricTarget::Value(target),
                MetricType::AverageValue | MetricType::Utilization => MetricTarget::AverageValue(target),
            },
        }
    }

    /// The target of the metric.
    #[must_use]
    pub fn target(&self) -> &MetricTarget {
        match self {
            Self::External { target, .. }
            | Self::Resource { target, .. }
            | Self::ContainerResource { target, .. } => target,
        }
    }

    /// The name without prefix of an external metric.
    #[must_use]
    pub fn external_name(&self) -> Option<&str> {
        match self {
            Self::External { name, .. } => Some(name),
            _ => None,
        }
    }
}

/// A target in the HPA's terms.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum MetricTarget {
    /// Value per replica (KEDA's default).
    AverageValue(Quantity),
    /// Value in total.
    Value(Quantity),
    /// Percent of the requests, for resource metrics.
    Utilization(i32),
}

/// How a trigger's target is to be understood (`triggers[].metricType`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MetricType {
    /// Per replica.
    #[default]
    AverageValue,
    /// In total.
    Value,
    /// Percent of the requests; for `cpu` and `memory` only.
    Utilization,
}

impl MetricType {
    /// Refuses `Utilization`, which makes sense for CPU and memory only; for [`Trigger::check`](crate::Trigger::check).
    pub fn check_external(self, problems: &mut Problems) {
        if self == Self::Utilization {
            problems.error(
                "metricType",
                self.as_str(),
                "'Utilization' metric type is unsupported for external metrics, allowed values are 'Value' or 'AverageValue'",
            );
        }
    }

    /// The word of the HPA's API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AverageValue => "AverageValue",
            Self::Value => "Value",
            Self::Utilization => "Utilization",
        }
    }
}

impl fmt::Display for MetricType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for MetricType {
    type Err = crate::Error;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "" | "AverageValue" => Ok(Self::AverageValue),
            "Value" => Ok(Self::Value),
            "Utilization" => Ok(Self::Utilization),
            other => Err(crate::Error::invalid(format!(
                "metricType {other:?} is not one of AverageValue, Value, Utilization"
            ))),
        }
    }
}

/// One round trip's answer: every value of the trigger, and whether it is active.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// One value for each external [`MetricSpec`] of the trigger, in the same order.
    pub values: Vec<MetricValue>,
    /// Whether the source has work: the value is strictly above the activation threshold.
    pub active: bool,
}

impl Sample {
    /// The sample of a trigger with one metric.
    pub fn single(name: impl Into<String>, value: f64, active: bool) -> Self {
        Self {
            values: vec![MetricValue {
                name: name.into(),
                value,
            }],
            active,
        }
    }
}

/// One measured value.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricValue {
    /// The name of the [`MetricSpec`] that it belongs to, without prefix.
    pub name: String,
    /// The value as measured. It is reported with three decimals; negative, infinite and undefined values as 0.
    pub value: f64,
}

/// How old a sample may be before it is taken again, where nothing else was said.
pub const DEFAULT_SAMPLE_MAX_AGE: Duration = Duration::from_secs(5);

/// Replaces each of `/ . : % ( )` by `-`, as KEDA does in metric names.
#[must_use]
pub fn normalize_name(name: &str) -> String {
    name.chars()
        .map(|c| {
            if matches!(c, '/' | '.' | ':' | '%' | '(' | ')') {
                '-'
            } else {
                c
            }
        })
        .collect()
}

/// The name under which a trigger's metric is published: `s<index>-<name>`.
#[must_use]
pub fn indexed_name(trigger_index: usize, name: &str) -> String {
    format!("s{trigger_index}-{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_2_1_names_are_normalised_and_indexed_as_keda_does() {
        assert_eq!(normalize_name("a/b.c:d%e(f)g"), "a-b-c-d-e-f-g");
        assert_eq!(indexed_name(0, "aws-sqs-my-sqs-keda"), "s0-aws-sqs-my-sqs-keda");
    }
}
