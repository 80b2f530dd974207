//! Who uses which authentication.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kube::Resource;
use scaler_api::keda::{ScaleTrigger, ScaledJob, ScaledObject, TriggerAuthenticationStatus};

use super::{Dependency, DependencyKind, dependents::Dependents};
use crate::{
    queue::WorkQueue,
    store::{Change, ObjectKey},
};

/// How long changes of users are gathered before they are written.
const GATHER: Duration = Duration::from_secs(1);

/// Who uses which authentication, and the authentications that need a look. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Users {
    index: Arc<Mutex<Index>>,
    pub(super) queue: WorkQueue<Dependency>,
}

#[derive(Debug, Default)]
struct Index {
    objects: Dependents,
    jobs: Dependents,
}

impl Users {
    /// Takes a change of a ScaledObject into account.
    pub(crate) fn note_object(&self, change: &Change<ScaledObject>) {
        let triggers = match change {
            Change::Applied { object, .. } => object.spec.triggers.as_slice(),
            Change::Deleted(_) => &[],
        };
        let key = ObjectKey::of(&**change.object());
        let touched = self.with(|index| index.objects.replace(&key, referred_to(&key.namespace, triggers)));
        self.touch(touched);
    }

    /// Takes a change of a ScaledJob into account.
    pub(crate) fn note_job(&self, change: &Change<ScaledJob>) {
        let triggers = match change {
            Change::Applied { object, .. } => object.spec.triggers.as_slice(),
            Change::Deleted(_) => &[],
        };
        let key = ObjectKey::of(&**change.object());
        let touched = self.with(|index| index.jobs.replace(&key, referred_to(&key.namespace, triggers)));
        self.touch(touched);
    }

    /// Takes a change of an authentication into account, its status left out.
    pub(crate) fn note_authentication<K: Resource>(&self, kind: DependencyKind, change: &Change<K>) {
        let object = change.object().meta();
        if let Change::Applied {
            previous: Some(previous),
            ..
        } = change
        {
            let previous = previous.meta();
            let is_same = previous.uid == object.uid
                && previous.generation == object.generation
                && previous.finalizers == object.finalizers
                && previous.deletion_timestamp == object.deletion_timestamp;
            if is_same {
                return;
            }
        }
        self.queue.add((kind, ObjectKey::of(&**change.object())));
    }

    fn touch(&self, touched: BTreeSet<Dependency>) {
        for authentication in touched {
            self.queue.add_after(authentication, GATHER);
        }
    }

    /// What the status of an authentication is to say.
    pub(super) fn status_of(&self, authentication: &Dependency) -> TriggerAuthenticationStatus {
        let (objects, jobs) =
            self.with(|index| (index.objects.of(authentication), index.jobs.of(authentication)));
        TriggerAuthenticationStatus {
            scaledobjects: names(objects),
            scaledjobs: names(jobs),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Index) -> T) -> T {
        work(&mut self.index.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Names without namespaces, as KEDA writes them.
fn names(objects: Vec<ObjectKey>) -> Option<String> {
    let names: BTreeSet<String> = objects.into_iter().map(|key| key.name).collect();
    (!names.is_empty()).then(|| names.into_iter().collect::<Vec<_>>().join(","))
}

fn referred_to(namespace: &str, triggers: &[ScaleTrigger]) -> BTreeSet<Dependency> {
    let references = triggers
        .iter()
        .filter_map(|trigger| trigger.authentication_ref.as_ref());
    references
        .map(|reference| match reference.is_cluster() {
            true => (
                DependencyKind::ClusterTriggerAuthentication,
                ObjectKey::cluster(&reference.name),
            ),
            false => (
                DependencyKind::TriggerAuthentication,
                ObjectKey::new(namespace, &reference.name),
            ),
        })
        .collect()
}
