//! From a changed ScaledObject to a plan that runs: finalizer, label, pause, status, HPA. The leader's half of it.

use std::sync::Arc;

use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
};
use scaler_api::keda::{self, Condition, FINALIZER, SCALED_OBJECT_NAME_LABEL, ScaledObject};
use serde_json::json;
use tokio::time::Instant;

use super::{
    controller::{Core, retry_delay},
    decision,
    plan::Plan,
    prepare::Refusal,
    state::{Entry, Fingerprint, Turn},
    status,
    target::{Scale, Target},
};
use crate::{
    admission::{Finding, Findings, Severity},
    events::EventType,
    pod_autoscaler::metrics::Kind,
    store::{ObjectKey, trimmed},
};

/// How often the API server may fail to answer before that is said.
pub(crate) const PATIENCE: u32 = 5;
/// What readers of the metrics of a paused object are told.
pub(crate) const PAUSED: &str = "it is paused by an annotation";

impl Core {
    /// Makes the object run, or says why it does not.
    pub(super) async fn reconcile(
        &self,
        key: &ObjectKey,
        object: &Arc<ScaledObject>,
        entry: &Entry,
        turn: &mut Turn,
    ) {
        turn.retry_at = None;
        status::initialize(&mut turn.status);
        match self.try_reconcile(key, object, entry, turn).await {
            Ok(()) => turn.failures = 0,
            Err(refusal) => {
                turn.retry_at = Some(Instant::now() + retry_delay(turn));
                let is_running = entry.live(|live| live.plan.is_some());
                match refusal {
                    // It may have been a moment's trouble, such as two writers of one object.
                    Refusal::Unanswered(problem) if is_running || turn.failures < PATIENCE => {
                        tracing::warn!(object = %key, problem, "was not reconciled, trying again");
                    }
                    refusal => self.refuse(key, object, entry, turn, &refusal),
                }
            }
        }
    }

    async fn try_reconcile(
        &self,
        key: &ObjectKey,
        object: &Arc<ScaledObject>,
        entry: &Entry,
        turn: &mut Turn,
    ) -> Result<(), Refusal> {
        let object = self.ensure_metadata(key, object).await?;
        let seen = Fingerprint::of(&*object);
        let is_new = turn
            .seen
            .as_ref()
            .is_none_or(|known| known.generation() != seen.generation());
        turn.seen = Some(seen);
        if object.is_paused() {
            let paused = self.pause(key, &object, entry, turn).await;
            if let Err(refusal) = &paused {
                self.announce_failed_pause(&object, turn, &refusal.to_string());
            }
            return paused;
        }
        self.unpause(key, &object, turn);
        let prepared = self.prepare(key, &object, entry).await?;
        if let Some((target, scale)) = &prepared.target {
            self.note_target(turn, target, scale);
        }
        if object.spec.restores_original_replica_count() {
            // Before the first step, so that it survives a restart.
            self.publish(key, turn).await;
        }
        let (types, authentications) = status::summarize(&object.spec.triggers);
        turn.status.triggers_types = Some(types);
        turn.status.authentications_types = Some(authentications).filter(|names| !names.is_empty());
        let plan = prepared.plan?;
        self.inform(&object, turn, &prepared.findings, &prepared.built);
        let made = self.ensure_autoscaler(key, &object, &plan, turn).await?;
        self.start(key, &object, &plan, entry, turn, is_new || made);
        Ok(())
    }

    /// Adds the finalizer and the label that the external metrics are selected by.
    async fn ensure_metadata(
        &self,
        key: &ObjectKey,
        object: &Arc<ScaledObject>,
    ) -> Result<Arc<ScaledObject>, kube::Error> {
        let name = object.name_any();
        let has_finalizer = object.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
        if has_finalizer && object.labels().get(SCALED_OBJECT_NAME_LABEL) == Some(&name) {
            return Ok(Arc::clone(object));
        }
        let mut finalizers = object.finalizers().to_vec();
        if !has_finalizer {
            finalizers.push(FINALIZER.to_owned());
        }
        // A list is replaced as a whole, so nobody else may have changed it meanwhile.
        let patch = json!({"metadata": {
            "resourceVersion": object.metadata.resource_version,
            "finalizers": finalizers,
            "labels": {SCALED_OBJECT_NAME_LABEL: name},
        }});
        let patched = self
            .api(key)
            .patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        Ok(Arc::new(trimmed(patched)))
    }

    fn note_target(&self, turn: &mut Turn, target: &Target, scale: &Scale) {
        turn.status.scale_target_kind = Some(target.kind_in_words());
        turn.status.scale_target_gvkr = Some(target.gvkr());
        turn.status.original_replica_count.get_or_insert(scale.replicas());
    }

    /// Warnings about an object that runs all the same, once for each generation that was not ready before.
    fn inform(&self, object: &ScaledObject, turn: &Turn, findings: &Findings, built: &Findings) {
        if turn.published.is_ready() {
            return;
        }
        let below_error = |finding: &&Finding| finding.severity < Severity::Error;
        for finding in findings.all().iter().chain(built.all()).filter(below_error) {
            let (event_type, reason) = match finding.field.ends_with("authenticationRef") {
                true => (EventType::Warning, "KEDAScalerFailed"),
                false => (EventType::Normal, "KEDAScalerInfo"),
            };
            self.runtime
                .recorder
                .publish(object, event_type, reason, finding.to_string());
        }
    }

    /// Runs by `plan` from now on; the first check is at once if the loop is (re)started.
    fn start(
        &self,
        key: &ObjectKey,
        object: &ScaledObject,
        plan: &Arc<Plan>,
        entry: &Entry,
        turn: &mut Turn,
        restart: bool,
    ) {
        let recorder = &self.runtime.recorder;
        let was_ready = turn.published.is_ready();
        let is_running = entry.live(|live| live.plan.is_some());
        turn.status.external_metric_names = Some(plan.external_names()).filter(|names| !names.is_empty());
        turn.status.resource_metric_names = Some(plan.resource_names()).filter(|names| !names.is_empty());
        turn.status.composite_scaler_name = plan
            .modifiers
            .as_ref()
            .map(|modifiers| modifiers.metric().name.clone());
        entry.live(|live| live.run(Arc::clone(plan)));
        self.runtime.pods.run(Kind::ScaledObject, key, &plan.triggers);
        if restart || !is_running {
            turn.next_check = Some(Instant::now());
            if turn.started {
                turn.failing.clear();
            }
        }
        if !was_ready || (restart && turn.started) {
            for trigger in &plan.triggers {
                let message = format!("Scaler {} is built.", trigger.trigger_type);
                recorder.publish(object, EventType::Normal, "KEDAScalersStarted", message);
            }
            recorder.publish(
                object,
                EventType::Normal,
                "KEDAScalersStarted",
                "Started scalers watch",
            );
        }
        if !was_ready {
            let message = "ScaledObject is ready for scaling";
            recorder.publish(object, EventType::Normal, "ScaledObjectReady", message);
            let metrics: Vec<_> = plan.metrics().into_iter().map(|metric| metric.name).collect();
            let reason = format!("{} is scaled by {}", plan.target, metrics.join(", "));
            self.record(key, "", "ready", reason);
        }
        turn.started = true;
        turn.announced.clear();
        if !turn.status.condition("Ready").is_some_and(Condition::is_true) {
            status::set_condition(&mut turn.status, decision::ready());
        }
    }

    fn refuse(
        &self,
        key: &ObjectKey,
        object: &ScaledObject,
        entry: &Entry,
        turn: &mut Turn,
        refusal: &Refusal,
    ) {
        let problem = refusal.to_string();
        let problem = problem.as_str();
        entry.live(|live| live.stop(problem));
        turn.rest();
        self.runtime.pods.stop(Kind::ScaledObject, key);
        self.runtime.pods.failed(Kind::ScaledObject, key);
        status::set_condition(
            &mut turn.status,
            Condition::new("Ready", "False", "ScaledObjectCheckFailed", problem),
        );
        let unknown = Condition::new("Active", "Unknown", "UnknownState", "ScaledObject check failed");
        status::set_condition(&mut turn.status, unknown);
        if turn.announced != problem {
            problem.clone_into(&mut turn.announced);
            if matches!(refusal, Refusal::Unbuilt(_)) {
                self.runtime
                    .recorder
                    .publish(object, EventType::Warning, "KEDAScalerFailed", problem);
            }
            self.runtime
                .recorder
                .publish(object, EventType::Warning, "ScaledObjectCheckFailed", problem);
            self.record(key, "", "not ready", problem);
        }
    }

    /// Pauses as a whole: no checks, no HPA, and a fixed number of replicas if one is named.
    async fn pause(
        &self,
        key: &ObjectKey,
        object: &Arc<ScaledObject>,
        entry: &Entry,
        turn: &mut Turn,
    ) -> Result<(), Refusal> {
        entry.live(|live| live.stop(PAUSED));
        self.announce_stop(object, turn);
        turn.rest();
        self.runtime.pods.stop(Kind::ScaledObject, key);
        self.runtime.pods.set_paused(Kind::ScaledObject, key, true);
        if status::set_condition(&mut turn.status, status::paused_condition(true)) {
            let (reason, message) = ("ScaledObjectPaused", "ScaledObject is paused");
            self.runtime
                .recorder
                .publish(&**object, EventType::Normal, reason, message);
            self.record(
                key,
                "",
                "paused",
                "an annotation pauses the object: its HPA is deleted, nothing is checked",
            );
        }
        let hpa_name = turn.status.hpa_name.clone().unwrap_or_else(|| object.hpa_name());
        self.delete_autoscaler(&ObjectKey::new(&key.namespace, hpa_name))
            .await?;
        let Some(replicas) = object.paused_replicas() else {
            return Ok(());
        };
        let replicas = replicas.map_err(|error| Refusal::Wrong(error.to_string()))?;
        let reference = &object.spec.scale_target_ref;
        let (target, scale) = self.builder.targets.resolve(&key.namespace, reference).await?;
        self.note_target(turn, &target, &scale);
        if scale.replicas() != replicas {
            self.builder.targets.set(&target, &scale, replicas).await?;
            let reason = format!(
                "annotation {} pauses at {replicas}",
                keda::PAUSED_REPLICAS_ANNOTATION
            );
            self.record(key, scale.replicas(), replicas, reason);
        }
        turn.status.paused_replica_count = Some(replicas);
        Ok(())
    }

    /// Says why an object cannot be paused, once for each reason.
    fn announce_failed_pause(&self, object: &ScaledObject, turn: &mut Turn, problem: &str) {
        if turn.announced != problem {
            problem.clone_into(&mut turn.announced);
            let reason = "ScaledObjectPauseFailed";
            self.runtime
                .recorder
                .publish(object, EventType::Warning, reason, problem);
        }
    }

    /// Says that nothing is checked any more, if something was.
    pub(super) fn announce_stop(&self, object: &ScaledObject, turn: &Turn) {
        if turn.started {
            let (reason, message) = ("KEDAScalersStopped", "Stopped scalers watch");
            self.runtime
                .recorder
                .publish(object, EventType::Normal, reason, message);
        }
    }

    fn unpause(&self, key: &ObjectKey, object: &ScaledObject, turn: &mut Turn) {
        turn.status.paused_replica_count = None;
        self.runtime.pods.set_paused(Kind::ScaledObject, key, false);
        if !turn.status.condition("Paused").is_some_and(Condition::is_true) {
            return;
        }
        status::set_condition(&mut turn.status, status::paused_condition(false));
        let message = "pause annotation removed for ScaledObject";
        self.runtime
            .recorder
            .publish(object, EventType::Normal, "ScaledObjectUnpaused", message);
        self.record(
            key,
            "paused",
            "running",
            "the annotation that paused the object is gone",
        );
    }
}
