//! ScaledObject: scales anything that has `/scale`.
#![allow(
    unreachable_pub,
    reason = "the schema derive repeats the struct inside a function"
)]

use std::str::FromStr;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscalerBehavior;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ScaledObjectStatus,
    common::{ScaleTrigger, Unknown},
    names,
};
use crate::{Error, MetricType};

/// Which workload is scaled, by which events, within which bounds.
#[allow(clippy::duplicated_attributes, reason = "columns repeat their type")]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "keda.sh",
    version = "v1alpha1",
    kind = "ScaledObject",
    plural = "scaledobjects",
    shortname = "so",
    namespaced,
    status = "ScaledObjectStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "ScaledObject scales a workload by events.",
    printcolumn(
        name = "ScaleTargetKind",
        type_ = "string",
        json_path = ".status.scaleTargetKind"
    ),
    printcolumn(
        name = "ScaleTargetName",
        type_ = "string",
        json_path = ".spec.scaleTargetRef.name"
    ),
    printcolumn(name = "Min", type_ = "integer", json_path = ".spec.minReplicaCount"),
    printcolumn(name = "Max", type_ = "integer", json_path = ".spec.maxReplicaCount"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Active",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Active")].status"#
    ),
    printcolumn(
        name = "Fallback",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Fallback")].status"#
    ),
    printcolumn(
        name = "Paused",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Paused")].status"#
    ),
    printcolumn(name = "Triggers", type_ = "string", json_path = ".status.triggersTypes"),
    printcolumn(
        name = "Authentications",
        type_ = "string",
        json_path = ".status.authenticationsTypes"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new(
    "!has(self.minReplicaCount) || self.minReplicaCount <= (has(self.maxReplicaCount) ? self.maxReplicaCount : 100)"
).message("minReplicaCount must be less than or equal to maxReplicaCount"))]
#[serde(rename_all = "camelCase")]
pub struct ScaledObjectSpec {
    /// What is scaled.
    pub scale_target_ref: ScaleTargetRef,
    /// Seconds between two checks of the triggers; 30 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub polling_interval: Option<i32>,
    /// Seconds after creation before the target may be scaled to zero or idle; 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub initial_cooldown_period: Option<i32>,
    /// Seconds after the last activity before the target is scaled to zero or idle; 300 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub cooldown_period: Option<i32>,
    /// Replicas while there is no activity, if not `minReplicaCount`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub idle_replica_count: Option<i32>,
    /// The least replicas; 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_replica_count: Option<i32>,
    /// The most replicas; 100 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_replica_count: Option<i32>,
    /// Settings of the HPA, formulas, and what happens on deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advanced: Option<Advanced>,
    /// The event sources.
    #[schemars(length(min = 1))]
    pub triggers: Vec<ScaleTrigger>,
    /// What to do while a source fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
    /// Fields of other versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

impl ScaledObjectSpec {
    /// Seconds between two checks of the triggers.
    #[must_use]
    pub fn polling_interval(&self) -> i32 {
        self.polling_interval.unwrap_or(30)
    }

    /// Seconds after creation before the target may be scaled to zero or idle.
    #[must_use]
    pub fn initial_cooldown_period(&self) -> i32 {
        self.initial_cooldown_period.unwrap_or(0)
    }

    /// Seconds after the last activity before the target is scaled to zero or idle.
    #[must_use]
    pub fn cooldown_period(&self) -> i32 {
        self.cooldown_period.unwrap_or(300)
    }

    /// The least replicas.
    #[must_use]
    pub fn min_replica_count(&self) -> i32 {
        self.min_replica_count.unwrap_or(0)
    }

    /// The most replicas.
    #[must_use]
    pub fn max_replica_count(&self) -> i32 {
        self.max_replica_count.unwrap_or(100)
    }

    /// `minReplicas` of the HPA, which cannot be zero.
    #[must_use]
    pub fn hpa_min_replicas(&self) -> i32 {
        self.min_replica_count().max(1)
    }

    /// The formula, where one of its fields is set.
    #[must_use]
    pub fn scaling_modifiers(&self) -> Option<&ScalingModifiers> {
        self.advanced
            .as_ref()?
            .scaling_modifiers
            .as_ref()
            .filter(|modifiers| **modifiers != ScalingModifiers::default())
    }

    /// The settings of the HPA, if there are any.
    #[must_use]
    pub fn horizontal_pod_autoscaler_config(&self) -> Option<&HorizontalPodAutoscalerConfig> {
        self.advanced.as_ref()?.horizontal_pod_autoscaler_config.as_ref()
    }

    /// Whether deletion puts back the replicas that there were at first.
    #[must_use]
    pub fn restores_original_replica_count(&self) -> bool {
        self.advanced
            .as_ref()
            .and_then(|advanced| advanced.restore_to_original_replica_count)
            .unwrap_or(false)
    }
}

impl ScaledObject {
    /// Name of the object's HPA.
    #[must_use]
    pub fn hpa_name(&self) -> String {
        let configured = self
            .spec
            .horizontal_pod_autoscaler_config()
            .and_then(|config| config.name.clone());
        configured.filter(|name| !name.is_empty()).unwrap_or_else(|| {
            format!(
                "{}{}",
                names::HPA_NAME_PREFIX,
                self.metadata.name.as_deref().unwrap_or_default()
            )
        })
    }

    /// Whether [`hpa_name`](Self::hpa_name) is `name`.
    #[must_use]
    pub fn has_hpa_name(&self, name: &str) -> bool {
        let configured = self
            .spec
            .horizontal_pod_autoscaler_config()
            .and_then(|config| config.name.as_deref());
        match configured.filter(|configured| !configured.is_empty()) {
            Some(configured) => configured == name,
            None => {
                name.strip_prefix(names::HPA_NAME_PREFIX)
                    == Some(self.metadata.name.as_deref().unwrap_or_default())
            }
        }
    }

    /// Whether an annotation pauses the object as a whole.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.annotation(names::PAUSED_REPLICAS_ANNOTATION).is_some()
            || self.is_switched_on(names::PAUSED_ANNOTATION)
    }

    /// The replicas to pause at, if the annotation is there: `Some(Err)` where it is not a number.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid), inside the option.
    #[must_use]
    pub fn paused_replicas(&self) -> Option<Result<i32, Error>> {
        let value = self.annotation(names::PAUSED_REPLICAS_ANNOTATION)?;
        let count = value.parse().ok().filter(|count| *count >= 0);
        Some(count.ok_or_else(|| {
            Error::invalid(format!(
                "annotation {} is {value:?}, expected a number of replicas",
                names::PAUSED_REPLICAS_ANNOTATION
            ))
        }))
    }

    /// Whether an annotation forbids scaling in.
    #[must_use]
    pub fn is_scale_in_paused(&self) -> bool {
        self.is_switched_on(names::PAUSED_SCALE_IN_ANNOTATION)
    }

    /// Whether an annotation forbids scaling out.
    #[must_use]
    pub fn is_scale_out_paused(&self) -> bool {
        self.is_switched_on(names::PAUSED_SCALE_OUT_ANNOTATION)
    }

    /// Whether an annotation makes the object active whatever its triggers say.
    #[must_use]
    pub fn is_activation_forced(&self) -> bool {
        self.is_switched_on(names::FORCE_ACTIVATION_ANNOTATION)
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(name).map(String::as_str)
    }

    fn is_switched_on(&self, annotation: &str) -> bool {
        names::is_switched_on(self.metadata.annotations.as_ref(), annotation)
    }
}

/// What is scaled: anything with a `/scale` subresource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaleTargetRef {
    /// Its name.
    #[schemars(length(min = 1))]
    pub name: String,
    /// Its API version; `apps/v1` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Its kind; `Deployment` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The container whose environment `*FromEnv` keys refer to; the first by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_source_container_name: Option<String>,
    /// Fields of other versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

impl ScaleTargetRef {
    /// The API version of the target.
    #[must_use]
    pub fn api_version(&self) -> &str {
        self.api_version
            .as_deref()
            .filter(|version| !version.is_empty())
            .unwrap_or("apps/v1")
    }

    /// The kind of the target.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.kind
            .as_deref()
            .filter(|kind| !kind.is_empty())
            .unwrap_or("Deployment")
    }
}

/// Settings that most objects leave out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Advanced {
    /// Whether deletion puts back the replicas that there were at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_to_original_replica_count: Option<bool>,
    /// Settings of the HPA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub horizontal_pod_autoscaler_config: Option<HorizontalPodAutoscalerConfig>,
    /// A formula over the triggers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling_modifiers: Option<ScalingModifiers>,
    /// Fields of other versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// Settings of the HPA.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HorizontalPodAutoscalerConfig {
    /// Its name; `keda-hpa-<name of the ScaledObject>` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its behaviour, taken over as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior: Option<HorizontalPodAutoscalerBehavior>,
    /// Fields of other versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// A formula that makes one metric of all triggers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScalingModifiers {
    /// The formula, over trigger names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub formula: Option<String>,
    /// The target of its result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The value above which the object is active; 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation_target: Option<String>,
    /// `AverageValue` (the default) or `Value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["AverageValue", "Value"]))]
    pub metric_type: Option<String>,
    /// Fields of other versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

impl ScalingModifiers {
    /// How the target is to be understood, `AverageValue` by default.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for other words.
    pub fn metric_type(&self) -> Result<MetricType, Error> {
        self.metric_type.as_deref().unwrap_or_default().parse()
    }
}

/// What to do while a source fails.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Fallback {
    /// Failures in a row that are borne before falling back.
    #[schemars(range(min = 0))]
    pub failure_threshold: i32,
    /// Replicas to fall back to.
    #[schemars(range(min = 0))]
    pub replicas: i32,
    /// How the replicas to fall back to are found.
    #[serde(default = "static_behavior")]
    #[schemars(extend("enum" = FallbackBehavior::WORDS))]
    pub behavior: String,
    /// Fields of other versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

fn static_behavior() -> String {
    "static".to_owned()
}

impl Fallback {
    /// How the replicas to fall back to are found.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for other words.
    pub fn behavior(&self) -> Result<FallbackBehavior, Error> {
        self.behavior.parse()
    }
}

/// How the replicas to fall back to are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FallbackBehavior {
    /// The configured number.
    #[default]
    Static,
    /// What there is.
    CurrentReplicas,
    /// The greater of both.
    CurrentReplicasIfHigher,
    /// The smaller of both.
    CurrentReplicasIfLower,
    /// The formula's own answer for a missing value.
    ScalingModifiers,
}

impl FallbackBehavior {
    const WORDS: [&'static str; 5] = [
        "static",
        "currentReplicas",
        "currentReplicasIfHigher",
        "currentReplicasIfLower",
        "scalingModifiers",
    ];
}

impl FromStr for FallbackBehavior {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "" | "static" => Ok(Self::Static),
            "currentReplicas" => Ok(Self::CurrentReplicas),
            "currentReplicasIfHigher" => Ok(Self::CurrentReplicasIfHigher),
            "currentReplicasIfLower" => Ok(Self::CurrentReplicasIfLower),
            "scalingModifiers" => Ok(Self::ScalingModifiers),
            other => Err(Error::invalid(format!(
                "fallback.behavior {other:?} is not one of {}",
                Self::WORDS.join(", ")
            ))),
        }
    }
}
