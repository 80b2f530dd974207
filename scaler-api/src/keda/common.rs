//! What ScaledObjects and ScaledJobs share.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, MetricType};

/// Fields that this version does not know; they are kept as they came.
pub type Unknown = BTreeMap<String, serde_json::Value>;

/// One event source of a ScaledObject or ScaledJob.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaleTrigger {
    /// The kind of source, e.g. `aws-sqs-queue`.
    #[serde(rename = "type")]
    #[schemars(length(min = 1))]
    pub trigger_type: String,
    /// A name, unique in the object; formulas refer to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The settings of the source; values are strings.
    pub metadata: BTreeMap<String, String>,
    /// Whether HPA queries are answered from the last poll.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_cached_metrics: Option<bool>,
    /// `AverageValue` (the default), `Value` or, for `cpu` and `memory`, `Utilization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric_type: Option<String>,
    /// Where credentials come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication_ref: Option<AuthenticationRef>,
    /// Fields of other versions.
    #[serde(flatten)]
    #[schemars(skip)]
    pub unknown: Unknown,
}

impl ScaleTrigger {
    /// The name, where it is not empty.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref().filter(|name| !name.is_empty())
    }

    /// Whether HPA queries are answered from the last poll; not by default.
    #[must_use]
    pub fn use_cached_metrics(&self) -> bool {
        self.use_cached_metrics.unwrap_or(false)
    }

    /// How the target is to be understood, `AverageValue` by default.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) for other words.
    pub fn metric_type(&self) -> Result<MetricType, Error> {
        self.metric_type.as_deref().unwrap_or_default().parse()
    }
}

/// Names a TriggerAuthentication or ClusterTriggerAuthentication.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuthenticationRef {
    /// Its name.
    pub name: String,
    /// `TriggerAuthentication` (the default, in the object's namespace) or `ClusterTriggerAuthentication`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["TriggerAuthentication", "ClusterTriggerAuthentication"]))]
    pub kind: Option<String>,
}

impl AuthenticationRef {
    /// The kind, `TriggerAuthentication` by default.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.kind
            .as_deref()
            .filter(|kind| !kind.is_empty())
            .unwrap_or("TriggerAuthentication")
    }

    /// Whether a ClusterTriggerAuthentication is meant.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        self.kind() == "ClusterTriggerAuthentication"
    }
}

/// One condition of an object's status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Ready`, `Active`, `Fallback`, `Paused`, ...
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, as one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Condition {
    /// A condition with a reason and a message.
    pub fn new(
        type_: impl Into<String>,
        status: impl Into<String>,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            type_: type_.into(),
            status: status.into(),
            reason: Some(reason.into()),
            message: Some(message.into()),
        }
    }

    /// Whether the status is `True`.
    #[must_use]
    pub fn is_true(&self) -> bool {
        self.status == "True"
    }
}

/// The condition of a type, if it is there.
#[must_use]
pub fn condition<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Whether one trigger is active.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TriggerActivity {
    /// Whether its source has work.
    #[serde(default)]
    #[schemars(!default)]
    pub is_active: bool,
}
