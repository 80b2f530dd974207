//! The Jobs of every ScaledJob: as watched, with those that were made and not seen yet.
//!
//! A Job that was made counts from the moment on which the API server said so. It may come through the watch much
//! later: until then it is expected, so that nobody makes it twice. What is in doubt (a request without an answer, a
//! Job that is expected for long) is settled by a list.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kube::ResourceExt as _;
use tokio::time::Instant;

use super::{
    jobs::{SlimJob, SlimPod, count},
    strategy::Counts,
};
use crate::store::{Change, ObjectKey};

/// How long a Job that was made may be unseen before it is asked for.
const OVERDUE: Duration = Duration::from_secs(30);

/// Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    accounts: BTreeMap<ObjectKey, Account>,
    /// By the uid of their Job.
    pods: BTreeMap<String, BTreeMap<ObjectKey, Arc<SlimPod>>>,
}

/// The Jobs of one ScaledJob.
#[derive(Debug, Default)]
struct Account {
    /// As watched, by name.
    watched: BTreeMap<String, Arc<SlimJob>>,
    /// Made and not seen yet, by uid.
    expected: BTreeMap<String, (Arc<SlimJob>, Instant)>,
    /// What came through the watch while Jobs were being made: the answer to a request may come later.
    seen: Option<BTreeSet<String>>,
    /// Deleted, and still in the watch.
    gone: BTreeSet<String>,
    /// Whether a request to make a Job had no answer.
    is_unsure: bool,
}

impl Account {
    fn see(&mut self, uid: &str) {
        self.expected.remove(uid);
        if let Some(seen) = &mut self.seen {
            seen.insert(uid.to_owned());
        }
    }

    fn is_empty(&self) -> bool {
        self.watched.is_empty() && self.expected.is_empty() && self.seen.is_none() && !self.is_unsure
    }

    fn is_watched(&self, uid: &str) -> bool {
        self.watched.values().any(|job| uid_of(&**job) == uid)
    }
}

fn uid_of<K: kube::Resource>(object: &K) -> String {
    object.uid().unwrap_or_default()
}

impl Ledger {
    fn with<T>(&self, work: impl FnOnce(&mut Shared) -> T) -> T {
        work(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn account<T>(&self, key: &ObjectKey, work: impl FnOnce(&mut Account) -> T) -> T {
        self.with(|shared| {
            let account = shared.accounts.entry(key.clone()).or_default();
            let result = work(account);
            if account.is_empty() {
                shared.accounts.remove(key);
            }
            result
        })
    }

    /// What was watched of Jobs.
    pub(crate) fn job(&self, change: &Change<SlimJob>) {
        let (Change::Applied {
            previous: Some(previous),
            ..
        }
        | Change::Deleted(previous)) = change
        else {
            return self.apply(change.object());
        };
        if let Some(key) = previous.scaled_job() {
            self.account(&key, |account| {
                account.watched.remove(&previous.name_any());
                account.see(&uid_of(&**previous));
                let is_same = uid_of(&**change.object()) == uid_of(&**previous);
                if matches!(change, Change::Deleted(_)) || !is_same {
                    account.gone.remove(&uid_of(&**previous));
                }
            });
        }
        if matches!(change, Change::Applied { .. }) {
            self.apply(change.object());
        }
    }

    fn apply(&self, job: &Arc<SlimJob>) {
        if let Some(key) = job.scaled_job() {
            self.account(&key, |account| {
                account.watched.insert(job.name_any(), Arc::clone(job));
                account.see(&uid_of(&**job));
            });
        }
    }

    /// What was watched of pods.
    pub(crate) fn pod(&self, change: &Change<SlimPod>) {
        let pod = change.object();
        let Some(job) = pod.job() else { return };
        let key = ObjectKey::of(&**pod);
        self.with(|shared| match change {
            Change::Applied { .. } => {
                let pods = shared.pods.entry(job.to_owned()).or_default();
                pods.insert(key, Arc::clone(pod));
            }
            Change::Deleted(_) => {
                if let Some(pods) = shared.pods.get_mut(job) {
                    pods.remove(&key);
                    if pods.is_empty() {
                        shared.pods.remove(job);
                    }
                }
            }
        });
    }

    /// Jobs are about to be made; until this is [over](Self::settled) or [begun](Self::begin) anew, they are in doubt.
    pub(crate) fn begin(&self, key: &ObjectKey) {
        self.account(key, |account| {
            account.seen = Some(BTreeSet::new());
            account.is_unsure = true;
        });
    }

    /// The API server has made a Job.
    pub(crate) fn made(&self, key: &ObjectKey, job: SlimJob, now: Instant) {
        self.account(key, |account| {
            let uid = uid_of(&job);
            let is_seen = account.seen.as_ref().is_some_and(|seen| seen.contains(&uid));
            if !is_seen && !account.is_watched(&uid) {
                account.expected.insert(uid, (Arc::new(job), now));
            }
        });
    }

    /// Every request to make Jobs was answered, or (`is_unsure`) not every one.
    pub(crate) fn settled(&self, key: &ObjectKey, is_unsure: bool) {
        self.account(key, |account| {
            account.seen = None;
            account.is_unsure = is_unsure;
        });
    }

    /// The API server says that a Job is gone.
    pub(crate) fn gone(&self, key: &ObjectKey, uid: &str) {
        self.account(key, |account| {
            account.expected.remove(uid);
            if account.is_watched(uid) {
                account.gone.insert(uid.to_owned());
            }
        });
    }

    /// The Jobs of a ScaledJob, by name.
    pub(crate) fn jobs(&self, key: &ObjectKey) -> Vec<Arc<SlimJob>> {
        self.with(|shared| {
            let Some(account) = shared.accounts.get(key) else {
                return Vec::new();
            };
            let watched = account.watched.values();
            let there = watched.filter(|job| !account.gone.contains(&uid_of(&***job)));
            let expected = account.expected.values().map(|(job, _)| job);
            there.chain(expected).cloned().collect()
        })
    }

    /// Counts the Jobs of a ScaledJob.
    pub(crate) fn count(&self, key: &ObjectKey, pending_conditions: &[String]) -> Counts {
        let jobs = self.jobs(key);
        self.with(|shared| {
            let with_pods = jobs.iter().map(|job| {
                let pods = shared.pods.get(&uid_of(&**job)).into_iter();
                (&**job, pods.flat_map(|pods| pods.values().map(|pod| &**pod)))
            });
            count(with_pods, pending_conditions)
        })
    }

    /// Whether it has to be asked which Jobs there are.
    pub(crate) fn is_in_doubt(&self, key: &ObjectKey, now: Instant) -> bool {
        self.with(|shared| {
            shared.accounts.get(key).is_some_and(|account| {
                let overdue = |(_, since): &(Arc<SlimJob>, Instant)| *since + OVERDUE <= now;
                account.is_unsure || account.expected.values().any(overdue)
            })
        })
    }

    /// The Jobs of a ScaledJob as listed: what was not watched of them is expected, and nothing else.
    pub(crate) fn settle(&self, key: &ObjectKey, listed: Vec<SlimJob>, now: Instant) {
        self.account(key, |account| {
            account.expected.clear();
            account.seen = None;
            account.is_unsure = false;
            for job in listed {
                let uid = uid_of(&job);
                if !account.is_watched(&uid) {
                    account.expected.insert(uid, (Arc::new(job), now));
                }
            }
        });
    }

    /// The same for all ScaledJobs.
    pub(crate) fn settle_all(&self, listed: Vec<SlimJob>, now: Instant) {
        let mut by_key: BTreeMap<ObjectKey, Vec<SlimJob>> = BTreeMap::new();
        for key in self.with(|shared| shared.accounts.keys().cloned().collect::<Vec<_>>()) {
            by_key.entry(key).or_default();
        }
        for job in listed {
            if let Some(key) = job.scaled_job() {
                by_key.entry(key).or_default().push(job);
            }
        }
        for (key, listed) in by_key {
            self.settle(&key, listed, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{
        super::jobs::tests::{ended, job},
        *,
    };

    fn key() -> ObjectKey {
        ObjectKey::new("default", "work")
    }

    fn applied(job: SlimJob) -> Change<SlimJob> {
        Change::Applied {
            object: Arc::new(job),
            previous: None,
        }
    }

    fn running(name: &str) -> SlimJob {
        job(name, &json!({}))
    }

    fn pod(name: &str, job: &str, phase: &str) -> Change<SlimPod> {
        let pod: Value = json!({
            "metadata": {
                "name": name, "namespace": "default",
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": job, "uid": job, "controller": true}],
            },
            "status": {"phase": phase},
        });
        Change::Applied {
            object: Arc::new(serde_json::from_value(pod).unwrap()),
            previous: None,
        }
    }

    fn counts(ledger: &Ledger) -> (i64, i64) {
        let counts = ledger.count(&key(), &[]);
        (counts.running, counts.pending)
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_was_made_counts_once_before_and_after_it_is_seen() {
        let ledger = Ledger::default();
        ledger.begin(&key());
        ledger.made(&key(), running("a"), Instant::now());
        ledger.settled(&key(), false);
        assert_eq!(counts(&ledger), (1, 1));
        ledger.job(&applied(running("a")));
        ledger.pod(&pod("a-1", "a", "Running"));
        assert_eq!(counts(&ledger), (1, 0));
        ledger.job(&applied(ended("a", "Complete", 1)));
        assert_eq!(counts(&ledger), (0, 0));
        assert_eq!(ledger.jobs(&key()).len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_is_seen_before_the_answer_comes_is_not_expected() {
        let ledger = Ledger::default();
        ledger.begin(&key());
        ledger.job(&applied(running("a")));
        ledger.job(&Change::Deleted(Arc::new(running("a"))));
        ledger.made(&key(), running("a"), Instant::now());
        ledger.settled(&key(), false);
        assert_eq!(counts(&ledger), (0, 0));
        assert!(ledger.with(|shared| shared.accounts.is_empty()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_had_no_answer_or_is_not_seen_for_long_is_in_doubt_until_it_is_listed() {
        let ledger = Ledger::default();
        assert!(!ledger.is_in_doubt(&key(), Instant::now()));
        ledger.begin(&key());
        assert!(
            ledger.is_in_doubt(&key(), Instant::now()),
            "dropped in the middle"
        );
        ledger.settled(&key(), true);
        assert!(ledger.is_in_doubt(&key(), Instant::now()));
        ledger.settle(&key(), vec![running("a")], Instant::now());
        assert!(!ledger.is_in_doubt(&key(), Instant::now()));
        assert_eq!(counts(&ledger), (1, 1), "made, although nobody said so");
        tokio::time::advance(OVERDUE).await;
        assert!(ledger.is_in_doubt(&key(), Instant::now()));
        ledger.settle(&key(), Vec::new(), Instant::now());
        assert_eq!(counts(&ledger), (0, 0));
        assert!(!ledger.is_in_doubt(&key(), Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_of_all_settles_every_account() {
        let ledger = Ledger::default();
        let other = ObjectKey::new("default", "other");
        ledger.begin(&other);
        ledger.made(&other, running("x"), Instant::now());
        ledger.settle_all(vec![running("a"), running("b")], Instant::now());
        assert_eq!(counts(&ledger), (2, 2));
        assert!(ledger.jobs(&other).is_empty());
        assert!(!ledger.is_in_doubt(&other, Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deleted_job_no_longer_counts_although_it_is_still_seen() {
        let ledger = Ledger::default();
        ledger.job(&applied(running("a")));
        ledger.job(&applied(running("b")));
        ledger.gone(&key(), "a");
        assert_eq!(counts(&ledger), (1, 1));
        ledger.job(&Change::Deleted(Arc::new(running("a"))));
        ledger.gone(&key(), "a");
        let gone = ledger.with(|shared| shared.accounts[&key()].gone.len());
        assert_eq!((counts(&ledger), gone), ((1, 1), 0), "the watch was first");
    }
}
