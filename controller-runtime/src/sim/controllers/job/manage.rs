//! How many pods a Job has, and which.

use std::{cmp::Reverse, collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::{
    backoff::{self, ended_at},
    decide::{Done, Step},
    indexes::{self, failures, index},
    pod::{self, Next},
    policy::Verdict,
};
use crate::sim::controllers::pods;

const MAX_AT_ONCE: usize = 500;

impl Step<'_> {
    /// As many pods as there is work for.
    pub(super) fn manage(&mut self) {
        let parallelism = self.spec.parallelism.unwrap_or(1);
        let succeeded = self.all_succeeded();
        let wanted = match self.spec.completions {
            Some(completions) => {
                parallelism.min(completions - succeeded - indexes::count(&self.failed_indexes))
            }
            None if succeeded > 0 => i32::try_from(self.active.len()).unwrap_or(parallelism),
            None => parallelism,
        };
        let wanted = usize::try_from(wanted).unwrap_or_default();
        self.plan.discard = self.excess(wanted);
        if !self.plan.discard.is_empty() {
            return;
        }
        let waits_for_failure = self.spec.pod_replacement_policy.as_deref() == Some("Failed");
        let stopping = if waits_for_failure {
            self.terminating.len()
        } else {
            0
        };
        let missing = wanted
            .saturating_sub(self.active.len() + stopping)
            .min(MAX_AT_ONCE);
        if missing == 0 {
            return;
        }
        let own_limits = self.spec.backoff_limit_per_index.is_some();
        if !own_limits && let Some(until) = self.plan.backoff.until().filter(|until| *until > self.now) {
            return self.look_again(Some(until));
        }
        let next = if self.indexed() {
            self.open_indexes(missing, waits_for_failure)
        } else {
            let none = Next {
                index: None,
                failures: 0,
            };
            vec![none; missing]
        };
        self.plan.create = next
            .into_iter()
            .map(|next| pod::make(self.job, &self.spec, next))
            .collect();
    }

    /// Pods beyond what is wanted: those of an index that has one already or that there is no more, and then those that
    /// have done least.
    fn excess(&self, wanted: usize) -> Vec<Arc<Pod>> {
        let (mut kept, mut excess): (Vec<_>, Vec<_>) = (self.active.clone(), Vec::new());
        kept.sort_by_key(|pod| {
            let bound = pods::node_name(pod).is_some();
            let running = pods::phase(pod) == "Running";
            let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
            (
                bound,
                running,
                pods::is_ready(pod),
                Reverse(pods::ready_since(pod)),
                Reverse(created),
            )
        });
        if self.indexed() {
            let completions = self.spec.completions.unwrap_or_default();
            let mut seen = BTreeSet::new();
            kept.reverse();
            kept.retain(|pod| {
                let good = index(pod).is_some_and(|index| index < completions && seen.insert(index));
                if !good {
                    excess.push(Arc::clone(pod));
                }
                good
            });
            kept.reverse();
        }
        let more = kept.len().saturating_sub(wanted);
        excess.extend(kept.into_iter().take(more));
        excess
    }

    /// The lowest indexes without a pod, as far as they need not wait.
    fn open_indexes(&mut self, count: usize, waits_for_failure: bool) -> Vec<Next> {
        let mut taken: BTreeSet<i32> = self.active.iter().filter_map(|pod| index(pod)).collect();
        if waits_for_failure {
            taken.extend(self.terminating.iter().filter_map(|pod| index(pod)));
        }
        let own_limits = self.spec.backoff_limit_per_index.is_some();
        let (mut open, mut later) = (Vec::new(), None::<Timestamp>);
        for index in 0..self.spec.completions.unwrap_or_default() {
            let settled = self.completed.contains(&index) || self.failed_indexes.contains(&index);
            if settled || taken.contains(&index) || open.len() == count {
                continue;
            }
            let before = self.last_of(index).filter(|_| own_limits);
            let (failures, until) = before.map_or((0, None), |done| {
                let counts = done.failure != Some(Verdict::Ignore);
                let failures = failures(&done.pod) + i32::from(counts);
                let doublings = u32::try_from(failures).unwrap_or_default();
                (failures, Some(ended_at(&done.pod) + backoff::delay(doublings)))
            });
            match until.filter(|until| *until > self.now) {
                Some(until) => later = Some(later.map_or(until, |later| later.min(until))),
                None => open.push(Next {
                    index: Some(index),
                    failures,
                }),
            }
        }
        self.look_again(later);
        open
    }

    /// The pod of an index that failed last.
    fn last_of(&self, wanted: i32) -> Option<&Done> {
        let failed = self
            .done
            .iter()
            .filter(|done| done.failure.is_some() && index(&done.pod) == Some(wanted));
        failed.max_by_key(|done| (failures(&done.pod), ended_at(&done.pod)))
    }
}
