//! Why a ScaledJob makes Jobs as it does, from what is known of it.

use jiff::Timestamp;
use kube::ResourceExt as _;
use scaler_api::{
    Quantity,
    keda::{ScaleTrigger, ScaledJob},
};

use super::{
    explanation::{Explanation, PastDecision, SCHEMA, Settings, State, Trigger},
    kept::Kept,
    scaled_object::{activation, metrics},
};
use crate::{
    scaled_job::decision,
    scaled_object::{decision::TriggerState, plan::PlannedTrigger},
};

/// Everything that is known.
pub(crate) struct Facts<'a> {
    pub(crate) now: Timestamp,
    pub(crate) object: &'a ScaledJob,
    pub(crate) leads: Option<bool>,
    /// Why it does not run.
    pub(crate) problem: Option<&'a str>,
    pub(crate) kept: &'a Kept,
    /// Its triggers, where it runs.
    pub(crate) planned: &'a [PlannedTrigger],
    /// How they stood at the last check.
    pub(crate) views: &'a [decision::Trigger],
    pub(crate) decisions: Vec<PastDecision>,
}

/// The explanation of an object of which only what the API shows is known, as in a record of another process.
#[must_use]
pub fn from_object(object: &ScaledJob, decisions: Vec<PastDecision>, now: Timestamp) -> Explanation {
    let mut explained = explain(Facts {
        now,
        object,
        leads: None,
        problem: None,
        kept: &Kept::default(),
        planned: &[],
        views: &[],
        decisions,
    });
    explained
        .notes
        .push("only the object is known, not the process that made its Jobs".to_owned());
    explained
}

pub(crate) fn explain(facts: Facts<'_>) -> Explanation {
    let object = facts.object;
    let spec = &object.spec;
    let triggers = spec.triggers.iter().enumerate();
    let triggers = triggers.map(|(index, trigger)| self::trigger(&facts, index, trigger));
    let triggers: Vec<_> = triggers.collect();
    let mut notes = Vec::new();
    if facts.leads == Some(false) {
        notes.push("this replica does not lead: Jobs are counted and made by another".to_owned());
    }
    Explanation {
        schema: SCHEMA.to_owned(),
        kind: "ScaledJob".to_owned(),
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        time: facts.now,
        leads: facts.leads,
        problem: facts.problem.map(str::to_owned),
        notes,
        settings: Settings {
            min: spec.min_replica_count(),
            max: spec.max_replica_count(),
            polling_interval: spec.polling_interval(),
            switches: object
                .is_paused()
                .then(|| "paused".to_owned())
                .into_iter()
                .collect(),
            ..Settings::default()
        },
        check: facts
            .kept
            .check
            .as_deref()
            .cloned()
            .filter(|_| facts.leads != Some(false)),
        triggers,
        conditions: object
            .status
            .as_ref()
            .and_then(|status| status.conditions.clone())
            .unwrap_or_default(),
        decisions: facts.decisions,
        ..Explanation::default()
    }
}

fn trigger(facts: &Facts<'_>, index: usize, spec: &ScaleTrigger) -> Trigger {
    let mut explained = Trigger {
        index,
        trigger_type: spec.trigger_type.clone(),
        name: spec.name.clone(),
        activation: activation(&spec.metadata),
        failing_since: facts.kept.failing_since.get(&index).copied(),
        ..Trigger::default()
    };
    let planned = facts.planned.iter().zip(facts.views);
    let Some((planned, view)) = planned.into_iter().find(|(planned, _)| planned.index == index) else {
        return explained;
    };
    explained.metrics = metrics(planned, None);
    if let (Some(demand), Some(first)) = (view.demand, explained.metrics.first_mut()) {
        first.value = Some(Quantity::from_f64_milli(demand.queue_length).to_string());
    }
    explained.sampled_at = facts.kept.check.as_ref().map(|check| check.at);
    explained.state = match &view.view.state {
        TriggerState::Active => State::Active,
        TriggerState::Inactive => State::Inactive,
        TriggerState::Resource => State::LeftToHpa,
        TriggerState::Failed(error) | TriggerState::FallenBack(error) => {
            explained.error = Some(error.clone());
            State::Failed
        }
    };
    explained
}
