//! From a changed ScaledObject to a plan that runs: finalizer, label, pause, target, triggers, HPA.

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
    fallback::Fallback,
    plan::{BuildError, Built, Plan},
    state::{Entry, Fingerprint, Turn},
    status,
    target::{Scale, Target, TargetError},
};
use crate::{
    admission::{Finding, Findings, Severity, scaled_object as rules},
    events::EventType,
    store::ObjectKey,
};

/// How often the API server may fail to answer before that is said.
const PATIENCE: u32 = 5;

/// Why an object does not run.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// Something is wrong with it, or with what it refers to.
    #[error("{0}")]
    Wrong(String),
    /// A trigger of it cannot be built.
    #[error("{0}")]
    Unbuilt(String),
    /// The API server did not answer.
    #[error("{0}")]
    Unanswered(String),
}

impl From<kube::Error> for Refusal {
    fn from(error: kube::Error) -> Self {
        Self::Unanswered(error.to_string())
    }
}

impl From<TargetError> for Refusal {
    fn from(error: TargetError) -> Self {
        if error.is_transient() {
            Self::Unanswered(error.to_string())
        } else {
            Self::Wrong(error.to_string())
        }
    }
}

impl From<BuildError> for Refusal {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Target(error) => error.into(),
            error @ BuildError::Authentication(_) => Self::Unanswered(error.to_string()),
        }
    }
}

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
        let seen = Fingerprint::of(&object);
        let is_new = turn
            .seen
            .as_ref()
            .is_none_or(|known| known.generation() != seen.generation());
        turn.seen = Some(seen);
        if object.is_paused() {
            return self.pause(key, &object, entry, turn).await;
        }
        self.unpause(key, &object, turn);
        let findings = rules::check(&object, self.builder.sources.registry());
        let resolved = self
            .builder
            .targets
            .resolve(&key.namespace, &object.spec.scale_target_ref)
            .await;
        let (target, mut problems) = match resolved {
            Ok((target, scale)) => {
                self.note_target(turn, &target, &scale);
                (Some(target), Vec::new())
            }
            Err(error) if error.is_transient() => return Err(error.into()),
            Err(error) => (None, vec![error.to_string()]),
        };
        if object.spec.restores_original_replica_count() {
            // Before the first step, so that it survives a restart.
            self.publish(key, turn).await;
        }
        let built = self.builder.build(&object, target.as_ref()).await?;
        self.entries.set_dependencies(key, built.uses.clone());
        entry.live(|live| live.uses_containers = built.uses_containers);
        let (types, authentications) = status::summarize(&object.spec.triggers);
        turn.status.triggers_types = Some(types);
        turn.status.authentications_types = Some(authentications);
        problems.extend(problems_of(&findings, &built));
        let Some(target) = target.filter(|_| problems.is_empty()) else {
            let words = problems.join("; ");
            let is_trigger = |finding: &Finding| finding.field.starts_with("spec.triggers");
            let unbuilt = findings
                .at_least(Severity::Error)
                .chain(built.findings.at_least(Severity::Error));
            let unbuilt = unbuilt.into_iter().any(is_trigger);
            return Err(if unbuilt {
                Refusal::Unbuilt(words)
            } else {
                Refusal::Wrong(words)
            });
        };
        self.inform(&object, turn, &findings, &built.findings);
        let triggers = built.triggers;
        let fallback = Fallback::of(&object.spec);
        let plan = Arc::new(Plan {
            object: Arc::clone(&object),
            target,
            triggers,
            fallback,
        });
        let made = self.ensure_autoscaler(key, &plan, turn).await?;
        self.start(&plan, entry, turn, is_new || made);
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
        Ok(Arc::new(patched))
    }

    fn note_target(&self, turn: &mut Turn, target: &Target, scale: &Scale) {
        turn.status.scale_target_kind = Some(target.kind_in_words());
        turn.status.scale_target_gvkr = Some(target.gvkr());
        turn.status.original_replica_count.get_or_insert(scale.replicas());
    }

    /// Warnings about an object that runs all the same, once for each generation that was not ready before.
    fn inform(&self, object: &ScaledObject, turn: &Turn, findings: &Findings, built: &Findings) {
        if turn.published.condition("Ready").is_some_and(Condition::is_true) {
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
    fn start(&self, plan: &Arc<Plan>, entry: &Entry, turn: &mut Turn, restart: bool) {
        let recorder = &self.runtime.recorder;
        let was_ready = turn.published.condition("Ready").is_some_and(Condition::is_true);
        let is_running = entry.live(|live| live.plan.is_some());
        turn.status.external_metric_names = Some(plan.external_names()).filter(|names| !names.is_empty());
        turn.status.resource_metric_names = Some(plan.resource_names()).filter(|names| !names.is_empty());
        entry.live(|live| live.run(Arc::clone(plan)));
        if restart || !is_running {
            turn.next_check = Some(Instant::now());
            turn.failing.clear();
        }
        if !was_ready || (restart && is_running) {
            for trigger in &plan.triggers {
                let message = format!("Scaler {} is built.", trigger.trigger_type);
                recorder.publish(&*plan.object, EventType::Normal, "KEDAScalersStarted", message);
            }
            recorder.publish(
                &*plan.object,
                EventType::Normal,
                "KEDAScalersStarted",
                "Started scalers watch",
            );
        }
        if !was_ready {
            let message = "ScaledObject is ready for scaling";
            recorder.publish(&*plan.object, EventType::Normal, "ScaledObjectReady", message);
            let metrics: Vec<_> = plan.metrics().into_iter().map(|metric| metric.name).collect();
            let reason = format!("{} is scaled by {}", plan.target, metrics.join(", "));
            self.record(&ObjectKey::of(&*plan.object), "", "ready", reason);
        }
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
        turn.next_check = None;
        turn.failing.clear();
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
        entry.live(|live| live.stop("it is paused by an annotation"));
        turn.next_check = None;
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

    fn unpause(&self, key: &ObjectKey, object: &ScaledObject, turn: &mut Turn) {
        turn.status.paused_replica_count = None;
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

    /// Puts back the first replicas if that is asked for, and lets the object go.
    pub(super) async fn finalize(
        &self,
        key: &ObjectKey,
        object: &ScaledObject,
        entry: &Entry,
        turn: &mut Turn,
    ) -> crate::queue::Action {
        entry.live(|live| live.stop("it is being deleted"));
        turn.next_check = None;
        if !object.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
            return crate::queue::Action::Await;
        }
        match self.try_finalize(key, object, turn).await {
            Ok(()) => {
                let (reason, message) = ("ScaledObjectDeleted", "ScaledObject was deleted");
                self.runtime
                    .recorder
                    .publish(object, EventType::Warning, reason, message);
                crate::queue::Action::Await
            }
            Err(problem) => {
                tracing::warn!(object = %key, %problem, "was not finalized, trying again");
                crate::queue::Action::RequeueAfter(retry_delay(turn))
            }
        }
    }

    async fn try_finalize(&self, key: &ObjectKey, object: &ScaledObject, turn: &Turn) -> Result<(), Refusal> {
        let original = turn.status.original_replica_count;
        if let Some(replicas) = original.filter(|_| object.spec.restores_original_replica_count()) {
            match self.restore(key, object, replicas).await {
                Err(error) if error.is_transient() => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(object = %key, %error, "the original replicas were not put back")
                }
                Ok(()) => {}
            }
        }
        let finalizers: Vec<_> = object
            .finalizers()
            .iter()
            .filter(|finalizer| *finalizer != FINALIZER)
            .collect();
        let patch = json!({"metadata": {
            "resourceVersion": object.metadata.resource_version,
            "finalizers": finalizers,
        }});
        match self
            .api(key)
            .patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
        {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            result => result.map(|_| ()).map_err(Refusal::from),
        }
    }

    async fn restore(
        &self,
        key: &ObjectKey,
        object: &ScaledObject,
        replicas: i32,
    ) -> Result<(), TargetError> {
        let reference = &object.spec.scale_target_ref;
        let (target, scale) = self.builder.targets.resolve(&key.namespace, reference).await?;
        if scale.replicas() != replicas {
            self.builder.targets.set(&target, &scale, replicas).await?;
            let reason = "the object is deleted and restoreToOriginalReplicaCount is set";
            self.record(key, scale.replicas(), replicas, reason);
        }
        Ok(())
    }
}

/// Every problem at once; parameters that do not exist are named beside those that miss them.
fn problems_of(findings: &Findings, built: &Built) -> Vec<String> {
    let errors: Vec<_> = findings
        .at_least(Severity::Error)
        .chain(built.findings.at_least(Severity::Error))
        .collect();
    if errors.is_empty() {
        return Vec::new();
    }
    let missing = built.findings.all().iter().filter(|finding| {
        finding.severity == Severity::Warning && finding.field.ends_with("authenticationRef")
    });
    let words = errors
        .iter()
        .map(ToString::to_string)
        .chain(missing.map(ToString::to_string));
    let prefix = match errors
        .iter()
        .all(|finding| finding.reason == "incorrect-replicas")
    {
        true => "ScaledObject doesn't have correct Idle/Min/Max Replica Counts specification",
        false => "Failed to ensure HPA is correctly created for ScaledObject",
    };
    vec![format!("{prefix}: {}", words.collect::<Vec<_>>().join("; "))]
}
