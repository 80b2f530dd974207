//! What goes when something else has gone: dependents of owners, contents of namespaces, instances of definitions.
//!
//! Commits note what may have to be done; [`run`] does it, one piece at a time, as its own task.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use serde_json::Value;
use tokio::sync::Notify;

use super::{
    Inner, crd, remaining,
    state::{Place, State},
    store::{Entry, Event, Verb},
    value,
    verbs::{DeleteOptions, Propagation, delete_entry, finalize, settle},
};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// A thing to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
    /// An object whose owners may be gone.
    Dependent(Place),
    /// An owner that waits for its dependents.
    Owner(Place),
    /// A namespace that is being emptied.
    Namespace(String),
    /// A definition whose instances are being deleted.
    Definition(String),
}

/// What is to be looked at, in order, each thing once.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    queue: VecDeque<Work>,
    queued: BTreeSet<Work>,
    notify: Arc<Notify>,
}

impl Pending {
    pub(crate) fn notify(&self) -> Arc<Notify> {
        self.notify.clone()
    }

    fn push(&mut self, work: Work) {
        if self.queued.insert(work.clone()) {
            self.queue.push_back(work);
            self.notify.notify_one();
        }
    }

    fn pop(&mut self) -> Option<Work> {
        let work = self.queue.pop_front()?;
        self.queued.remove(&work);
        Some(work)
    }
}

/// Works off what commits have noted, for ever.
pub(crate) async fn run(inner: &Inner) {
    loop {
        inner.collector.notified().await;
        // Between two pieces others get their turn, as they would of a real controller.
        while step(inner) {
            tokio::task::yield_now().await;
        }
    }
}

fn step(inner: &Inner) -> bool {
    let mut state = inner.lock();
    let Some(work) = state.pending.pop() else {
        return false;
    };
    match work {
        Work::Dependent(place) => dependent(&mut state, &place),
        Work::Owner(place) => owner(&mut state, &place),
        Work::Namespace(name) => namespace(&mut state, &name),
        Work::Definition(name) => definition(&mut state, &name),
    }
    true
}

/// Notes what a change may entail.
pub(crate) fn committed(state: &mut State, store: usize, event: &Event) {
    let object = &event.entry.value;
    let place = (store, event.entry.key.clone());
    let owners = value::items(object, &["metadata", "ownerReferences"]);
    let previous = event.previous.as_ref().map(|previous| &*previous.value);
    let before = previous.map_or(&[][..], |known| {
        value::items(known, &["metadata", "ownerReferences"])
    });
    if event.verb == Verb::Deleted {
        for dependent in state.dependents(value::uid(object)) {
            state.pending.push(Work::Dependent(dependent));
        }
        note_namespace(state, object);
        note_definition(state, store);
    } else {
        if value::is_deleting(object) {
            if value::finalizers(object).any(|name| name == ORPHAN || name == FOREGROUND) {
                state.pending.push(Work::Owner(place.clone()));
            }
            note_deletion(state, store, object);
        }
        let known = event.previous.as_ref().map(|previous| &previous.value);
        let before = known.map_or(&[][..], |known| {
            value::items(known, &["metadata", "ownerReferences"])
        });
        if before != owners && !owners.is_empty() {
            state.pending.push(Work::Dependent(place));
        }
    }
    // An owner may wait for just this one.
    if event.verb != Verb::Deleted && before == owners {
        return;
    }
    for reference in before {
        if let Some((place, owner)) = find_owner(state, object, reference)
            && value::is_deleting(&owner.value)
        {
            state.pending.push(Work::Owner(place));
        }
    }
}

fn note_namespace(state: &mut State, object: &Value) {
    let namespace = value::namespace(object);
    let terminating = !namespace.is_empty()
        && state
            .builtin("", "namespaces", namespace)
            .is_some_and(|entry| value::is_deleting(&entry.value));
    if terminating {
        state.pending.push(Work::Namespace(namespace.to_owned()));
    }
}

fn note_definition(state: &mut State, store: usize) {
    let Some(resource) = state.resource_at(store) else {
        return;
    };
    if resource.extension.is_some() {
        let name = format!("{}.{}", resource.plural, resource.group);
        let deleting = state
            .builtin(crd::GROUP, crd::PLURAL, &name)
            .is_some_and(|entry| value::is_deleting(&entry.value));
        if deleting {
            state.pending.push(Work::Definition(name));
        }
    }
}

fn note_deletion(state: &mut State, store: usize, object: &Value) {
    let Some(resource) = state.resource_at(store) else {
        return;
    };
    let name = value::name(object).to_owned();
    if resource.is("", "namespaces") {
        state.pending.push(Work::Namespace(name));
    } else if resource.is(crd::GROUP, crd::PLURAL) {
        state.pending.push(Work::Definition(name));
    }
}

/// The owner that a reference names, if it exists with that uid.
fn find_owner(state: &State, dependent: &Value, reference: &Value) -> Option<(Place, Arc<Entry>)> {
    let api_version = value::text(reference, &["apiVersion"]);
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    let resource = state.registry.by_kind(group, value::text(reference, &["kind"]))?;
    let name = value::text(reference, &["name"]);
    let key = super::verbs::key(resource, Some(value::namespace(dependent)), name);
    let index = resource.store?;
    let entry = state.stores.get(index)?.get(&key)?;
    (value::uid(&entry.value) == value::text(reference, &["uid"]))
        .then(|| ((index, entry.key.clone()), entry.clone()))
}

/// Whether the kind that a reference names is served at all; nothing is deleted on account of an unknown one.
fn is_known(state: &State, reference: &Value) -> bool {
    let api_version = value::text(reference, &["apiVersion"]);
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    state
        .registry
        .by_kind(group, value::text(reference, &["kind"]))
        .is_some()
}

fn awaits_dependents(owner: &Value) -> bool {
    value::is_deleting(owner) && value::finalizers(owner).any(|name| name == FOREGROUND)
}

/// Deletes an object that has lost its last owner, or takes the lost ones off it.
fn dependent(state: &mut State, place: &Place) {
    let (Some(entry), Some(resource)) = (
        state.entry_at(place).cloned(),
        state.resource_at(place.0).cloned(),
    ) else {
        return;
    };
    let object = &entry.value;
    let owners = value::items(object, &["metadata", "ownerReferences"]);
    if owners.is_empty() {
        return;
    }
    let (mut solid, mut waiting, mut lost) = (Vec::new(), Vec::new(), Vec::new());
    for reference in owners {
        match find_owner(state, object, reference) {
            Some((_, owner)) if awaits_dependents(&owner.value) => waiting.push(reference.clone()),
            Some(_) => solid.push(reference.clone()),
            None if is_known(state, reference) => lost.push(reference.clone()),
            None => solid.push(reference.clone()),
        }
    }
    if !solid.is_empty() {
        if lost.is_empty() && waiting.is_empty() {
            return;
        }
        let mut object = Value::clone(object);
        value::set(&mut object, &["metadata", "ownerReferences"], solid);
        settle(state, &resource, &entry, object);
        return;
    }
    if value::is_deleting(object) {
        return;
    }
    let has = |name: &str| value::finalizers(object).any(|found| found == name);
    let policy = if !waiting.is_empty() && state.has_dependents(value::uid(object)) || has(FOREGROUND) {
        Propagation::Foreground
    } else if has(ORPHAN) {
        Propagation::Orphan
    } else {
        Propagation::Background
    };
    delete(state, place, policy);
}

fn delete(state: &mut State, place: &Place, policy: Propagation) {
    let (Some(entry), Some(resource)) = (
        state.entry_at(place).cloned(),
        state.resource_at(place.0).cloned(),
    ) else {
        return;
    };
    let options = DeleteOptions {
        propagation: Some(policy),
        ..DeleteOptions::default()
    };
    if let Err(error) = delete_entry(state, &resource, &entry, &options) {
        tracing::debug!(%error, key = %entry.key, "the garbage collector could not delete an object");
    }
}

/// Lets an owner go once its dependents are orphaned or gone.
fn owner(state: &mut State, place: &Place) {
    let Some(entry) = state.entry_at(place).cloned() else {
        return;
    };
    let object = &entry.value;
    if !value::is_deleting(object) {
        return;
    }
    let uid = value::uid(object).to_owned();
    let dependents = state.dependents(&uid);
    if value::finalizers(object).any(|name| name == ORPHAN) {
        for dependent in &dependents {
            orphan(state, dependent, &uid);
        }
        drop_finalizer(state, place, ORPHAN);
    } else if awaits_dependents(object) {
        let blocks = |place: &Place| {
            let entry = state.entry_at(place);
            let owners = entry.map_or(&[][..], |entry| {
                value::items(&entry.value, &["metadata", "ownerReferences"])
            });
            owners
                .iter()
                .any(|owner| owner["uid"] == uid.as_str() && owner["blockOwnerDeletion"] == true)
        };
        if dependents.iter().any(blocks) {
            for dependent in dependents {
                state.pending.push(Work::Dependent(dependent));
            }
        } else {
            drop_finalizer(state, place, FOREGROUND);
        }
    }
}

fn orphan(state: &mut State, place: &Place, uid: &str) {
    let (Some(entry), Some(resource)) = (
        state.entry_at(place).cloned(),
        state.resource_at(place.0).cloned(),
    ) else {
        return;
    };
    let mut object = Value::clone(&entry.value);
    let owners = value::items(&object, &["metadata", "ownerReferences"]);
    let left: Vec<Value> = owners
        .iter()
        .filter(|owner| owner["uid"] != uid)
        .cloned()
        .collect();
    if left.is_empty() {
        value::remove(&mut object, &["metadata", "ownerReferences"]);
    } else {
        value::set(&mut object, &["metadata", "ownerReferences"], left);
    }
    settle(state, &resource, &entry, object);
}

fn drop_finalizer(state: &mut State, place: &Place, name: &str) {
    let (Some(entry), Some(resource)) = (
        state.entry_at(place).cloned(),
        state.resource_at(place.0).cloned(),
    ) else {
        return;
    };
    let mut object = Value::clone(&entry.value);
    let left: Vec<Value> = value::finalizers(&object)
        .filter(|found| *found != name)
        .map(Value::from)
        .collect();
    if left.is_empty() {
        value::remove(&mut object, &["metadata", "finalizers"]);
    } else {
        value::set(&mut object, &["metadata", "finalizers"], left);
    }
    settle(state, &resource, &entry, object);
}

/// Deletes what is in a namespace; ends the namespace once nothing is, and says until then what is left.
fn namespace(state: &mut State, name: &str) {
    let deleting = state
        .builtin("", "namespaces", name)
        .is_some_and(|entry| value::is_deleting(&entry.value));
    if !deleting {
        return;
    }
    let contents = contents(state, name);
    if contents.is_empty() {
        finalize(state, name);
        return;
    }
    for place in contents {
        let going = state
            .entry_at(&place)
            .is_none_or(|entry| value::is_deleting(&entry.value));
        if !going {
            delete(state, &place, Propagation::Background);
        }
    }
    report(state, name);
}

/// Everything in a namespace.
fn contents(state: &State, name: &str) -> Vec<Place> {
    let mut contents = Vec::new();
    for (index, store) in state.stores.iter().enumerate() {
        if state
            .resource_at(index)
            .is_some_and(|resource| resource.namespaced)
        {
            contents.extend(store.range(Some(name)).map(|entry| (index, entry.key.clone())));
        }
    }
    contents
}

/// Says in the status of a namespace what it waits for.
fn report(state: &mut State, name: &str) {
    let (Some(entry), Some(resource)) = (
        state.builtin("", "namespaces", name).cloned(),
        state.registry.get("", "namespaces").cloned(),
    ) else {
        return;
    };
    let (mut kinds, mut finalizers) = (BTreeMap::new(), BTreeMap::new());
    for place in contents(state, name) {
        let (Some(entry), Some(resource)) = (state.entry_at(&place), state.resource_at(place.0)) else {
            continue;
        };
        *kinds
            .entry(format!("{}.{}", resource.plural, resource.group))
            .or_default() += 1;
        for finalizer in value::finalizers(&entry.value) {
            *finalizers.entry(finalizer.to_owned()).or_default() += 1;
        }
    }
    if kinds.is_empty() {
        return;
    }
    let before = value::items(&entry.value, &["status", "conditions"]);
    let conditions = remaining::conditions(&kinds, &finalizers, before, &state.timestamp());
    if conditions != before {
        let mut object = Value::clone(&entry.value);
        value::set(&mut object, &["status", "conditions"], conditions);
        settle(state, &resource, &entry, object);
    }
}

/// Deletes the instances of a definition; ends the definition once there are none.
fn definition(state: &mut State, name: &str) {
    let (plural, group) = name.split_once('.').unwrap_or((name, ""));
    let instances: Vec<Place> = state
        .registry
        .get(group, plural)
        .and_then(|resource| resource.store)
        .and_then(|index| Some((index, state.stores.get(index)?)))
        .map(|(index, store)| {
            store
                .range(None)
                .map(|entry| (index, entry.key.clone()))
                .collect()
        })
        .unwrap_or_default();
    if instances.is_empty() {
        let store = state
            .registry
            .get(crd::GROUP, crd::PLURAL)
            .and_then(|resource| resource.store);
        if let Some(store) = store {
            drop_finalizer(state, &(store, Arc::from(name)), crd::CLEANUP);
        }
        return;
    }
    for place in instances {
        if state
            .entry_at(&place)
            .is_some_and(|entry| !value::is_deleting(&entry.value))
        {
            delete(state, &place, Propagation::Background);
        }
    }
}
