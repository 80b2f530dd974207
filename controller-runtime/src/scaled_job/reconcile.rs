//! From a changed ScaledJob to a plan that runs: finalizer, pause, triggers, status; and its end.

use std::sync::Arc;

use kube::{
    ResourceExt as _,
    api::{Patch, PatchParams},
};
use scaler_api::keda::{Condition, FINALIZER, ScaledJob};
use serde_json::json;
use tokio::time::Instant;

use super::{
    cleanup::{History, Rollout},
    combine::Bounds,
    controller::Core,
    decision,
    refusals::Refusals,
    state::{Plan, Turn},
    strategy::Strategy,
};
use crate::{
    admission::{Finding, Findings, Severity, scaled_job as rules},
    events::EventType,
    pod_autoscaler::metrics::Kind,
    queue::Action,
    scaled_object::{
        controller::RETRY,
        plan::Subject,
        prepare::Refusal,
        reconcile::{PATIENCE, PAUSED},
        state::Fingerprint,
        status::{self, put_condition},
    },
    store::ObjectKey,
    trigger_auth::Containers,
};

/// The conditions that every ScaledJob has from the start.
const CONDITIONS: [(&str, &str); 3] = [("Ready", "Unknown"), ("Active", "Unknown"), ("Paused", "False")];

impl Core {
    /// Makes the object run, or says why it does not.
    pub(super) async fn reconcile(&self, key: &ObjectKey, object: &Arc<ScaledJob>, turn: &mut Turn) {
        turn.retry_at = None;
        status::add_conditions(&mut turn.status.conditions, &CONDITIONS);
        match self.try_reconcile(key, object, turn).await {
            Ok(()) => turn.failures = 0,
            Err(refusal) => {
                turn.failures = turn.failures.saturating_add(1);
                turn.retry_at = Some(Instant::now() + RETRY.after(turn.failures));
                match refusal {
                    // It may have been a moment's trouble, such as two writers of one object.
                    Refusal::Unanswered(problem) if turn.plan.is_some() || turn.failures < PATIENCE => {
                        tracing::warn!(object = %key, problem, "was not reconciled, trying again");
                    }
                    refusal => self.refuse(key, object, turn, &refusal),
                }
            }
        }
    }

    async fn try_reconcile(
        &self,
        key: &ObjectKey,
        object: &Arc<ScaledJob>,
        turn: &mut Turn,
    ) -> Result<(), Refusal> {
        let object = self.ensure_finalizer(key, object).await?;
        let seen = Fingerprint::of(&*object);
        let known = turn.seen.as_ref().map(Fingerprint::generation);
        let is_new = known.is_none_or(|known| known != seen.generation());
        turn.seen = Some(seen);
        if object.is_paused() {
            self.pause(key, &object, turn);
            return Ok(());
        }
        self.unpause(key, &object, turn);
        let (types, authentications) = status::summarize(&object.spec.triggers);
        turn.status.triggers_types = Some(types);
        turn.status.authentications_types = Some(authentications).filter(|names| !names.is_empty());
        let (plan, findings) = self.prepare(key, &object).await?;
        self.inform(&object, turn, &findings);
        self.start(key, plan, turn, is_new);
        Ok(())
    }

    async fn ensure_finalizer(
        &self,
        key: &ObjectKey,
        object: &Arc<ScaledJob>,
    ) -> Result<Arc<ScaledJob>, kube::Error> {
        if object.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
            return Ok(Arc::clone(object));
        }
        let mut finalizers = object.finalizers().to_vec();
        finalizers.push(FINALIZER.to_owned());
        self.set_finalizers(key, object, &finalizers).await.map(Arc::new)
    }

    async fn set_finalizers(
        &self,
        key: &ObjectKey,
        object: &ScaledJob,
        finalizers: &[String],
    ) -> Result<ScaledJob, kube::Error> {
        // A list is replaced as a whole, so nobody else may have changed it meanwhile.
        let patch = json!({"metadata": {
            "resourceVersion": object.metadata.resource_version,
            "finalizers": finalizers,
        }});
        let parameters = PatchParams::default();
        self.api(key)
            .patch(&key.name, &parameters, &Patch::Merge(&patch))
            .await
    }

    /// Resolves everything that an object refers to. What is odd about it comes with the plan.
    async fn prepare(
        &self,
        key: &ObjectKey,
        object: &Arc<ScaledJob>,
    ) -> Result<(Arc<Plan>, Findings), Refusal> {
        let findings = rules::check(object, self.builder.sources.registry());
        let template = object.spec.job_target_ref.template.spec.as_ref();
        let name = object.name_any();
        let subject = Subject {
            namespace: &key.namespace,
            name: &name,
            triggers: &object.spec.triggers,
            containers: Some(Containers {
                all: template.map_or(&[], |pod| &pod.containers),
                default: object.spec.env_source_container_name.as_deref(),
                service_account: template.and_then(|pod| pod.service_account_name.as_deref()),
            }),
            as_metric_source: false,
        };
        let built = self.builder.build_triggers(&subject, findings).await?;
        self.entries.set_dependencies(key, built.uses);
        let wrong = |error: scaler_api::Error| Refusal::Wrong(in_words(&error.to_string()));
        let spec = &object.spec;
        let (strategy, calculation, rollout) = (
            Strategy::of(spec).map_err(wrong)?,
            spec.multiple_scalers_calculation().map_err(wrong)?,
            Rollout::of(spec).map_err(wrong)?,
        );
        if let Some(problems) = problems_of(&built.findings) {
            return Err(Refusal::Unbuilt(in_words(&problems)));
        }
        let plan = Plan {
            object: Arc::clone(object),
            triggers: built.triggers,
            bounds: Bounds::of(spec),
            strategy,
            calculation,
            rollout,
            history: History::of(spec),
        };
        Ok((Arc::new(plan), built.findings))
    }

    /// Warnings about an object that runs all the same, once for each generation that was not ready before.
    fn inform(&self, object: &ScaledJob, turn: &Turn, findings: &Findings) {
        if turn.published.condition("Ready").is_some_and(Condition::is_true) {
            return;
        }
        let below_error = |finding: &&Finding| finding.severity < Severity::Error;
        for finding in findings.all().iter().filter(below_error) {
            let (event_type, reason) = match finding.field.ends_with("authenticationRef") {
                true => (EventType::Warning, "KEDAScalerFailed"),
                false => (EventType::Normal, "KEDAScalerInfo"),
            };
            self.say(object, event_type, reason, &finding.to_string());
        }
    }

    /// Runs by `plan` from now on; the first check is at once if the loop is (re)started.
    fn start(&self, key: &ObjectKey, plan: Arc<Plan>, turn: &mut Turn, restart: bool) {
        let was_ready = turn.published.condition("Ready").is_some_and(Condition::is_true);
        if restart || turn.plan.is_none() {
            turn.next_check = Some(Instant::now());
        }
        if restart {
            // Other Jobs may be accepted.
            turn.refusals = Refusals::default();
        }
        self.tell_problem(key, None);
        let object = &*plan.object;
        if !was_ready || (restart && turn.started) {
            for trigger in &plan.triggers {
                let message = format!("Scaler {} is built.", trigger.trigger_type);
                self.say(object, EventType::Normal, "KEDAScalersStarted", &message);
            }
            let message = "Started scalers watch";
            self.say(object, EventType::Normal, "KEDAScalersStarted", message);
        }
        if !was_ready {
            let message = "ScaledJob is ready for scaling";
            self.say(object, EventType::Normal, "ScaledJobReady", message);
            let triggers: Vec<_> = plan.triggers.iter().map(|trigger| trigger.label()).collect();
            let reason = format!("Jobs are made by {}", triggers.join(", "));
            self.record(key, "", "ready", reason);
        }
        if !was_ready {
            put_condition(&mut turn.status.conditions, decision::ready());
        }
        turn.started = true;
        turn.announced.clear();
        self.runtime.pods.run(Kind::ScaledJob, key, &plan.triggers);
        turn.plan = Some(plan);
    }

    fn refuse(&self, key: &ObjectKey, object: &ScaledJob, turn: &mut Turn, refusal: &Refusal) {
        let problem = refusal.to_string();
        self.tell_problem(key, Some(&problem));
        turn.rest();
        self.runtime.pods.stop(Kind::ScaledJob, key);
        self.runtime.pods.failed(Kind::ScaledJob, key);
        let conditions = &mut turn.status.conditions;
        let ready = Condition::new("Ready", "False", "ScaledJobCheckFailed", problem.as_str());
        put_condition(conditions, ready);
        let active = Condition::new("Active", "Unknown", "UnknownState", "ScaledJob check failed");
        put_condition(conditions, active);
        if turn.announced == problem {
            return;
        }
        turn.announced.clone_from(&problem);
        if matches!(refusal, Refusal::Unbuilt(_)) {
            self.say(object, EventType::Warning, "KEDAScalerFailed", &problem);
        }
        self.say(object, EventType::Warning, "ScaledJobCheckFailed", &problem);
        self.record(key, "", "not ready", problem);
    }

    /// Checks nothing and makes nothing; what runs, runs on.
    fn pause(&self, key: &ObjectKey, object: &ScaledJob, turn: &mut Turn) {
        self.tell_problem(key, Some(PAUSED));
        self.announce_stop(object, turn);
        turn.rest();
        self.runtime.pods.stop(Kind::ScaledJob, key);
        turn.status.paused = Some("True".to_owned());
        let message = "ScaledJob is paused";
        let paused = Condition::new("Paused", "True", "ScaledJobPaused", message);
        if put_condition(&mut turn.status.conditions, paused) {
            self.say(object, EventType::Normal, "ScaledJobPaused", message);
            let reason = "an annotation pauses the object: nothing is checked, Jobs run on";
            self.record(key, "", "paused", reason);
        }
    }

    fn unpause(&self, key: &ObjectKey, object: &ScaledJob, turn: &mut Turn) {
        turn.status.paused = None;
        if !turn.status.condition("Paused").is_some_and(Condition::is_true) {
            return;
        }
        let message = "pause annotation removed for ScaledJob";
        let unpaused = Condition::new("Paused", "False", "ScaledJobUnpaused", message);
        put_condition(&mut turn.status.conditions, unpaused);
        self.say(object, EventType::Normal, "ScaledJobUnpaused", message);
        let reason = "the annotation that paused the object is gone";
        self.record(key, "paused", "running", reason);
    }

    /// Lets a deleted object go; its Jobs go with it, as their owner is gone.
    pub(super) async fn finalize(&self, key: &ObjectKey, object: &ScaledJob, turn: &mut Turn) -> Action {
        self.announce_stop(object, turn);
        turn.rest();
        self.runtime.pods.remove(Kind::ScaledJob, key);
        if !object.finalizers().iter().any(|finalizer| finalizer == FINALIZER) {
            return Action::Await;
        }
        let mut finalizers = object.finalizers().to_vec();
        finalizers.retain(|finalizer| finalizer != FINALIZER);
        match self.set_finalizers(key, object, &finalizers).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(object = %key, %error, "was not finalized, trying again");
                turn.failures = turn.failures.saturating_add(1);
                return Action::RequeueAfter(RETRY.after(turn.failures));
            }
        }
        let message = "ScaledJob was deleted";
        self.say(object, EventType::Warning, "ScaledJobDeleted", message);
        Action::Await
    }

    /// Says that nothing is checked any more, if something was.
    fn announce_stop(&self, object: &ScaledJob, turn: &Turn) {
        if turn.started {
            let message = "Stopped scalers watch";
            self.say(object, EventType::Normal, "KEDAScalersStopped", message);
        }
    }

    /// Publishes an event about an object.
    pub(super) fn say(&self, object: &ScaledJob, event_type: EventType, reason: &str, message: &str) {
        self.runtime.recorder.publish(object, event_type, reason, message);
    }
}

fn in_words(problems: &str) -> String {
    format!("Failed to ensure ScaledJob is correctly created: {problems}")
}

/// Every problem at once, each once; parameters that do not exist are named beside those that miss them.
fn problems_of(findings: &Findings) -> Option<String> {
    findings.at_least(Severity::Error).next()?;
    let missing = findings.all().iter().filter(|finding| {
        finding.severity == Severity::Warning && finding.field.ends_with("authenticationRef")
    });
    let mut words: Vec<String> = Vec::new();
    for finding in findings.at_least(Severity::Error).chain(missing) {
        let problem = finding.to_string();
        if !words.contains(&problem) {
            words.push(problem);
        }
    }
    Some(words.join("; "))
}
