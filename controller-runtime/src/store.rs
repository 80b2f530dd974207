//! Ordered stores of objects, kept current by a watch.
//!
//! `kube::runtime`'s own `Store` iterates a hash map; here the order is by namespace and name, so that a controller
//! that walks a store does the same thing every time. An [`Informer`] lists and watches one kind, keeps its
//! [`Store`], and tells subscribers of every [`Change`] after the store has it.
//!
//! What is kept of an object lacks its `managedFields`.
//!
//! An object that cannot be read hides no other one: it is said once which it is and what is wrong with it, and it is
//! as it was when it could be read. One that never could be read is not there.

mod index;
mod item;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use futures::{Stream, StreamExt as _};
use kube::{
    Api, Resource, ResourceExt as _,
    runtime::{WatchStreamExt as _, watcher},
};
use serde::de::DeserializeOwned;

use crate::latch::Latch;

pub use index::Index;
pub use item::{Unreadable, list_readable};

/// Namespace and name; the namespace is empty for cluster-scoped objects.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// The namespace, empty for cluster-scoped objects.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl ObjectKey {
    /// The key of a namespaced object.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The key of a cluster-scoped object.
    pub fn cluster(name: impl Into<String>) -> Self {
        Self::new("", name)
    }

    /// The key of `object`.
    pub fn of<K: Resource>(object: &K) -> Self {
        Self::new(object.namespace().unwrap_or_default(), object.name_any())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// What happened to an object.
#[derive(Clone, Debug)]
pub enum Change<K> {
    /// It is new or has changed.
    Applied {
        /// As it is now.
        object: Arc<K>,
        /// As it was, if it was known.
        previous: Option<Arc<K>>,
    },
    /// It is gone; this is how it was last seen.
    Deleted(Arc<K>),
}

impl<K> Change<K> {
    /// The object as it is, or last was.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Applied { object, .. } | Self::Deleted(object) => object,
        }
    }
}

/// Objects of one kind, by key. Clones share the contents.
pub struct Store<K> {
    objects: Arc<RwLock<BTreeMap<ObjectKey, Arc<K>>>>,
    unreadable: Arc<RwLock<BTreeMap<ObjectKey, Unreadable>>>,
    synced: Latch,
}

impl<K> Clone for Store<K> {
    fn clone(&self) -> Self {
        Self {
            objects: Arc::clone(&self.objects),
            unreadable: Arc::clone(&self.unreadable),
            synced: self.synced.clone(),
        }
    }
}

impl<K> fmt::Debug for Store<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("objects", &self.len())
            .finish_non_exhaustive()
    }
}

impl<K> Store<K> {
    fn read<T>(&self, read: impl FnOnce(&BTreeMap<ObjectKey, Arc<K>>) -> T) -> T {
        read(&self.objects.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The object with this key.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.read(|objects| objects.get(key).cloned())
    }

    /// Every object, by namespace and name.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.read(|objects| objects.values().cloned().collect())
    }

    /// Every object of a namespace, by name.
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.read(|objects| {
            objects
                .range(ObjectKey::new(namespace, "")..)
                .take_while(|(key, _)| key.namespace == namespace)
                .map(|(_, object)| Arc::clone(object))
                .collect()
        })
    }

    /// The objects that cannot be read, by namespace and name.
    pub fn unreadable(&self) -> Vec<Unreadable> {
        let unreadable = self.unreadable.read().unwrap_or_else(PoisonError::into_inner);
        unreadable.values().cloned().collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.read(BTreeMap::len)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the first list has arrived.
    pub fn is_synced(&self) -> bool {
        self.synced.is_set()
    }

    /// Waits for the first list; returns at once afterwards.
    pub async fn synced(&self) {
        self.synced.wait().await;
    }
}

type Subscriber<K> = Box<dyn FnMut(&Change<K>) + Send>;
type Reporter = Box<dyn FnMut(&Unreadable) + Send>;

/// Lists and watches one kind.
pub struct Informer<K>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + Sync + 'static,
    K::DynamicType: Default,
{
    api: Api<K>,
    config: watcher::Config,
    store: Store<K>,
    subscribers: Vec<Subscriber<K>>,
    reporters: Vec<Reporter>,
}

impl<K> fmt::Debug for Informer<K>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + Sync + 'static,
    K::DynamicType: Default,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Informer")
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}

impl<K> Informer<K>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + Sync + 'static,
    K::DynamicType: Default,
{
    /// An informer over everything that `api` lists.
    pub fn new(api: Api<K>) -> Self {
        Self::with_config(api, watcher::Config::default())
    }

    /// An informer with selectors or paging of its own.
    pub fn with_config(api: Api<K>, config: watcher::Config) -> Self {
        let store = Store {
            objects: Arc::default(),
            unreadable: Arc::default(),
            synced: Latch::default(),
        };
        Self {
            api,
            config,
            store,
            subscribers: Vec::new(),
            reporters: Vec::new(),
        }
    }

    /// The store that this informer fills.
    pub fn store(&self) -> Store<K> {
        self.store.clone()
    }

    /// Calls `subscriber` for every change, after the store has it. It must not block: enqueue a key.
    pub fn subscribe(&mut self, subscriber: impl FnMut(&Change<K>) + Send + 'static) -> &mut Self {
        self.subscribers.push(Box::new(subscriber));
        self
    }

    /// Calls `reporter` for every object that cannot be read, once for each of its versions. It must not block.
    pub fn subscribe_unreadable(&mut self, reporter: impl FnMut(&Unreadable) + Send + 'static) -> &mut Self {
        self.reporters.push(Box::new(reporter));
        self
    }

    /// Lists, watches, and starts over when the watch breaks, until dropped.
    pub async fn run(mut self) {
        let (api, config) = (self.api.clone(), self.config.clone());
        let one_by_one = item::one_by_one(&api);
        // Nearly always every object can be read, and then none is decoded twice.
        self.follow(watcher(api, config.clone()), Ok, true).await;
        self.follow(watcher(one_by_one, config), |item| item.0, false)
            .await;
    }

    /// Takes over what a watch says; returns where that cannot be read and it `gives_up` then.
    async fn follow<T>(
        &mut self,
        stream: impl Stream<Item = watcher::Result<watcher::Event<T>>> + Send,
        read: fn(T) -> Result<K, Box<Unreadable>>,
        gives_up: bool,
    ) where
        T: Send,
    {
        let read = |object| read(object).map(trimmed);
        let mut stream = std::pin::pin!(stream.backoff(RetryBackoff::default()));
        let mut listed = Listed::default();
        while let Some(event) = stream.next().await {
            match event {
                Ok(watcher::Event::Init) => listed = Listed::default(),
                Ok(watcher::Event::InitApply(object)) => listed.add(read(object)),
                Ok(watcher::Event::InitDone) => {
                    self.replace(std::mem::take(&mut listed));
                    self.store.synced.set();
                }
                Ok(watcher::Event::Apply(object)) => match read(object) {
                    Ok(object) => self.apply(object),
                    Err(unreadable) => self.note(&unreadable),
                },
                Ok(watcher::Event::Delete(object)) => {
                    let key = match read(object) {
                        Ok(object) => ObjectKey::of(&object),
                        Err(unreadable) => unreadable.key(),
                    };
                    self.write_unreadable(|unreadable| unreadable.remove(&key));
                    self.delete(&key);
                }
                Err(error) if gives_up && is_unreadable(&error) => return,
                Err(error) => {
                    tracing::warn!(kind = %K::kind(&K::DynamicType::default()), %error, "watch failed, trying again");
                }
            }
        }
    }

    fn write<T>(&self, write: impl FnOnce(&mut BTreeMap<ObjectKey, Arc<K>>) -> T) -> T {
        write(&mut self.store.objects.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn write_unreadable<T>(&self, write: impl FnOnce(&mut BTreeMap<ObjectKey, Unreadable>) -> T) -> T {
        write(
            &mut self
                .store
                .unreadable
                .write()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    fn notify(&mut self, change: &Change<K>) {
        for subscriber in &mut self.subscribers {
            subscriber(change);
        }
    }

    fn apply(&mut self, object: K) {
        let object = Arc::new(object);
        let key = ObjectKey::of(&*object);
        self.write_unreadable(|unreadable| unreadable.remove(&key));
        let previous = self.write(|objects| objects.insert(key, Arc::clone(&object)));
        self.notify(&Change::Applied { object, previous });
    }

    fn delete(&mut self, key: &ObjectKey) {
        if let Some(object) = self.write(|objects| objects.remove(key)) {
            self.notify(&Change::Deleted(object));
        }
    }

    /// Keeps an object as it was when it could be read, unless it is another one by now, and says so.
    fn note(&mut self, unreadable: &Unreadable) {
        let key = unreadable.key();
        let known = self.store.get(&key);
        if known.is_some_and(|known| known.meta().uid != unreadable.metadata.uid) {
            self.delete(&key);
        }
        let version = |unreadable: &Unreadable| unreadable.metadata.resource_version.clone();
        let said = self.write_unreadable(|all| all.insert(key.clone(), unreadable.clone()));
        if said.is_some_and(|said| version(&said) == version(unreadable)) {
            return;
        }
        tracing::warn!(
            kind = %K::kind(&K::DynamicType::default()),
            object = %key,
            problem = %unreadable.problem,
            "an object cannot be read and is left alone"
        );
        for reporter in &mut self.reporters {
            reporter(unreadable);
        }
    }

    /// Takes over a whole list: what is not in it is gone, what has not changed is not told again.
    fn replace(&mut self, listed: Listed<K>) {
        let Listed { objects, unreadable } = listed;
        let is_listed = |key: &ObjectKey| objects.contains_key(key) || unreadable.contains_key(key);
        let gone: Vec<_> = self
            .store
            .read(|known| known.keys().filter(|key| !is_listed(key)).cloned().collect());
        self.write_unreadable(|known| known.retain(|key, _| unreadable.contains_key(key)));
        for key in &gone {
            self.delete(key);
        }
        for (key, object) in objects {
            let known = self.store.get(&key);
            let unchanged = known.is_some_and(|known| {
                known.meta().uid == object.meta().uid
                    && known.meta().resource_version == object.meta().resource_version
            });
            if !unchanged {
                self.apply(object);
            }
        }
        for problem in unreadable.into_values() {
            self.note(&problem);
        }
    }
}

/// An object without what no controller reads: who has written which field is often longer than the object itself.
pub(crate) fn trimmed<K: Resource>(mut object: K) -> K {
    object.meta_mut().managed_fields = None;
    object
}

/// A list while it arrives.
struct Listed<K> {
    objects: BTreeMap<ObjectKey, K>,
    unreadable: BTreeMap<ObjectKey, Unreadable>,
}

impl<K> Default for Listed<K> {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            unreadable: BTreeMap::new(),
        }
    }
}

impl<K: Resource> Listed<K> {
    fn add(&mut self, read: Result<K, Box<Unreadable>>) {
        match read {
            Ok(object) => {
                self.objects.insert(ObjectKey::of(&object), object);
            }
            Err(unreadable) => {
                self.unreadable.insert(unreadable.key(), *unreadable);
            }
        }
    }
}

/// Whether an answer came that is not what the type says.
fn is_unreadable(error: &watcher::Error) -> bool {
    matches!(
        error,
        watcher::Error::InitialListFailed(kube::Error::SerdeError(_))
            | watcher::Error::WatchStartFailed(kube::Error::SerdeError(_))
            | watcher::Error::WatchFailed(kube::Error::SerdeError(_))
    )
}

/// Doubles from 200 ms to 30 s, without jitter: one process has few watches, and virtual time wants no randomness.
#[derive(Debug)]
struct RetryBackoff {
    next: Duration,
}

impl Default for RetryBackoff {
    fn default() -> Self {
        Self { next: Self::FIRST }
    }
}

impl RetryBackoff {
    const FIRST: Duration = Duration::from_millis(200);
    const LAST: Duration = Duration::from_secs(30);
}

impl Iterator for RetryBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = self.next;
        self.next = (now * 2).min(Self::LAST);
        Some(now)
    }
}

impl kube::runtime::utils::Backoff for RetryBackoff {
    fn reset(&mut self) {
        self.next = Self::FIRST;
    }
}

impl<K> Drop for Informer<K>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + Sync + 'static,
    K::DynamicType: Default,
{
    fn drop(&mut self) {
        // Nothing will ever come any more, so nobody needs to wait.
        self.store.synced.set();
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::{Patch, PatchParams, PostParams};
    use scaler_api::TokioClock;
    use serde_json::json;

    use super::*;
    use crate::sim::api::{ApiServer, Options};

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_of_an_object_lacks_its_managed_fields() {
        let server = ApiServer::new(Options {
            clock: Arc::new(TokioClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap())),
            seed: 1,
        });
        let api: Api<ConfigMap> = Api::namespaced(server.client("default"), "default");
        let listed: ConfigMap =
            serde_json::from_value(json!({"metadata": {"name": "listed"}, "data": {"a": "1"}})).unwrap();
        api.create(&PostParams::default(), &listed).await.unwrap();
        let informer = Informer::new(api.clone());
        let store = informer.store();
        tokio::spawn(informer.run());
        store.synced().await;
        let watched = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"b": "2"}});
        let written = api
            .patch("watched", &PatchParams::apply("test"), &Patch::Apply(&watched))
            .await
            .unwrap();
        assert!(written.metadata.managed_fields.is_some());
        tokio::time::sleep(Duration::from_secs(1)).await;
        for name in ["listed", "watched"] {
            let kept = store.get(&ObjectKey::new("default", name)).unwrap();
            assert!(
                kept.data.is_some() && kept.metadata.managed_fields.is_none(),
                "{name}"
            );
        }
    }
}
