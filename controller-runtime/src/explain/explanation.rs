//! The answer to "why": one value, the same in the process, over HTTP, in a record and as JSON.
//!
//! The JSON form is stable: fields are added, never renamed or given another meaning. docs/explain.md lists them.

use jiff::Timestamp;
use scaler_api::keda::Condition;
use serde::{Deserialize, Serialize};

use crate::{hpa::explain::Computation, scaled_object::decision::Rule};

/// The version of the JSON form.
pub const SCHEMA: &str = "autoscaler.explanation/v1";

/// Why an object is scaled as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Explanation {
    /// [`SCHEMA`].
    pub schema: String,
    /// `ScaledObject` or `ScaledJob`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// When this was asked.
    pub time: Timestamp,
    /// Whether the replica that answers leads; none where that is not known. Others know the triggers, not the decisions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leads: Option<bool>,
    /// Why the object does not run, if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What is not known here, and what was inferred.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What is scaled, within which bounds.
    pub settings: Settings,
    /// The last check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
    /// The triggers, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<Trigger>,
    /// The formula, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub formula: Option<Formula>,
    /// What stands in for sources that fail, if anything does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
    /// What the HPA did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autoscaler: Option<Autoscaler>,
    /// The conditions in the status.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The last decisions, oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<PastDecision>,
}

/// What is scaled, within which bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Settings {
    /// `Kind/name`; empty for a ScaledJob.
    pub target: String,
    /// `minReplicaCount`.
    pub min: i32,
    /// `maxReplicaCount`.
    pub max: i32,
    /// `idleReplicaCount`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<i32>,
    /// Seconds between two checks.
    pub polling_interval: i32,
    /// Seconds from the last activity to rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown_period: Option<i32>,
    /// Seconds from creation to rest, while there was no activity yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_cooldown_period: Option<i32>,
    /// Annotations that change what is done: paused, pausedScaleIn, pausedScaleOut, forceActivation.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub switches: Vec<String>,
    /// The replicas of `paused-replicas`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_replicas: Option<i32>,
}

/// The last check of the triggers, and what it decided.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Check {
    /// When.
    pub at: Timestamp,
    /// The replicas of the target then; of a ScaledJob the Jobs that ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// Which rule decided; a ScaledJob has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
    /// The replicas that were set, or the Jobs that were made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<i32>,
    /// Whether setting them succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub succeeded: Option<bool>,
    /// Why, in words, with the numbers.
    pub reason: String,
    /// When the object was last active; none if it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_active: Option<Timestamp>,
    /// When the cooldown is over; scaling in is allowed from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown_ends: Option<Timestamp>,
    /// Whether that is the initial cooldown.
    pub initial_cooldown: bool,
}

/// How a trigger stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// It has work.
    Active,
    /// It has none.
    Inactive,
    /// Its source fails, and nothing stands in.
    Failed,
    /// Its source fails, and the fallback stands in: it counts as active.
    FallenBack,
    /// It is a matter of the HPA alone (`cpu`, `memory`).
    LeftToHpa,
    /// This process has not asked it.
    #[default]
    Unknown,
}

/// One trigger.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Trigger {
    /// Its place in the object.
    pub index: usize,
    /// Its type.
    #[serde(rename = "type")]
    pub trigger_type: String,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How it stands.
    pub state: State,
    /// Its metrics, with the last values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<Metric>,
    /// Above what it is active, as in its metadata (`activationQueueLength 5`); none where it does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation: Option<String>,
    /// Why its source fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// How many samples failed in a row; of a ScaledObject counted up to one above the fallback's threshold, of a ScaledJob
    /// since this process leads.
    pub failures: i32,
    /// When the last sample was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampled_at: Option<Timestamp>,
    /// Whether the HPA gets the last poll's sample (`useCachedMetrics`) or one of its own when that is too old.
    pub cached: bool,
}

/// One metric of a trigger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metric {
    /// The name that the HPA asks by.
    pub name: String,
    /// The last value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// `AverageValue` (per replica), `Value` (in total) or `Utilization`.
    pub target_type: String,
    /// What the HPA is told instead of a value while the fallback is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reported_instead: Option<String>,
}

/// `scalingModifiers`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Formula {
    /// The formula.
    pub formula: String,
    /// What each trigger gives to it; none is nil.
    pub inputs: Vec<(String, Option<String>)>,
    /// What it comes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// Why it comes to nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The target of the result, per replica or in total.
    pub target: String,
    /// `AverageValue` or `Value`.
    pub target_type: String,
    /// Above what it is active.
    pub activation_target: String,
    /// How it stands.
    pub state: State,
    /// What the HPA is told instead of the result while the fallback is in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reported_instead: Option<String>,
}

/// `fallback`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Fallback {
    /// Failures in a row that are borne: one more and it is in force.
    pub failure_threshold: i32,
    /// Replicas to fall back to.
    pub replicas: i32,
    /// How they are combined with those that there are.
    pub behavior: String,
    /// Whether it is in force for any metric.
    pub in_force: bool,
    /// To how many replicas it comes now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comes_to: Option<i32>,
}

/// Whose numbers the HPA's are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// The run itself: the HPA controller is in this process.
    Computed,
    /// Computed again from what the HPA's status says and what was watched of it.
    #[default]
    Inferred,
}

/// The HPA.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Autoscaler {
    /// Its name.
    pub name: String,
    /// Whether it is there.
    pub exists: bool,
    /// `minReplicas`.
    pub min: i32,
    /// `maxReplicas`.
    pub max: i32,
    /// The replicas at its last run.
    pub current: i32,
    /// The replicas that it wants.
    pub desired: i32,
    /// When it last changed them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_scale_time: Option<Timestamp>,
    /// What its conditions say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<HpaCondition>,
    /// Whose the computation is.
    pub origin: Origin,
    /// The last run, step by step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub computation: Option<Computation>,
    /// Where the HPA's status says something else than the computation that was inferred.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<String>,
}

/// One condition of an HPA.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HpaCondition {
    /// `AbleToScale`, `ScalingActive` or `ScalingLimited`.
    #[serde(rename = "type")]
    pub condition_type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, in one word.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// A decision of the past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PastDecision {
    /// When.
    pub time: Timestamp,
    /// Who decided.
    pub controller: String,
    /// What was; empty where there was nothing.
    pub from: String,
    /// What was to be.
    pub to: String,
    /// Why, in words.
    pub reason: String,
}
