//! What is kept in memory about each ScaledJob between two turns.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::Timestamp;
use kube::ResourceExt as _;
use scaler_api::keda::{MultipleScalersCalculation, ScaledJob, ScaledJobStatus};
use tokio::time::Instant;

use super::{
    cleanup::{History, Rollout},
    combine::Bounds,
    decision::Trigger,
    strategy::Strategy,
};
use crate::{
    explain::kept::Kept,
    scaled_object::{plan::PlannedTrigger, state::Fingerprint},
    store::ObjectKey,
    trigger_auth::{Dependency, dependents::Dependents},
};

/// A ScaledJob that can run.
#[derive(Debug)]
pub(super) struct Plan {
    /// The object that it was made of.
    pub(super) object: Arc<ScaledJob>,
    pub(super) triggers: Vec<PlannedTrigger>,
    pub(super) bounds: Bounds,
    pub(super) strategy: Strategy,
    pub(super) calculation: MultipleScalersCalculation,
    pub(super) rollout: Rollout,
    pub(super) history: History,
}

impl Plan {
    /// The conditions of a pod without which its Job counts as pending.
    pub(super) fn pending_conditions(&self) -> &[String] {
        let strategy = self.object.spec.scaling_strategy.as_ref();
        strategy
            .and_then(|strategy| strategy.pending_pod_conditions.as_deref())
            .unwrap_or_default()
    }
}

/// All objects. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries {
    shared: Arc<Mutex<Index>>,
}

#[derive(Debug, Default)]
struct Index {
    entries: BTreeMap<ObjectKey, Arc<Entry>>,
    dependents: Dependents,
}

/// One object.
#[derive(Debug)]
pub(super) struct Entry {
    uid: Option<String>,
    /// Whether something that it is made of has changed.
    dirty: AtomicBool,
    pub(super) turn: tokio::sync::Mutex<Turn>,
    /// For whoever asks why; locked for moments only.
    pub(super) told: Mutex<Told>,
}

/// What is kept for whoever asks why.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) kept: Kept,
    /// How it ran at the last check.
    pub(super) plan: Option<Arc<Plan>>,
    /// How its triggers stood then.
    pub(super) triggers: Vec<Trigger>,
}

/// What a turn remembers for the next one.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// The object as it was last reconciled.
    pub(super) seen: Option<Fingerprint>,
    /// How it runs; none while it does not.
    pub(super) plan: Option<Arc<Plan>>,
    /// What the status shall say.
    pub(super) status: ScaledJobStatus,
    /// What it says.
    pub(super) published: ScaledJobStatus,
    /// When the object was last active, more exactly than published.
    pub(super) last_active: Option<Timestamp>,
    /// When the triggers are checked next; none while they are not.
    pub(super) next_check: Option<Instant>,
    /// When a failed reconciliation is tried again.
    pub(super) retry_at: Option<Instant>,
    /// How often it failed in a row.
    pub(super) failures: u32,
    /// What an event was last published about.
    pub(super) announced: String,
    /// The triggers that failed at the last check.
    pub(super) failing: BTreeSet<usize>,
    /// The triggers whose sources push, of which it was said that nobody listens.
    pub(super) unheard: BTreeSet<usize>,
    /// Whether this leader has started it.
    pub(super) started: bool,
    /// Whether the last status could not be written.
    pub(super) unwritten: bool,
}

impl Turn {
    /// Takes an object up from what the API says.
    fn resume(object: &ScaledJob) -> Self {
        let status = object.status.clone().unwrap_or_default();
        let ready = status.condition("Ready");
        let reason = ready.and_then(|ready| ready.reason.as_deref());
        let message = ready.and_then(|ready| ready.message.clone());
        // What was said about it by an event is not said again.
        let announced = match reason {
            Some("ScaledJobCheckFailed") => message.unwrap_or_default(),
            _ => String::new(),
        };
        let failing = match reason {
            Some("TriggerError") => (0..object.spec.triggers.len()).collect(),
            _ => BTreeSet::new(),
        };
        Self {
            last_active: status.last_active_time.as_ref().map(|time| time.0),
            announced,
            failing,
            published: status.clone(),
            status,
            ..Self::default()
        }
    }

    /// Whether the object, or something that it is made of, is not as it was when it was last looked at.
    pub(super) fn wants_reconciliation(&self, entry: &Entry, object: &ScaledJob) -> bool {
        let dirty = entry.dirty.swap(false, Ordering::Relaxed);
        let is_late = self.retry_at.is_some_and(|at| at <= Instant::now());
        dirty || is_late || self.seen.as_ref() != Some(&Fingerprint::of(object))
    }

    /// Nothing is checked any more.
    pub(super) fn rest(&mut self) {
        self.plan = None;
        self.next_check = None;
        self.failing.clear();
        self.started = false;
    }
}

impl Entries {
    fn with<T>(&self, work: impl FnOnce(&mut Index) -> T) -> T {
        work(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The entry of `object`, a new one if there was none or it was of another object by that name.
    pub(super) fn of(&self, key: &ObjectKey, object: &ScaledJob) -> Arc<Entry> {
        self.with(|index| {
            if let Some(known) = index.entries.get(key).filter(|known| known.uid == object.uid()) {
                return Arc::clone(known);
            }
            let entry = Arc::new(Entry {
                uid: object.uid(),
                dirty: AtomicBool::new(false),
                turn: tokio::sync::Mutex::new(Turn::resume(object)),
                told: Mutex::default(),
            });
            index.entries.insert(key.clone(), Arc::clone(&entry));
            entry
        })
    }

    /// The entry of an object, if there is one.
    pub(super) fn get(&self, key: &ObjectKey) -> Option<Arc<Entry>> {
        self.with(|index| index.entries.get(key).cloned())
    }

    pub(super) fn remove(&self, key: &ObjectKey) {
        self.with(|index| {
            index.entries.remove(key);
            index.dependents.set(key, BTreeSet::new());
        });
    }

    /// Forgets everything that was remembered of turns.
    pub(super) fn clear(&self) {
        self.with(|index| index.entries.clear());
    }

    /// Says what an object was built from.
    pub(super) fn set_dependencies(&self, key: &ObjectKey, uses: BTreeSet<Dependency>) {
        self.with(|index| index.dependents.set(key, uses));
    }

    /// Makes the next turn of the objects that were built from something reconcile them; they are returned.
    pub(super) fn mark(&self, dependency: &Dependency) -> Vec<ObjectKey> {
        self.with(|index| {
            let objects = index.dependents.of(dependency);
            for entry in objects.iter().filter_map(|key| index.entries.get(key)) {
                entry.dirty.store(true, Ordering::Relaxed);
            }
            objects
        })
    }

    /// Whether an object was built from something.
    pub(super) fn uses(&self, dependency: &Dependency) -> bool {
        self.with(|index| index.dependents.has(dependency))
    }

    /// Makes the next turn of an object reconcile it.
    pub(super) fn mark_object(&self, key: &ObjectKey) {
        self.with(|index| {
            if let Some(entry) = index.entries.get(key) {
                entry.dirty.store(true, Ordering::Relaxed);
            }
        });
    }
}
