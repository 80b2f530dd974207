//! A replica that does not lead: it is able to answer for every object, and writes nothing.
//!
//! It builds the same plans as the leader and samples on its own when it is asked. It polls only for triggers whose
//! readers get the last poll's sample. Failures it counts by its own samples, starting from what the leader has counted.

use std::sync::Arc;

use scaler_api::keda::ScaledObject;
use tokio::time::Instant;

use super::{
    check::schedule,
    controller::{Core, is_due, next_action, retry_delay},
    finalize::DELETED,
    plan::Plan,
    prepare::Refusal,
    reconcile::{PATIENCE, PAUSED},
    state::{Entry, Fingerprint, Turn},
};
use crate::{pod_autoscaler::metrics::Kind, queue::Action, store::ObjectKey};

impl Core {
    /// One turn of one object in a process that does not lead.
    pub(super) async fn stand_by(&self, key: &ObjectKey) -> Action {
        let Some(object) = self.objects.get(key) else {
            self.entries.remove(key);
            self.runtime.pods.remove(Kind::ScaledObject, key);
            return Action::Await;
        };
        let entry = self.entries.of(key, &object, self.runtime.clock.now());
        let mut turn = entry.turn.lock().await;
        if object.metadata.deletion_timestamp.is_some() {
            entry.live(|live| live.stop(DELETED));
            self.runtime.pods.remove(Kind::ScaledObject, key);
            return Action::Await;
        }
        if turn.wants_reconciliation(&entry, &object) {
            let _permit = self.asking.acquire().await;
            Box::pin(self.follow(key, &object, &entry, &mut turn)).await;
        }
        if is_due(turn.next_check)
            && let Some(plan) = entry.live(|live| live.plan.clone())
        {
            Box::pin(self.poll(&object, &plan, &entry, &mut turn)).await;
        }
        next_action(&turn, true)
    }

    /// Makes readers of metrics see how the object runs, or why it does not.
    async fn follow(&self, key: &ObjectKey, object: &Arc<ScaledObject>, entry: &Entry, turn: &mut Turn) {
        turn.retry_at = None;
        turn.seen = Some(Fingerprint::of(&**object));
        if object.is_paused() {
            turn.rest();
            self.runtime.pods.stop(Kind::ScaledObject, key);
            return entry.live(|live| live.stop(PAUSED));
        }
        let plan = self
            .prepare(key, object, entry)
            .await
            .and_then(|prepared| prepared.plan);
        match plan {
            Ok(plan) => {
                turn.failures = 0;
                let is_polled = plan.triggers.iter().any(|trigger| trigger.use_cached_metrics);
                turn.next_check = is_polled.then(|| turn.next_check.unwrap_or_else(Instant::now));
                self.runtime.pods.run(Kind::ScaledObject, key, &plan.triggers);
                entry.live(|live| live.run(plan));
            }
            Err(refusal) => {
                turn.retry_at = Some(Instant::now() + retry_delay(turn));
                let is_running = entry.live(|live| live.plan.is_some());
                let is_unanswered = matches!(refusal, Refusal::Unanswered(_));
                if is_unanswered && (is_running || turn.failures < PATIENCE) {
                    tracing::warn!(object = %key, %refusal, "was not resolved, trying again");
                } else {
                    turn.rest();
                    self.runtime.pods.stop(Kind::ScaledObject, key);
                    entry.live(|live| live.stop(&refusal.to_string()));
                }
            }
        }
    }

    /// Samples for those who read cached metrics.
    async fn poll(&self, object: &ScaledObject, plan: &Plan, entry: &Entry, turn: &mut Turn) {
        let key = &ObjectKey::of(object);
        let interval = schedule(object, turn);
        let max_age = self.config.sample_max_age.min(interval / 2);
        let polled = plan.triggers.iter().filter(|trigger| trigger.use_cached_metrics);
        let samples = polled.filter_map(|trigger| {
            let source = trigger.source.as_ref()?;
            Some(async move { (trigger, source.sample(max_age).await) })
        });
        for (trigger, taken) in futures::future::join_all(samples).await {
            entry.live(|live| {
                live.keep_polled(trigger, &taken);
                live.account(plan, trigger, &taken);
            });
            self.runtime
                .pods
                .sampled(Kind::ScaledObject, key, trigger, &taken);
        }
    }
}
