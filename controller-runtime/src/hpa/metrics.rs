//! From the metrics of a specification and what was read of them to one proposal.
//!
//! The largest proposal wins. A metric that could not be read never counts as zero: while any is invalid, the others may
//! scale up but not down.

use jiff::Timestamp;

use super::{
    Config,
    pods::{Pod, PodSamples, PodUsage},
    replicas::{PodContext, Proposal, Tolerances, by_value},
    sources,
    spec::Spec,
    status::MetricStatus,
};

/// What was read of one metric of the specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The series of an [external metric](super::spec::Metric::External), in thousandths.
    External(Vec<i64>),
    /// The value of an [object's metric](super::spec::Metric::Object), in thousandths.
    Object(i64),
    /// The values of a [custom metric of pods](super::spec::Metric::Pods).
    Pods(PodSamples),
    /// What the pods use, for [resources](super::spec::Metric::Resource) of pods or containers.
    Resource(Vec<PodUsage>),
    /// It could not be read: the message of the error, e.g. of the server's `Status`.
    Failed(String),
}

/// A metric's share in the decision.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MetricProposal {
    pub(super) replicas: i32,
    pub(super) name: String,
    pub(super) status: MetricStatus,
}

/// A metric that asks for nothing because something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InvalidMetric {
    /// Of the condition and the event.
    pub(super) reason: &'static str,
    /// Of the event, and at the end of the condition's message.
    pub(super) error: String,
    /// The same with what was being done around it.
    pub(super) wrapped: String,
}

impl InvalidMetric {
    pub(super) fn new(
        reason: &'static str,
        error: impl Into<String>,
        wrap: impl FnOnce(&str) -> String,
    ) -> Self {
        let error = error.into();
        Self {
            reason,
            wrapped: wrap(&error),
            error,
        }
    }
}

/// What every metric is computed from besides its reading.
#[derive(Clone, Copy, Debug)]
pub(super) struct MetricContext<'a> {
    pub(super) namespace: &'a str,
    pub(super) spec_replicas: i32,
    pub(super) status_replicas: i32,
    pub(super) pods: &'a [Pod],
    pub(super) tolerances: Tolerances,
    pub(super) config: &'a Config,
    pub(super) now: Timestamp,
}

impl MetricContext<'_> {
    pub(super) fn by_value(&self, usage: i64, target: i64) -> Result<Proposal, String> {
        by_value(self.spec_replicas, usage, target, self.pods, self.tolerances)
            .map_err(|error| error.to_string())
    }

    pub(super) fn pod_context(&self) -> PodContext<'_> {
        PodContext {
            pods: self.pods,
            tolerances: self.tolerances,
            config: self.config,
            now: self.now,
        }
    }
}

/// All metrics together.
#[derive(Clone, Debug)]
pub(super) struct Proposals {
    /// The largest proposal and the name of its metric; nothing if the replicas are to be held.
    pub(super) best: Option<(i32, String)>,
    /// One for each metric of the specification.
    pub(super) statuses: Vec<MetricStatus>,
    /// Those that are wrong, in order.
    pub(super) invalid: Vec<InvalidMetric>,
}

impl Proposals {
    /// The error over all metrics, if any is invalid.
    pub(super) fn error(&self, metrics: usize) -> Option<String> {
        let first = self.invalid.first()?;
        let count = self.invalid.len();
        Some(format!(
            "invalid metrics ({count} invalid out of {metrics}), first error is: {}",
            first.wrapped
        ))
    }
}

/// Computes every metric of `spec`; a metric without a reading is invalid.
pub(super) fn propose(spec: &Spec, readings: &[Reading], context: &MetricContext<'_>) -> Proposals {
    let mut best: Option<(i32, String)> = None;
    let mut statuses = vec![MetricStatus::default(); spec.metrics.len()];
    let mut invalid = Vec::new();
    let unread = Reading::Failed("the metric was not read".to_owned());
    for (index, metric) in spec.metrics.iter().enumerate() {
        match sources::propose(metric, readings.get(index).unwrap_or(&unread), context) {
            Ok(proposal) => {
                if best
                    .as_ref()
                    .is_none_or(|(most, _)| *most == 0 || proposal.replicas > *most)
                {
                    best = Some((proposal.replicas, proposal.name));
                }
                statuses[index] = proposal.status;
            }
            Err(error) => invalid.push(error),
        }
    }
    let most = best.as_ref().map_or(0, |(most, _)| *most);
    if invalid.len() >= spec.metrics.len() || (!invalid.is_empty() && most < context.spec_replicas) {
        best = None;
    }
    Proposals {
        best,
        statuses,
        invalid,
    }
}
