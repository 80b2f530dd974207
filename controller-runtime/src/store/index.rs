//! Objects of one kind by a value of theirs.

use std::{
    collections::BTreeMap,
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, PoisonError, RwLock},
};

use kube::{Resource, ResourceExt as _};

use super::{Change, ObjectKey};

/// The values by which an object is found.
type Values<K> = fn(&K) -> Vec<String>;
/// By a digest of namespace and value; nearly always it is one object.
type Entries<K> = BTreeMap<u64, Vec<Arc<K>>>;

/// Objects of one kind by namespace and the values that a function finds in them, as client-go's `Indexer` has them: a
/// question about one value does not walk every object. Clones share the contents.
pub struct Index<K> {
    values: Values<K>,
    entries: Arc<RwLock<Entries<K>>>,
}

impl<K> Clone for Index<K> {
    fn clone(&self) -> Self {
        Self {
            values: self.values,
            entries: Arc::clone(&self.entries),
        }
    }
}

impl<K> fmt::Debug for Index<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Index")
            .field("values", &entries.len())
            .finish_non_exhaustive()
    }
}

impl<K: Resource> Index<K> {
    /// An index that nothing is in yet.
    #[must_use]
    pub fn new(values: Values<K>) -> Self {
        Self {
            values,
            entries: Arc::default(),
        }
    }

    /// Takes over a change. For an [`Informer`](super::Informer)'s subscribers: every change, in order.
    pub fn follow(&self, change: &Change<K>) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        match change {
            Change::Applied { object, previous } => {
                if let Some(previous) = previous {
                    self.remove(&mut entries, previous);
                }
                let ObjectKey { namespace, name } = ObjectKey::of(&**object);
                for value in (self.values)(object) {
                    let found = entries
                        .entry(digest(&namespace, &value))
                        .or_insert_with(|| Vec::with_capacity(1));
                    let at = found.partition_point(|known| known.name_any() < name);
                    found.insert(at, Arc::clone(object));
                }
            }
            Change::Deleted(object) => self.remove(&mut entries, object),
        }
    }

    fn remove(&self, entries: &mut Entries<K>, object: &K) {
        let ObjectKey { namespace, name } = ObjectKey::of(object);
        for value in (self.values)(object) {
            let key = digest(&namespace, &value);
            if let Some(found) = entries.get_mut(&key) {
                found.retain(|known| {
                    ObjectKey::of(&**known) != ObjectKey::new(namespace.as_str(), name.as_str())
                });
                if found.is_empty() {
                    entries.remove(&key);
                }
            }
        }
    }

    /// The objects of a namespace in which `value` was found, by name.
    #[must_use]
    pub fn get(&self, namespace: &str, value: &str) -> Vec<Arc<K>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let found = entries.get(&digest(namespace, value)).into_iter().flatten();
        // Two values may have one digest.
        let means = |object: &&Arc<K>| {
            object.namespace().as_deref().unwrap_or_default() == namespace
                && (self.values)(object).iter().any(|its| its == value)
        };
        found.filter(means).cloned().collect()
    }
}

/// Always the same for the same texts.
fn digest(namespace: &str, value: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (namespace, value).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;

    fn pod(namespace: &str, name: &str, node: Option<&str>) -> Arc<Pod> {
        let pod = json!({
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"nodeName": node, "containers": []},
        });
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn by_node() -> Index<Pod> {
        Index::new(|pod| {
            let spec = pod.spec.as_ref();
            spec.and_then(|spec| spec.node_name.clone()).into_iter().collect()
        })
    }

    fn found(index: &Index<Pod>, namespace: &str, node: &str) -> Vec<String> {
        let found = index.get(namespace, node);
        found
            .iter()
            .map(|pod| pod.metadata.name.clone().unwrap())
            .collect()
    }

    #[test]
    fn an_object_is_found_by_its_value_in_its_namespace() {
        let index = by_node();
        for object in [
            pod("shop", "b", Some("n1")),
            pod("shop", "a", Some("n1")),
            pod("shop", "c", Some("n2")),
            pod("shop", "d", None),
            pod("bank", "a", Some("n1")),
        ] {
            index.follow(&Change::Applied {
                object,
                previous: None,
            });
        }
        assert_eq!(found(&index, "shop", "n1"), ["a", "b"]);
        assert_eq!(found(&index, "bank", "n1"), ["a"]);
        assert_eq!(found(&index, "shop", "n3"), [""; 0]);
    }

    #[test]
    fn an_object_that_changed_is_found_by_its_new_value_alone_and_one_that_is_gone_not_at_all() {
        let index = by_node();
        let (old, new) = (pod("shop", "a", Some("n1")), pod("shop", "a", Some("n2")));
        index.follow(&Change::Applied {
            object: Arc::clone(&old),
            previous: None,
        });
        index.follow(&Change::Applied {
            object: Arc::clone(&new),
            previous: Some(old),
        });
        assert_eq!(found(&index, "shop", "n1"), [""; 0]);
        assert_eq!(found(&index, "shop", "n2"), ["a"]);
        index.follow(&Change::Deleted(new));
        assert_eq!(found(&index, "shop", "n2"), [""; 0]);
        assert!(index.entries.read().unwrap().is_empty(), "nothing is kept for it");
    }
}
