//! The whole of the cluster's state, and the one place where it changes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    Change,
    admission::Webhooks,
    aggregation::Backends,
    collector,
    crd::{CelRules, RuleEvaluator},
    paging::Snapshots,
    random::Random,
    resources::{self, Registry, Resource},
    status::ApiError,
    store::{self, Entry, Event, Store, Verb},
    value,
};

/// Everything that the API server holds, behind one lock.
#[derive(Debug)]
pub(crate) struct State {
    /// The last resourceVersion that was given out.
    pub(crate) revision: u64,
    /// The time of the request being served.
    pub(crate) now: Timestamp,
    pub(crate) registry: Registry,
    pub(crate) stores: Vec<Store>,
    pub(crate) random: Random,
    pub(crate) snapshots: Snapshots,
    pub(crate) pending: collector::Pending,
    pub(crate) backends: Backends,
    pub(crate) webhooks: Webhooks,
    /// Whether the managers of plain updates are tracked on every object, or only on applied ones.
    pub(crate) track_updates: bool,
    /// Checks the CEL rules of custom resources.
    pub(crate) rules: Arc<dyn RuleEvaluator>,
    /// By owner's uid: who names it as an owner.
    dependents: BTreeMap<String, BTreeSet<Place>>,
    observers: Vec<mpsc::UnboundedSender<Change>>,
    /// Writes of events, oldest first: an event that is not written again expires.
    events: VecDeque<(Timestamp, Place, u64)>,
}

/// Events live for an hour after their last write.
const EVENT_SECONDS: i64 = 3600;

/// Where an object is: its store and its key.
pub(crate) type Place = (usize, Arc<str>);

/// The namespaces that a cluster is born with.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// A young cluster has done some writing before anybody looks.
const FIRST_REVISION: u64 = 200;

impl State {
    pub(crate) fn new(now: Timestamp, seed: u64) -> Self {
        let (registry, count) = resources::builtin();
        let mut stores: Vec<Option<Store>> = (0..count).map(|_| None).collect();
        for resource in registry.all() {
            let slot = resource.store.and_then(|index| stores.get_mut(index));
            if let Some(slot @ None) = slot {
                *slot = Some(Store::new(&resource.group, &resource.plural, FIRST_REVISION));
            }
        }
        let mut state = Self {
            revision: FIRST_REVISION,
            now,
            registry,
            stores: stores.into_iter().flatten().collect(),
            random: Random::seeded(seed),
            snapshots: Snapshots::default(),
            pending: collector::Pending::default(),
            backends: Backends::default(),
            webhooks: Webhooks::default(),
            track_updates: false,
            rules: Arc::new(CelRules::default()),
            dependents: BTreeMap::new(),
            observers: Vec::new(),
            events: VecDeque::new(),
        };
        state.found();
        state
    }

    /// Makes what every cluster has from the start.
    fn found(&mut self) {
        for name in NAMESPACES {
            let metadata = json!({"name": name, "labels": {"kubernetes.io/metadata.name": name}});
            self.seed(
                "",
                "namespaces",
                "v1",
                "Namespace",
                metadata,
                json!({
                    "spec": {"finalizers": ["kubernetes"]},
                    "status": {"phase": "Active"},
                }),
            );
        }
        for (name, priority) in [
            ("system-cluster-critical", 2_000_000_000),
            ("system-node-critical", 2_000_001_000),
        ] {
            let description = match name {
                "system-cluster-critical" => {
                    "Used for system critical pods that must run in the cluster, but can be moved to another node if \
                     necessary."
                }
                _ => "Used for system critical pods that must not be moved from their current node.",
            };
            let body = json!({"value": priority, "description": description, "preemptionPolicy": "PreemptLowerPriority"});
            self.seed(
                "scheduling.k8s.io",
                "priorityclasses",
                "scheduling.k8s.io/v1",
                "PriorityClass",
                json!({"name": name, "generation": 1}),
                body,
            );
        }
    }

    fn seed(&mut self, group: &str, plural: &str, version: &str, kind: &str, metadata: Value, body: Value) {
        let Some(resource) = self.registry.get(group, plural).cloned() else {
            return;
        };
        let name = value::text(&metadata, &["name"]).to_owned();
        let mut object = body;
        value::set(&mut object, &["apiVersion"], version);
        value::set(&mut object, &["kind"], kind);
        value::set(&mut object, &["metadata"], metadata);
        value::set(&mut object, &["metadata", "uid"], self.random.uid());
        value::set(&mut object, &["metadata", "creationTimestamp"], self.timestamp());
        self.insert(&resource, &name, object);
    }

    /// The present, as metadata shows it.
    pub(crate) fn timestamp(&self) -> String {
        timestamp(self.now)
    }

    pub(crate) fn observe(&mut self) -> mpsc::UnboundedReceiver<Change> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.observers.push(sender);
        receiver
    }

    /// The store of a resource that has one.
    ///
    /// # Errors
    /// 405 for reviews and other resources without objects.
    pub(crate) fn store(&self, resource: &Resource) -> Result<&Store, ApiError> {
        let index = resource.store.ok_or_else(ApiError::method_not_allowed)?;
        self.stores.get(index).ok_or_else(ApiError::method_not_allowed)
    }

    pub(crate) fn store_mut(&mut self, resource: &Resource) -> Result<&mut Store, ApiError> {
        let index = resource.store.ok_or_else(ApiError::method_not_allowed)?;
        self.stores
            .get_mut(index)
            .ok_or_else(ApiError::method_not_allowed)
    }

    /// An object of a built-in resource.
    pub(crate) fn builtin(&self, group: &str, plural: &str, key: &str) -> Option<&Arc<Entry>> {
        let resource = self.registry.get(group, plural)?;
        self.stores.get(resource.store?)?.get(key)
    }

    /// The objects of a built-in resource, of one namespace or of all.
    pub(crate) fn builtins(
        &self,
        group: &str,
        plural: &str,
        namespace: Option<&str>,
    ) -> impl Iterator<Item = &Arc<Entry>> {
        let store = self
            .registry
            .get(group, plural)
            .and_then(|resource| self.stores.get(resource.store?));
        store.into_iter().flat_map(move |store| store.range(namespace))
    }

    /// The resource that a store holds.
    pub(crate) fn resource_at(&self, store: usize) -> Option<&Arc<Resource>> {
        let store = self.stores.get(store)?;
        self.registry.get(&store.group, &store.plural)
    }

    pub(crate) fn entry_at(&self, place: &Place) -> Option<&Arc<Entry>> {
        self.stores.get(place.0)?.get(&place.1)
    }

    /// Who names `uid` as an owner.
    pub(crate) fn dependents(&self, uid: &str) -> Vec<Place> {
        self.dependents
            .get(uid)
            .map(|places| places.iter().cloned().collect())
            .unwrap_or_default()
    }

    pub(crate) fn has_dependents(&self, uid: &str) -> bool {
        self.dependents.contains_key(uid)
    }

    /// Commits a new object.
    pub(crate) fn insert(&mut self, resource: &Resource, key: &str, object: Value) -> Arc<Entry> {
        let entry = self.next_entry(Arc::from(key), object);
        self.commit(resource, Verb::Added, entry, None)
    }

    /// Commits a new state of an object.
    pub(crate) fn replace(
        &mut self,
        resource: &Resource,
        previous: &Arc<Entry>,
        object: Value,
    ) -> Arc<Entry> {
        let entry = self.next_entry(previous.key.clone(), object);
        self.commit(resource, Verb::Modified, entry, Some(previous.clone()))
    }

    /// Commits an object's end.
    pub(crate) fn remove(&mut self, resource: &Resource, previous: &Arc<Entry>) -> Arc<Entry> {
        self.revision += 1;
        let entry = store::at_revision(previous, self.revision);
        self.commit(resource, Verb::Deleted, entry, Some(previous.clone()))
    }

    fn next_entry(&mut self, key: Arc<str>, mut object: Value) -> Arc<Entry> {
        self.revision += 1;
        value::set(
            &mut object,
            &["metadata", "resourceVersion"],
            self.revision.to_string(),
        );
        Entry::new(key, self.revision, object)
    }

    fn commit(
        &mut self,
        resource: &Resource,
        verb: Verb,
        entry: Arc<Entry>,
        previous: Option<Arc<Entry>>,
    ) -> Arc<Entry> {
        let Some(index) = resource.store else { return entry };
        let event = Event {
            verb,
            revision: entry.revision,
            time: self.now,
            entry: entry.clone(),
            previous,
        };
        let Some(store) = self.stores.get_mut(index) else {
            return entry;
        };
        let event = store.commit(event);
        self.relate(index, &event);
        self.tell(index, &event);
        collector::committed(self, index, &event);
        super::crd::committed(self, &event, resource);
        super::aggregation::committed(self, resource);
        if resource.plural == "events" && event.verb != Verb::Deleted {
            self.events
                .push_back((self.now, (index, entry.key.clone()), entry.revision));
            self.expire_events();
        }
        entry
    }

    fn expire_events(&mut self) {
        let life = SignedDuration::from_secs(EVENT_SECONDS);
        while let Some((written, place, revision)) = self.events.front().cloned() {
            if self.now.duration_since(written) < life {
                return;
            }
            self.events.pop_front();
            let current = self
                .entry_at(&place)
                .filter(|entry| entry.revision == revision)
                .cloned();
            if let (Some(entry), Some(resource)) = (current, self.resource_at(place.0).cloned()) {
                self.remove(&resource, &entry);
            }
        }
    }

    /// Keeps the index of owners.
    fn relate(&mut self, store: usize, event: &Event) {
        const OWNERS: [&str; 2] = ["metadata", "ownerReferences"];
        let before = event
            .previous
            .as_ref()
            .and_then(|entry| value::at(&entry.value, &OWNERS));
        let after = value::at(&event.entry.value, &OWNERS).filter(|_| event.verb != Verb::Deleted);
        if before == after {
            return;
        }
        let uids = |owners: Option<&Value>| -> Vec<String> {
            let owners = owners.and_then(Value::as_array).into_iter().flatten();
            owners
                .map(|owner| value::text(owner, &["uid"]).to_owned())
                .collect()
        };
        let place = (store, event.entry.key.clone());
        for uid in uids(before) {
            if let Some(places) = self.dependents.get_mut(&uid) {
                places.remove(&place);
                if places.is_empty() {
                    self.dependents.remove(&uid);
                }
            }
        }
        for uid in uids(after) {
            self.dependents.entry(uid).or_default().insert(place.clone());
        }
    }

    fn tell(&mut self, store: usize, event: &Event) {
        if self.observers.is_empty() {
            return;
        }
        let Some(resource) = self.resource_at(store) else {
            return;
        };
        let change = Change {
            resource_version: event.revision,
            verb: event.verb,
            group: resource.group.clone(),
            version: resource.storage_version.clone(),
            resource: resource.plural.clone(),
            kind: resource.kind.clone(),
            object: event.entry.value.clone(),
            previous: event.previous.as_ref().map(|previous| previous.value.clone()),
        };
        self.observers
            .retain(|observer| observer.send(change.clone()).is_ok());
    }
}

/// RFC 3339 in whole seconds.
pub(crate) fn timestamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
