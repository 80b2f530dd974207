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

    /// The same; gives what is used now and was not, or was used and is not now.
    pub(crate) fn replace(&mut self, object: &ObjectKey, uses: BTreeSet<Dependency>) -> BTreeSet<Dependency> {
        let before = self.uses.get(object).cloned().unwrap_or_default();
        let changed = before.symmetric_difference(&uses).cloned().collect();
        if before != uses {
            self.set(object, uses);
        }
        changed
    }

    /// Whether any object was built from something.
    pub(crate) fn has(&self, dependency: &Dependency) -> bool {
        self.by_dependency.contains_key(dependency)
    }

    /// The objects that were built from something.
    pub(crate) fn of(&self, dependency: &Dependency) -> Vec<ObjectKey> {
        let objects = self.by_dependency.get(dependency);
        objects.into_iter().flatten().cloned().collect()
    }
}

/// Takes one of a set of objects out; empty sets go.
fn unlink<K: Ord>(map: &mut BTreeMap<K, BTreeSet<ObjectKey>>, from: &K, object: &ObjectKey) {
    if let Some(objects) = map.get_mut(from) {
        objects.remove(object);
        if objects.is_empty() {
            map.remove(from);
        }
    }
}

/// Who is told of what triggers are built from when it changes.
#[derive(Clone)]
pub(crate) struct Listener {
    listen: Arc<dyn Fn(&Dependency) + Send + Sync>,
    uses: Arc<dyn Fn(&Dependency) -> bool + Send + Sync>,
}

impl Listener {
    /// One that calls `listen`, and by `uses` says whether anything was built from something.
    pub(crate) fn new(
        listen: impl Fn(&Dependency) + Send + Sync + 'static,
        uses: impl Fn(&Dependency) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self {
            listen: Arc::new(listen),
            uses: Arc::new(uses),
        }
    }

    /// One that hears nothing and uses nothing.
    pub(crate) fn none() -> Self {
        Self::new(|_| {}, |_| false)
    }

    pub(crate) fn tell(&self, dependency: &Dependency) {
        (self.listen)(dependency);
    }

    pub(crate) fn uses(&self, dependency: &Dependency) -> bool {
        (self.uses)(dependency)
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}
