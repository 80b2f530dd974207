//! What one check of a ScaledObject decides: wake, stay, or go to rest.
//!
//! The order of the rules is KEDA's; only the step between nothing and the first replicas is decided here, the HPA
//! does the rest.

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};
use scaler_api::keda::Condition;
use serde::{Deserialize, Serialize};

use crate::events::EventType;

/// Everything that the decision looks at.
#[derive(Clone, Debug)]
pub struct Observation<'a> {
    /// The time of the check.
    pub now: Timestamp,
    /// The target in words, e.g. `apps/v1.Deployment default/web`.
    pub target: &'a str,
    /// The replicas that the target asks for, or why they cannot be read.
    pub replicas: Result<i32, String>,
    /// Within which bounds.
    pub bounds: Bounds,
    /// How long activity lasts.
    pub cooldown: Cooldown,
    /// What the annotations say.
    pub switches: Switches,
    /// `fallback.replicas`, if there is a usable fallback.
    pub fallback_replicas: Option<i32>,
    /// Every trigger, in order.
    pub triggers: &'a [TriggerView],
    /// What a formula makes of them, which then decides alone.
    pub composite: Option<&'a TriggerView>,
}

/// `minReplicaCount` and `idleReplicaCount`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The least replicas while active; 0 means that the target goes to zero at rest.
    pub min: i32,
    /// The replicas at rest, if not `min`.
    pub idle: Option<i32>,
}

/// How long activity lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cooldown {
    /// After the last activity.
    pub period: SignedDuration,
    /// After creation, while there was no activity yet.
    pub initial: SignedDuration,
    /// When the object was made.
    pub created: Timestamp,
    /// When it was last active.
    pub last_active: Option<Timestamp>,
}

impl Cooldown {
    /// When it is over: scaling in is allowed strictly after this instant.
    ///
    /// The last activity counts to the second, as `status.lastActiveTime` keeps it: a restart changes nothing, and a poll
    /// that comes `cooldownPeriod` after the last active one is not put off to the next by milliseconds.
    #[must_use]
    pub fn ends(&self) -> Timestamp {
        let (start, period) = match self.last_active {
            Some(last_active) => (last_active, self.period),
            None => (self.created, self.initial),
        };
        let start = Timestamp::from_second(start.as_second()).unwrap_or(start);
        start.saturating_add(period).unwrap_or(Timestamp::MAX)
    }
}

/// What the annotations say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// Nothing is scaled.
    pub paused: bool,
    /// Nothing is scaled in.
    pub scale_in_paused: bool,
    /// Nothing is scaled out.
    pub scale_out_paused: bool,
    /// Active whatever the triggers say.
    pub force_activation: bool,
}

/// One trigger at the time of the check.
#[derive(Clone, Debug, PartialEq)]
pub struct TriggerView {
    /// The names of its metrics, or its type.
    pub name: String,
    /// How it stands.
    pub state: TriggerState,
    /// Its value and target in words.
    pub detail: String,
}

impl TriggerView {
    /// Whether it wants replicas.
    fn is_awake(&self) -> bool {
        matches!(self.state, TriggerState::Active | TriggerState::FallenBack(_))
    }
}

/// How a trigger stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TriggerState {
    /// It has work.
    Active,
    /// It has none.
    Inactive,
    /// Its source failed, with this error, and there is no fallback for it (yet).
    Failed(String),
    /// Its source failed, with this error, beyond the threshold: it counts as active.
    FallenBack(String),
    /// It is a matter of the HPA alone (`cpu`, `memory`).
    Resource,
}

/// What to do about the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Stay,
    /// Wake the target.
    Activate {
        /// To this many.
        to: i32,
    },
    /// Fill up to `minReplicaCount`.
    RaiseToMinimum {
        /// To this many.
        to: i32,
    },
    /// Put the target to rest.
    Deactivate {
        /// To this many.
        to: i32,
    },
}

impl Step {
    /// The replicas to set, if any.
    #[must_use]
    pub fn replicas(self) -> Option<i32> {
        match self {
            Self::Stay => None,
            Self::Activate { to } | Self::RaiseToMinimum { to } | Self::Deactivate { to } => Some(to),
        }
    }
}

/// An event to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Normal or Warning.
    pub event_type: EventType,
    /// The reason.
    pub reason: &'static str,
    /// The message.
    pub message: String,
}

/// Which rule decided, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Rule {
    /// The target's replicas cannot be read.
    Unreadable,
    /// The object is paused.
    Paused,
    /// There is work and the target is at rest: it is woken.
    Activate,
    /// The same, but scaling out is paused.
    ActivationPaused,
    /// There is work and the target is awake, but a trigger fails: the last activity is not renewed.
    PartlyFailing,
    /// There is work and the target is awake: the HPA scales it.
    Active,
    /// There is no work that is known of, and a trigger fails whose failures are not past the fallback's threshold.
    AwaitsFallback,
    /// There is no work that is known of, and a trigger fails without a fallback.
    Failing,
    /// There is no work and the target could rest, but scaling in is paused.
    RestPaused,
    /// There is no work and the target could rest, but the cooldown is not over.
    CoolingDown,
    /// There is no work and the cooldown is over: the target is put to rest.
    Deactivate,
    /// There are fewer replicas than the minimum: they are filled up.
    RaiseToMinimum,
    /// There is no work, and nothing to do.
    AtRest,
}

/// The outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Which rule decided.
    pub rule: Rule,
    /// What to do about the replicas.
    pub step: Step,
    /// The condition `Ready`.
    pub ready: Condition,
    /// The condition `Active`; none leaves it as it is.
    pub active: Option<Condition>,
    /// Whether the object was active now, so that its cooldown starts anew; after a step, only if that succeeded.
    pub is_active_now: bool,
    /// To be published once the step succeeded.
    pub event: Option<Announcement>,
    /// The reason of the event if the step fails.
    pub failure_reason: &'static str,
    /// Why, in words.
    pub reason: String,
}

/// The message of a ready ScaledObject.
pub const READY_MESSAGE: &str = "ScaledObject is defined correctly and is ready for scaling";

/// The condition of a ready ScaledObject.
#[must_use]
pub fn ready() -> Condition {
    Condition::new("Ready", "True", "ScaledObjectReady", READY_MESSAGE)
}

/// Decides.
#[must_use]
pub fn decide(seen: &Observation<'_>) -> Decision {
    let replicas = match &seen.replicas {
        Ok(replicas) => *replicas,
        Err(error) => {
            let message = format!("Error getting information on the current Scale: {error}");
            return Decision {
                ready: Condition::new("Ready", "False", "ErrorGettingCurrentReplicas", message.clone()),
                ..Decision::stay(Rule::Unreadable, None, message)
            };
        }
    };
    if seen.switches.paused {
        return Decision::stay(Rule::Paused, None, "the object is paused");
    }
    if seen.is_active() || seen.switches.force_activation {
        decide_active(seen, replicas)
    } else {
        decide_inactive(seen, replicas)
    }
}

impl Observation<'_> {
    /// Whether the triggers want replicas: any active or fallen back, or nothing but `cpu` and `memory`.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.deciding().any(TriggerView::is_awake)
            || self
                .triggers
                .iter()
                .all(|trigger| trigger.state == TriggerState::Resource)
    }

    /// What wakes the target: the formula's result, or any trigger.
    fn deciding(&self) -> impl Iterator<Item = &TriggerView> {
        let triggers = match self.composite {
            Some(_) => &[],
            None => self.triggers,
        };
        triggers.iter().chain(self.composite)
    }

    fn has_failed(&self) -> bool {
        self.triggers
            .iter()
            .chain(self.composite)
            .any(|trigger| matches!(trigger.state, TriggerState::Failed(_)))
    }

    fn active_names(&self) -> String {
        let names: Vec<_> = self
            .deciding()
            .filter(|trigger| trigger.is_awake())
            .map(|trigger| trigger.name.as_str())
            .collect();
        names.join(";")
    }

    /// Each trigger with its value, target and state.
    #[must_use]
    pub fn triggers_in_words(&self) -> String {
        in_words(self.triggers.iter().chain(self.composite))
    }
}

/// Each trigger with its value, target and state.
pub(crate) fn in_words<'a>(triggers: impl IntoIterator<Item = &'a TriggerView>) -> String {
    let words = triggers.into_iter().map(|trigger| match &trigger.state {
        TriggerState::Active => format!("{} is active ({})", trigger.name, trigger.detail),
        TriggerState::Inactive => format!("{} is not active ({})", trigger.name, trigger.detail),
        TriggerState::Failed(error) => format!("{} failed: {error}", trigger.name),
        TriggerState::FallenBack(error) => {
            format!(
                "{} falls back ({}) because its source failed: {error}",
                trigger.name, trigger.detail
            )
        }
        TriggerState::Resource => format!("{} is left to the HPA", trigger.name),
    });
    words.collect::<Vec<_>>().join(", ")
}

impl Decision {
    fn stay(rule: Rule, active: Option<Condition>, reason: impl Into<String>) -> Self {
        Self {
            rule,
            step: Step::Stay,
            ready: ready(),
            active,
            is_active_now: false,
            event: None,
            failure_reason: "",
            reason: reason.into(),
        }
    }
}

pub(crate) fn condition_active(forced: bool) -> Condition {
    let message = if forced {
        "Scaling is performed because activation is forced by an annotation"
    } else {
        "Scaling is performed because triggers are active"
    };
    Condition::new("Active", "True", "ScalerActive", message)
}

pub(crate) fn condition_inactive() -> Condition {
    Condition::new(
        "Active",
        "False",
        "ScalerNotActive",
        "Scaling is not performed because triggers are not active",
    )
}

fn condition_cooldown() -> Condition {
    Condition::new(
        "Active",
        "False",
        "ScalerCooldown",
        "Scaler cooling down because triggers are not active",
    )
}

fn decide_active(seen: &Observation<'_>, replicas: i32) -> Decision {
    let Bounds { min, idle } = seen.bounds;
    let forced = !seen.is_active();
    let cause: Cow<'_, str> = if forced {
        Cow::Owned(format!(
            "activation is forced by an annotation; {}",
            seen.triggers_in_words()
        ))
    } else {
        Cow::Owned(seen.triggers_in_words())
    };
    let mut decision = Decision::stay(Rule::Active, Some(condition_active(forced)), cause.clone());
    if (idle.is_some() && replicas < min) || replicas == 0 {
        if seen.switches.scale_out_paused {
            decision.rule = Rule::ActivationPaused;
            decision.reason = format!("{cause}; scaling out is paused by an annotation, so {replicas} stay");
            return decision;
        }
        let to = if min > 0 { min } else { 1 };
        let why = if forced {
            "caused by forced activation".to_owned()
        } else {
            format!("triggered by {}", seen.active_names())
        };
        decision.rule = Rule::Activate;
        decision.step = Step::Activate { to };
        decision.is_active_now = true;
        decision.event = Some(Announcement {
            event_type: EventType::Normal,
            reason: "KEDAScaleTargetActivated",
            message: format!("Scaled {} from {replicas} to {to}, {why}", seen.target),
        });
        decision.failure_reason = "KEDAScaleTargetActivationFailed";
        return decision;
    }
    if seen.has_failed() {
        decision.rule = Rule::PartlyFailing;
        decision.ready = Condition::new(
            "Ready",
            "Unknown",
            "PartialTriggerError",
            "Some triggers defined in ScaledObject are not working correctly",
        );
        return decision;
    }
    decision.is_active_now = true;
    decision
}

fn decide_inactive(seen: &Observation<'_>, replicas: i32) -> Decision {
    let Bounds { min, idle } = seen.bounds;
    let triggers = seen.triggers_in_words();
    let mut decision = Decision::stay(Rule::AtRest, Some(condition_inactive()), triggers.clone());
    if seen.has_failed() {
        match seen.fallback_replicas {
            None => {
                decision.rule = Rule::Failing;
                decision.ready = Condition::new(
                    "Ready",
                    "False",
                    "TriggerError",
                    "Triggers defined in ScaledObject are not working correctly",
                );
                decision.reason = format!("{triggers}; there is no fallback, so {replicas} stay");
                return decision;
            }
            Some(fallback) if fallback != 0 => {
                decision.rule = Rule::AwaitsFallback;
                decision.reason =
                    format!("{triggers}; {replicas} stay until the failures pass the fallback's threshold");
                return decision;
            }
            // A fallback to nothing does not keep anybody awake.
            Some(_) => {}
        }
    }
    if idle.is_some_and(|idle| replicas > idle) || (replicas > 0 && min == 0) {
        return decide_rest(seen, replicas, decision);
    }
    if idle.is_none() && replicas < min {
        decision.rule = Rule::RaiseToMinimum;
        decision.step = Step::RaiseToMinimum { to: min };
        decision.failure_reason = "KEDAScaleTargetActivationFailed";
        decision.reason = format!("{replicas} are fewer than minReplicaCount {min}; {triggers}");
    }
    decision
}

fn decide_rest(seen: &Observation<'_>, replicas: i32, mut decision: Decision) -> Decision {
    let triggers = seen.triggers_in_words();
    if seen.switches.scale_in_paused {
        decision.rule = Rule::RestPaused;
        decision.reason = format!("{triggers}; scaling in is paused by an annotation, so {replicas} stay");
        return decision;
    }
    let ends = seen.cooldown.ends();
    let (which, period) = match seen.cooldown.last_active {
        Some(_) => ("cooldown", seen.cooldown.period),
        None => ("initial cooldown", seen.cooldown.initial),
    };
    if ends >= seen.now {
        let left = ends.duration_since(seen.now).as_secs();
        decision.rule = Rule::CoolingDown;
        decision.active = Some(condition_cooldown());
        decision.reason = format!(
            "{triggers}; {left} s of the {which} of {} s are left",
            period.as_secs()
        );
        return decision;
    }
    let to = seen.bounds.idle.unwrap_or(seen.bounds.min);
    let rested = match seen.cooldown.last_active {
        Some(last) => format!(
            "{} s since the last activity",
            seen.now.duration_since(last).as_secs()
        ),
        None => "never active".to_owned(),
    };
    decision.rule = Rule::Deactivate;
    decision.step = Step::Deactivate { to };
    decision.reason = format!(
        "{triggers}; {rested}, the {which} of {} s is over",
        period.as_secs()
    );
    decision.event = Some(Announcement {
        event_type: EventType::Normal,
        reason: "KEDAScaleTargetDeactivated",
        message: format!("Deactivated {} from {replicas} to {to}", seen.target),
    });
    decision.failure_reason = "KEDAScaleTargetDeactivationFailed";
    decision
}

#[cfg(test)]
mod tests;
