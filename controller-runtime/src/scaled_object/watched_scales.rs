//! The scales of targets of other kinds than Deployments and StatefulSets, as they were last read.
//!
//! Any kind may be scaled, so nobody knows beforehand which ones to watch: a kind is watched while a ScaledObject refers
//! to it, and of its objects the metadata only. What was read of an object's scale holds until the watch says that the
//! object has another resourceVersion. While a kind is not watched, because nobody may or because the watch is broken,
//! every poll reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{
    StreamExt as _,
    future::{AbortHandle, AbortRegistration, Abortable, BoxFuture, join_all},
    stream::FuturesUnordered,
};
use kube::{
    Api, Client,
    core::{ApiResource, DynamicObject, ObjectMeta, PartialObjectMeta},
    runtime::watcher,
};
use scaler_api::keda::ScaleTargetRef;
use tokio::{sync::Notify, time::Instant};

use super::{
    signals::Signals,
    target::{Scale, Target, TargetError},
};
use crate::{queue::Backoff, store::ObjectKey};

/// How soon a watch that broke is started again.
const BROKEN: Backoff = Backoff {
    first: Duration::from_millis(200),
    last: Duration::from_secs(30),
};

/// How soon one that is forbidden is: rights change seldom, and the polls read meanwhile.
const FORBIDDEN: Backoff = Backoff {
    first: Duration::from_secs(30),
    last: Duration::from_secs(600),
};

/// A watch that lasted this long did not fail at its start.
const LASTING: Duration = Duration::from_secs(60);

/// The kinds that are watched in any case.
const COMMON: [(&str, &str); 2] = [("apps/v1", "Deployment"), ("apps/v1", "StatefulSet")];

/// `apiVersion` and `kind`.
type KindName = (String, String);

/// What is known of scales. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct WatchedScales {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// There is a kind to watch.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// What each ScaledObject refers to.
    references: BTreeMap<ObjectKey, Reference>,
    kinds: BTreeMap<KindName, Kind>,
    epoch: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Reference {
    kind: KindName,
    target: ObjectKey,
}

/// A kind that ScaledObjects refer to.
#[derive(Debug, Default)]
struct Kind {
    referents: usize,
    /// Known once one of its objects was found.
    resource: Option<ApiResource>,
    /// Ends its watches.
    running: Option<AbortHandle>,
    /// The namespaces whose watch is up to date; the empty one stands for all.
    synced: BTreeSet<String>,
    cells: BTreeMap<ObjectKey, Cell>,
}

/// One target.
#[derive(Debug)]
struct Cell {
    /// Rises with every change that is heard of, so that what was read before does not pass for what is.
    epoch: u64,
    existence: Existence,
    generation: Option<i64>,
    scale: Option<Known>,
}

#[derive(Debug, PartialEq, Eq)]
enum Existence {
    Unknown,
    Gone,
    There(Option<String>),
}

/// A scale as it was read.
#[derive(Debug)]
struct Known {
    replicas: i32,
    resource_version: String,
}

/// What has become of a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct News {
    /// It appeared, went, or is another one by that name.
    is_other: bool,
    is_changed: bool,
}

/// A scale is being read.
#[derive(Debug)]
pub(super) struct Reading {
    epoch: u64,
}

impl Drop for Kind {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

impl Kind {
    fn is_synced(&self, namespace: &str) -> bool {
        self.synced.contains("") || self.synced.contains(namespace)
    }

    /// It is as `metadata` says; none if nobody knew it otherwise.
    fn apply(&mut self, key: &ObjectKey, metadata: &ObjectMeta, epoch: u64) -> Option<News> {
        let cell = self.cells.get_mut(key)?;
        let known = cell.scale.as_ref().map(|known| &known.resource_version);
        if known.is_some() && known == metadata.resource_version.as_ref() {
            cell.generation = metadata.generation;
            return None;
        }
        let is_other = match &cell.existence {
            Existence::Unknown => false,
            Existence::Gone => true,
            Existence::There(uid) => *uid != metadata.uid,
        };
        let is_changed = cell.generation.is_none() || cell.generation != metadata.generation;
        *cell = Cell {
            epoch,
            existence: Existence::There(metadata.uid.clone()),
            generation: metadata.generation,
            scale: None,
        };
        Some(News { is_other, is_changed })
    }

    /// It is gone; none if nobody knew that it was there.
    fn delete(&mut self, key: &ObjectKey, epoch: u64) -> Option<News> {
        let cell = self.cells.get_mut(key)?;
        let was_there = matches!(cell.existence, Existence::There(_));
        *cell = Cell {
            epoch,
            existence: Existence::Gone,
            generation: None,
            scale: None,
        };
        was_there.then_some(News {
            is_other: true,
            is_changed: true,
        })
    }
}

/// What a list has named so far of what was known.
#[derive(Debug, Default)]
struct Listed {
    /// Known when the list began.
    expected: BTreeSet<ObjectKey>,
    found: BTreeSet<ObjectKey>,
}

impl WatchedScales {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.shared.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A ScaledObject refers to a target, or, with none, no longer.
    pub(super) fn refer(&self, key: &ObjectKey, reference: Option<&ScaleTargetRef>) {
        let reference = reference.map(|reference| Reference {
            kind: (reference.api_version().to_owned(), reference.kind().to_owned()),
            target: ObjectKey::new(&key.namespace, &reference.name),
        });
        let is_common = |(version, kind): &KindName| COMMON.contains(&(version.as_str(), kind.as_str()));
        let reference = reference.filter(|reference| !is_common(&reference.kind));
        self.with(|state| {
            if state.references.get(key) == reference.as_ref() {
                return;
            }
            if let Some(former) = state.references.remove(key) {
                state.leave(&former);
            }
            if let Some(reference) = reference {
                state.kinds.entry(reference.kind.clone()).or_default().referents += 1;
                state.references.insert(key.clone(), reference);
            }
        });
    }

    /// The replicas that a target asks for, if what was read still holds.
    pub(super) fn replicas(&self, target: &Target) -> Option<i32> {
        self.with(|state| {
            let kind = state.kinds.get(&name_of(target))?;
            let known = kind.cells.get(&target.key)?.scale.as_ref()?;
            kind.is_synced(&target.key.namespace).then_some(known.replicas)
        })
    }

    /// A scale is about to be read; from now on its kind is watched. None for kinds that are not kept here.
    pub(super) fn begin(&self, target: &Target) -> Option<Reading> {
        let (reading, is_new) = self.with(|state| {
            let fresh = state.next_epoch();
            let kind = state.kinds.get_mut(&name_of(target))?;
            let is_new = kind.resource.is_none();
            kind.resource.get_or_insert_with(|| target.resource.clone());
            let cell = kind.cells.entry(target.key.clone()).or_insert(Cell {
                epoch: fresh,
                existence: Existence::Unknown,
                generation: None,
                scale: None,
            });
            Some((Reading { epoch: cell.epoch }, is_new))
        })?;
        if is_new {
            self.shared.changed.notify_one();
        }
        Some(reading)
    }

    /// It was read; that counts if nothing was heard of it meanwhile.
    pub(super) fn finish(&self, target: &Target, reading: &Reading, read: Result<&Scale, &TargetError>) {
        self.with(|state| {
            let kind = state.kinds.get_mut(&name_of(target));
            let cell = kind.and_then(|kind| kind.cells.get_mut(&target.key));
            let Some(cell) = cell.filter(|cell| cell.epoch == reading.epoch) else {
                return;
            };
            match read {
                Ok(scale) => {
                    let metadata = scale.metadata();
                    cell.existence = Existence::There(metadata.uid.clone());
                    cell.scale = metadata.resource_version.clone().map(|resource_version| Known {
                        replicas: scale.replicas(),
                        resource_version,
                    });
                }
                Err(TargetError::Missing(_)) => {
                    cell.existence = Existence::Gone;
                    cell.scale = None;
                }
                Err(_) => cell.scale = None,
            }
        });
    }

    /// Watches the kinds that are referred to over `namespaces`, all where none is named, until dropped.
    pub(super) async fn run(self, client: Client, namespaces: Vec<String>, signals: Signals) {
        let scopes = if namespaces.is_empty() {
            vec![String::new()]
        } else {
            namespaces
        };
        let mut watches: FuturesUnordered<BoxFuture<'static, ()>> = FuturesUnordered::new();
        loop {
            for (name, resource, registration) in self.start() {
                let follow = scopes.iter().map(|scope| {
                    let api = match scope.as_str() {
                        "" => Api::all_with(client.clone(), &resource),
                        namespace => Api::namespaced_with(client.clone(), namespace, &resource),
                    };
                    self.clone()
                        .follow(name.clone(), scope.clone(), api, signals.clone())
                });
                let follow = join_all(follow);
                watches.push(Box::pin(async move {
                    // Ended when nobody refers to the kind any more.
                    drop(Abortable::new(follow, registration).await);
                }));
            }
            tokio::select! {
                biased;
                () = self.shared.changed.notified() => {}
                Some(()) = watches.next(), if !watches.is_empty() => {}
            }
        }
    }

    /// The kinds that are not watched yet.
    fn start(&self) -> Vec<(KindName, ApiResource, AbortRegistration)> {
        self.with(|state| {
            let waiting = state.kinds.iter_mut().filter(|(_, kind)| kind.running.is_none());
            let started = waiting.filter_map(|(name, kind)| {
                let resource = kind.resource.clone()?;
                let (handle, registration) = AbortHandle::new_pair();
                kind.running = Some(handle);
                Some((name.clone(), resource, registration))
            });
            started.collect()
        })
    }

    /// Watches one kind in one namespace, or in all.
    async fn follow(
        self,
        name: KindName,
        scope: String,
        api: Api<PartialObjectMeta<DynamicObject>>,
        signals: Signals,
    ) {
        let (mut failures, mut said) = (0, String::new());
        loop {
            let begun = Instant::now();
            let error = Box::pin(self.follow_once(&name, &scope, api.clone(), &signals)).await;
            self.with(|state| state.lose(&name, &scope));
            if begun.elapsed() >= LASTING {
                failures = 0;
                said.clear();
            }
            failures += 1;
            let problem = error.to_string();
            if said != problem {
                let (version, kind) = (&name.0, &name.1);
                tracing::warn!(version, kind, namespace = scope, %error, "not watched: scales are read at every poll");
                said = problem;
            }
            let backoff = if is_forbidden(&error) { FORBIDDEN } else { BROKEN };
            tokio::time::sleep(backoff.after(failures)).await;
        }
    }

    /// Lists and watches until that fails.
    async fn follow_once(
        &self,
        name: &KindName,
        scope: &str,
        api: Api<PartialObjectMeta<DynamicObject>>,
        signals: &Signals,
    ) -> watcher::Error {
        let mut stream = std::pin::pin!(watcher::watcher(api, watcher::Config::default()));
        let mut listed = Listed::default();
        loop {
            match stream.next().await {
                Some(Ok(event)) => {
                    let event = event_of(event);
                    for (key, news) in self.with(|state| state.take(name, scope, &mut listed, &event)) {
                        signals.wake_target(&key, news.is_other, news.is_changed);
                    }
                }
                Some(Err(error)) => return error,
                None => return watcher::Error::NoResourceVersion,
            }
        }
    }
}

/// An event of a watch, of metadata only.
type Event = watcher::Event<ObjectMeta>;

fn event_of(event: watcher::Event<PartialObjectMeta<DynamicObject>>) -> Event {
    match event {
        watcher::Event::Init => Event::Init,
        watcher::Event::InitApply(object) => Event::InitApply(object.metadata),
        watcher::Event::InitDone => Event::InitDone,
        watcher::Event::Apply(object) => Event::Apply(object.metadata),
        watcher::Event::Delete(object) => Event::Delete(object.metadata),
    }
}

fn key_of(metadata: &ObjectMeta) -> ObjectKey {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    ObjectKey::new(text(&metadata.namespace), text(&metadata.name))
}

fn name_of(target: &Target) -> KindName {
    (target.resource.api_version.clone(), target.resource.kind.clone())
}

impl State {
    fn next_epoch(&mut self) -> u64 {
        self.epoch += 1;
        self.epoch
    }

    fn leave(&mut self, former: &Reference) {
        let Some(kind) = self.kinds.get_mut(&former.kind) else {
            return;
        };
        kind.referents -= 1;
        // Whoever else refers to it reads it once more.
        kind.cells.remove(&former.target);
        if kind.referents == 0 {
            self.kinds.remove(&former.kind);
        }
    }

    /// Nothing is known of what happens from now on.
    fn lose(&mut self, name: &KindName, scope: &str) {
        if let Some(kind) = self.kinds.get_mut(name) {
            kind.synced.remove(scope);
        }
    }

    /// Takes over what a watch says; returns what is news.
    fn take(
        &mut self,
        name: &KindName,
        scope: &str,
        listed: &mut Listed,
        event: &Event,
    ) -> Vec<(ObjectKey, News)> {
        let epoch = self.next_epoch();
        let Some(kind) = self.kinds.get_mut(name) else {
            return Vec::new();
        };
        let is_in_scope = |key: &&ObjectKey| scope.is_empty() || key.namespace == scope;
        match event {
            Event::Init => {
                kind.synced.remove(scope);
                *listed = Listed {
                    expected: kind.cells.keys().filter(is_in_scope).cloned().collect(),
                    found: BTreeSet::new(),
                };
                Vec::new()
            }
            Event::InitApply(metadata) | Event::Apply(metadata) => {
                let key = key_of(metadata);
                if matches!(event, Event::InitApply(_)) && kind.cells.contains_key(&key) {
                    listed.found.insert(key.clone());
                }
                let news = kind.apply(&key, metadata, epoch);
                news.map(|news| (key, news)).into_iter().collect()
            }
            Event::InitDone => {
                kind.synced.insert(scope.to_owned());
                let Listed { expected, found } = std::mem::take(listed);
                let keys = kind.cells.keys().filter(is_in_scope);
                let unlisted: Vec<_> = keys.filter(|key| !found.contains(*key)).cloned().collect();
                let gone = unlisted.into_iter().filter_map(|key| {
                    if expected.contains(&key) {
                        return kind.delete(&key, epoch).map(|news| (key, news));
                    }
                    // It came up while the list was under way, which may have passed it.
                    if let Some(cell) = kind.cells.get_mut(&key) {
                        (cell.epoch, cell.scale) = (epoch, None);
                    }
                    None
                });
                gone.collect()
            }
            Event::Delete(metadata) => {
                let key = key_of(metadata);
                let news = kind.delete(&key, epoch);
                news.map(|news| (key, news)).into_iter().collect()
            }
        }
    }
}

fn is_forbidden(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status.code == 403,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
