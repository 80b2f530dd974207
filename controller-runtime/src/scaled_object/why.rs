//! What a turn leaves behind for whoever asks why, and the answer.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use scaler_api::keda;

use super::{
    controller::Core,
    decision::{Decision, Observation},
    hpa::Autoscaler,
    plan::Plan,
    samples::Taken,
    state::{Entry, Live, Turn},
};
use crate::{
    decisions::DecisionLog,
    explain::{
        Check, Explanation, PastDecision, Runs,
        scaled_object::{Facts, explain},
    },
    store::ObjectKey,
};

/// What a check saw and decided. The turn needs the decision no more.
pub(super) fn check(seen: &Observation<'_>, decision: Decision, stepped: bool, turn: &Turn) -> Check {
    let set = decision.step.replicas();
    // What it is from now on: a check while there is work starts the cooldown anew.
    let last_active = turn.last_active;
    let cooldown = super::decision::Cooldown {
        last_active,
        ..seen.cooldown
    };
    Check {
        at: seen.now,
        replicas: seen.replicas.as_ref().ok().copied(),
        rule: Some(decision.rule),
        set,
        succeeded: set.map(|_| stepped),
        reason: decision.reason,
        last_active,
        cooldown_ends: Some(cooldown.ends()),
        initial_cooldown: last_active.is_none(),
    }
}

impl Core {
    /// Why an object is scaled as it is; none if there is no such object.
    pub(super) fn explain(&self, key: &ObjectKey, runs: &Runs) -> Option<Explanation> {
        let object = self.objects.get(key)?;
        let hpa_name = object.status.as_ref().and_then(|status| status.hpa_name.clone());
        let hpa_key = ObjectKey::new(&key.namespace, hpa_name.unwrap_or_else(|| object.hpa_name()));
        let hpa = self.hpas.get(&hpa_key).map(|hpa| hpa.read());
        let reference = &object.spec.scale_target_ref;
        let target = format!("{}/{}/{}", reference.kind(), key.namespace, reference.name);
        let decisions = past(&self.runtime.decisions, &[format!("ScaledObject/{key}"), target]);
        let entry = self.entries.get(key);
        let fresh = Live::default();
        let explain = |live: &Live| {
            let plan = live.plan.as_deref();
            explain(Facts {
                now: self.runtime.clock.now(),
                object: &object,
                leads: Some(self.runtime.leadership.leads()),
                plan,
                problem: plan.is_none().then_some(live.problem.as_str()),
                kept: &live.kept,
                ledger: &live.ledger,
                samples: &plan.map(|plan| samples(live, plan)).unwrap_or_default(),
                hpa: hpa.as_ref(),
                run: runs(&hpa_key),
                decisions,
            })
        };
        Some(match entry {
            Some(entry) => entry.live(|live| explain(live)),
            None => explain(&fresh),
        })
    }
}

/// Of each trigger the newest sample, of those with cached metrics the last poll's.
fn samples(live: &Live, plan: &Plan) -> BTreeMap<usize, Arc<Taken>> {
    let samples = plan.triggers.iter().filter_map(|trigger| {
        let newest = trigger.source.as_ref().and_then(|source| source.last());
        let polled = live.polled(trigger);
        let taken = match trigger.use_cached_metrics {
            true => polled.or(newest),
            false => newest.or(polled),
        };
        Some((trigger.index, taken?))
    });
    samples.collect()
}

/// What was decided about these objects, oldest first.
pub(crate) fn past(log: &DecisionLog, objects: &[String]) -> Vec<PastDecision> {
    let mut decisions: Vec<_> = objects.iter().flat_map(|object| log.about(object)).collect();
    decisions.sort_by_key(|decision| decision.time);
    let past = decisions.into_iter().map(|decision| PastDecision {
        time: decision.time,
        controller: decision.controller.to_owned(),
        from: decision.from,
        to: decision.to,
        reason: decision.reason,
    });
    past.collect()
}

impl Entry {
    /// Notes what the HPA says of itself.
    pub(super) fn watch(&self, hpa: &Autoscaler, now: Timestamp) {
        self.live(|live| {
            let plan = live.plan.clone();
            let mut kept = std::mem::take(&mut live.kept);
            let total = |name: &str| plan.as_deref().and_then(|plan| total(live, plan, name));
            kept.watch(hpa, total, now);
            live.kept = kept;
        });
    }
}

/// The value of an external metric in the newest sample, in thousandths.
fn total(live: &Live, plan: &Plan, name: &str) -> Option<i64> {
    if name == keda::COMPOSITE_METRIC_NAME {
        return None;
    }
    let samples = samples(live, plan);
    plan.triggers.iter().find_map(|trigger| {
        let position = trigger
            .external()
            .position(|metric| metric.name.eq_ignore_ascii_case(name))?;
        let sample = samples.get(&trigger.index)?.result.as_ref().ok()?;
        let value = sample.values.get(position)?.value;
        Some(scaler_api::Quantity::from_f64_milli(value).milli_value())
    })
}
