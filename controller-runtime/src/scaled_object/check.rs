//! One check of the triggers: sample, decide, scale, say so.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use scaler_api::{
    MetricTarget, Quantity, Sample,
    keda::{Condition, ScaledObject, TriggerActivity},
};
use tokio::time::Instant;

use super::{
    controller::Core,
    decision::{self, Bounds, Cooldown, Decision, Observation, Switches, TriggerState, TriggerView},
    fallback::{self, Fallback},
    hpa::NamedMetric,
    modifiers::Composite,
    plan::{Plan, PlannedTrigger},
    samples::Taken,
    state::{Entry, Standing, Turn},
    status, why,
};
use crate::{events::EventType, pod_autoscaler::metrics::Kind, store::ObjectKey};

impl Core {
    /// Checks the triggers of a running object.
    pub(super) async fn check(&self, object: &ScaledObject, plan: &Plan, entry: &Entry, turn: &mut Turn) {
        let key = &ObjectKey::of(object);
        if let Some(due) = turn.next_check {
            self.runtime.pods.began(Kind::ScaledObject, key, due.elapsed());
        }
        let interval = schedule(object, turn);
        let max_age = self.config.sample_max_age.min(interval / 2);
        let samples = plan.triggers.iter().map(|trigger| async move {
            match &trigger.source {
                Some(source) => Some(source.sample(max_age).await),
                None => None,
            }
        });
        let samples = futures::future::join_all(samples).await;
        let replicas = self
            .builder
            .targets
            .replicas(&plan.target)
            .await
            .map_err(|error| error.to_string());
        let standings = self.standings(object, plan, entry, turn, &samples);
        let current = replicas.as_ref().copied().unwrap_or(0);
        let views: Vec<_> = plan
            .triggers
            .iter()
            .zip(&standings)
            .map(|(trigger, standing)| view(plan, trigger, standing.as_ref(), current))
            .collect();
        let composite = composite(plan, &standings, current);
        let target = plan.target.to_string();
        let mut seen = self.observe(object, turn, &target, replicas, &views, composite.as_ref());
        let mut decision = decision::decide(&seen);
        let mut stepped = true;
        if decision.step.replicas().is_some() {
            (decision, stepped) = self.step(object, plan, &mut seen, decision).await;
        }
        turn.status.triggers_activity = activity(&plan.triggers, &views);
        self.note(key, &seen, &decision, stepped, turn);
        let check = why::check(&seen, decision, stepped, turn);
        entry.live(|live| live.kept.keep_check(check));
    }

    /// What a decision looks at.
    pub(super) fn observe<'a>(
        &self,
        object: &ScaledObject,
        turn: &Turn,
        target: &'a str,
        replicas: Result<i32, String>,
        triggers: &'a [TriggerView],
        composite: Option<&'a TriggerView>,
    ) -> Observation<'a> {
        let spec = &object.spec;
        Observation {
            now: self.runtime.clock.now(),
            target,
            replicas,
            bounds: Bounds {
                min: spec.min_replica_count(),
                idle: spec.idle_replica_count,
            },
            cooldown: cooldown(object, turn),
            switches: Switches {
                paused: object.is_paused(),
                scale_in_paused: object.is_scale_in_paused(),
                scale_out_paused: object.is_scale_out_paused(),
                force_activation: object.is_activation_forced(),
            },
            fallback_replicas: Fallback::of(&object.spec).map(|fallback| fallback.replicas),
            triggers,
            composite,
        }
    }

    /// How every trigger with a source stands; those that have just begun to fail are announced.
    fn standings(
        &self,
        object: &ScaledObject,
        plan: &Plan,
        entry: &Entry,
        turn: &mut Turn,
        samples: &[Option<Arc<Taken>>],
    ) -> Vec<Option<Standing>> {
        let key = &ObjectKey::of(object);
        let standings = plan.triggers.iter().zip(samples).map(|(trigger, taken)| {
            let taken = taken.as_ref()?;
            self.runtime.pods.sampled(Kind::ScaledObject, key, trigger, taken);
            let standing = entry.live(|live| {
                live.keep_polled(trigger, taken);
                live.account(plan, trigger, taken).0
            });
            self.announce_failure(object, plan, trigger, &standing, turn);
            Some(standing)
        });
        standings.collect()
    }

    fn announce_failure(
        &self,
        object: &ScaledObject,
        plan: &Plan,
        trigger: &PlannedTrigger,
        standing: &Standing,
        turn: &mut Turn,
    ) {
        let key = ObjectKey::of(object);
        match standing {
            Standing::Sampled(_) => {
                if turn.failing.remove(&trigger.index) {
                    self.record(
                        &key,
                        "failing",
                        "working",
                        format!("{} has values again", trigger.label()),
                    );
                }
            }
            Standing::Failed(error) | Standing::FallenBack(error) => {
                if !turn.failing.insert(trigger.index) {
                    return;
                }
                let message = error.to_string();
                let reason = match plan.modifiers {
                    Some(_) => "KEDAMetricSourceFailed",
                    None => "KEDAScalerFailed",
                };
                self.runtime
                    .recorder
                    .publish(object, EventType::Warning, reason, &message);
                self.record(
                    &key,
                    "working",
                    "failing",
                    format!("{}: {message}", trigger.label()),
                );
                if error.kind() == scaler_api::ErrorKind::Unauthorized {
                    // Credentials are watched; this is for those that were changed elsewhere.
                    self.entries.mark(&key);
                }
            }
        }
    }

    /// Takes a step on what the API server says, not on what was last watched.
    pub(super) async fn step(
        &self,
        object: &ScaledObject,
        plan: &Plan,
        seen: &mut Observation<'_>,
        mut decision: Decision,
    ) -> (Decision, bool) {
        let (key, targets) = (&ObjectKey::of(object), &self.builder.targets);
        let scale = match targets.scale(&plan.target).await {
            Ok(scale) => scale,
            Err(error) => {
                seen.replicas = Err(error.to_string());
                return (decision::decide(seen), true);
            }
        };
        if seen.replicas != Ok(scale.replicas()) {
            seen.replicas = Ok(scale.replicas());
            decision = decision::decide(seen);
        }
        let Some(to) = decision.step.replicas() else {
            return (decision, true);
        };
        if let Err(error) = targets.set(&plan.target, &scale, to).await {
            let message = format!(
                "Failed to scale {} from {} to {to}: {error}",
                plan.target,
                scale.replicas()
            );
            self.runtime
                .recorder
                .publish(object, EventType::Warning, decision.failure_reason, &message);
            tracing::warn!(object = %key, %message, "was not scaled");
            return (decision, false);
        }
        if let Some(event) = &decision.event {
            self.runtime
                .recorder
                .publish(object, event.event_type, event.reason, &event.message);
        }
        self.record(key, scale.replicas(), to, &decision.reason);
        (decision, true)
    }

    /// Says in the status what was decided.
    pub(super) fn note(
        &self,
        key: &ObjectKey,
        seen: &Observation<'_>,
        decision: &Decision,
        stepped: bool,
        turn: &mut Turn,
    ) {
        let was_active = turn.status.condition("Active").is_some_and(Condition::is_true);
        let mut turned = false;
        if let Some(active) = decision.active.clone() {
            let to = active.reason.clone().unwrap_or_default();
            let before = turn
                .status
                .condition("Active")
                .and_then(|known| known.reason.clone());
            turned = was_active != active.is_true();
            if status::set_condition(&mut turn.status, active) {
                self.record(key, before.unwrap_or_default(), to, &decision.reason);
            }
        }
        let before = turn
            .status
            .condition("Ready")
            .and_then(|known| known.reason.clone());
        let ready = decision.ready.reason.clone().unwrap_or_default();
        if status::set_condition(&mut turn.status, decision.ready.clone()) {
            self.record(key, before.unwrap_or_default(), ready, &decision.reason);
        }
        if decision.is_active_now && stepped {
            turn.last_active = Some(seen.now);
        }
        if let Some(last_active) = turn.last_active
            && (decision.is_active_now || turned)
        {
            let published = turn.published.last_active();
            if status::publishes_last_active(published, last_active, turned, seen.cooldown.period) {
                turn.status.last_active_time = Some(Time(last_active));
            }
        }
    }

    /// Says in the status whether a fallback is in force.
    pub(super) fn set_fallback(
        &self,
        key: &ObjectKey,
        object: &ScaledObject,
        turn: &mut Turn,
        in_force: bool,
    ) {
        let was = turn.status.condition("Fallback").is_some_and(Condition::is_true);
        status::set_condition(&mut turn.status, status::fallback_condition(in_force));
        if was == in_force {
            return;
        }
        let (reason, message, from, to) = if in_force {
            (
                "ScaledObjectFallbackActivated",
                "ScaledObject fallback is active",
                "",
                "fallback",
            )
        } else {
            (
                "ScaledObjectFallbackDeactivated",
                "ScaledObject fallback is no longer active",
                "fallback",
                "",
            )
        };
        self.runtime
            .recorder
            .publish(object, EventType::Normal, reason, message);
        let failures = turn
            .status
            .health
            .iter()
            .flatten()
            .filter_map(|(metric, health)| {
                let failures = health.number_of_failures.filter(|failures| *failures > 0)?;
                Some(format!("{metric} has failed {failures} times in a row"))
            });
        let failures = failures.collect::<Vec<_>>().join(", ");
        let failures = if failures.is_empty() {
            "every source has values again".to_owned()
        } else {
            failures
        };
        let threshold = object
            .spec
            .fallback
            .as_ref()
            .map_or(0, |fallback| fallback.failure_threshold);
        self.record(key, from, to, format!("{failures}; the threshold is {threshold}"));
    }
}

/// Sets when the triggers are checked next, from start to start, without drift; returns the interval.
pub(super) fn schedule(object: &ScaledObject, turn: &mut Turn) -> Duration {
    let seconds = u64::try_from(object.spec.polling_interval()).unwrap_or(1).max(1);
    let interval = Duration::from_secs(seconds);
    turn.next_check = Some(following(turn.next_check, interval));
    interval
}

/// When what was due at a time is due again, from start to start.
pub(crate) fn following(due: Option<Instant>, interval: Duration) -> Instant {
    let now = Instant::now();
    (due.unwrap_or(now) + interval).max(now)
}

fn cooldown(object: &ScaledObject, turn: &Turn) -> Cooldown {
    let seconds = |seconds: i32| SignedDuration::from_secs(i64::from(seconds));
    Cooldown {
        period: seconds(object.spec.cooldown_period()),
        initial: seconds(object.spec.initial_cooldown_period()),
        created: object
            .metadata
            .creation_timestamp
            .as_ref()
            .map_or(jiff::Timestamp::MIN, |time| time.0),
        last_active: turn.last_active,
    }
}

pub(crate) fn activity<'a>(
    triggers: &[PlannedTrigger],
    views: impl IntoIterator<Item = &'a TriggerView>,
) -> Option<BTreeMap<String, TriggerActivity>> {
    let mut activity = BTreeMap::new();
    for (trigger, view) in triggers.iter().zip(views) {
        let is_active = matches!(view.state, TriggerState::Active | TriggerState::FallenBack(_));
        for metric in trigger.external() {
            activity.insert(metric.name.clone(), TriggerActivity { is_active });
        }
    }
    (!activity.is_empty()).then_some(activity)
}

fn view(plan: &Plan, trigger: &PlannedTrigger, standing: Option<&Standing>, replicas: i32) -> TriggerView {
    let (state, detail) = match standing {
        None => (TriggerState::Resource, String::new()),
        Some(Standing::Sampled(sample)) => {
            let state = if sample.active {
                TriggerState::Active
            } else {
                TriggerState::Inactive
            };
            (state, in_words(trigger, sample))
        }
        Some(Standing::Failed(error)) => (TriggerState::Failed(error.to_string()), String::new()),
        Some(Standing::FallenBack(error)) => {
            let detail = fallback_in_words(plan, trigger.external(), replicas);
            (TriggerState::FallenBack(error.to_string()), detail)
        }
    };
    TriggerView {
        name: trigger.label(),
        state,
        detail,
    }
}

/// What the formula of a plan that has one makes of its triggers.
fn composite(plan: &Plan, standings: &[Option<Standing>], replicas: i32) -> Option<TriggerView> {
    let modifiers = plan.modifiers.as_ref()?;
    let metric = modifiers.metric();
    let (state, detail) = match plan.compose(modifiers, standings) {
        Composite::Value(value) => {
            let detail = format!("{}, {}", modifiers.in_words(value), target(metric));
            match modifiers.is_active(value) {
                true => (TriggerState::Active, detail),
                false => (TriggerState::Inactive, detail),
            }
        }
        Composite::Failed(problem) => (TriggerState::Failed(problem), String::new()),
        Composite::FallenBack(problem) => {
            let detail = fallback_in_words(plan, std::iter::once(metric), replicas);
            (TriggerState::FallenBack(problem), detail)
        }
    };
    Some(TriggerView {
        name: metric.name.clone(),
        state,
        detail,
    })
}

fn fallback_in_words<'a>(
    plan: &Plan,
    metrics: impl IntoIterator<Item = &'a NamedMetric>,
    replicas: i32,
) -> String {
    let to = plan.fallback.map_or(0, |fallback| fallback.replicas(replicas));
    let mut metrics = metrics.into_iter();
    let value = metrics.find_map(|metric| fallback::metric_value(metric.spec.target(), to, 1));
    let value = value.map_or_else(String::new, |value| format!(", value {value}"));
    format!("{to} replicas{value}")
}

/// The values of a sample and their targets.
pub(crate) fn in_words(trigger: &PlannedTrigger, sample: &Sample) -> String {
    let values = trigger.external().zip(&sample.values);
    let words = values.map(|(metric, value)| {
        format!(
            "value {}, {}",
            Quantity::from_f64_milli(value.value),
            target(metric)
        )
    });
    words.collect::<Vec<_>>().join(", ")
}

fn target(metric: &NamedMetric) -> String {
    match metric.spec.target() {
        MetricTarget::AverageValue(target) => format!("target {target} per replica"),
        MetricTarget::Value(target) => format!("target {target} in total"),
        _ => "left to the HPA".to_owned(),
    }
}
