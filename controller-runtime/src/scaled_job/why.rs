//! What a turn leaves behind for whoever asks why, and the answer.

use std::sync::{Arc, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::{
    controller::Core,
    decision::{Decision, Trigger},
    state::{Entry, Plan, Told, Turn},
};
use crate::{
    explain::{
        Check, Explanation,
        scaled_job::{Facts, explain},
    },
    scaled_object::{decision::TriggerState, why::past},
    store::ObjectKey,
};

/// What a check saw and decided. The turn needs the decision no more.
pub(super) fn check(
    now: Timestamp,
    running: Option<i64>,
    made: Option<usize>,
    decision: Decision,
    turn: &Turn,
) -> Check {
    let set = made.map(|made| i32::try_from(made).unwrap_or(i32::MAX));
    Check {
        at: now,
        replicas: running.map(|running| i32::try_from(running).unwrap_or(i32::MAX)),
        rule: None,
        set,
        succeeded: set.map(|made| i64::from(made) == decision.create),
        reason: decision.reason,
        last_active: turn.last_active,
        cooldown_ends: None,
        initial_cooldown: false,
    }
}

impl Entry {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what a check saw and decided.
    pub(super) fn tell(&self, plan: &Arc<Plan>, triggers: Vec<Trigger>, check: Check) {
        let mut told = self.told();
        for (planned, trigger) in plan.triggers.iter().zip(&triggers) {
            let works = !matches!(trigger.view.state, TriggerState::Failed(_));
            told.kept.note(planned.index, works, check.at);
        }
        told.kept.keep_check(check);
        told.plan = Some(Arc::clone(plan));
        told.triggers = triggers;
    }
}

impl Core {
    /// Keeps why an object does not run, or that it does.
    pub(super) fn tell_problem(&self, key: &ObjectKey, problem: Option<&str>) {
        let Some(entry) = self.entries.get(key) else {
            return;
        };
        let mut told = entry.told();
        told.problem = problem.map(str::to_owned);
        if problem.is_some() {
            told.plan = None;
            told.triggers.clear();
        }
    }

    /// Why an object is scaled as it is; none if there is no such object.
    pub(super) fn explain(&self, key: &ObjectKey) -> Option<Explanation> {
        let object = self.objects.get(key)?;
        let entry = self.entries.get(key);
        let unknown = Told::default();
        let told = entry.as_ref().map(|entry| entry.told());
        let told = told.as_deref().unwrap_or(&unknown);
        // Others do not look at them.
        let leads = self.runtime.leadership.leads();
        Some(explain(Facts {
            now: self.runtime.clock.now(),
            object: &object,
            leads: Some(leads),
            problem: told.problem.as_deref().filter(|_| leads),
            kept: &told.kept,
            planned: told.plan.as_ref().map_or(&[], |plan| &plan.triggers),
            views: &told.triggers,
            decisions: past(&self.runtime.decisions, &[format!("ScaledJob/{key}")]),
        }))
    }
}
