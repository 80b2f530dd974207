//! What a controller has written and not yet seen again.
//!
//! A store lags behind the API server. A controller that counts its pods in it must wait until it shows what was
//! created and deleted last time, or it would do it twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use tokio::time::Instant;

use super::meta::controller_of;
use crate::{
    queue::WorkQueue,
    store::{Change, Informer, ObjectKey},
};

/// Creations and deletions under way, by the key of the owner. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expectations {
    owners: Arc<Mutex<BTreeMap<ObjectKey, Expected>>>,
}

#[derive(Debug)]
struct Expected {
    creations: usize,
    deletions: BTreeSet<String>,
    since: Instant,
}

impl Expectations {
    /// After this time nobody waits any longer: something was lost.
    const PATIENCE: Duration = Duration::from_secs(300);

    fn with<T>(&self, change: impl FnOnce(&mut BTreeMap<ObjectKey, Expected>) -> T) -> T {
        change(&mut self.owners.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn entry(&self, owner: &ObjectKey, change: impl FnOnce(&mut Expected)) {
        self.with(|owners| {
            let expected = owners.entry(owner.clone()).or_insert_with(|| Expected {
                creations: 0,
                deletions: BTreeSet::new(),
                since: Instant::now(),
            });
            expected.since = Instant::now();
            change(expected);
        });
    }

    /// Call before creating; a creation that fails is to be taken back by [`created`](Self::created).
    pub(crate) fn expect_creation(&self, owner: &ObjectKey) {
        self.entry(owner, |expected| expected.creations += 1);
    }

    /// Call before deleting; a deletion that fails is to be taken back by [`deleted`](Self::deleted).
    pub(crate) fn expect_deletion(&self, owner: &ObjectKey, uid: &str) {
        self.entry(owner, |expected| {
            expected.deletions.insert(uid.to_owned());
        });
    }

    /// One of the creations was seen.
    pub(crate) fn created(&self, owner: &ObjectKey) {
        self.with(|owners| {
            if let Some(expected) = owners.get_mut(owner) {
                expected.creations = expected.creations.saturating_sub(1);
            }
        });
    }

    /// The deletion of `uid` was seen.
    pub(crate) fn deleted(&self, owner: &ObjectKey, uid: &str) {
        self.with(|owners| {
            if let Some(expected) = owners.get_mut(owner) {
                expected.deletions.remove(uid);
            }
        });
    }

    /// Whether the store shows everything that was written.
    pub(crate) fn fulfilled(&self, owner: &ObjectKey) -> bool {
        self.with(|owners| match owners.get(owner) {
            Some(expected) => {
                let done = expected.creations == 0 && expected.deletions.is_empty();
                if done || expected.since.elapsed() > Self::PATIENCE {
                    owners.remove(owner);
                    return true;
                }
                false
            }
            None => true,
        })
    }

    /// The owner is gone.
    pub(crate) fn forget(&self, owner: &ObjectKey) {
        self.with(|owners| owners.remove(owner));
    }

    /// Keeps the expectations of the owners of kind `kind` and enqueues an owner whenever one of its pods changes.
    pub(crate) fn watch_pods(
        &self,
        pods: &mut Informer<Pod>,
        kind: &'static str,
        queue: &WorkQueue<ObjectKey>,
    ) {
        let (expectations, queue) = (self.clone(), queue.clone());
        let owner = move |pod: &Pod| {
            controller_of(&pod.metadata)
                .filter(|owner| owner.kind == kind)
                .map(|owner| ObjectKey::new(pod.namespace().unwrap_or_default(), owner.name.clone()))
        };
        pods.subscribe(move |change| {
            let before = match change {
                Change::Applied { previous, .. } => previous.as_ref(),
                Change::Deleted(pod) => Some(pod),
            };
            let pod = change.object();
            let key = owner(pod);
            if let Some(key) = &key {
                let going = pod.metadata.deletion_timestamp.is_some();
                match change {
                    Change::Applied { previous: None, .. } => expectations.created(key),
                    Change::Applied { .. } if !going => {}
                    _ => expectations.deleted(key, pod.uid().as_deref().unwrap_or_default()),
                }
                queue.add(key.clone());
            }
            if let Some(previous) = before
                .and_then(|pod| owner(pod))
                .filter(|previous| key.as_ref() != Some(previous))
            {
                queue.add(previous);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_owner_waits_for_what_it_wrote_but_not_for_ever() {
        let (expectations, owner) = (Expectations::default(), ObjectKey::new("default", "web"));
        assert!(expectations.fulfilled(&owner));
        expectations.expect_creation(&owner);
        expectations.expect_deletion(&owner, "uid");
        expectations.created(&owner);
        assert!(!expectations.fulfilled(&owner));
        expectations.deleted(&owner, "another");
        assert!(!expectations.fulfilled(&owner));
        expectations.deleted(&owner, "uid");
        assert!(expectations.fulfilled(&owner));
        expectations.expect_creation(&owner);
        tokio::time::advance(Expectations::PATIENCE + Duration::from_secs(1)).await;
        assert!(expectations.fulfilled(&owner));
    }
}
