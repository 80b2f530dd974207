//! How many of KEDA's resources and triggers there are: counted from what is watched when somebody looks, not kept.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use kube::Resource;
use scaler_api::keda::ScaleTrigger;

use crate::pod_autoscaler::watched::Watched;

/// What counts one kind.
type Counter = Box<dyn Fn(&mut Counts) + Send + Sync>;

/// The kinds that are counted. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Registered {
    kinds: Arc<Mutex<BTreeMap<&'static str, Counter>>>,
}

impl fmt::Debug for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Registered")
    }
}

/// How many there are.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Resources by type and namespace.
    pub(super) resources: BTreeMap<(&'static str, String), u64>,
    /// Triggers by type.
    pub(super) triggers: BTreeMap<String, u64>,
}

impl Registered {
    /// Counts the objects of a kind, and their triggers. Whoever is added later under a name takes its place.
    pub(crate) fn add<K>(
        &self,
        resource: &'static str,
        watched: &Watched<K>,
        triggers: fn(&K) -> &[ScaleTrigger],
    ) where
        K: Resource + Send + Sync + 'static,
    {
        let watched = watched.clone();
        let counter: Counter = Box::new(move |counts| {
            for object in watched.list() {
                // KEDA says so of what has none.
                let namespace = object.meta().namespace.as_deref().unwrap_or("default");
                *counts
                    .resources
                    .entry((resource, namespace.to_owned()))
                    .or_default() += 1;
                for trigger in triggers(&object) {
                    match counts.triggers.get_mut(&trigger.trigger_type) {
                        Some(count) => *count += 1,
                        None => {
                            counts.triggers.insert(trigger.trigger_type.clone(), 1);
                        }
                    }
                }
            }
        });
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.insert(resource, counter);
    }

    pub(super) fn count(&self) -> Counts {
        let mut counts = Counts::default();
        for counter in self.kinds.lock().unwrap_or_else(PoisonError::into_inner).values() {
            counter(&mut counts);
        }
        counts
    }
}
