//! ScaledJob: makes Jobs by events.
#![allow(
    unreachable_pub,
    reason = "the schema derive repeats the struct inside a function"
)]

use std::{collections::BTreeMap, str::FromStr};

use k8s_openapi::{api::batch::v1::JobSpec, apimachinery::pkg::apis::meta::v1::Time};
use kube::{CustomResource, KubeSchema};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    common::{Condition, ScaleTrigger, TriggerActivity, Unknown},
    names,
};
use crate::Error;

/// Which Jobs are made, by which events, within which bounds.
#[allow(clippy::duplicated_attributes, reason = "columns repeat their type")]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "keda.sh",
    version = "v1alpha1",
    kind = "ScaledJob",
    plural = "scaledjobs",
    shortname = "sj",
    namespaced,
    status = "ScaledJobStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "ScaledJob makes Jobs by events.",
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
#[serde(rename_all = "camelCase")]
pub struct ScaledJobSpec {
    /// The Jobs that are made.
    #[schemars(schema_with = "job_schema")]
    pub job_target_ref: JobSpec,
    /// Seconds between two checks of the triggers; 30 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub polling_interval: Option<i32>,
    /// Complete Jobs that are kept; 100 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub successful_jobs_history_limit: Option<i32>,
    /// Failed Jobs that are kept; 100 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub failed_jobs_history_limit: Option<i32>,
    /// The older spelling of `rollout.strategy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["gradual", "immediate"]))]
    pub rollout_strategy: Option<String>,
    /// What a change of the spec does to running Jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// The container whose environment `*FromEnv` keys refer to; the first by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_source_container_name: Option<String>,
    /// Jobs that always run; 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_replica_count: Option<i32>,
    /// Jobs that run at most; 100 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_replica_count: Option<i32>,
    /// How many Jobs a queue's length makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling_strategy: Option<ScalingStrategy>,
    /// The event sources.
    #[schemars(length(min = 1))]
    pub triggers: Vec<ScaleTrigger>,
    /// Fields of other versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// A Job's schema without what Kubernetes says about its fields: with that the definition would be too long for
/// `kubectl apply`, which keeps it in an annotation.
fn job_schema(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = JobSpec::json_schema(generator).to_value();
    drop_descriptions(&mut schema);
    if let Some(fields) = schema.as_object_mut() {
        fields.insert("description".to_owned(), "The Jobs that are made.".into());
    }
    // The schema of an object can be nothing else than a schema.
    Schema::try_from(schema).unwrap_or_default()
}

fn drop_descriptions(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else {
        return;
    };
    fields.remove("description");
    for keyword in ["properties", "patternProperties"] {
        let properties = fields.get_mut(keyword).and_then(Value::as_object_mut);
        properties
            .into_iter()
            .flat_map(|properties| properties.values_mut())
            .for_each(drop_descriptions);
    }
    for keyword in ["items", "additionalProperties"] {
        fields.get_mut(keyword).into_iter().for_each(drop_descriptions);
    }
    for keyword in ["allOf", "anyOf", "oneOf"] {
        let parts = fields.get_mut(keyword).and_then(Value::as_array_mut);
        parts.into_iter().flatten().for_each(drop_descriptions);
    }
}

impl ScaledJobSpec {
    /// Seconds between two checks of the triggers.
    #[must_use]
    pub fn polling_interval(&self) -> i32 {
        self.polling_interval.unwrap_or(30)
    }

    /// Complete Jobs that are kept.
    #[must_use]
    pub fn successful_jobs_history_limit(&self) -> i32 {
        self.successful_jobs_history_limit.unwrap_or(100)
    }

    /// Failed Jobs that are kept.
    #[must_use]
    pub fn failed_jobs_history_limit(&self) -> i32 {
        self.failed_jobs_history_limit.unwrap_or(100)
    }

    /// Jobs that run at most, those of the minimum included.
    #[must_use]
    pub fn max_replica_count(&self) -> i32 {
        self.max_replica_count.unwrap_or(100)
    }

    /// Jobs that always run, never more than the maximum.
    #[must_use]
    pub fn min_replica_count(&self) -> i32 {
        self.min_replica_count.unwrap_or(0).min(self.max_replica_count())
    }

    /// What a change of the spec does to running Jobs.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for other words.
    pub fn rollout_strategy(&self) -> Result<RolloutStrategy, Error> {
        let newer = self
            .rollout
            .as_ref()
            .and_then(|rollout| rollout.strategy.as_deref());
        newer
            .filter(|word| !word.is_empty())
            .or(self.rollout_strategy.as_deref())
            .unwrap_or_default()
            .parse()
    }

    /// How many Jobs a queue's length makes.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for other words.
    pub fn scaling_strategy_kind(&self) -> Result<ScalingStrategyKind, Error> {
        let strategy = self
            .scaling_strategy
            .as_ref()
            .and_then(|strategy| strategy.strategy.as_deref());
        strategy.unwrap_or_default().parse()
    }

    /// How several triggers make one queue length.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for other words.
    pub fn multiple_scalers_calculation(&self) -> Result<MultipleScalersCalculation, Error> {
        let word = self
            .scaling_strategy
            .as_ref()
            .and_then(|strategy| strategy.multiple_scalers_calculation.as_deref());
        word.unwrap_or_default().parse()
    }
}

impl ScaledJob {
    /// Whether an annotation pauses the object.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        names::is_switched_on(self.metadata.annotations.as_ref(), names::PAUSED_ANNOTATION)
    }
}

/// What a change of the spec does to running Jobs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// See [`RolloutStrategy`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["gradual", "immediate"]))]
    pub strategy: Option<String>,
    /// How Jobs are deleted: `background` (the default) or `foreground`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["foreground", "background"]))]
    pub propagation_policy: Option<String>,
    /// Fields of other versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// How many Jobs a queue's length makes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScalingStrategy {
    /// See [`ScalingStrategyKind`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["default", "custom", "accurate", "eager"]))]
    pub strategy: Option<String>,
    /// With `custom`: taken off the queue's length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_scaling_queue_length_deduction: Option<i32>,
    /// With `custom`: the share of running Jobs that is taken off, a number as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_scaling_running_job_percentage: Option<String>,
    /// Conditions of a pod without which its Job counts as pending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_pod_conditions: Option<Vec<String>>,
    /// See [`MultipleScalersCalculation`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["max", "min", "avg", "sum"]))]
    pub multiple_scalers_calculation: Option<String>,
    /// Fields of other versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

/// What a change of the spec does to running Jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RolloutStrategy {
    /// Jobs of the former spec are deleted.
    #[default]
    Immediate,
    /// They run to their end.
    Gradual,
}

impl FromStr for RolloutStrategy {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "" | "default" | "immediate" => Ok(Self::Immediate),
            "gradual" => Ok(Self::Gradual),
            other => Err(unknown_word("rollout.strategy", other, "immediate, gradual")),
        }
    }
}

/// How many Jobs a queue's length makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ScalingStrategyKind {
    /// The queue's length less what runs.
    #[default]
    Default,
    /// The queue's length less a deduction and a share of what runs.
    Custom,
    /// The queue's length less what is pending: for sources that hide messages in flight.
    Accurate,
    /// As many as there may be.
    Eager,
}

impl FromStr for ScalingStrategyKind {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "" | "default" => Ok(Self::Default),
            "custom" => Ok(Self::Custom),
            "accurate" => Ok(Self::Accurate),
            "eager" => Ok(Self::Eager),
            other => Err(unknown_word(
                "scalingStrategy.strategy",
                other,
                "default, custom, accurate, eager",
            )),
        }
    }
}

/// How several triggers make one queue length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MultipleScalersCalculation {
    /// The longest.
    #[default]
    Max,
    /// The shortest.
    Min,
    /// The mean.
    Avg,
    /// All together.
    Sum,
}

impl FromStr for MultipleScalersCalculation {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "" | "max" => Ok(Self::Max),
            "min" => Ok(Self::Min),
            "avg" => Ok(Self::Avg),
            "sum" => Ok(Self::Sum),
            other => Err(unknown_word(
                "scalingStrategy.multipleScalersCalculation",
                other,
                "max, min, avg, sum",
            )),
        }
    }
}

fn unknown_word(field: &str, word: &str, expected: &str) -> Error {
    Error::invalid(format!("{field} {word:?} is not one of {expected}"))
}

/// What the controller found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaledJobStatus {
    /// When the object was last active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_active_time: Option<Time>,
    /// `Ready`, `Active`, `Paused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Vec<Condition>>,
    /// Whether the object is paused, as text.
    #[serde(default, rename = "Paused", skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// The types of the triggers, comma-separated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triggers_types: Option<String>,
    /// The authentications of the triggers, comma-separated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentications_types: Option<String>,
    /// The external metrics of the triggers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_metric_names: Option<Vec<String>>,
    /// By metric: whether its trigger is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triggers_activity: Option<BTreeMap<String, TriggerActivity>>,
    /// Fields of other versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

impl ScaledJobStatus {
    /// The condition of a type, if it is there.
    #[must_use]
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        super::condition(self.conditions.as_deref().unwrap_or_default(), type_)
    }
}
