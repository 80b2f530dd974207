//! Jobs and pods as they count: trimmed to what is looked at, which of them run, and which are pending.

use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::{Job, JobCondition, JobStatus},
    core::v1::{Pod, PodCondition, PodStatus},
};
use kube::{Resource, ResourceExt as _, core::ObjectMeta};
use scaler_api::keda::{SCALED_JOB_GENERATION_ANNOTATION, SCALED_JOB_NAME_LABEL};
use serde::{Deserialize, Deserializer};

use super::strategy::Counts;
use crate::store::ObjectKey;

/// A Job without its specification.
#[derive(Clone, Debug, Default, PartialEq, Resource, Deserialize)]
#[resource(inherit = "Job")]
pub struct SlimJob {
    /// Whose it is, without managed fields and annotations but one.
    #[serde(deserialize_with = "job_metadata")]
    pub metadata: ObjectMeta,
    /// How it stands.
    #[serde(default)]
    pub status: SlimJobStatus,
}

/// What is looked at of a Job's status.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase", from = "JobStatus")]
pub struct SlimJobStatus {
    /// Whether and how it has ended.
    pub end: Option<End>,
}

/// How and when a Job has ended.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct End {
    /// Whether it has failed.
    pub failed: bool,
    /// When, if anything says so.
    pub at: Option<Timestamp>,
}

impl From<JobStatus> for SlimJobStatus {
    fn from(status: JobStatus) -> Self {
        let conditions = status.conditions.unwrap_or_default();
        let ended = |type_: &str| {
            let is = |condition: &&JobCondition| condition.type_ == type_ && condition.status == "True";
            conditions.iter().find(is)
        };
        // A failed Job has no completion time.
        let completed = status.completion_time.map(|time| time.0);
        let at = |condition: &JobCondition| {
            let transition = condition.last_transition_time.as_ref();
            completed.or(transition.map(|time| time.0))
        };
        let end = match (ended("Complete"), ended("Failed")) {
            (Some(condition), _) => Some((false, condition)),
            (None, Some(condition)) => Some((true, condition)),
            (None, None) => None,
        };
        Self {
            end: end.map(|(failed, condition)| End {
                failed,
                at: at(condition),
            }),
        }
    }
}

impl SlimJob {
    /// The ScaledJob that it counts for, by its label.
    #[must_use]
    pub fn scaled_job(&self) -> Option<ObjectKey> {
        let name = self.labels().get(SCALED_JOB_NAME_LABEL)?;
        Some(ObjectKey::new(self.namespace().unwrap_or_default(), name))
    }

    /// Whether it has not ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.status.end.is_none()
    }

    /// When it ended, by the best that is known; none while it runs.
    #[must_use]
    pub fn ended(&self) -> Option<Timestamp> {
        let end = self.status.end.as_ref()?;
        let created = self.metadata.creation_timestamp.as_ref().map(|time| time.0);
        Some(end.at.or(created).unwrap_or(Timestamp::MIN))
    }
}

/// A pod with nothing but its phase and conditions.
#[derive(Clone, Debug, Default, PartialEq, Resource, Deserialize)]
#[resource(inherit = "Pod")]
pub struct SlimPod {
    /// Whose it is, without managed fields and annotations.
    #[serde(deserialize_with = "metadata")]
    pub metadata: ObjectMeta,
    /// How it stands.
    #[serde(default)]
    pub status: SlimPodStatus,
}

/// What is looked at of a pod's status.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, from = "PodStatus")]
pub struct SlimPodStatus {
    /// `Pending`, `Running`, ...
    pub phase: String,
    /// The types of the conditions that hold.
    pub holds: Vec<String>,
}

impl From<PodStatus> for SlimPodStatus {
    fn from(status: PodStatus) -> Self {
        let holds = |condition: PodCondition| (condition.status == "True").then_some(condition.type_);
        Self {
            phase: status.phase.unwrap_or_default(),
            holds: status
                .conditions
                .into_iter()
                .flatten()
                .filter_map(holds)
                .collect(),
        }
    }
}

impl SlimPod {
    /// The uid of the Job that it belongs to.
    #[must_use]
    pub fn job(&self) -> Option<&str> {
        let owner = self
            .owner_references()
            .iter()
            .find(|owner| owner.controller == Some(true) && owner.kind == "Job")?;
        Some(&owner.uid)
    }

    /// Whether its Job is at work because of it: it runs or has succeeded or, where conditions are named, all of them
    /// hold.
    #[must_use]
    pub fn works(&self, conditions: &[String]) -> bool {
        if conditions.is_empty() {
            matches!(self.status.phase.as_str(), "Running" | "Succeeded")
        } else {
            conditions
                .iter()
                .all(|condition| self.status.holds.contains(condition))
        }
    }
}

fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let mut metadata = ObjectMeta::deserialize(deserializer)?;
    metadata.managed_fields = None;
    metadata.annotations = None;
    Ok(metadata)
}

fn job_metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let mut metadata = ObjectMeta::deserialize(deserializer)?;
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.retain(|annotation, _| annotation == SCALED_JOB_GENERATION_ANNOTATION);
    }
    Ok(metadata)
}

/// Counts Jobs, each with its pods.
pub fn count<'a, P>(jobs: impl Iterator<Item = (&'a SlimJob, P)>, pending_conditions: &[String]) -> Counts
where
    P: IntoIterator<Item = &'a SlimPod>,
{
    let mut counts = Counts::default();
    for (_, pods) in jobs.filter(|(job, _)| job.is_running()) {
        counts.running += 1;
        let works = pods.into_iter().any(|pod| pod.works(pending_conditions));
        counts.pending += i64::from(!works);
    }
    counts
}

#[cfg(test)]
pub(super) mod tests {
    //! keda.md §3.7: what is running, what is pending.
    use serde_json::{Value, json};

    use super::*;

    pub(crate) fn job(name: &str, status: &Value) -> SlimJob {
        let job = json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {
                "name": name, "namespace": "default", "uid": name,
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"scaledjob.keda.sh/name": "work"},
                "annotations": {"scaledjob.keda.sh/generation": "1", "other": "x"},
                "managedFields": [{"manager": "m"}],
            },
            "spec": {"template": {}}, "status": status,
        });
        serde_json::from_value(job).unwrap()
    }

    /// A Job with a condition that holds since a second.
    pub(crate) fn ended(name: &str, condition: &str, second: i64) -> SlimJob {
        let at = Timestamp::from_second(second).unwrap().to_string();
        let mut status = json!({"conditions": [
            {"type": "SuccessCriteriaMet", "status": "True"},
            {"type": condition, "status": "True", "lastTransitionTime": at},
        ]});
        if condition == "Complete" {
            status["completionTime"] = json!(at);
        }
        job(name, &status)
    }

    fn pod(phase: &str, holds: &[&str]) -> SlimPod {
        let conditions: Vec<_> = ["Initialized", "Ready", "ContainersReady"]
            .iter()
            .map(|type_| json!({"type": type_, "status": if holds.contains(type_) { "True" } else { "False" }}))
            .collect();
        let pod = json!({
            "metadata": {
                "name": "p",
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "a", "uid": "u", "controller": true}],
            },
            "status": {"phase": phase, "conditions": conditions},
        });
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn section_3_7_a_job_runs_until_it_is_complete_or_failed() {
        let condition =
            |type_: &str, status: &str| json!({"conditions": [{"type": type_, "status": status}]});
        let cases = [
            (json!({}), true),
            (json!({"active": 1}), true),
            (condition("Complete", "True"), false),
            (condition("Failed", "True"), false),
            (condition("Complete", "False"), true),
            (condition("Failed", "Unknown"), true),
            (condition("SuccessCriteriaMet", "True"), true),
            (condition("FailureTarget", "True"), true),
            (condition("Suspended", "True"), true),
        ];
        for (status, running) in cases {
            assert_eq!(job("a", &status).is_running(), running, "§3.7 {status}");
        }
    }

    #[test]
    fn section_3_7_a_job_is_pending_until_a_pod_of_it_works() {
        let ready = ["Ready".to_owned(), "ContainersReady".to_owned()];
        let none: &[String] = &[];
        let cases = [
            ("no pod", none, vec![], 1),
            ("a pending pod", none, vec![pod("Pending", &["Ready"])], 1),
            ("a failed pod", none, vec![pod("Failed", &[])], 1),
            (
                "a running pod",
                none,
                vec![pod("Failed", &[]), pod("Running", &[])],
                0,
            ),
            ("a pod that has succeeded", none, vec![pod("Succeeded", &[])], 0),
            ("not every condition", &ready, vec![pod("Running", &["Ready"])], 1),
            (
                "every condition, of one pod",
                &ready,
                vec![pod("Running", &["Ready"]), pod("Running", &["ContainersReady"])],
                1,
            ),
            (
                "every condition",
                &ready,
                vec![pod("Pending", &["Ready", "ContainersReady"])],
                0,
            ),
        ];
        let running = job("a", &json!({}));
        for (name, conditions, pods, pending) in cases {
            let found = count([(&running, pods.iter())].into_iter(), conditions);
            assert_eq!(found, Counts { running: 1, pending }, "§3.7 {name}");
        }
    }

    #[test]
    fn section_3_7_jobs_that_have_ended_are_neither_running_nor_pending() {
        let jobs = [
            job("a", &json!({})),
            ended("b", "Complete", 1),
            ended("c", "Failed", 1),
        ];
        let found = count(jobs.iter().map(|job| (job, &[])), &[]);
        assert_eq!(
            found,
            Counts {
                running: 1,
                pending: 1
            }
        );
    }

    #[test]
    fn section_3_7_objects_are_trimmed() {
        let job = ended("a", "Failed", 7);
        assert_eq!(job.metadata.managed_fields, None);
        assert_eq!(job.annotations().len(), 1);
        assert_eq!(job.scaled_job(), Some(ObjectKey::new("default", "work")));
        assert_eq!(job.ended().map(Timestamp::as_second), Some(7));
        assert_eq!(pod("Running", &[]).job(), Some("u"));
    }
}
