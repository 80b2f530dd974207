//! Why a ScaledJob makes Jobs as it does, from what is known of it.

use jiff::Timestamp;
use kube::ResourceExt as _;
use scaler_api::{
    Quantity,
    keda::{ScaleTrigger, ScaledJob},
};

use super::{
    explanation::{Explanation, Metric, PastDecision, SCHEMA, Settings, State, Trigger},
    kept::Kept,
    scaled_object::{activation, metrics},
};
use crate::{
    scaled_job::decision,
    scaled_object::{decision::TriggerState, plan::PlannedTrigger, reconcile::PAUSED},
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
        problem: published_problem(object).as_deref(),
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
    let failing = facts.kept.failing.get(&index);
    let mut explained = Trigger {
        index,
        trigger_type: spec.trigger_type.clone(),
        name: spec.name.clone(),
        activation: activation(&spec.metadata),
        failing_since: failing.map(|failing| failing.since),
        failures: failing.map_or(0, |failing| failing.samples),
        ..Trigger::default()
    };
    let planned = facts.planned.iter().zip(facts.views);
    let Some((planned, view)) = planned.into_iter().find(|(planned, _)| planned.index == index) else {
        published(facts.object, index, &mut explained);
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

/// What the status says of a trigger.
fn published(object: &ScaledJob, index: usize, explained: &mut Trigger) {
    let activity = object
        .status
        .as_ref()
        .and_then(|status| status.triggers_activity.as_ref());
    let prefix = format!("s{index}-");
    for (name, activity) in activity.into_iter().flatten() {
        if name.starts_with(&prefix) {
            explained.state = match activity.is_active {
                true => State::Active,
                false => State::Inactive,
            };
            explained.metrics.push(Metric {
                name: name.clone(),
                ..Metric::default()
            });
        }
    }
}

/// Why an object does not run, as its status says it.
fn published_problem(object: &ScaledJob) -> Option<String> {
    if object.is_paused() {
        return Some(PAUSED.to_owned());
    }
    let ready = object.status.as_ref()?.condition("Ready")?;
    let is_refused = !ready.is_true() && ready.reason.as_deref() == Some("ScaledJobCheckFailed");
    ready.message.clone().filter(|_| is_refused)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(change: &serde_json::Value) -> ScaledJob {
        let mut object = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob",
            "metadata": {"name": "work", "namespace": "default"},
            "spec": {
                "jobTargetRef": {"template": {"spec": {"containers": [{"name": "work", "image": "worker"}]}}},
                "triggers": [{"type": "test", "metadata": {}}, {"type": "test", "metadata": {}}],
            },
            "status": {
                "conditions": [
                    {"type": "Ready", "status": "False", "reason": "ScaledJobCheckFailed", "message": "no such queue"},
                ],
                "triggersActivity": {"s1-test-orders": {"isActive": true}},
            },
        });
        for (path, value) in change.as_object().unwrap() {
            *object.pointer_mut(path).unwrap() = value.clone();
        }
        serde_json::from_value(object).unwrap()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn of_an_object_alone_its_status_is_shown() {
        let explained = from_object(&object(&json!({})), Vec::new(), at(0));
        assert_eq!(explained.problem.as_deref(), Some("no such queue"));
        let states: Vec<_> = explained.triggers.iter().map(|trigger| trigger.state).collect();
        assert_eq!(states, [State::Unknown, State::Active]);
        let failing = json!({"/status/conditions/0/reason": "TriggerError"});
        let explained = from_object(&object(&failing), Vec::new(), at(0));
        assert_eq!(explained.problem, None, "it runs all the same");
        let paused = json!({"/metadata": {
            "name": "work", "namespace": "default", "annotations": {"autoscaling.keda.sh/paused": "true"},
        }});
        let explained = from_object(&object(&paused), Vec::new(), at(0));
        assert_eq!(
            explained.problem.as_deref(),
            Some("it is paused by an annotation")
        );
    }

    #[test]
    fn failures_are_counted_until_a_sample_succeeds() {
        let mut kept = Kept::default();
        let failures = |kept: &Kept| {
            let explained = explain(Facts {
                now: at(99),
                object: &object(&json!({})),
                leads: Some(true),
                problem: Some("why"),
                kept,
                planned: &[],
                views: &[],
                decisions: Vec::new(),
            });
            assert_eq!(explained.problem.as_deref(), Some("why"));
            let triggers = explained.triggers.iter();
            triggers
                .map(|trigger| (trigger.failures, trigger.failing_since))
                .collect::<Vec<_>>()
        };
        for seconds in [10, 20, 30] {
            kept.note(0, false, at(seconds));
            kept.note(1, true, at(seconds));
        }
        assert_eq!(failures(&kept), [(3, Some(at(10))), (0, None)]);
        kept.note(0, true, at(40));
        assert_eq!(failures(&kept), [(0, None), (0, None)]);
        kept.note(0, false, at(50));
        assert_eq!(failures(&kept), [(1, Some(at(50))), (0, None)]);
    }
}
