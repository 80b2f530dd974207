//! One check of the triggers: sample, count, decide, make Jobs, say so, clean up.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use scaler_api::{
    Error, Sample,
    keda::{Condition, ScaledJob},
};

use tokio::time::Instant;

use super::{
    combine::Demand,
    controller::Core,
    decision::{self, Decision, Observation, Trigger},
    state::{Entry, Plan, Turn},
    why,
};
use crate::{
    events::EventType,
    pod_autoscaler::metrics::Kind,
    scaled_object::{
        check::{activity, following, in_words},
        decision::{TriggerState, TriggerView},
        plan::PlannedTrigger,
        state::whole,
        status::{self, put_condition},
    },
    store::ObjectKey,
};

impl Core {
    /// Checks the triggers of a running object.
    pub(super) async fn check(&self, key: &ObjectKey, plan: &Arc<Plan>, entry: &Entry, turn: &mut Turn) {
        if let Some(due) = turn.next_check {
            self.runtime.pods.began(Kind::ScaledJob, key, due.elapsed());
        }
        turn.next_check = Some(following(turn.next_check, interval(&plan.object)));
        let triggers = self.ask(key, plan, turn).await;
        let views = triggers.iter().map(|trigger| &trigger.view);
        turn.status.triggers_activity = activity(&plan.triggers, views);
        let known = self.count_on_jobs(key).await;
        if known.is_ok() {
            self.roll_out(key, plan).await;
        }
        let counts = known.map(|()| self.ledger.count(key, plan.pending_conditions()));
        let seen = Observation {
            counts,
            bounds: plan.bounds,
            strategy: plan.strategy,
            calculation: plan.calculation,
            triggers: &triggers,
        };
        let mut decision = decision::decide(&seen);
        let mut made_now = None;
        if let Ok(counts) = &seen.counts
            && let Some(wanted) = usize::try_from(decision.create).ok().filter(|wanted| *wanted > 0)
            && turn.refusals.allow(Instant::now())
        {
            let made = self.make(key, plan, wanted, turn).await;
            made_now = Some(made);
            if made > 0 {
                let made = i64::try_from(made).unwrap_or(i64::MAX);
                self.record(
                    key,
                    counts.running,
                    counts.running.saturating_add(made),
                    &decision.reason,
                );
            }
        }
        self.note(key, &plan.object, &triggers, &decision, turn);
        if decision.create > 0
            && let Some(refused) = turn.refusals.standing(Instant::now())
        {
            decision.reason = format!("{}; {refused}", decision.reason);
        }
        let running = seen.counts.as_ref().ok().map(|counts| counts.running);
        if running.is_some() {
            self.clean_up(key, plan).await;
        }
        let now = self.runtime.clock.now();
        entry.tell(plan, triggers, why::check(now, running, made_now, decision, turn));
    }

    /// Asks every trigger. What others asked for a while ago is too old: Jobs may have been made since for what was in
    /// the queue then.
    async fn ask(&self, key: &ObjectKey, plan: &Plan, turn: &mut Turn) -> Vec<Trigger> {
        let samples = plan.triggers.iter().map(|trigger| async move {
            let source = trigger.source.as_ref()?;
            let taken = source.sample(Duration::ZERO).await;
            self.runtime.pods.sampled(Kind::ScaledJob, key, trigger, &taken);
            Some(whole(trigger, &taken))
        });
        let samples = futures::future::join_all(samples).await;
        let with_samples = plan.triggers.iter().zip(samples);
        let triggers = with_samples.map(|(trigger, result)| {
            if let Some(result) = &result {
                self.announce_failure(key, plan, trigger, result, turn);
            }
            self.warn_of_push(plan, trigger, turn);
            standing(trigger, result, plan.bounds.headroom)
        });
        triggers.collect()
    }

    /// Says that nobody listens to a source that pushes.
    fn warn_of_push(&self, plan: &Plan, trigger: &PlannedTrigger, turn: &mut Turn) {
        let pushes = trigger.source.as_ref().is_some_and(|source| source.pushes());
        if pushes && turn.unheard.insert(trigger.index) {
            let message = format!(
                "{} pushes activations, which a ScaledJob does not hear: it is only polled",
                trigger.label()
            );
            self.say(&plan.object, EventType::Warning, "KEDAScalerInfo", &message);
        }
    }

    /// Says that a trigger has just begun to fail, or to work again.
    fn announce_failure(
        &self,
        key: &ObjectKey,
        plan: &Plan,
        trigger: &PlannedTrigger,
        result: &Result<Sample, Error>,
        turn: &mut Turn,
    ) {
        let Err(error) = result else {
            if turn.failing.remove(&trigger.index) {
                let reason = format!("{} has values again", trigger.label());
                self.record(key, "failing", "working", reason);
            }
            return;
        };
        if !turn.failing.insert(trigger.index) {
            return;
        }
        let message = error.to_string();
        self.say(&plan.object, EventType::Warning, "KEDAScalerFailed", &message);
        let reason = format!("{}: {message}", trigger.label());
        self.record(key, "working", "failing", reason);
        if error.kind() == scaler_api::ErrorKind::Unauthorized {
            // Credentials are watched; this is for those that were changed elsewhere.
            self.entries.mark_object(key);
        }
    }

    /// Says in the status what was decided.
    fn note(
        &self,
        key: &ObjectKey,
        object: &ScaledJob,
        triggers: &[Trigger],
        decision: &Decision,
        turn: &mut Turn,
    ) {
        let is_active = decision.active.is_true();
        let was_active = turn.status.condition("Active").is_some_and(Condition::is_true);
        let turned = was_active != is_active;
        if turned {
            let reason = if is_active {
                "ScaledJobActive"
            } else {
                "ScaledJobInactive"
            };
            let message = decision.active.message.clone().unwrap_or_default();
            self.say(object, EventType::Normal, reason, &message);
        }
        for condition in [&decision.active, &decision.ready] {
            let known = turn.status.condition(&condition.type_);
            let before = known.and_then(|known| known.reason.clone()).unwrap_or_default();
            if put_condition(&mut turn.status.conditions, condition.clone()) {
                let to = condition.reason.clone().unwrap_or_default();
                self.record(key, before, to, &decision.reason);
            }
        }
        // The Jobs of the minimum alone are no news.
        let has_work = |trigger: &Trigger| trigger.view.state == TriggerState::Active;
        let is_active_now = is_active && (turned || triggers.iter().any(has_work));
        if is_active_now {
            turn.last_active = Some(self.runtime.clock.now());
        }
        if let Some(last_active) = turn.last_active
            && (is_active_now || turned)
        {
            let published = turn.published.last_active_time.as_ref().map(|time| time.0);
            if status::publishes_last_active(published, last_active, turned, SignedDuration::ZERO) {
                turn.status.last_active_time = Some(Time(last_active));
            }
        }
    }
}

fn interval(object: &ScaledJob) -> Duration {
    let seconds = u64::try_from(object.spec.polling_interval()).unwrap_or(1);
    Duration::from_secs(seconds.max(1))
}

/// How a trigger stands after it was asked; those that have no source are left out of everything.
fn standing(trigger: &PlannedTrigger, result: Option<Result<Sample, Error>>, most: i64) -> Trigger {
    let specs: Vec<_> = trigger.external().map(|metric| &metric.spec).collect();
    let demand = match &result {
        Some(Ok(sample)) => Some(Demand::of(&specs, sample, most)),
        _ => None,
    };
    let (state, detail) = match result {
        None => (TriggerState::Resource, String::new()),
        Some(Err(error)) => (TriggerState::Failed(error.to_string()), String::new()),
        Some(Ok(sample)) => {
            let state = if sample.active {
                TriggerState::Active
            } else {
                TriggerState::Inactive
            };
            (state, in_words(trigger, &sample))
        }
    };
    let name = trigger.label();
    Trigger {
        view: TriggerView { name, state, detail },
        demand,
    }
}
