//! The whole: from a specification, a scale, pods and readings to a number, conditions and events.

use std::{cmp::Ordering, collections::BTreeMap};

use jiff::Timestamp;
use metrics_adapter::selector::Selector;

use super::{
    Config,
    behavior::{Bounds, State, normalize},
    metrics::{InvalidMetric, MetricContext, Reading, propose},
    pods::{ConditionStatus, Pod},
    replicas::Tolerances,
    spec::{Behavior, Spec},
    status::{ConditionType, Event, EventType, MetricStatus, Status},
};
use crate::store::ObjectKey;

/// The scale of the target (`autoscaling/v1`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scale {
    /// The replicas that are asked for.
    pub spec_replicas: i32,
    /// The replicas that there are.
    pub status_replicas: i32,
    /// The selector of the pods, in its string form.
    pub selector: String,
}

/// All that a decision is made from.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    /// The namespace of autoscaler and target.
    pub namespace: &'a str,
    /// What is asked for.
    pub spec: &'a Spec,
    /// What was reported before.
    pub status: &'a Status,
    /// The target's scale.
    pub scale: &'a Scale,
    /// The pods that the scale's selector matches. Only metrics of pods and `Value` targets look at them.
    pub pods: &'a [Pod],
    /// The autoscalers whose targets' selectors match any of those pods, this one among them; see [`Targets`].
    pub controllers: &'a [ObjectKey],
    /// What was read of each metric, in the order of the specification. Not looked at unless
    /// [`needs_metrics`](Input::needs_metrics).
    pub readings: &'a [Reading],
    /// The parameters.
    pub config: &'a Config,
}

/// A change of the number of replicas that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rescale {
    /// The replicas now.
    pub from: i32,
    /// The replicas then.
    pub to: i32,
    /// Why.
    pub reason: String,
}

/// What came of one run.
///
/// If there is a [`rescale`](Outcome::rescale), write the scale and then say how that went with
/// [`rescaled`](Outcome::rescaled) or [`rescale_failed`](Outcome::rescale_failed); then publish the events and write
/// the status if it has changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The change to make, if any.
    pub rescale: Option<Rescale>,
    /// What to report.
    pub status: Status,
    /// What to tell, in order.
    pub events: Vec<Event>,
    /// What was wrong, even if it could scale nevertheless.
    pub error: Option<String>,
    desired_before: i32,
}

impl Outcome {
    fn new(status: Status) -> Self {
        let desired_before = status.desired_replicas;
        Self {
            rescale: None,
            status,
            events: Vec::new(),
            error: None,
            desired_before,
        }
    }

    /// The number of replicas that the run decided on, or holds.
    #[must_use]
    pub fn desired_replicas(&self) -> i32 {
        self.status.desired_replicas
    }

    /// What `AbleToScale` says: before the scale is written, how the number was stabilised.
    #[must_use]
    pub fn able_to_scale(&self) -> &str {
        self.status
            .condition(ConditionType::AbleToScale)
            .map_or("", |condition| &condition.message)
    }

    /// The scale was written.
    pub fn rescaled(&mut self, behavior: Option<&Behavior>, state: &mut State, now: Timestamp) {
        let Some(Rescale { from, to, reason }) = self.rescale.take() else {
            return;
        };
        let message = format!("the HPA controller was able to update the target scale to {to}");
        let (able, holds) = (ConditionType::AbleToScale, ConditionStatus::True);
        self.status
            .set_condition(able, holds, "SucceededRescale", message, now);
        self.events.push(Event {
            event_type: EventType::Normal,
            reason: "SuccessfulRescale".to_owned(),
            message: format!("New size: {to}; reason: {reason}"),
        });
        state.record_change(behavior, from, to, now);
        self.status.last_scale_time = Some(now);
    }

    /// The scale could not be written.
    pub fn rescale_failed(&mut self, error: &str, now: Timestamp) {
        let Some(Rescale { to, reason, .. }) = self.rescale.take() else {
            return;
        };
        let message = format!("New size: {to}; reason: {reason}; error: {error}");
        self.events.push(Event::warning("FailedRescale", message));
        let message = format!("the HPA controller was unable to update the target scale: {error}");
        let (able, fails) = (ConditionType::AbleToScale, ConditionStatus::False);
        self.status
            .set_condition(able, fails, "FailedUpdateScale", message, now);
        self.status.desired_replicas = self.desired_before;
        self.error = Some(format!("failed to rescale: {error}"));
    }
}

impl Input<'_> {
    /// Whether a decision will look at metrics: not while the target is switched off or outside its bounds.
    #[must_use]
    pub fn needs_metrics(spec: &Spec, scale: &Scale) -> bool {
        matches!(branch(spec, scale.spec_replicas), Branch::Metrics)
    }
}

enum Branch {
    Disabled,
    AboveMax,
    BelowMin,
    Metrics,
}

fn branch(spec: &Spec, current: i32) -> Branch {
    let min = spec.min_replicas();
    if current == 0 && min != 0 {
        Branch::Disabled
    } else if current > spec.max_replicas {
        Branch::AboveMax
    } else if current < min {
        Branch::BelowMin
    } else {
        Branch::Metrics
    }
}

/// The target's scale could not be read: reports that and holds.
#[must_use]
pub fn scale_unavailable(status: &Status, error: &str, now: Timestamp) -> Outcome {
    let mut outcome = Outcome::new(status.clone());
    outcome.events.push(Event::warning("FailedGetScale", error));
    let message = format!("the HPA controller was unable to get the target's current scale: {error}");
    let (able, fails) = (ConditionType::AbleToScale, ConditionStatus::False);
    outcome
        .status
        .set_condition(able, fails, "FailedGetScale", message, now);
    outcome.error = Some(format!("failed to query scale subresource: {error}"));
    outcome
}

/// Decides how many replicas there should be.
pub fn decide(input: &Input<'_>, state: &mut State, now: Timestamp) -> Outcome {
    let current = input.scale.spec_replicas;
    let mut outcome = Outcome::new(input.status.clone());
    let (able, active) = (ConditionType::AbleToScale, ConditionType::ScalingActive);
    let message = "the HPA controller was able to get the target's current scale";
    outcome
        .status
        .set_condition(able, ConditionStatus::True, "SucceededGetScale", message, now);
    outcome.status.current_metrics = None;
    state.seed(current, now);
    let (desired, reason) = match branch(input.spec, current) {
        Branch::Disabled => {
            let message = "scaling is disabled since the replica count of the target is zero";
            outcome
                .status
                .set_condition(active, ConditionStatus::False, "ScalingDisabled", message, now);
            (current, String::new())
        }
        Branch::AboveMax => (
            input.spec.max_replicas,
            "Current number of replicas above Spec.MaxReplicas".to_owned(),
        ),
        Branch::BelowMin => (
            input.spec.min_replicas(),
            "Current number of replicas below Spec.MinReplicas".to_owned(),
        ),
        Branch::Metrics => match by_metrics(input, state, now, &mut outcome) {
            Some(decided) => decided,
            None => return outcome,
        },
    };
    outcome.status.current_replicas = current;
    outcome.status.desired_replicas = desired;
    outcome.rescale = (desired != current).then_some(Rescale {
        from: current,
        to: desired,
        reason,
    });
    outcome
}

/// Decides by the metrics: the number and the reason, or nothing if the replicas are held because of an error.
fn by_metrics(
    input: &Input<'_>,
    state: &mut State,
    now: Timestamp,
    outcome: &mut Outcome,
) -> Option<(i32, String)> {
    let current = input.scale.spec_replicas;
    if let Err(problem) = check_selector(input) {
        let (active, fails) = (ConditionType::ScalingActive, ConditionStatus::False);
        outcome.status.set_condition(
            active,
            fails,
            problem.condition_reason,
            problem.condition_message,
            now,
        );
        outcome
            .events
            .push(Event::warning(problem.event_reason, &problem.error));
        hold(outcome, current, None, problem.error);
        return None;
    }
    let context = MetricContext {
        namespace: input.namespace,
        spec_replicas: current,
        status_replicas: input.scale.status_replicas,
        pods: input.pods,
        tolerances: tolerances(input.spec.behavior.as_ref(), input.config),
        config: input.config,
        now,
    };
    let proposals = propose(input.spec, input.readings, &context);
    let error = proposals.error(input.spec.metrics.len());
    outcome.events.extend(
        proposals
            .invalid
            .iter()
            .map(|invalid| Event::warning(invalid.reason, &invalid.error)),
    );
    let Some((proposed, name)) = proposals.best else {
        if let Some(InvalidMetric { reason, error, .. }) = proposals.invalid.first() {
            let message = format!("the HPA was unable to compute the replica count: {error}");
            let (active, fails) = (ConditionType::ScalingActive, ConditionStatus::False);
            outcome.status.set_condition(active, fails, reason, message, now);
        }
        let error = error.unwrap_or_else(|| "the autoscaler has no metrics".to_owned());
        hold(outcome, current, Some(proposals.statuses), error);
        return None;
    };
    let message = format!("the HPA was able to successfully calculate a replica count from {name}");
    let (active, holds) = (ConditionType::ScalingActive, ConditionStatus::True);
    outcome
        .status
        .set_condition(active, holds, "ValidMetricFound", message, now);
    outcome.status.current_metrics = Some(proposals.statuses);
    outcome.error = error;

    let reason = match proposed.cmp(&current) {
        Ordering::Greater => format!("{name} above target"),
        Ordering::Equal => String::new(),
        Ordering::Less => "All metrics below target".to_owned(),
    };
    Some((
        normalize_and_report(proposed.max(0), input, state, now, &mut outcome.status),
        reason,
    ))
}

fn normalize_and_report(
    proposed: i32,
    input: &Input<'_>,
    state: &mut State,
    now: Timestamp,
    status: &mut Status,
) -> i32 {
    let Spec {
        max_replicas: max,
        behavior,
        ..
    } = input.spec;
    let bounds = Bounds {
        min: input.spec.min_replicas(),
        max: *max,
        current: input.scale.spec_replicas,
    };
    let normalized = normalize(proposed, bounds, behavior.as_ref(), input.config, state, now);
    let (stabilized, limited) = (normalized.stabilized, normalized.limited);
    let able = ConditionType::AbleToScale;
    status.set_condition(
        able,
        ConditionStatus::True,
        stabilized.reason,
        stabilized.message,
        now,
    );
    let is_limited = if normalized.is_limited() {
        ConditionStatus::True
    } else {
        ConditionStatus::False
    };
    status.set_condition(
        ConditionType::ScalingLimited,
        is_limited,
        limited.reason,
        limited.message,
        now,
    );
    limited.replicas
}

/// Reports what there is and that nothing could be computed.
fn hold(outcome: &mut Outcome, current: i32, statuses: Option<Vec<MetricStatus>>, error: String) {
    outcome.status.current_replicas = current;
    outcome.status.current_metrics = statuses;
    outcome
        .events
        .push(Event::warning("FailedComputeMetricsReplicas", &error));
    outcome.error = Some(error);
}

pub(super) fn tolerances(behavior: Option<&Behavior>, config: &Config) -> Tolerances {
    let own = behavior.filter(|_| config.configurable_tolerance);
    Tolerances {
        scale_down: own
            .and_then(|behavior| behavior.scale_down.tolerance)
            .unwrap_or(config.tolerance),
        scale_up: own
            .and_then(|behavior| behavior.scale_up.tolerance)
            .unwrap_or(config.tolerance),
    }
}

struct SelectorProblem {
    event_reason: &'static str,
    condition_reason: &'static str,
    condition_message: String,
    error: String,
}

/// The target's selector must be there, be valid, and match no pod of another autoscaler.
fn check_selector(input: &Input<'_>) -> Result<(), SelectorProblem> {
    let selector = &input.scale.selector;
    if selector.is_empty() {
        return Err(SelectorProblem {
            event_reason: "SelectorRequired",
            condition_reason: "InvalidSelector",
            condition_message: "the HPA target's scale is missing a selector".to_owned(),
            error: "selector is required".to_owned(),
        });
    }
    let problem = |reason, error: String| SelectorProblem {
        event_reason: reason,
        condition_reason: reason,
        condition_message: error.clone(),
        error,
    };
    Selector::parse(selector).map_err(|error| {
        let error =
            format!("couldn't convert selector into a corresponding internal selector object: {error}");
        problem("InvalidSelector", error)
    })?;
    if input.controllers.len() > 1 {
        let keys = input
            .controllers
            .iter()
            .map(|key| format!("{}/{}", key.namespace, key.name));
        let keys = keys.collect::<Vec<_>>().join(" ");
        let error = format!("pods by selector {selector} are controlled by multiple HPAs: [{keys}]");
        return Err(problem("AmbiguousSelector", error));
    }
    Ok(())
}

/// Which autoscaler's target selects which pods.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    selectors: BTreeMap<ObjectKey, Selector>,
}

impl Targets {
    /// Remembers the selector of an autoscaler's target; one that does not parse selects nothing.
    pub fn insert(&mut self, autoscaler: ObjectKey, selector: &str) {
        match Selector::parse(selector) {
            Ok(parsed) if !selector.is_empty() => self.selectors.insert(autoscaler, parsed),
            _ => self.selectors.remove(&autoscaler),
        };
    }

    /// Forgets an autoscaler.
    pub fn remove(&mut self, autoscaler: &ObjectKey) {
        self.selectors.remove(autoscaler);
    }

    /// The autoscalers of a namespace whose targets select any of the pods with these labels, in order.
    pub fn controllers<'a>(
        &self,
        namespace: &str,
        pods: impl IntoIterator<Item = &'a BTreeMap<String, String>>,
    ) -> Vec<ObjectKey> {
        let mut candidates: Vec<_> = self
            .selectors
            .iter()
            .filter(|(key, _)| key.namespace == namespace)
            .collect();
        let mut found = Vec::new();
        for labels in pods {
            candidates.retain(|(key, selector)| {
                let matches = selector.matches(labels);
                if matches {
                    found.push((*key).clone());
                }
                !matches
            });
            if candidates.is_empty() {
                break;
            }
        }
        found.sort();
        found
    }
}
