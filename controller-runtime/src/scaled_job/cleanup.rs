//! Which Jobs go: those of a former generation, and those beyond the history.

use std::{collections::BTreeMap, sync::Arc};

use kube::{ResourceExt as _, api::PropagationPolicy};
use scaler_api::{
    Error,
    keda::{RolloutStrategy, SCALED_JOB_GENERATION_ANNOTATION, ScaledJobSpec},
};

use super::jobs::SlimJob;

/// How many Jobs are kept after their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Complete ones.
    pub successful: usize,
    /// Failed ones.
    pub failed: usize,
}

impl History {
    /// The limits of `spec`.
    #[must_use]
    pub fn of(spec: &ScaledJobSpec) -> Self {
        let limit = |limit: i32| usize::try_from(limit).unwrap_or(0);
        Self {
            successful: limit(spec.successful_jobs_history_limit()),
            failed: limit(spec.failed_jobs_history_limit()),
        }
    }
}

/// The Jobs beyond the history, oldest end first: complete ones, then failed ones.
#[must_use]
pub fn beyond_history(jobs: &[Arc<SlimJob>], history: History) -> Vec<Arc<SlimJob>> {
    let mut by_outcome: BTreeMap<bool, Vec<&Arc<SlimJob>>> = BTreeMap::new();
    for job in jobs {
        if let Some(end) = &job.status.end {
            by_outcome.entry(end.failed).or_default().push(job);
        }
    }
    let mut gone = Vec::new();
    for (failed, mut ended) in by_outcome {
        let limit = if failed {
            history.failed
        } else {
            history.successful
        };
        ended.sort_by_key(|job| (job.ended(), job.name_any()));
        let excess = ended.len().saturating_sub(limit);
        gone.extend(ended.into_iter().take(excess).cloned());
    }
    gone.retain(|job| !is_going(job));
    gone
}

/// What a change of a ScaledJob does to the Jobs that it made before.
#[derive(Clone, Debug, PartialEq)]
pub enum Rollout {
    /// They run to their end.
    Gradual,
    /// They are deleted in this way.
    Immediate(PropagationPolicy),
}

impl Rollout {
    /// The rollout of `spec`.
    ///
    /// # Errors
    /// [`Invalid`](scaler_api::ErrorKind::Invalid) for words that name no strategy or no policy.
    pub fn of(spec: &ScaledJobSpec) -> Result<Self, Error> {
        let given = spec.rollout.as_ref();
        let policy = given.and_then(|rollout| rollout.propagation_policy.as_deref());
        let policy = match policy.unwrap_or_default() {
            "" | "background" => PropagationPolicy::Background,
            "foreground" => PropagationPolicy::Foreground,
            other => {
                return Err(Error::invalid(format!(
                    "rollout.propagationPolicy {other:?} is not one of foreground, background"
                )));
            }
        };
        Ok(match spec.rollout_strategy()? {
            RolloutStrategy::Gradual => Self::Gradual,
            RolloutStrategy::Immediate => Self::Immediate(policy),
        })
    }
}

/// The Jobs of another generation, ended or not, and of none.
#[must_use]
pub fn of_former_generations(jobs: &[Arc<SlimJob>], generation: Option<i64>) -> Vec<Arc<SlimJob>> {
    let generation = generation.unwrap_or(0).to_string();
    let is_former = |job: &&Arc<SlimJob>| {
        let made_from = job.annotations().get(SCALED_JOB_GENERATION_ANNOTATION);
        made_from != Some(&generation) && !is_going(job)
    };
    jobs.iter().filter(is_former).cloned().collect()
}

fn is_going(job: &SlimJob) -> bool {
    job.metadata.deletion_timestamp.is_some()
}

#[cfg(test)]
mod tests {
    //! keda.md §3.7: cleanup and rollout.
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::{
        super::jobs::tests::{ended, job},
        *,
    };

    fn names(jobs: &[Arc<SlimJob>]) -> Vec<String> {
        jobs.iter().map(|job| job.name_any()).collect()
    }

    fn jobs(jobs: Vec<SlimJob>) -> Vec<Arc<SlimJob>> {
        jobs.into_iter().map(Arc::new).collect()
    }

    #[test]
    fn section_3_7_the_oldest_jobs_beyond_each_limit_go() {
        let jobs = jobs(vec![
            ended("done-3", "Complete", 30),
            ended("done-1", "Complete", 10),
            job("running", &json!({})),
            ended("failed-2", "Failed", 25),
            ended("done-2", "Complete", 20),
            ended("failed-1", "Failed", 5),
        ]);
        let cases = [
            ("both kept", 3, 2, vec![]),
            ("complete", 1, 2, vec!["done-1", "done-2"]),
            ("failed, by their condition's time", 3, 1, vec!["failed-1"]),
            (
                "none kept",
                0,
                0,
                vec!["done-1", "done-2", "done-3", "failed-1", "failed-2"],
            ),
        ];
        for (name, successful, failed, expected) in cases {
            let gone = beyond_history(&jobs, History { successful, failed });
            assert_eq!(names(&gone), expected, "§3.7 cleanup: {name}");
        }
    }

    #[test]
    fn section_3_7_a_failed_job_whose_condition_has_no_time_counts_from_its_creation() {
        let failed = json!({"conditions": [{"type": "Failed", "status": "True"}]});
        let mut young = job("a-young", &failed);
        young.metadata.creation_timestamp = Some(Time("2026-01-01T00:01:00Z".parse().unwrap()));
        let jobs = jobs(vec![young, job("z-old", &failed)]);
        let history = History {
            successful: 0,
            failed: 1,
        };
        assert_eq!(names(&beyond_history(&jobs, history)), ["z-old"]);
    }

    #[test]
    fn section_3_7_what_is_being_deleted_is_not_deleted_again_but_counts_as_gone() {
        let mut going = ended("a", "Complete", 1);
        going.metadata.deletion_timestamp = going.metadata.creation_timestamp.clone();
        let jobs = jobs(vec![going, ended("b", "Complete", 2)]);
        let history = History {
            successful: 1,
            failed: 1,
        };
        assert!(beyond_history(&jobs, history).is_empty());
        assert_eq!(names(&of_former_generations(&jobs, Some(2))), ["b"]);
    }

    #[test]
    fn section_3_7_limits_default_to_a_hundred() {
        let expected = History {
            successful: 100,
            failed: 100,
        };
        assert_eq!(History::of(&ScaledJobSpec::default()), expected, "§1.2");
    }

    #[test]
    fn section_3_7_jobs_of_other_generations_go_ended_or_not() {
        let mut unmarked = job("unmarked", &json!({}));
        unmarked.metadata.annotations = None;
        let mut current = job("current", &json!({}));
        current
            .annotations_mut()
            .insert(SCALED_JOB_GENERATION_ANNOTATION.into(), "2".into());
        let jobs = jobs(vec![
            job("old", &json!({})),
            ended("done", "Complete", 1),
            unmarked,
            current,
        ]);
        let former = of_former_generations(&jobs, Some(2));
        assert_eq!(names(&former), ["old", "done", "unmarked"], "§3.7 rollout");
    }

    #[test]
    fn section_3_7_the_rollout_is_read_from_either_spelling() {
        use PropagationPolicy::{Background, Foreground};
        let immediate = Rollout::Immediate;
        let cases = [
            (json!({}), Some(immediate(Background))),
            (
                json!({"rollout": {"strategy": "immediate"}}),
                Some(immediate(Background)),
            ),
            (
                json!({"rollout": {"propagationPolicy": "foreground"}}),
                Some(immediate(Foreground)),
            ),
            (
                json!({"rollout": {"strategy": "default"}}),
                Some(immediate(Background)),
            ),
            (
                json!({"rollout": {"strategy": "gradual"}}),
                Some(Rollout::Gradual),
            ),
            (json!({"rolloutStrategy": "gradual"}), Some(Rollout::Gradual)),
            (
                json!({"rolloutStrategy": "gradual", "rollout": {"strategy": "immediate"}}),
                Some(immediate(Background)),
            ),
            (json!({"rollout": {"propagationPolicy": "orphan"}}), None),
        ];
        for (fields, expected) in cases {
            let mut spec = json!({"jobTargetRef": {"template": {}}, "triggers": []});
            for (field, value) in fields.as_object().unwrap() {
                spec[field] = value.clone();
            }
            let spec: ScaledJobSpec = serde_json::from_value(spec).unwrap();
            assert_eq!(Rollout::of(&spec).ok(), expected, "§1.2 {fields}");
        }
    }
}
