//! What a Job does next, and what it reports.
//!
//! Pods carry a finalizer until they are counted, so that none is lost or counted twice: a finished pod's uid is first
//! noted in the status, then its finalizer goes, then it moves into the counts.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobCondition, JobSpec, JobStatus, UncountedTerminatedPods},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::ResourceExt as _;

use crate::sim::controllers::{
    meta::{controller_reference, time},
    pods,
};

/// On pods that are not counted yet.
pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
/// The index of a pod of an indexed Job.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const MAX_AT_ONCE: usize = 500;
/// After a failure, doubling.
const BACKOFF_FIRST: i64 = 10;
const BACKOFF_LAST: i64 = 600;

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Vec<Pod>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// Counted: their finalizer may go.
    pub(super) release: Vec<Arc<Pod>>,
    /// To be written before anything else.
    pub(super) status: JobStatus,
    /// Type, reason and message of an event.
    pub(super) events: Vec<(bool, &'static str, String)>,
    /// When to look again.
    pub(super) next: Option<Timestamp>,
}

/// Whether the Job has come to its end, and when.
pub(super) fn finished(job: &Job) -> Option<Timestamp> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let end = conditions
        .iter()
        .find(|one| one.status == "True" && matches!(one.type_.as_str(), "Complete" | "Failed"))?;
    end.last_transition_time.as_ref().map(|time| time.0)
}

/// One step of a Job with its pods.
pub(super) fn plan(job: &Job, pods: &[Arc<Pod>], now: Timestamp) -> Plan {
    let mut step = Step::new(job, pods, now);
    step.count();
    if finished(job).is_none() {
        step.decide();
    }
    step.plan.release = step
        .done
        .iter()
        .filter(|pod| has_finalizer(pod))
        .cloned()
        .collect();
    step.write_counts();
    step.plan
}

struct Step<'a> {
    job: &'a Job,
    spec: JobSpec,
    now: Timestamp,
    active: Vec<Arc<Pod>>,
    terminating: usize,
    /// Finished and noted.
    done: Vec<Arc<Pod>>,
    succeeded: i32,
    failed: i32,
    uncounted: UncountedTerminatedPods,
    plan: Plan,
}

fn has_finalizer(pod: &Pod) -> bool {
    pod.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}

fn index(pod: &Pod) -> Option<i32> {
    pod.annotations().get(INDEX)?.parse().ok()
}

impl<'a> Step<'a> {
    fn new(job: &'a Job, pods: &[Arc<Pod>], now: Timestamp) -> Self {
        let status = job.status.clone().unwrap_or_default();
        let (ended, alive): (Vec<_>, Vec<_>) = pods.iter().cloned().partition(|pod| pods::is_finished(pod));
        Self {
            job,
            spec: job.spec.clone().unwrap_or_default(),
            now,
            active: alive
                .iter()
                .filter(|pod| !pods::is_terminating(pod))
                .cloned()
                .collect(),
            terminating: alive.iter().filter(|pod| pods::is_terminating(pod)).count(),
            done: ended,
            succeeded: status.succeeded.unwrap_or_default(),
            failed: status.failed.unwrap_or_default(),
            uncounted: status.uncounted_terminated_pods.clone().unwrap_or_default(),
            plan: Plan {
                status,
                ..Plan::default()
            },
        }
    }

    fn indexed(&self) -> bool {
        self.spec.completion_mode.as_deref() == Some("Indexed")
    }

    /// Moves what is certain into the counts, and notes what has finished since.
    fn count(&mut self) {
        let held: BTreeSet<String> = self
            .done
            .iter()
            .filter(|pod| has_finalizer(pod))
            .filter_map(|pod| pod.uid())
            .collect();
        let settle = |uids: &mut Option<Vec<String>>, count: &mut i32| {
            if let Some(uids) = uids {
                let before = uids.len();
                uids.retain(|uid| held.contains(uid));
                *count += i32::try_from(before - uids.len()).unwrap_or_default();
            }
        };
        settle(&mut self.uncounted.succeeded, &mut self.succeeded);
        settle(&mut self.uncounted.failed, &mut self.failed);
        for pod in self.done.iter().filter(|pod| has_finalizer(pod)) {
            let list = if pods::phase(pod) == "Succeeded" {
                &mut self.uncounted.succeeded
            } else {
                &mut self.uncounted.failed
            };
            let (list, uid) = (list.get_or_insert_default(), pod.uid().unwrap_or_default());
            if !list.contains(&uid) {
                list.push(uid);
            }
        }
        if self.indexed() {
            let mut indexes =
                parse_indexes(self.plan.status.completed_indexes.as_deref().unwrap_or_default());
            indexes.extend(
                self.done
                    .iter()
                    .filter(|pod| pods::phase(pod) == "Succeeded")
                    .filter_map(|pod| index(pod)),
            );
            self.plan.status.completed_indexes = (!indexes.is_empty()).then(|| format_indexes(&indexes));
        }
    }

    fn all_succeeded(&self) -> i32 {
        if self.indexed() {
            let completed = self.plan.status.completed_indexes.as_deref().unwrap_or_default();
            return i32::try_from(parse_indexes(completed).len()).unwrap_or(i32::MAX);
        }
        self.succeeded
            + i32::try_from(self.uncounted.succeeded.as_ref().map_or(0, Vec::len)).unwrap_or_default()
    }

    fn all_failed(&self) -> i32 {
        self.failed + i32::try_from(self.uncounted.failed.as_ref().map_or(0, Vec::len)).unwrap_or_default()
    }

    fn is_set(&self, type_: &str) -> Option<(String, String)> {
        let conditions = self.plan.status.conditions.iter().flatten();
        let condition = conditions
            .filter(|one| one.status == "True")
            .find(|one| one.type_ == type_)?;
        Some((
            condition.reason.clone().unwrap_or_default(),
            condition.message.clone().unwrap_or_default(),
        ))
    }

    fn set(&mut self, type_: &str, status: bool, reason: &str, message: &str) {
        let conditions = self.plan.status.conditions.get_or_insert_default();
        conditions.retain(|condition| condition.type_ != type_);
        conditions.push(JobCondition {
            type_: type_.to_owned(),
            status: if status { "True" } else { "False" }.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_probe_time: Some(time(self.now)),
            last_transition_time: Some(time(self.now)),
        });
    }

    fn decide(&mut self) {
        let suspended = self.spec.suspend == Some(true);
        if suspended {
            return self.suspend();
        }
        if self.plan.status.start_time.is_none() {
            self.plan.status.start_time = Some(time(self.now));
        }
        let was_suspended = self.is_set("Suspended").is_some();
        if was_suspended {
            self.set("Suspended", false, "JobResumed", "Job resumed");
            self.plan
                .events
                .push((false, "Resumed", "Job resumed".to_owned()));
        }
        self.judge();
        let over = self
            .is_set("FailureTarget")
            .or_else(|| self.is_set("SuccessCriteriaMet"));
        if let Some((reason, message)) = over {
            self.plan.delete = self.active.clone();
            let counted = self.uncounted.succeeded.as_ref().is_none_or(Vec::is_empty)
                && self.uncounted.failed.as_ref().is_none_or(Vec::is_empty);
            if self.active.is_empty() && self.terminating == 0 && counted {
                self.finish(&reason, &message);
            }
            return;
        }
        self.manage();
    }

    fn suspend(&mut self) {
        self.plan.delete = self.active.clone();
        self.plan.status.start_time = None;
        if self.is_set("Suspended").is_none() {
            self.set("Suspended", true, "JobSuspended", "Job suspended");
            self.plan
                .events
                .push((false, "Suspended", "Job suspended".to_owned()));
        }
    }

    /// Whether the Job has succeeded or failed, as far as its pods tell.
    fn judge(&mut self) {
        if self.is_set("FailureTarget").is_some() || self.is_set("SuccessCriteriaMet").is_some() {
            return;
        }
        let limit = self.spec.backoff_limit.unwrap_or(6);
        let restarts: i32 = self.active.iter().map(|pod| restarts(pod)).sum();
        let on_failure = self
            .spec
            .template
            .spec
            .as_ref()
            .is_some_and(|spec| spec.restart_policy.as_deref() == Some("OnFailure"));
        let too_many = self.all_failed() > limit || (on_failure && restarts > 0 && restarts >= limit);
        let deadline = self
            .spec
            .active_deadline_seconds
            .zip(self.plan.status.start_time.clone());
        let deadline = deadline.map(|(seconds, start)| start.0 + SignedDuration::from_secs(seconds));
        let enough = match self.spec.completions {
            Some(completions) => self.all_succeeded() >= completions,
            // A work queue is done when one has succeeded and none works any more.
            None => self.all_succeeded() > 0 && self.active.is_empty() && self.terminating == 0,
        };
        if too_many {
            let message = "Job has reached the specified backoff limit";
            self.set("FailureTarget", true, "BackoffLimitExceeded", message);
        } else if deadline.is_some_and(|deadline| deadline <= self.now) {
            self.set(
                "FailureTarget",
                true,
                "DeadlineExceeded",
                "Job was active longer than specified deadline",
            );
        } else if enough {
            let message = "Reached expected number of succeeded pods";
            self.set("SuccessCriteriaMet", true, "CompletionsReached", message);
        } else {
            self.look_again(deadline);
        }
    }

    fn look_again(&mut self, at: Option<Timestamp>) {
        self.plan.next = match (self.plan.next, at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    fn finish(&mut self, reason: &str, message: &str) {
        if self.is_set("FailureTarget").is_some() {
            self.set("Failed", true, reason, message);
            let reason = if reason == "DeadlineExceeded" {
                "DeadlineExceeded"
            } else {
                "BackoffLimitExceeded"
            };
            self.plan.events.push((true, reason, message.to_owned()));
        } else {
            self.set("Complete", true, reason, message);
            self.plan.status.completion_time = Some(time(self.now));
            self.plan
                .events
                .push((false, "Completed", "Job completed".to_owned()));
        }
    }

    /// As many pods as there is work for.
    fn manage(&mut self) {
        let parallelism = self.spec.parallelism.unwrap_or(1);
        let succeeded = self.all_succeeded();
        let wanted = match self.spec.completions {
            Some(completions) => parallelism.min(completions - succeeded),
            None if succeeded > 0 => i32::try_from(self.active.len()).unwrap_or(parallelism),
            None => parallelism,
        };
        let wanted = usize::try_from(wanted).unwrap_or_default();
        if self.active.len() > wanted {
            let mut active = self.active.clone();
            active.sort_by_key(|pod| (pods::is_ready(pod), pods::phase(pod) == "Running"));
            active.truncate(self.active.len() - wanted);
            self.plan.delete = active;
            return;
        }
        let missing = (wanted - self.active.len())
            .saturating_sub(self.terminating)
            .min(MAX_AT_ONCE);
        if missing == 0 {
            return;
        }
        if let Some(until) = self.backoff_until().filter(|until| *until > self.now) {
            return self.look_again(Some(until));
        }
        let indexes: Vec<Option<i32>> = if self.indexed() {
            let completed = parse_indexes(self.plan.status.completed_indexes.as_deref().unwrap_or_default());
            let taken: BTreeSet<i32> = self.active.iter().filter_map(|pod| index(pod)).collect();
            let open = (0..self.spec.completions.unwrap_or_default())
                .filter(|index| !completed.contains(index) && !taken.contains(index));
            open.take(missing).map(Some).collect()
        } else {
            vec![None; missing]
        };
        self.plan.create = indexes.into_iter().map(|index| self.pod(index)).collect();
    }

    /// After failures a Job waits ever longer.
    fn backoff_until(&self) -> Option<Timestamp> {
        let last = self
            .done
            .iter()
            .filter(|pod| pods::phase(pod) == "Failed")
            .filter_map(|pod| ended_at(pod))
            .max()?;
        let newer_success = self
            .done
            .iter()
            .filter(|pod| pods::phase(pod) == "Succeeded")
            .filter_map(|pod| ended_at(pod))
            .max();
        if newer_success.is_some_and(|success| success > last) {
            return None;
        }
        let doublings = u32::try_from(self.all_failed() - 1).unwrap_or_default().min(10);
        let seconds = (BACKOFF_FIRST << doublings).min(BACKOFF_LAST);
        Some(last + SignedDuration::from_secs(seconds))
    }

    fn pod(&self, index: Option<i32>) -> Pod {
        let (namespace, name) = (self.job.namespace().unwrap_or_default(), self.job.name_any());
        let prefix = index.map_or_else(|| format!("{name}-"), |index| format!("{name}-{index}-"));
        let mut pod = pods::from_template(
            &self.spec.template,
            &namespace,
            &prefix,
            controller_reference(self.job),
        );
        let uid = self.job.uid().unwrap_or_default();
        let labels = pod.labels_mut();
        for (key, value) in [("controller-uid", &uid), ("job-name", &name)] {
            labels.entry(key.to_owned()).or_insert_with(|| value.clone());
            labels
                .entry(format!("batch.kubernetes.io/{key}"))
                .or_insert_with(|| value.clone());
        }
        pod.finalizers_mut().push(FINALIZER.to_owned());
        if let Some(index) = index {
            pod.labels_mut().insert(INDEX.to_owned(), index.to_string());
            pod.annotations_mut().insert(INDEX.to_owned(), index.to_string());
            if let Some(spec) = &mut pod.spec {
                spec.hostname = Some(format!("{name}-{index}"));
            }
        }
        pod
    }

    fn write_counts(&mut self) {
        let some = |number: i32| (number > 0).then_some(number);
        let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        let gone = self.plan.delete.len();
        let status = &mut self.plan.status;
        status.active = some(count(
            self.active.len() - gone.min(self.active.len()) + self.plan.create.len(),
        ));
        status.terminating = Some(count(self.terminating + gone));
        status.ready = Some(count(
            self.active.iter().filter(|pod| pods::is_ready(pod)).count(),
        ));
        status.succeeded = some(self.succeeded);
        status.failed = some(self.failed);
        let filled = |list: &Option<Vec<String>>| list.clone().filter(|list| !list.is_empty());
        status.uncounted_terminated_pods = Some(UncountedTerminatedPods {
            succeeded: filled(&self.uncounted.succeeded),
            failed: filled(&self.uncounted.failed),
        });
    }
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod
        .status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    statuses.map(|container| container.restart_count).sum()
}

fn ended_at(pod: &Pod) -> Option<Timestamp> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let ends = statuses.iter().filter_map(|container| {
        container
            .state
            .as_ref()?
            .terminated
            .as_ref()?
            .finished_at
            .as_ref()
    });
    ends.map(|Time(end)| *end).max()
}

/// `0,2-4` as a set.
fn parse_indexes(text: &str) -> BTreeSet<i32> {
    let mut indexes = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>()) {
            indexes.extend(first..=last);
        }
    }
    indexes
}

/// A set as `0,2-4`.
fn format_indexes(indexes: &BTreeSet<i32>) -> String {
    let mut ranges: BTreeMap<i32, i32> = BTreeMap::new();
    for index in indexes {
        match ranges.last_entry() {
            Some(mut range) if *range.get() + 1 == *index => *range.get_mut() = *index,
            _ => drop(ranges.insert(*index, *index)),
        }
    }
    let words: Vec<String> = ranges
        .into_iter()
        .map(|(first, last)| {
            if first == last {
                first.to_string()
            } else {
                format!("{first}-{last}")
            }
        })
        .collect();
    words.join(",")
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
