//! What a Job does next, and what it reports.
//!
//! Pods carry a finalizer until they are counted, so that none is lost or counted twice: a finished pod's uid is first
//! noted in the status, then its finalizer goes, then it moves into the counts.

use std::{collections::BTreeSet, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    batch::v1::{Job, JobCondition, JobSpec, JobStatus, UncountedTerminatedPods},
    core::v1::Pod,
};
use kube::ResourceExt as _;

use super::{
    backoff::{Backoff, ended_at},
    indexes::{self, failures, index},
    policy::{self, Verdict},
};
use crate::sim::controllers::{meta::time, pods};

/// On pods that are not counted yet.
pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Vec<Pod>,
    /// Not needed now: they go without being counted.
    pub(super) discard: Vec<Arc<Pod>>,
    /// The Job is over: they go and are counted.
    pub(super) delete: Vec<Arc<Pod>>,
    /// Counted: their finalizer may go.
    pub(super) release: Vec<Arc<Pod>>,
    /// To be written before anything else.
    pub(super) status: JobStatus,
    /// To be remembered once the status is written.
    pub(super) backoff: Backoff,
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
pub(super) fn plan(job: &Job, pods: &[Arc<Pod>], backoff: &Backoff, now: Timestamp) -> Plan {
    let mut step = Step::new(job, pods, backoff, now);
    step.count();
    if finished(job).is_none() {
        step.decide();
    }
    let waits = step.kept_for_their_index();
    let done = step.done.iter().map(|done| &done.pod);
    let release = done.filter(|pod| !waits.contains(&pod.uid()));
    // What is stopped because the Job is over need not come to its end.
    let over = step.over().is_some();
    let stopped = step.unfinished().filter(|_| over);
    step.plan.release = release
        .chain(stopped)
        .filter(|pod| has_finalizer(pod))
        .cloned()
        .collect();
    step.write_counts();
    step.plan
}

/// A pod that has come to its end as far as the Job is concerned.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) pod: Arc<Pod>,
    /// None of a success.
    pub(super) failure: Option<Verdict>,
}

/// A step that is being worked out.
pub(super) struct Step<'a> {
    pub(super) job: &'a Job,
    pub(super) spec: JobSpec,
    pub(super) now: Timestamp,
    pub(super) active: Vec<Arc<Pod>>,
    pub(super) terminating: Vec<Arc<Pod>>,
    pub(super) done: Vec<Done>,
    pub(super) succeeded: i32,
    pub(super) failed: i32,
    pub(super) uncounted: UncountedTerminatedPods,
    pub(super) completed: BTreeSet<i32>,
    pub(super) failed_indexes: BTreeSet<i32>,
    pub(super) plan: Plan,
}

fn has_finalizer(pod: &Pod) -> bool {
    pod.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}

impl<'a> Step<'a> {
    fn new(job: &'a Job, pods: &[Arc<Pod>], backoff: &Backoff, now: Timestamp) -> Self {
        let status = job.status.clone().unwrap_or_default();
        let spec = job.spec.clone().unwrap_or_default();
        let waits_for_failure = spec.pod_replacement_policy.as_deref() == Some("Failed");
        let mut step = Self {
            job,
            spec,
            now,
            active: Vec::new(),
            terminating: Vec::new(),
            done: Vec::new(),
            succeeded: status.succeeded.unwrap_or_default(),
            failed: status.failed.unwrap_or_default(),
            uncounted: status.uncounted_terminated_pods.clone().unwrap_or_default(),
            completed: indexes::parse(status.completed_indexes.as_deref().unwrap_or_default()),
            failed_indexes: indexes::parse(status.failed_indexes.as_deref().unwrap_or_default()),
            plan: Plan {
                status,
                backoff: backoff.clone(),
                ..Plan::default()
            },
        };
        for pod in pods {
            let (phase, going) = (pods::phase(pod), pods::is_terminating(pod));
            if going && !pods::is_finished(pod) {
                step.terminating.push(Arc::clone(pod));
            }
            let failure = match phase {
                "Succeeded" => None,
                "Failed" => Some(policy::verdict(job, pod)),
                _ if going && !waits_for_failure => Some(Verdict::Count),
                _ => {
                    if !going {
                        step.active.push(Arc::clone(pod));
                    }
                    continue;
                }
            };
            let pod = Arc::clone(pod);
            step.done.push(Done { pod, failure });
        }
        step
    }

    /// Pods that are neither succeeded nor failed, on their way out or not.
    fn unfinished(&self) -> impl Iterator<Item = &Arc<Pod>> {
        let noted = |pod: &&Arc<Pod>| !self.done.iter().any(|done| done.pod.uid() == pod.uid());
        self.active.iter().chain(self.terminating.iter().filter(noted))
    }

    pub(super) fn indexed(&self) -> bool {
        self.spec.completion_mode.as_deref() == Some("Indexed")
    }

    /// Moves what is certain into the counts, and notes what has finished since.
    fn count(&mut self) {
        let held: BTreeSet<String> = self
            .done
            .iter()
            .map(|done| &done.pod)
            .chain(self.unfinished())
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
        if self.indexed() {
            self.note_indexes();
        }
        let waits = self.kept_for_their_index();
        let (mut succeeded, mut failed) = (Vec::new(), Vec::new());
        for done in &self.done {
            let pod = &done.pod;
            if !has_finalizer(pod) || waits.contains(&pod.uid()) {
                continue;
            }
            let at = ended_at(pod);
            let (list, ends) = match done.failure {
                None => (&mut self.uncounted.succeeded, &mut succeeded),
                Some(Verdict::Ignore) => continue,
                Some(_) => (&mut self.uncounted.failed, &mut failed),
            };
            let (list, uid) = (list.get_or_insert_default(), pod.uid().unwrap_or_default());
            if !list.contains(&uid) {
                list.push(uid);
                ends.push(at);
            }
        }
        self.plan.backoff = self.plan.backoff.after(&succeeded, &failed);
    }

    /// Which indexes have succeeded and, where each has a limit of its own, which have failed.
    fn note_indexes(&mut self) {
        let succeeded = self.done.iter().filter(|done| done.failure.is_none());
        self.completed
            .extend(succeeded.filter_map(|done| index(&done.pod)));
        let Some(limit) = self
            .spec
            .backoff_limit_per_index
            .filter(|_| self.over().is_none())
        else {
            return;
        };
        for done in &self.done {
            let over = match done.failure {
                None | Some(Verdict::Ignore) => false,
                Some(Verdict::FailIndex) => true,
                Some(_) => failures(&done.pod) >= limit,
            };
            if let Some(index) = index(&done.pod).filter(|index| over && !self.completed.contains(index)) {
                self.failed_indexes.insert(index);
            }
        }
    }

    /// The last failed pod of an index tells how often it failed, until the next pod is there.
    fn kept_for_their_index(&self) -> BTreeSet<Option<String>> {
        if self.spec.backoff_limit_per_index.is_none()
            || self.over().is_some()
            || finished(self.job).is_some()
        {
            return BTreeSet::new();
        }
        let succeeded_by =
            |pod: &Pod, other: &Pod| index(pod) == index(other) && failures(other) > failures(pod);
        let kept = self.done.iter().filter(|done| {
            let open = |index| !self.completed.contains(&index) && !self.failed_indexes.contains(&index);
            done.failure.is_some()
                && index(&done.pod).is_some_and(open)
                && !self.active.iter().any(|other| succeeded_by(&done.pod, other))
                && !self.done.iter().any(|other| succeeded_by(&done.pod, &other.pod))
        });
        kept.map(|done| done.pod.uid()).collect()
    }

    pub(super) fn all_succeeded(&self) -> i32 {
        if self.indexed() {
            return indexes::count(&self.completed);
        }
        self.succeeded + uids(self.uncounted.succeeded.as_ref())
    }

    fn all_failed(&self) -> i32 {
        self.failed + uids(self.uncounted.failed.as_ref())
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

    /// Why the Job is about to fail or to succeed.
    fn over(&self) -> Option<(String, String)> {
        self.is_set("FailureTarget")
            .or_else(|| self.is_set("SuccessCriteriaMet"))
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
        if self.plan.status.start_time.is_none() && !suspended {
            self.plan.status.start_time = Some(time(self.now));
        }
        self.judge(suspended);
        if let Some((reason, message)) = self.over() {
            return self.end(&reason, &message);
        }
        if suspended {
            return self.suspend();
        }
        if self.is_set("Suspended").is_some() {
            self.set("Suspended", false, "JobResumed", "Job resumed");
            self.plan.status.start_time = Some(time(self.now));
            self.plan
                .events
                .push((false, "Resumed", "Job resumed".to_owned()));
        }
        self.manage();
    }

    fn suspend(&mut self) {
        self.plan.discard = self.active.clone();
        if self.is_set("Suspended").is_none() {
            self.set("Suspended", true, "JobSuspended", "Job suspended");
            self.plan
                .events
                .push((false, "Suspended", "Job suspended".to_owned()));
        }
    }

    /// What still works is stopped; then the Job is said to have ended.
    fn end(&mut self, reason: &str, message: &str) {
        self.plan.delete = self.active.clone();
        if self.is_set("FailureTarget").is_some() {
            // What is stopped because the Job has failed has failed, too.
            let pods = self.unfinished().filter(|pod| has_finalizer(pod));
            let uids: Vec<String> = pods.filter_map(|pod| pod.uid()).collect();
            let list = self.uncounted.failed.get_or_insert_default();
            list.extend(uids);
            list.sort();
            list.dedup();
        }
        let counted = uids(self.uncounted.succeeded.as_ref()) + uids(self.uncounted.failed.as_ref()) == 0;
        if self.active.is_empty() && self.terminating.is_empty() && counted {
            self.finish(reason, message);
        }
    }

    /// Whether the Job has succeeded or failed, as far as its pods tell.
    fn judge(&mut self, suspended: bool) {
        if self.over().is_some() {
            return;
        }
        let deadline = self
            .spec
            .active_deadline_seconds
            .zip(self.plan.status.start_time.clone())
            .filter(|_| !suspended)
            .map(|(seconds, start)| start.0 + SignedDuration::from_secs(seconds));
        if let Some((reason, message)) = self.failure(deadline) {
            self.set("FailureTarget", true, reason, &message);
        } else if let Some((reason, message)) = self.success() {
            self.set("SuccessCriteriaMet", true, reason, &message);
        } else {
            self.look_again(deadline);
        }
    }

    fn failure(&self, deadline: Option<Timestamp>) -> Option<(&'static str, String)> {
        let ending = self.done.iter().find_map(|done| match &done.failure {
            Some(Verdict::FailJob(why)) => Some(why.clone()),
            _ => None,
        });
        if let Some(why) = ending {
            return Some(("PodFailurePolicy", why));
        }
        let limit = self.spec.backoff_limit.unwrap_or(6);
        let restarts: i32 = self.active.iter().map(|pod| restarts(pod)).sum();
        let template = self.spec.template.spec.as_ref();
        let on_failure = template.is_some_and(|spec| spec.restart_policy.as_deref() == Some("OnFailure"));
        if self.all_failed() > limit || (on_failure && restarts > 0 && restarts >= limit) {
            let message = "Job has reached the specified backoff limit";
            return Some(("BackoffLimitExceeded", message.to_owned()));
        }
        if deadline.is_some_and(|deadline| deadline <= self.now) {
            let message = "Job was active longer than specified deadline";
            return Some(("DeadlineExceeded", message.to_owned()));
        }
        let failed = indexes::count(&self.failed_indexes);
        if self.spec.max_failed_indexes.is_some_and(|most| failed > most) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            return Some(("MaxFailedIndexesExceeded", message.to_owned()));
        }
        let all = failed + self.all_succeeded();
        let none_left = failed > 0
            && self
                .spec
                .completions
                .is_some_and(|completions| all >= completions);
        (none_left && self.active.is_empty()).then(|| ("FailedIndexes", "Job has failed indexes".to_owned()))
    }

    fn success(&self) -> Option<(&'static str, String)> {
        if self.indexed()
            && let Some(why) = policy::success(&self.spec, &self.completed)
        {
            return Some(("SuccessPolicy", why));
        }
        let enough = match self.spec.completions {
            Some(completions) => self.all_succeeded() >= completions,
            // A work queue is done when one has succeeded and none works any more.
            None => self.all_succeeded() > 0,
        };
        let message = "Reached expected number of succeeded pods";
        (enough && self.active.is_empty()).then(|| ("CompletionsReached", message.to_owned()))
    }

    pub(super) fn look_again(&mut self, at: Option<Timestamp>) {
        self.plan.next = match (self.plan.next, at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    fn finish(&mut self, reason: &str, message: &str) {
        if self.is_set("FailureTarget").is_some() {
            const REASONS: [&str; 5] = [
                "PodFailurePolicy",
                "BackoffLimitExceeded",
                "DeadlineExceeded",
                "MaxFailedIndexesExceeded",
                "FailedIndexes",
            ];
            self.set("Failed", true, reason, message);
            let known = REASONS.into_iter().find(|known| *known == reason);
            self.plan
                .events
                .push((true, known.unwrap_or("Failed"), message.to_owned()));
        } else {
            self.set("Complete", true, reason, message);
            self.plan.status.completion_time = Some(time(self.now));
            self.plan
                .events
                .push((false, "Completed", "Job completed".to_owned()));
        }
    }

    fn write_counts(&mut self) {
        let some = |number: i32| (number > 0).then_some(number);
        let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
        let gone = self.plan.delete.len() + self.plan.discard.len();
        let active = self.active.len().saturating_sub(gone);
        let status = &mut self.plan.status;
        status.active = some(count(active + self.plan.create.len()));
        status.terminating = Some(count(self.terminating.len()));
        let ready = self.active.iter().filter(|pod| pods::is_ready(pod)).count();
        status.ready = Some(count(ready));
        status.succeeded = some(self.succeeded);
        status.failed = some(self.failed);
        status.completed_indexes = (!self.completed.is_empty()).then(|| indexes::format(&self.completed));
        status.failed_indexes = self
            .spec
            .backoff_limit_per_index
            .map(|_| indexes::format(&self.failed_indexes));
        let filled = |list: &Option<Vec<String>>| list.clone().filter(|list| !list.is_empty());
        status.uncounted_terminated_pods = Some(UncountedTerminatedPods {
            succeeded: filled(&self.uncounted.succeeded),
            failed: filled(&self.uncounted.failed),
        });
    }
}

fn uids(list: Option<&Vec<String>>) -> i32 {
    list.map_or(0, |list| i32::try_from(list.len()).unwrap_or(i32::MAX))
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod
        .status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    statuses.map(|container| container.restart_count).sum()
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
