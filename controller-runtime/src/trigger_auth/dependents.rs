//! Which objects were built from what.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use super::Dependency;
use crate::store::ObjectKey;

/// Objects of one kind and what they were built from.
#[derive(Debug, Default)]
pub(crate) struct Dependents {
    uses: BTreeMap<ObjectKey, BTreeSet<Dependency>>,
    by_dependency: BTreeMap<Dependency, BTreeSet<ObjectKey>>,
}

impl Dependents {
    /// Says what an object was built from; nothing where it is gone.
    pub(crate) fn set(&mut self, object: &ObjectKey, uses: BTreeSet<Dependency>) {
        for dependency in self.uses.remove(object).unwrap_or_default() {
            unlink(&mut self.by_dependency, &dependency, object);
        }
        if uses.is_empty() {
            return;
        }
        for dependency in &uses {
            let objects = self.by_dependency.entry(dependency.clone()).or_default();
            objects.insert(object.clone());
        }
        self.uses.insert(object.clone(), uses);
    }

    /// The objects that were built from something.
    pub(crate) fn of(&self, dependency: &Dependency) -> Vec<ObjectKey> {
        let objects = self.by_dependency.get(dependency);
        objects.into_iter().flatten().cloned().collect()
    }
}

/// Takes one of a set of objects out; empty sets go.
pub(crate) fn unlink<K: Ord>(map: &mut BTreeMap<K, BTreeSet<ObjectKey>>, from: &K, object: &ObjectKey) {
    if let Some(objects) = map.get_mut(from) {
        objects.remove(object);
        if objects.is_empty() {
            map.remove(from);
        }
    }
}

/// Who else is told of what triggers are built from when it changes.
#[derive(Clone)]
pub(crate) struct Listener(Arc<dyn Fn(&Dependency) + Send + Sync>);

impl Listener {
    pub(crate) fn new(listen: impl Fn(&Dependency) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listen))
    }

    pub(crate) fn tell(&self, dependency: &Dependency) {
        (self.0)(dependency);
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}
