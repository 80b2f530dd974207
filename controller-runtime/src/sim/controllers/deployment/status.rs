//! What a Deployment reports.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentCondition, DeploymentSpec, DeploymentStatus, ReplicaSet,
};
use kube::ResourceExt as _;

use super::size::{available, max_unavailable, replicas};
use crate::sim::controllers::meta::time;

/// A status that is being worked out.
#[derive(Debug)]
pub(crate) struct Working {
    pub(crate) status: DeploymentStatus,
    generation: Option<i64>,
    now: Timestamp,
}

impl Working {
    pub(super) fn new(deployment: &Deployment, now: Timestamp) -> Self {
        let status = deployment.status.clone().unwrap_or_default();
        Self {
            status,
            generation: deployment.metadata.generation,
            now,
        }
    }

    fn condition(&self, type_: &str) -> Option<&DeploymentCondition> {
        self.status
            .conditions
            .iter()
            .flatten()
            .find(|condition| condition.type_ == type_)
    }

    fn remove(&mut self, type_: &str) {
        if let Some(conditions) = &mut self.status.conditions {
            conditions.retain(|condition| condition.type_ != type_);
        }
    }

    /// Sets a condition; one of the same status and reason stays as it is.
    fn set(&mut self, type_: &str, status: bool, reason: &str, message: &str) {
        let status = if status { "True" } else { "False" };
        let mut transition = time(self.now);
        if let Some(current) = self.condition(type_) {
            if current.status == status && current.reason.as_deref() == Some(reason) {
                return;
            }
            if current.status == status {
                transition = current.last_transition_time.clone().unwrap_or(transition);
            }
        }
        self.remove(type_);
        self.status
            .conditions
            .get_or_insert_default()
            .push(DeploymentCondition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message.to_owned()),
                last_update_time: Some(time(self.now)),
                last_transition_time: Some(transition),
            });
    }

    pub(super) fn note_paused(&mut self, spec: &DeploymentSpec) {
        if deadline(spec).is_none() {
            return;
        }
        let paused = spec.paused == Some(true);
        match self.condition("Progressing") {
            Some(current) if current.reason.as_deref() == Some("ProgressDeadlineExceeded") => {}
            Some(current) if current.reason.as_deref() == Some("DeploymentPaused") && paused => {}
            Some(current) if current.reason.as_deref() == Some("DeploymentPaused") => {
                self.set_unknown("DeploymentResumed", "Deployment is resumed");
            }
            _ if paused => self.set_unknown("DeploymentPaused", "Deployment is paused"),
            _ => {}
        }
    }

    fn set_unknown(&mut self, reason: &str, message: &str) {
        self.set("Progressing", true, reason, message);
        let condition = self
            .status
            .conditions
            .iter_mut()
            .flatten()
            .find(|condition| condition.type_ == "Progressing");
        if let Some(condition) = condition {
            condition.status = "Unknown".to_owned();
        }
    }

    pub(super) fn note_new_set(&mut self, spec: &DeploymentSpec, reason: &str, message: &str, created: bool) {
        if deadline(spec).is_some() && (created || self.condition("Progressing").is_none()) {
            self.set("Progressing", true, reason, message);
        }
    }

    /// Counts, and whether enough pods are available.
    pub(super) fn calculate(&mut self, spec: &DeploymentSpec, new: Option<&ReplicaSet>, old: &[ReplicaSet]) {
        let all = || new.into_iter().chain(old);
        let of = |set: &ReplicaSet| set.status.clone().unwrap_or_default();
        let some = |number: i32| (number > 0).then_some(number);
        let available_replicas: i32 = all().map(available).sum();
        self.status.observed_generation = self.generation;
        self.status.replicas = some(all().map(|set| of(set).replicas).sum());
        self.status.updated_replicas = some(new.map(|set| of(set).replicas).unwrap_or_default());
        self.status.ready_replicas = some(all().filter_map(|set| of(set).ready_replicas).sum());
        self.status.available_replicas = some(available_replicas);
        self.status.unavailable_replicas = some(all().map(replicas).sum::<i32>() - available_replicas);
        self.status.terminating_replicas = Some(all().filter_map(|set| of(set).terminating_replicas).sum());
        if available_replicas >= spec.replicas.unwrap_or(1) - max_unavailable(spec) {
            self.set(
                "Available",
                true,
                "MinimumReplicasAvailable",
                "Deployment has minimum availability.",
            );
        } else {
            self.set(
                "Available",
                false,
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
            );
        }
        let failure = all()
            .flat_map(|set| of(set).conditions.unwrap_or_default())
            .find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True");
        match failure {
            Some(failure) => self.set(
                "ReplicaFailure",
                true,
                failure.reason.as_deref().unwrap_or_default(),
                failure.message.as_deref().unwrap_or_default(),
            ),
            None => self.remove("ReplicaFailure"),
        }
    }

    /// Whether every pod is new and available.
    pub(super) fn is_complete(
        &self,
        spec: &DeploymentSpec,
        new: Option<&ReplicaSet>,
        old: &[ReplicaSet],
    ) -> bool {
        let mut then = Self {
            status: self.status.clone(),
            generation: self.generation,
            now: self.now,
        };
        then.calculate(spec, new, old);
        then.has_completed(spec)
    }

    fn has_completed(&self, spec: &DeploymentSpec) -> bool {
        let wanted = spec.replicas.unwrap_or(1);
        self.status.updated_replicas.unwrap_or_default() == wanted
            && self.status.replicas.unwrap_or_default() == wanted
            && self.status.available_replicas.unwrap_or_default() == wanted
    }

    /// Whether the rollout is done, gets on, or has stopped getting on.
    pub(super) fn progress(
        &mut self,
        deployment: &Deployment,
        spec: &DeploymentSpec,
        new: Option<&ReplicaSet>,
    ) {
        let Some(deadline) = deadline(spec) else {
            return self.remove("Progressing");
        };
        let before = deployment.status.clone().unwrap_or_default();
        let current = self.condition("Progressing").cloned();
        let done = current
            .as_ref()
            .is_some_and(|condition| condition.reason.as_deref() == Some(AVAILABLE));
        if self.status.replicas == self.status.updated_replicas && done {
            return;
        }
        let what = new.map_or_else(
            || format!("Deployment \"{}\"", deployment.name_any()),
            |set| format!("ReplicaSet \"{}\"", set.name_any()),
        );
        let old = |status: &DeploymentStatus| {
            status.replicas.unwrap_or_default() - status.updated_replicas.unwrap_or_default()
        };
        let status = &self.status;
        let gets_on = status.updated_replicas > before.updated_replicas
            || old(status) < old(&before)
            || status.ready_replicas > before.ready_replicas
            || status.available_replicas > before.available_replicas;
        if self.has_completed(spec) {
            self.set(
                "Progressing",
                true,
                AVAILABLE,
                &format!("{what} has successfully progressed."),
            );
        } else if gets_on {
            // The same reason again still moves the time of the last progress.
            self.remove("Progressing");
            self.set(
                "Progressing",
                true,
                "ReplicaSetUpdated",
                &format!("{what} is progressing."),
            );
            let since = current
                .filter(|current| current.status == "True")
                .and_then(|current| current.last_transition_time);
            if let (Some(since), Some(condition)) =
                (since, self.status.conditions.iter_mut().flatten().last())
            {
                condition.last_transition_time = Some(since);
            }
        } else if !done
            && let Some(since) = current.and_then(|current| current.last_update_time)
            && since.0 + deadline < self.now
        {
            self.set(
                "Progressing",
                false,
                "ProgressDeadlineExceeded",
                &format!("{what} has timed out progressing."),
            );
        }
    }

    /// When to look again whether the rollout still gets on.
    pub(super) fn next_check(&self, spec: &DeploymentSpec) -> Option<std::time::Duration> {
        let deadline = deadline(spec)?;
        let current = self.condition("Progressing")?;
        if self.has_completed(spec) || current.reason.as_deref() == Some("ProgressDeadlineExceeded") {
            return None;
        }
        let due = current.last_update_time.as_ref()?.0 + deadline + SignedDuration::from_secs(1);
        std::time::Duration::try_from(due.duration_since(self.now))
            .ok()
            .filter(|wait| !wait.is_zero())
    }
}

const AVAILABLE: &str = "NewReplicaSetAvailable";

fn deadline(spec: &DeploymentSpec) -> Option<SignedDuration> {
    let seconds = spec
        .progress_deadline_seconds
        .filter(|seconds| *seconds != i32::MAX)?;
    Some(SignedDuration::from_secs(i64::from(seconds)))
}
