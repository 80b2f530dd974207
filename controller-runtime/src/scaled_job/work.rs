//! What is done to Jobs: they are made, and they are deleted.

use std::sync::Arc;

use futures::{StreamExt as _, stream};
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, PostParams, Preconditions, PropagationPolicy},
};

use super::{
    cleanup::{self, Rollout},
    controller::Core,
    jobs::SlimJob,
    refusals::Refusals,
    state::{Plan, Turn},
    template,
};
use crate::{events::EventType, store::ObjectKey};

/// How many requests are under way at once.
const AT_ONCE: usize = 16;

impl Core {
    fn job_api(&self, key: &ObjectKey) -> Api<Job> {
        Api::namespaced(self.runtime.client.clone(), &key.namespace)
    }

    /// Makes Jobs, first one, then twice as many each time, and none any more once one was refused; says how many.
    pub(super) async fn make(&self, key: &ObjectKey, plan: &Plan, wanted: usize, turn: &mut Turn) -> usize {
        let (api, job) = (
            self.job_api(key),
            template::job(&plan.object, &self.config.keda_version),
        );
        let (mut made, mut batch) = (0, 1);
        let mut problems: Vec<kube::Error> = Vec::new();
        self.ledger.begin(key);
        while made < wanted && problems.is_empty() {
            let parameters = PostParams::default();
            let requests = (0..batch.min(wanted - made)).map(|_| api.create(&parameters, &job));
            let mut answers = stream::iter(requests).buffered(AT_ONCE);
            while let Some(answer) = answers.next().await {
                match answer {
                    Ok(job) => {
                        self.ledger.made(key, slim(job), tokio::time::Instant::now());
                        made += 1;
                    }
                    Err(problem) => problems.push(problem),
                }
            }
            batch *= 2;
        }
        let is_refusal =
            |problem: &kube::Error| matches!(problem, kube::Error::Api(status) if status.code < 500);
        self.ledger.settled(key, !problems.iter().all(is_refusal));
        if made > 0 {
            let message = format!("Created {made} jobs");
            self.say(&plan.object, EventType::Normal, "KEDAJobsCreated", &message);
            turn.refusals.forgive();
        }
        if let Some(problem) = problems.first()
            && turn
                .refusals
                .note(problem, &format!("{}-", key.name), tokio::time::Instant::now())
        {
            let problem = turn.refusals.problem();
            let message = format!("Failed to create job for ScaledJob {}: {problem}", key.name);
            self.say(&plan.object, EventType::Warning, "KEDAJobCreateFailed", &message);
            tracing::warn!(object = %key, problem, made, wanted, "not every Job was made");
        }
        if problems.is_empty() {
            turn.refusals = Refusals::default();
        }
        made
    }

    /// Deletes the Jobs of former generations, if they do not run to their end.
    pub(super) async fn roll_out(&self, key: &ObjectKey, plan: &Plan) {
        let Rollout::Immediate(policy) = &plan.rollout else {
            return;
        };
        let object = &*plan.object;
        let former = cleanup::of_former_generations(&self.ledger.jobs(key), object.metadata.generation);
        if former.is_empty() {
            return;
        }
        let count = former.len();
        let message = format!("Deleting {count} jobs of the previous version of the ScaledJob");
        self.say(
            object,
            EventType::Normal,
            "ScaledJobRolloutCleanupStarted",
            &message,
        );
        let problems = self.delete(key, &former, policy).await;
        let deleted = count - problems.len();
        if let Some(problem) = problems.first() {
            let message = format!(
                "Failed to delete {} of {count} jobs of the previous version of the ScaledJob: {problem}",
                problems.len()
            );
            self.say(
                object,
                EventType::Warning,
                "ScaledJobRolloutCleanupFailed",
                &message,
            );
        } else {
            let message = format!("Deleted {count} jobs of the previous version of the ScaledJob");
            self.say(
                object,
                EventType::Normal,
                "ScaledJobRolloutCleanupCompleted",
                &message,
            );
        }
        if deleted > 0 {
            let generation = object.metadata.generation.unwrap_or(0);
            let reason = format!("rollout immediate: they are not of generation {generation}");
            self.record(key, format!("{deleted} Jobs"), "", reason);
        }
    }

    /// Deletes the Jobs beyond the history.
    pub(super) async fn clean_up(&self, key: &ObjectKey, plan: &Plan) {
        let beyond = cleanup::beyond_history(&self.ledger.jobs(key), plan.history);
        if beyond.is_empty() {
            return;
        }
        let problems = self.delete(key, &beyond, &PropagationPolicy::Background).await;
        for problem in &problems {
            tracing::warn!(object = %key, %problem, "a Job beyond the history was not deleted");
        }
        let deleted = beyond.len() - problems.len();
        if deleted > 0 {
            let cleanup::History { successful, failed } = plan.history;
            let reason =
                format!("they ended, and the history keeps {successful} complete and {failed} failed Jobs");
            self.record(key, format!("{deleted} Jobs"), "", reason);
        }
    }

    async fn delete(
        &self,
        key: &ObjectKey,
        jobs: &[Arc<SlimJob>],
        policy: &PropagationPolicy,
    ) -> Vec<kube::Error> {
        let requests = jobs
            .iter()
            .cloned()
            .map(|job| self.delete_one(key, job, policy.clone()));
        let answers = stream::iter(requests).buffered(AT_ONCE).collect::<Vec<_>>().await;
        answers.into_iter().filter_map(Result::err).collect()
    }

    async fn delete_one(
        &self,
        key: &ObjectKey,
        job: Arc<SlimJob>,
        policy: PropagationPolicy,
    ) -> Result<(), kube::Error> {
        let parameters = DeleteParams {
            propagation_policy: Some(policy),
            // Never another one by that name.
            preconditions: Some(Preconditions {
                uid: job.uid(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let is_gone = match self.job_api(key).delete(&job.name_any(), &parameters).await {
            // What waits for a finalizer is answered as an object.
            Ok(answer) => answer
                .left()
                .is_none_or(|job| job.metadata.deletion_timestamp.is_none()),
            Err(kube::Error::Api(status)) if status.is_not_found() => true,
            Err(error) => return Err(error),
        };
        if is_gone {
            self.ledger.gone(key, &job.uid().unwrap_or_default());
        }
        Ok(())
    }
}

fn slim(job: Job) -> SlimJob {
    let mut metadata = job.metadata;
    metadata.managed_fields = None;
    SlimJob {
        metadata,
        status: JobStatus::default().into(),
    }
}
