//! Sources that tell when they become active, so that nobody waits for the next poll.
//!
//! The leader listens to every source that pushes, once for all objects that use it, from its first sample on. `true`
//! wakes the objects at once; `false` is left to the next poll and the cooldown. A stream that fails or ends is opened
//! anew, with back-off.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use scaler_api::{
    Error, SourceKey,
    keda::{ScaledObject, TriggerActivity},
};
use tokio::{sync::Notify, time::Instant};

use super::{
    controller::Core,
    decision::{self, TriggerState, TriggerView},
    plan::{Plan, PlannedTrigger},
    samples::Source,
    state::{Entry, Turn},
};
use crate::{latch::Latch, queue::Backoff, queue::WorkQueue, store::ObjectKey};

/// How soon a stream that failed is opened anew.
const REOPEN: Backoff = Backoff {
    first: Duration::from_secs(2),
    last: Duration::from_secs(60),
};

/// Who listens to which source, and what was heard. Clones share it.
#[derive(Clone)]
pub(crate) struct Pushes {
    shared: Arc<Shared>,
}

struct Shared {
    index: Mutex<Index>,
    /// There are streams to open.
    opened: Notify,
    queue: WorkQueue<ObjectKey>,
}

#[derive(Default)]
struct Index {
    streams: BTreeMap<SourceKey, Stream>,
    listeners: BTreeMap<ObjectKey, BTreeSet<SourceKey>>,
    to_open: Vec<(Arc<Source>, Latch)>,
    /// Activations that no turn has heeded yet.
    heard: BTreeMap<ObjectKey, BTreeSet<SourceKey>>,
}

struct Stream {
    objects: BTreeSet<ObjectKey>,
    end: Latch,
}

impl fmt::Debug for Pushes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let streams = self.with(|index| index.streams.len());
        f.debug_struct("Pushes")
            .field("streams", &streams)
            .finish_non_exhaustive()
    }
}

impl Pushes {
    /// Nobody listens yet. Objects that are to be woken go into `queue`.
    pub(super) fn new(queue: WorkQueue<ObjectKey>) -> Self {
        Self {
            shared: Arc::new(Shared {
                index: Mutex::default(),
                opened: Notify::new(),
                queue,
            }),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Index) -> T) -> T {
        work(&mut self.shared.index.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// An object listens to the sources of `plan` that push, and to no others.
    pub(super) fn follow(&self, key: &ObjectKey, plan: Option<&Plan>) {
        let triggers = plan.iter().flat_map(|plan| &plan.triggers);
        let sources: BTreeMap<_, _> = triggers
            .filter_map(|trigger| trigger.source.as_ref())
            .filter(|source| source.pushes())
            .map(|source| (source.key().clone(), Arc::clone(source)))
            .collect();
        if self.with(|index| index.follow(key, sources)) {
            self.shared.opened.notify_one();
        }
    }

    /// Listens until dropped; whoever listens next begins with nothing.
    pub(super) async fn listen(&self) {
        self.with(|index| *index = Index::default());
        let mut streams = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                () = self.shared.opened.notified() => {
                    let opened = self.with(|index| std::mem::take(&mut index.to_open));
                    streams.extend(opened.into_iter().map(|(source, end)| self.listen_to(source, end)));
                }
                Some(()) = streams.next() => {}
            }
        }
    }

    /// Listens to one source until nobody wants to hear of it.
    async fn listen_to(&self, source: Arc<Source>, end: Latch) {
        let listening = async {
            let mut failures = 0;
            loop {
                if let Err(error) = self.hear(&source, &mut failures).await {
                    tracing::warn!(source = source.key().as_str(), %error, "its stream of activations failed");
                }
                failures += 1;
                tokio::time::sleep(REOPEN.after(failures)).await;
            }
        };
        tokio::select! {
            biased;
            () = end.wait() => {}
            () = listening => {}
        }
    }

    /// Hears one stream to its end.
    async fn hear(&self, source: &Source, failures: &mut u32) -> Result<(), Error> {
        let scaler = source.scaler().await?;
        let Some(push) = scaler.push() else {
            return Ok(());
        };
        let mut activations = push.activations();
        while let Some(is_active) = activations.next().await {
            let is_active = is_active?;
            *failures = 0;
            if is_active {
                self.wake(source.key());
            }
        }
        Ok(())
    }

    fn wake(&self, source: &SourceKey) {
        let objects = self.with(|index| {
            let objects = index.streams.get(source).map(|stream| stream.objects.clone());
            for object in objects.iter().flatten() {
                let heard = index.heard.entry(object.clone()).or_default();
                heard.insert(source.clone());
            }
            objects
        });
        for object in objects.into_iter().flatten() {
            self.shared.queue.add(object);
        }
    }

    /// What an object was told since this was last asked.
    fn take(&self, key: &ObjectKey) -> BTreeSet<SourceKey> {
        self.with(|index| index.heard.remove(key)).unwrap_or_default()
    }
}

impl Index {
    /// Whether there is a stream to open.
    fn follow(&mut self, key: &ObjectKey, sources: BTreeMap<SourceKey, Arc<Source>>) -> bool {
        if sources.is_empty() && !self.listeners.contains_key(key) {
            return false;
        }
        let known = self.listeners.remove(key).unwrap_or_default();
        for gone in known.iter().filter(|source| !sources.contains_key(source)) {
            self.leave(key, gone);
        }
        let wanted: BTreeSet<_> = sources.keys().cloned().collect();
        for (name, source) in sources {
            let stream = self.streams.entry(name).or_insert_with(|| {
                let end = Latch::default();
                self.to_open.push((source, end.clone()));
                Stream {
                    objects: BTreeSet::new(),
                    end,
                }
            });
            stream.objects.insert(key.clone());
        }
        if wanted.is_empty() {
            self.heard.remove(key);
        } else {
            self.listeners.insert(key.clone(), wanted);
        }
        !self.to_open.is_empty()
    }

    fn leave(&mut self, key: &ObjectKey, source: &SourceKey) {
        let Some(stream) = self.streams.get_mut(source) else {
            return;
        };
        stream.objects.remove(key);
        if stream.objects.is_empty() {
            stream.end.set();
            self.streams.remove(source);
        }
    }
}

impl Core {
    /// Does at once what sources asked for since the last turn.
    pub(super) async fn heed(&self, object: &ScaledObject, entry: &Entry, turn: &mut Turn) {
        let heard = self.pushes.take(&ObjectKey::of(object));
        if heard.is_empty() {
            return;
        }
        let Some(plan) = entry.live(|live| live.plan.clone()) else {
            return;
        };
        let triggers = plan.triggers.iter().filter(|trigger| {
            let source = trigger.source.as_ref();
            source.is_some_and(|source| heard.contains(source.key()))
        });
        let triggers: Vec<_> = triggers.collect();
        if triggers.is_empty() {
            return;
        }
        if plan.modifiers.is_some() {
            // The formula decides, on new values.
            let sources = triggers.iter().filter_map(|trigger| trigger.source.as_ref());
            let samples = sources.map(|source| source.sample(Duration::ZERO));
            futures::future::join_all(samples).await;
            turn.next_check = Some(Instant::now());
            return;
        }
        self.activate(object, &plan, &triggers, turn).await;
    }

    /// Decides as if these triggers, which alone were heard of, had been found active by a check.
    async fn activate(
        &self,
        object: &ScaledObject,
        plan: &Plan,
        triggers: &[&PlannedTrigger],
        turn: &mut Turn,
    ) {
        let views: Vec<_> = triggers
            .iter()
            .map(|trigger| TriggerView {
                name: trigger.label(),
                state: TriggerState::Active,
                detail: "its source says so".to_owned(),
            })
            .collect();
        let target = plan.target.to_string();
        let replicas = self.builder.targets.replicas(&plan.target).await;
        let replicas = replicas.map_err(|error| error.to_string());
        let mut seen = self.observe(object, turn, &target, replicas, &views, None);
        let mut decision = decision::decide(&seen);
        let mut stepped = true;
        if decision.step.replicas().is_some() {
            (decision, stepped) = self.step(object, plan, &mut seen, decision).await;
        }
        // How the other triggers are was not looked at.
        if let Some(known) = turn.status.condition("Ready")
            && decision.ready.is_true()
        {
            decision.ready = known.clone();
        }
        let activity = turn.status.triggers_activity.get_or_insert_default();
        for metric in triggers.iter().flat_map(|trigger| trigger.external()) {
            activity.insert(metric.name.clone(), TriggerActivity { is_active: true });
        }
        self.note(&ObjectKey::of(object), &seen, &decision, stepped, turn);
    }
}
