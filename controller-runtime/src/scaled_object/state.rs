//! What is kept in memory about each ScaledObject between two turns.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use scaler_api::{
    Error, Sample,
    keda::{ScaledObject, ScaledObjectStatus},
};
use tokio::time::Instant;

use super::{
    fallback::HealthLedger,
    modifiers::Input,
    plan::{Plan, PlannedTrigger},
    samples::Taken,
    status::{self, Published},
};
use crate::{
    explain::kept::Kept,
    store::ObjectKey,
    trigger_auth::{Dependency, dependents::Dependents},
};

/// All objects. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entries {
    shared: Arc<Mutex<Index>>,
}

#[derive(Debug, Default)]
struct Index {
    entries: BTreeMap<ObjectKey, Arc<Entry>>,
    /// The workload that each object scales.
    targets: BTreeMap<ObjectKey, ObjectKey>,
    /// The same as pairs, workload first.
    by_target: BTreeSet<(ObjectKey, ObjectKey)>,
    /// What each object was built from.
    dependents: Dependents,
}

/// One object.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) uid: Option<String>,
    /// What readers of metrics see, too; locked for moments only.
    live: Mutex<Live>,
    /// What only the controller's turn sees.
    pub(crate) turn: tokio::sync::Mutex<Turn>,
}

/// What readers of metrics see of an object.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// How it runs; none while it cannot.
    pub(crate) plan: Option<Arc<Plan>>,
    /// Why it cannot.
    pub(crate) problem: String,
    /// Which metrics fail.
    pub(crate) ledger: HealthLedger,
    /// The last sample that was counted, by trigger.
    counted: Vec<u64>,
    /// The last poll's sample, by trigger.
    polled: Vec<Option<Arc<Taken>>>,
    /// Whether something that it is made of has changed.
    dirty: bool,
    /// Whether it was built from the target's containers.
    pub(crate) uses_containers: bool,
    /// What is kept for whoever asks why.
    pub(crate) kept: Kept,
}

/// How a trigger's metrics stand after a sample.
#[derive(Clone, Debug)]
pub(crate) enum Standing {
    /// There are values.
    Sampled(Sample),
    /// There are none, and no fallback (yet).
    Failed(Error),
    /// There are none, and the fallback stands in.
    FallenBack(Error),
}

impl Standing {
    /// As a formula sees it.
    pub(crate) fn to_input(&self) -> Input {
        match self {
            Self::Sampled(sample) => match sample.values.last() {
                Some(last) => Input::Value(last.value),
                None => Input::Failed("the source gave no value".to_owned()),
            },
            Self::Failed(error) => Input::Failed(error.to_string()),
            Self::FallenBack(error) => Input::FallenBack(error.to_string()),
        }
    }
}

/// What a turn remembers for the next one.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// The object as it was last reconciled.
    pub(crate) seen: Option<Fingerprint>,
    /// What the status shall say.
    pub(crate) status: ScaledObjectStatus,
    /// What it says.
    pub(crate) published: Published,
    /// When the object was last active, more exactly than published.
    pub(crate) last_active: Option<Timestamp>,
    /// When the triggers are checked next; none while they are not.
    pub(crate) next_check: Option<Instant>,
    /// When a failed reconciliation is tried again.
    pub(crate) retry_at: Option<Instant>,
    /// How often it failed in a row.
    pub(crate) failures: u32,
    /// What an event was last published about.
    pub(crate) announced: String,
    /// The triggers that failed at the last check.
    pub(crate) failing: BTreeSet<usize>,
    /// Whether this leader has started it.
    pub(crate) started: bool,
    /// Whether the last status could not be written.
    pub(crate) unwritten: bool,
    /// Whether somebody else scales the object, by its labels.
    pub(crate) is_left: bool,
}

impl Turn {
    /// Takes an object up from what the API says.
    pub(crate) fn resume(object: &ScaledObject, now: Timestamp) -> Self {
        let status = object.status.clone().unwrap_or_default();
        let cooldown = SignedDuration::from_secs(i64::from(object.spec.cooldown_period()));
        let refused = status
            .condition("Ready")
            .filter(|ready| !ready.is_true() && ready.reason.as_deref() == Some("ScaledObjectCheckFailed"));
        Self {
            last_active: status::resumed_last_active(&status, cooldown, now),
            // What was said about it by an event is not said again.
            announced: refused
                .and_then(|ready| ready.message.clone())
                .unwrap_or_default(),
            failing: failing(&status),
            published: Published::of(&status),
            status,
            ..Self::default()
        }
    }

    /// Whether the object, or something that it is made of, is not as it was when it was last looked at.
    pub(crate) fn wants_reconciliation(&self, entry: &Entry, object: &ScaledObject) -> bool {
        let dirty = entry.live(Live::take_dirty);
        let is_late = self.retry_at.is_some_and(|at| at <= Instant::now());
        dirty || is_late || self.seen.as_ref() != Some(&Fingerprint::of(object))
    }

    /// Whether the status says what it shall.
    pub(crate) fn is_published(&self) -> bool {
        self.published.says(&self.status)
    }

    /// Nothing is checked any more.
    pub(crate) fn rest(&mut self) {
        self.next_check = None;
        self.failing.clear();
        self.started = false;
    }
}

/// The triggers with a metric that fails: metrics are named `s<index>-<name>`.
fn failing(status: &ScaledObjectStatus) -> BTreeSet<usize> {
    let ledger = HealthLedger::of(status.health.as_ref());
    let metrics = status.health.iter().flatten().map(|(metric, _)| metric);
    let failing = metrics.filter(|metric| ledger.failures(metric) > 0);
    let index = |metric: &String| metric.strip_prefix('s')?.split_once('-')?.0.parse().ok();
    failing.filter_map(index).collect()
}

/// What a reconciliation depends on in the object itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    generation: Option<i64>,
    /// Of labels, annotations, finalizers, and whether it is being deleted: there are thousands of objects.
    digest: u64,
}

impl Fingerprint {
    pub(crate) fn of<K: kube::Resource>(object: &K) -> Self {
        // Its keys are fixed, so that a run can be repeated.
        let mut hasher = DefaultHasher::new();
        object.labels().hash(&mut hasher);
        object.annotations().hash(&mut hasher);
        object.finalizers().hash(&mut hasher);
        object.meta().deletion_timestamp.is_some().hash(&mut hasher);
        Self {
            generation: object.meta().generation,
            digest: hasher.finish(),
        }
    }

    pub(crate) fn generation(&self) -> Option<i64> {
        self.generation
    }
}

/// What came of a sample, with a value for every metric of the trigger.
pub(crate) fn whole(trigger: &PlannedTrigger, taken: &Taken) -> Result<Sample, Error> {
    let expected = trigger.external().count();
    match &taken.result {
        Ok(sample) if sample.values.len() < expected => Err(Error::invalid(format!(
            "the source gave {} values, expected {expected}",
            sample.values.len()
        ))),
        result => result.clone(),
    }
}

impl Entries {
    fn with<T>(&self, work: impl FnOnce(&mut Index) -> T) -> T {
        work(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn get(&self, key: &ObjectKey) -> Option<Arc<Entry>> {
        self.with(|index| index.entries.get(key).cloned())
    }

    /// Every object.
    pub(crate) fn keys(&self) -> Vec<ObjectKey> {
        self.with(|index| index.entries.keys().cloned().collect())
    }

    /// The entry of `object`, a new one if there was none or it was of another object by that name.
    pub(crate) fn of(&self, key: &ObjectKey, object: &ScaledObject, now: Timestamp) -> Arc<Entry> {
        self.with(|index| {
            if let Some(known) = index.entries.get(key).filter(|known| known.uid == object.uid()) {
                return Arc::clone(known);
            }
            let entry = Arc::new(Entry::new(object, now));
            index.entries.insert(key.clone(), Arc::clone(&entry));
            entry
        })
    }

    pub(crate) fn remove(&self, key: &ObjectKey) {
        self.with(|index| {
            index.entries.remove(key);
            if let Some(target) = index.targets.remove(key) {
                index.by_target.remove(&(target, key.clone()));
            }
            index.dependents.set(key, BTreeSet::new());
        });
    }

    /// Says which workload an object scales.
    pub(crate) fn set_target(&self, key: &ObjectKey, object: &ScaledObject) {
        let target = ObjectKey::new(&key.namespace, &object.spec.scale_target_ref.name);
        self.with(|index| {
            if let Some(previous) = index.targets.insert(key.clone(), target.clone()) {
                index.by_target.remove(&(previous, key.clone()));
            }
            index.by_target.insert((target, key.clone()));
        });
    }

    /// Says what an object was built from.
    pub(crate) fn set_dependencies(&self, key: &ObjectKey, uses: BTreeSet<Dependency>) {
        self.with(|index| index.dependents.set(key, uses));
    }

    /// The objects that scale a workload.
    pub(crate) fn of_target(&self, target: &ObjectKey) -> Vec<ObjectKey> {
        self.with(|index| {
            let first = (target.clone(), ObjectKey::new("", ""));
            let pairs = index.by_target.range(first..);
            let of_target = pairs.take_while(|(known, _)| known == target);
            of_target.map(|(_, object)| object.clone()).collect()
        })
    }

    /// The objects that were built from something.
    pub(crate) fn of_dependency(&self, dependency: &Dependency) -> Vec<ObjectKey> {
        self.with(|index| index.dependents.of(dependency))
    }

    /// Whether an object was built from something.
    pub(crate) fn uses(&self, dependency: &Dependency) -> bool {
        self.with(|index| index.dependents.has(dependency))
    }

    /// Makes the next turn of an object reconcile it.
    pub(crate) fn mark(&self, key: &ObjectKey) {
        if let Some(entry) = self.get(key) {
            entry.live(|live| live.dirty = true);
        }
    }
}

impl Entry {
    fn new(object: &ScaledObject, now: Timestamp) -> Self {
        let live = Live {
            problem: "it was not looked at yet".to_owned(),
            ..Live::default()
        };
        let entry = Self {
            uid: object.uid(),
            live: Mutex::new(live),
            turn: tokio::sync::Mutex::new(Turn::resume(object, now)),
        };
        entry.learn(object);
        entry
    }

    /// Takes the object up anew from what the API says; what readers of metrics see of it stays.
    pub(crate) async fn resume(&self, object: &ScaledObject, now: Timestamp) {
        *self.turn.lock().await = Turn::resume(object, now);
        self.learn(object);
    }

    /// Takes up what the leader has counted.
    pub(crate) fn learn(&self, object: &ScaledObject) {
        let health = object.status.as_ref().and_then(|status| status.health.as_ref());
        self.live(|live| live.ledger.learn(health));
    }

    pub(crate) fn live<T>(&self, work: impl FnOnce(&mut Live) -> T) -> T {
        work(&mut self.live.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The place of a trigger, made if there is none yet.
fn at<T: Clone + Default>(places: &mut Vec<T>, index: usize) -> &mut T {
    if places.len() <= index {
        places.reserve_exact(index + 1 - places.len());
        places.resize(index + 1, T::default());
    }
    &mut places[index]
}

impl Live {
    /// Whether something has changed since this was last asked.
    pub(crate) fn take_dirty(&mut self) -> bool {
        std::mem::take(&mut self.dirty)
    }

    /// Runs by `plan` from now on.
    pub(crate) fn run(&mut self, plan: Arc<Plan>) {
        let unchanged = |index: usize| {
            let source = |plan: &Plan| {
                plan.triggers
                    .get(index)
                    .and_then(|trigger| trigger.source.clone())
            };
            let before = self.plan.as_deref().and_then(source);
            match (before, source(&plan)) {
                (Some(before), Some(after)) => Arc::ptr_eq(&before, &after),
                _ => false,
            }
        };
        for (index, counted) in self.counted.iter_mut().enumerate() {
            if !unchanged(index) {
                *counted = 0;
            }
        }
        for (index, polled) in self.polled.iter_mut().enumerate() {
            if !unchanged(index) {
                *polled = None;
            }
        }
        self.ledger.retain(&plan.external_names());
        self.plan = Some(plan);
        self.problem.clear();
    }

    /// Stops; readers of metrics are told why.
    pub(crate) fn stop(&mut self, problem: &str) {
        self.plan = None;
        self.counted.clear();
        self.polled.clear();
        problem.clone_into(&mut self.problem);
    }

    /// Keeps the sample of a poll for those who read cached metrics.
    pub(crate) fn keep_polled(&mut self, trigger: &PlannedTrigger, taken: &Arc<Taken>) {
        *at(&mut self.polled, trigger.index) = Some(Arc::clone(taken));
    }

    pub(crate) fn polled(&self, trigger: &PlannedTrigger) -> Option<Arc<Taken>> {
        self.polled.get(trigger.index).cloned().flatten()
    }

    /// Counts a sample, once, and tells how the trigger stands; the second value says whether the health changed.
    pub(crate) fn account(
        &mut self,
        plan: &Plan,
        trigger: &PlannedTrigger,
        taken: &Taken,
    ) -> (Standing, bool) {
        let result = whole(trigger, taken);
        let counted = at(&mut self.counted, trigger.index);
        let mut changed = false;
        if taken.sequence > *counted {
            *counted = taken.sequence;
            self.kept.note(trigger.index, result.is_ok(), taken.time);
            for metric in trigger.external() {
                changed |= self
                    .ledger
                    .count(&metric.name, result.is_ok(), plan.fallback.as_ref());
            }
        }
        let standing = match result {
            Ok(sample) => Standing::Sampled(sample),
            Err(error) => {
                let in_force = plan.fallback.is_some_and(|fallback| {
                    trigger
                        .external()
                        .any(|metric| fallback.is_in_force(self.ledger.failures(&metric.name)))
                });
                if in_force {
                    Standing::FallenBack(error)
                } else {
                    Standing::Failed(error)
                }
            }
        };
        (standing, changed)
    }
}
