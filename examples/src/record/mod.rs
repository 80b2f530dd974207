//! The record of a run: what happened, when and why, as JSON.

mod observer;

use controller_runtime::explain::Explanation;
pub use observer::{Observer, PriceList};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Everything that is known of a run. Times are seconds since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The scenario's name.
    pub scenario: String,
    /// The seed; the same seed gives the same record but for `wallSeconds`.
    pub seed: u64,
    /// What the cluster's clock shows at 0.
    pub start: String,
    /// How long the run lasted on the cluster's clock.
    pub virtual_seconds: f64,
    /// How long it took.
    pub wall_seconds: f64,
    /// What became of the messages.
    pub messages: Messages,
    /// Desired replicas of the first workload.
    pub replicas: Replicas,
    /// Every scaled workload.
    pub workloads: Vec<Workload>,
    /// The most pods at once that found no node.
    pub peak_pending_pods: usize,
    /// Nodes.
    pub nodes: Nodes,
    /// When the first workload first had more ready pods than at the start.
    pub first_pod_seconds: Option<f64>,
    /// When the first bought node was Ready.
    pub first_node_seconds: Option<f64>,
    /// What all nodes cost.
    pub cost: Cost,
    /// An entry at every change.
    pub timeline: Vec<Moment>,
    /// Every decision, with its reason.
    pub decisions: Vec<DecisionEntry>,
    /// Every Kubernetes event.
    pub events: Vec<EventEntry>,
    /// Each ScaledObject, ScaledJob, HPA, NodePool and NodeClaim whenever its spec or conditions changed.
    pub objects: Vec<ObjectEntry>,
    /// Why each ScaledObject and ScaledJob was scaled as it was, after each decision and at the end; without the
    /// decisions, which are above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub explanations: Vec<ExplanationEntry>,
}

/// An explanation at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplanationEntry {
    /// Since the start, in milliseconds on the wire as seconds.
    #[serde(with = "seconds")]
    pub t: u64,
    /// What was so then.
    pub explanation: Explanation,
}

/// What became of the messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Messages {
    /// Sent by producers.
    pub sent: u64,
    /// Distinct messages written to the table.
    pub processed: u64,
    /// Rows beyond the first of a message.
    pub duplicates: u64,
    /// Neither written nor in a queue at the end.
    pub lost: u64,
}

/// Desired replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Replicas {
    /// At the start.
    pub initial: i64,
    /// At most.
    pub peak: i64,
    /// At the end.
    #[serde(rename = "final")]
    pub last: i64,
}

/// A scaled workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    /// `Kind namespace/name`.
    pub object: String,
    /// Its desired replicas.
    pub replicas: Replicas,
    /// Each number it went through, with the time.
    pub steps: Vec<(f64, i64)>,
}

/// Nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Nodes {
    /// At the start.
    pub initial: usize,
    /// The most bought ones at once.
    pub peak_bought: usize,
    /// Bought ones at the end.
    pub final_bought: usize,
}

/// Money.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Over the whole run, every node whose price is known.
    pub total: f64,
    /// ISO 4217.
    pub currency: String,
}

/// How things stand from a time on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Moment {
    /// Since the start.
    pub t: f64,
    /// Messages in all queues, in flight or not.
    pub queue: u64,
    /// Desired replicas of the first workload.
    pub desired: i64,
    /// Its ready pods.
    pub ready: i64,
    /// Pods that found no node.
    pub pending: usize,
    /// Nodes.
    pub nodes: usize,
    /// Bought nodes by type.
    pub bought: std::collections::BTreeMap<String, usize>,
    /// Share of the bought nodes' cpu that pods request, 0 to 1.
    pub fill: f64,
    /// Of every node whose price is known.
    pub price_per_hour: f64,
}

impl Moment {
    /// Whether both say the same, whenever.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        Self {
            t: other.t,
            ..self.clone()
        } == *other
    }
}

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionEntry {
    /// Since the start, in milliseconds on the wire as seconds.
    #[serde(with = "seconds")]
    pub t: u64,
    /// Who decided.
    pub controller: String,
    /// About what.
    pub object: String,
    /// What was.
    pub from: String,
    /// What is to be.
    pub to: String,
    /// Why.
    pub reason: String,
}

/// A Kubernetes event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventEntry {
    /// Since the start, in milliseconds on the wire as seconds.
    #[serde(with = "seconds")]
    pub t: u64,
    /// Normal or Warning.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The reason.
    pub reason: String,
    /// `Kind namespace/name`.
    pub object: String,
    /// In words.
    pub message: String,
    /// Who said it.
    #[serde(default)]
    pub component: String,
    /// How many times it was said without anything else in between.
    #[serde(default)]
    pub count: u32,
    /// When it was last said.
    #[serde(with = "seconds", default)]
    pub last: u64,
}

impl EventEntry {
    /// Whether `other` says the same of the same object.
    #[must_use]
    pub fn says_as(&self, other: &Self) -> bool {
        let said = |event: &Self| {
            (
                event.component.clone(),
                event.object.clone(),
                event.event_type.clone(),
                event.reason.clone(),
                event.message.clone(),
            )
        };
        said(self) == said(other)
    }
}

/// An object at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectEntry {
    /// Since the start, in milliseconds on the wire as seconds.
    #[serde(with = "seconds")]
    pub t: u64,
    /// The whole object.
    pub object: Value,
}

/// Milliseconds, as seconds with a fraction on the wire.
mod seconds {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(milliseconds: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        super::to_seconds(*milliseconds).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        Ok(
            std::time::Duration::try_from_secs_f64(seconds).map_or(0, |duration| {
                u64::try_from((duration.as_micros() + 500) / 1000).unwrap_or(u64::MAX)
            }),
        )
    }
}

/// Milliseconds as seconds.
#[must_use]
pub fn to_seconds(milliseconds: u64) -> f64 {
    std::time::Duration::from_millis(milliseconds).as_secs_f64()
}
