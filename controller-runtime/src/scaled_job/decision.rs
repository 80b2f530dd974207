//! What one check of a ScaledJob decides: how many Jobs are made now.

use scaler_api::{
    Quantity,
    keda::{Condition, MultipleScalersCalculation},
};

use super::{
    combine::{Bounds, Demand, combine},
    strategy::{Counts, Step, Strategy, step},
};
use crate::scaled_object::decision::{self, TriggerState, TriggerView};

/// Everything that the decision looks at.
#[derive(Clone, Debug)]
pub struct Observation<'a> {
    /// The Jobs that have not ended, or why they cannot be counted.
    pub counts: Result<Counts, String>,
    /// Within which bounds.
    pub bounds: Bounds,
    /// By which formula.
    pub strategy: Strategy,
    /// How several triggers make one demand.
    pub calculation: MultipleScalersCalculation,
    /// Every trigger, in order.
    pub triggers: &'a [Trigger],
}

/// One trigger at the time of the check.
#[derive(Clone, Debug, PartialEq)]
pub struct Trigger {
    /// How it stands.
    pub view: TriggerView,
    /// What it says; none where it could not be asked, or has nothing to say about Jobs.
    pub demand: Option<Demand>,
}

/// The outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// How many Jobs are made.
    pub create: i64,
    /// The condition `Ready`.
    pub ready: Condition,
    /// The condition `Active`.
    pub active: Condition,
    /// Why, in words.
    pub reason: String,
}

/// The message of a ScaledJob that is ready.
pub const READY_MESSAGE: &str = "ScaledJob is defined correctly and is ready for scaling";

/// The condition of a ScaledJob that is ready.
#[must_use]
pub fn ready() -> Condition {
    Condition::new("Ready", "True", "ScaledJobReady", READY_MESSAGE)
}

/// Decides.
#[must_use]
pub fn decide(seen: &Observation<'_>) -> Decision {
    let demands: Vec<_> = seen
        .triggers
        .iter()
        .filter_map(|trigger| trigger.demand)
        .collect();
    let demand = combine(seen.calculation, &demands, seen.bounds);
    let triggers = decision::in_words(seen.triggers.iter().map(|trigger| &trigger.view));
    let active = if demand.is_active {
        decision::condition_active(false)
    } else {
        decision::condition_inactive()
    };
    let (create, ready, reason) = match &seen.counts {
        Err(problem) => {
            let message = format!("Error getting the Jobs of the ScaledJob: {problem}");
            let reason = format!("{triggers}; nothing is made, as the Jobs are not known: {problem}");
            let ready = Condition::new("Ready", "False", "ErrorGettingCurrentJobs", message);
            (0, ready, reason)
        }
        Ok(counts) => {
            let step = step(seen.strategy, &demand, *counts, seen.bounds);
            let words = in_words(seen, &demand, *counts, step);
            (
                step.create,
                readiness(seen, demand.is_active),
                format!("{triggers}; {words}"),
            )
        }
    };
    Decision {
        create,
        ready,
        active,
        reason,
    }
}

fn readiness(seen: &Observation<'_>, is_active: bool) -> Condition {
    let has_failed = |trigger: &Trigger| matches!(trigger.view.state, TriggerState::Failed(_));
    if !seen.triggers.iter().any(has_failed) {
        return ready();
    }
    if is_active {
        let message = "Some triggers defined in ScaledJob are not working correctly";
        Condition::new("Ready", "Unknown", "PartialTriggerError", message)
    } else {
        let message = "Triggers defined in ScaledJob are not working correctly";
        Condition::new("Ready", "False", "TriggerError", message)
    }
}

fn in_words(seen: &Observation<'_>, demand: &Demand, counts: Counts, step: Step) -> String {
    let Counts { running, pending } = counts;
    let jobs = format!("{running} Jobs run, {pending} of them pending");
    if !demand.is_active {
        return jobs;
    }
    if step.is_for_minimum {
        return format!("{jobs}, fewer than minReplicaCount {}", seen.bounds.min);
    }
    let quantity = |value: f64| Quantity::from_f64_milli(value);
    let minimum = match seen.bounds.min {
        0 => String::new(),
        min => format!(" beyond the minimum of {min}"),
    };
    format!(
        "queue length {}, worth {} of at most {} Jobs{minimum}; {jobs}; strategy {} asks for {} and allows {}",
        quantity(demand.queue_length),
        quantity(demand.max_value),
        seen.bounds.headroom,
        seen.strategy.name(),
        step.scale_to,
        step.effective_max,
    )
}

#[cfg(test)]
mod tests {
    //! keda.md §3.7 and §1.2: activity, readiness, reasons.
    use super::*;

    fn trigger(queue: Option<f64>) -> Trigger {
        let state = match queue {
            None => TriggerState::Failed("refused".into()),
            Some(queue) if queue > 0.0 => TriggerState::Active,
            Some(_) => TriggerState::Inactive,
        };
        Trigger {
            view: TriggerView {
                name: "s0-queue".into(),
                state,
                detail: "value".into(),
            },
            demand: queue.map(|queue| Demand {
                queue_length: queue,
                max_value: queue,
                is_active: queue > 0.0,
            }),
        }
    }

    fn decide_on(queues: &[Option<f64>], min: i64, counts: Result<Counts, String>) -> Decision {
        let triggers: Vec<_> = queues.iter().map(|queue| trigger(*queue)).collect();
        decide(&Observation {
            counts,
            bounds: Bounds { min, headroom: 10 },
            strategy: Strategy::Default,
            calculation: MultipleScalersCalculation::Max,
            triggers: &triggers,
        })
    }

    fn word(condition: &Condition) -> String {
        format!("{} {}", condition.status, condition.reason.as_deref().unwrap())
    }

    #[test]
    fn section_3_7_conditions_say_how_the_triggers_stand() {
        let (on, off, down) = (Some(4.0), Some(0.0), None);
        let cases = [
            (
                "§3.7 at rest",
                vec![off],
                0,
                0,
                "True ScaledJobReady",
                "False ScalerNotActive",
            ),
            (
                "§3.7 active",
                vec![on, off],
                0,
                4,
                "True ScaledJobReady",
                "True ScalerActive",
            ),
            (
                "§3.7 isError, inactive",
                vec![down],
                0,
                0,
                "False TriggerError",
                "False ScalerNotActive",
            ),
            (
                "§3.7 isError, one at rest",
                vec![down, off],
                0,
                0,
                "False TriggerError",
                "False ScalerNotActive",
            ),
            (
                "§3.7 isError, active",
                vec![down, on],
                0,
                4,
                "Unknown PartialTriggerError",
                "True ScalerActive",
            ),
            (
                "§3.7 min > 0 forces active",
                vec![off],
                2,
                2,
                "True ScaledJobReady",
                "True ScalerActive",
            ),
            (
                "§3.7 min > 0, isError",
                vec![down],
                2,
                2,
                "Unknown PartialTriggerError",
                "True ScalerActive",
            ),
        ];
        for (name, queues, min, create, ready, active) in cases {
            let decision = decide_on(&queues, min, Ok(Counts::default()));
            assert_eq!(decision.create, create, "{name}");
            assert_eq!(word(&decision.ready), ready, "{name}");
            assert_eq!(word(&decision.active), active, "{name}");
        }
    }

    #[test]
    fn section_3_7_jobs_that_cannot_be_counted_never_count_as_zero() {
        for min in [0, 3] {
            let decision = decide_on(&[Some(4.0)], min, Err("forbidden".into()));
            assert_eq!(decision.create, 0);
            assert_eq!(word(&decision.ready), "False ErrorGettingCurrentJobs");
            assert_eq!(word(&decision.active), "True ScalerActive");
            assert!(
                decision.reason.ends_with("as the Jobs are not known: forbidden"),
                "{}",
                decision.reason
            );
        }
    }

    #[test]
    fn section_3_7_the_reason_names_every_number() {
        let counts = Counts {
            running: 3,
            pending: 1,
        };
        assert_eq!(
            decide_on(&[Some(4.5)], 2, Ok(counts)).reason,
            "s0-queue is active (value); queue length 4500m, worth 4500m of at most 10 Jobs beyond the minimum of 2; \
             3 Jobs run, 1 of them pending; strategy default asks for 5 and allows 4"
        );
        assert_eq!(
            decide_on(&[Some(0.0)], 4, Ok(counts)).reason,
            "s0-queue is not active (value); 3 Jobs run, 1 of them pending, fewer than minReplicaCount 4"
        );
    }
}
