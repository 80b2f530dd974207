//! What is asked of the algorithm: `HorizontalPodAutoscalerSpec` of `autoscaling/v2`, with quantities in milli-units.
//!
//! These types mirror the API instead of using `k8s_openapi`'s, so that the library does not depend on the Kubernetes
//! version that a binary chose, and so that an engine without an HPA object can fill them in.

use scaler_api::Quantity;
use serde::{Deserialize, Deserializer};

use super::label_selector::LabelSelector;

/// The specification of one autoscaler.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// What is scaled.
    pub scale_target_ref: CrossVersionObjectReference,
    /// The lowest number of replicas; 1 if unset.
    pub min_replicas: Option<i32>,
    /// The highest number of replicas.
    pub max_replicas: i32,
    /// What is measured, and the target of each.
    #[serde(default, deserialize_with = "null_as_default")]
    pub metrics: Vec<Metric>,
    /// How fast and how far it may scale; the old rules if unset.
    pub behavior: Option<Behavior>,
}

impl Spec {
    /// The specification in a HorizontalPodAutoscaler's `spec`, with the API server's defaults.
    ///
    /// # Errors
    /// If a field has the wrong type or a metric lacks the part that its type names.
    pub fn from_value(value: &serde_json::Value) -> Result<Self, serde_json::Error> {
        let mut spec = Self::deserialize(value)?;
        if spec.metrics.is_empty() {
            spec.metrics.push(Metric::Resource(ResourceMetric {
                name: "cpu".to_owned(),
                target: Target::utilization(DEFAULT_CPU_UTILIZATION),
            }));
        }
        Ok(spec)
    }

    /// The lowest number of replicas.
    #[must_use]
    pub fn min_replicas(&self) -> i32 {
        self.min_replicas.unwrap_or(1)
    }
}

/// The target of an autoscaler that names no metric: percent of the CPU requests.
pub const DEFAULT_CPU_UTILIZATION: i32 = 80;

/// Names an object of any kind in the autoscaler's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CrossVersionObjectReference {
    /// Group and version, e.g. `apps/v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// The kind, e.g. `Deployment`.
    pub kind: String,
    /// The name.
    pub name: String,
}

/// One entry of `spec.metrics`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "RawMetric")]
pub enum Metric {
    /// A metric from outside the cluster, summed over its series.
    External(ExternalMetric),
    /// A metric of one object of the cluster.
    Object(ObjectMetric),
    /// A custom metric of each pod of the target.
    Pods(PodsMetric),
    /// CPU or memory of the target's pods.
    Resource(ResourceMetric),
    /// CPU or memory of one container of the target's pods.
    ContainerResource(ContainerResourceMetric),
    /// A type that this version does not know. It is always invalid.
    Unknown(String),
}

/// Name and series of a custom or external metric.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
pub struct MetricIdentifier {
    /// The name.
    pub name: String,
    /// Which series.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// See [`Metric::External`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ExternalMetric {
    /// Which metric.
    pub metric: MetricIdentifier,
    /// `Value` or `AverageValue`.
    pub target: Target,
}

/// See [`Metric::Object`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectMetric {
    /// The object.
    pub described_object: CrossVersionObjectReference,
    /// Which metric of it.
    pub metric: MetricIdentifier,
    /// `Value` or `AverageValue`.
    pub target: Target,
}

/// See [`Metric::Pods`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PodsMetric {
    /// Which metric.
    pub metric: MetricIdentifier,
    /// `AverageValue`.
    pub target: Target,
}

/// See [`Metric::Resource`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ResourceMetric {
    /// `cpu`, `memory` or another resource.
    pub name: String,
    /// `Utilization` or `AverageValue`.
    pub target: Target,
}

/// See [`Metric::ContainerResource`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ContainerResourceMetric {
    /// `cpu`, `memory` or another resource.
    pub name: String,
    /// The container's name.
    pub container: String,
    /// `Utilization` or `AverageValue`.
    pub target: Target,
}

/// The value that a metric should have. Exactly one field is set in a valid object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Which of the fields counts.
    #[serde(rename = "type", default)]
    pub target_type: TargetType,
    /// In total, in thousandths.
    #[serde(default, deserialize_with = "optional_millis")]
    pub value: Option<i64>,
    /// Per replica, in thousandths.
    #[serde(default, deserialize_with = "optional_millis")]
    pub average_value: Option<i64>,
    /// In percent of the requests.
    #[serde(default)]
    pub average_utilization: Option<i32>,
}

/// How a [`Target`] is to be understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum TargetType {
    /// In total.
    Value,
    /// Per replica.
    #[default]
    AverageValue,
    /// In percent of the requests.
    Utilization,
}

impl Target {
    /// So many thousandths in total.
    #[must_use]
    pub fn value(millis: i64) -> Self {
        Self {
            target_type: TargetType::Value,
            value: Some(millis),
            ..Self::default()
        }
    }

    /// So many thousandths per replica.
    #[must_use]
    pub fn average_value(millis: i64) -> Self {
        Self {
            average_value: Some(millis),
            ..Self::default()
        }
    }

    /// So many percent of the requests.
    #[must_use]
    pub fn utilization(percent: i32) -> Self {
        Self {
            target_type: TargetType::Utilization,
            average_utilization: Some(percent),
            ..Self::default()
        }
    }
}

/// How the number of replicas may change (`spec.behavior`).
///
/// A direction that is not written has the API's default rules: up at once by 4 pods or 100 % every 15 s, whichever is
/// more; down by 100 % every 15 s after the downscale stabilisation window.
#[derive(Clone, Debug, PartialEq)]
pub struct Behavior {
    /// When scaling up.
    pub scale_up: ScalingRules,
    /// When scaling down.
    pub scale_down: ScalingRules,
}

impl Default for Behavior {
    fn default() -> Self {
        Self {
            scale_up: ScalingRules::default_up(),
            scale_down: ScalingRules::default_down(),
        }
    }
}

/// The rules of one direction.
#[derive(Clone, Debug, PartialEq)]
pub struct ScalingRules {
    /// How long recommendations are looked back at. If unset, 0 upwards and the configured window downwards.
    pub stabilization_window_seconds: Option<i32>,
    /// Which policy counts.
    pub select_policy: SelectPolicy,
    /// How much may change in how long a time.
    pub policies: Vec<Policy>,
    /// Ratio by which a metric may miss its target without a change; the configured one if unset.
    pub tolerance: Option<f64>,
}

/// Which of several policies counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum SelectPolicy {
    /// The one that allows the largest change.
    #[default]
    Max,
    /// The one that allows the smallest change.
    Min,
    /// None: this direction is switched off.
    Disabled,
}

/// A limit to the change within a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// Unit of the value.
    #[serde(rename = "type")]
    pub policy_type: PolicyType,
    /// Pods or percent.
    pub value: i32,
    /// The period, in seconds.
    pub period_seconds: i32,
}

/// The unit of a [`Policy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum PolicyType {
    /// A number of pods.
    Pods,
    /// Percent of the replicas at the start of the period.
    Percent,
}

impl Policy {
    /// So many pods in so many seconds.
    #[must_use]
    pub const fn pods(value: i32, period_seconds: i32) -> Self {
        Self {
            policy_type: PolicyType::Pods,
            value,
            period_seconds,
        }
    }

    /// So many percent in so many seconds.
    #[must_use]
    pub const fn percent(value: i32, period_seconds: i32) -> Self {
        Self {
            policy_type: PolicyType::Percent,
            value,
            period_seconds,
        }
    }
}

impl ScalingRules {
    /// The API's default upwards.
    #[must_use]
    pub fn default_up() -> Self {
        Self {
            stabilization_window_seconds: Some(0),
            select_policy: SelectPolicy::Max,
            policies: vec![Policy::pods(4, 15), Policy::percent(100, 15)],
            tolerance: None,
        }
    }

    /// The API's default downwards.
    #[must_use]
    pub fn default_down() -> Self {
        Self {
            stabilization_window_seconds: None,
            select_policy: SelectPolicy::Max,
            policies: vec![Policy::percent(100, 15)],
            tolerance: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMetric {
    #[serde(rename = "type")]
    metric_type: String,
    external: Option<ExternalMetric>,
    object: Option<ObjectMetric>,
    pods: Option<PodsMetric>,
    resource: Option<ResourceMetric>,
    container_resource: Option<ContainerResourceMetric>,
}

impl TryFrom<RawMetric> for Metric {
    type Error = String;

    fn try_from(raw: RawMetric) -> Result<Self, String> {
        let metric = match raw.metric_type.as_str() {
            "External" => raw.external.map(Self::External),
            "Object" => raw.object.map(Self::Object),
            "Pods" => raw.pods.map(Self::Pods),
            "Resource" => raw.resource.map(Self::Resource),
            "ContainerResource" => raw.container_resource.map(Self::ContainerResource),
            other => return Ok(Self::Unknown(other.to_owned())),
        };
        metric.ok_or_else(|| format!("metric of type {} lacks the field of that name", raw.metric_type))
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawRules {
    stabilization_window_seconds: Option<i32>,
    select_policy: Option<SelectPolicy>,
    policies: Option<Vec<Policy>>,
    tolerance: Option<Quantity>,
}

impl RawRules {
    fn over(self, default: ScalingRules) -> ScalingRules {
        ScalingRules {
            stabilization_window_seconds: self
                .stabilization_window_seconds
                .or(default.stabilization_window_seconds),
            select_policy: self.select_policy.unwrap_or(default.select_policy),
            policies: self.policies.unwrap_or(default.policies),
            tolerance: self.tolerance.map(|tolerance| tolerance.as_f64()),
        }
    }
}

impl<'de> Deserialize<'de> for Behavior {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Raw {
            scale_up: Option<RawRules>,
            scale_down: Option<RawRules>,
        }
        let raw = Raw::deserialize(deserializer)?;
        let up = raw.scale_up.unwrap_or_default().over(ScalingRules::default_up());
        let down = raw
            .scale_down
            .unwrap_or_default()
            .over(ScalingRules::default_down());
        Ok(Self {
            scale_up: up,
            scale_down: down,
        })
    }
}

fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn optional_millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Ok(Option::<Quantity>::deserialize(deserializer)?.map(|quantity| quantity.milli_value()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_spec_is_read_with_the_defaults_of_the_api() {
        let spec = Spec::from_value(&json!({
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
            "minReplicas": null,
            "maxReplicas": 3,
            "metrics": [
                {
                    "type": "External",
                    "external": {
                        "metric": { "name": "s0-cron", "selector": { "matchLabels": { "a": "b" } } },
                        "target": { "type": "AverageValue", "averageValue": "1500m" },
                    },
                },
                { "type": "Resource", "resource": { "name": "memory", "target": { "type": "AverageValue", "averageValue": "1Ki" } } },
                { "type": "CheddarCheese" },
            ],
            "behavior": { "scaleDown": { "selectPolicy": "Disabled", "tolerance": "50m" } },
        }))
        .unwrap();
        assert_eq!((spec.min_replicas(), spec.max_replicas), (1, 3));
        let [
            Metric::External(external),
            Metric::Resource(memory),
            Metric::Unknown(unknown),
        ] = &spec.metrics[..]
        else {
            panic!("{:?}", spec.metrics);
        };
        assert_eq!(external.target, Target::average_value(1500));
        assert_eq!(external.metric.selector, Some(LabelSelector::of("a", "b")));
        assert_eq!(memory.target, Target::average_value(1_024_000));
        assert_eq!(unknown, "CheddarCheese");
        let behavior = spec.behavior.unwrap();
        assert_eq!(behavior.scale_up, ScalingRules::default_up());
        assert_eq!(
            behavior.scale_down,
            ScalingRules {
                select_policy: SelectPolicy::Disabled,
                tolerance: Some(0.05),
                ..ScalingRules::default_down()
            }
        );
    }

    #[test]
    fn a_spec_without_metrics_scales_on_cpu() {
        let spec = Spec::from_value(&json!({
            "scaleTargetRef": { "kind": "Deployment", "name": "web" }, "maxReplicas": 3, "metrics": [],
        }))
        .unwrap();
        let cpu = ResourceMetric {
            name: "cpu".into(),
            target: Target::utilization(80),
        };
        assert_eq!(spec.metrics, [Metric::Resource(cpu)]);
        assert_eq!(spec.behavior, None);
    }

    #[test]
    fn a_metric_without_the_part_that_its_type_names_is_refused() {
        let error = Spec::from_value(&json!({
            "scaleTargetRef": { "kind": "Deployment", "name": "web" }, "maxReplicas": 3,
            "metrics": [{ "type": "External" }],
        }))
        .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("metric of type External lacks the field of that name"),
            "{error}"
        );
    }
}
