//! Turns what was watched into keys of objects that need a turn.

use std::sync::Arc;

use kube::{Resource, ResourceExt as _};
use metrics_adapter::Selector;
use scaler_api::{SharedClock, keda::ScaledObject};

use super::{
    hpa::KeptAutoscaler,
    state::{Entries, Fingerprint},
    status,
    watched_scales::WatchedScales,
};
use crate::{
    lease::Leadership,
    queue::WorkQueue,
    store::{Change, ObjectKey},
    trigger_auth::{Dependency, DependencyKind, dependents::Listener, users::Users},
};

/// Turns what was watched into keys.
#[derive(Clone)]
pub(super) struct Signals {
    pub(super) queue: WorkQueue<ObjectKey>,
    pub(super) entries: Entries,
    /// Of the targets whose kinds are watched on demand.
    pub(super) scales: WatchedScales,
    pub(super) leadership: Leadership,
    pub(super) clock: SharedClock,
    /// Which objects this process scales.
    pub(super) selector: Selector,
    /// Who else builds triggers.
    pub(super) listener: Listener,
    /// Who uses which authentication.
    pub(super) users: Users,
}

impl Signals {
    fn reconcile(&self, key: ObjectKey) {
        self.entries.mark(&key);
        self.queue.add(key);
    }

    pub(super) fn object(&self, change: &Change<ScaledObject>) {
        self.users.note_object(change);
        let key = ObjectKey::of(&**change.object());
        match change {
            Change::Applied { object, previous } => {
                self.entries.set_target(&key, object);
                self.scales.refer(&key, Some(&object.spec.scale_target_ref));
                // Of its status the leader is the only writer.
                let is_own = self.leadership.leads() && self.selector.matches(object.labels());
                if !is_own && let Some(entry) = self.entries.get(&key) {
                    entry.learn(object);
                }
                let same = |previous: &Arc<ScaledObject>| {
                    previous.uid() == object.uid()
                        && Fingerprint::of(&**previous) == Fingerprint::of(&**object)
                };
                if !previous.as_ref().is_some_and(same) {
                    self.queue.add(key);
                }
            }
            Change::Deleted(_) => {
                self.scales.refer(&key, None);
                self.queue.add(key);
            }
        }
    }

    pub(super) fn autoscaler(&self, change: &Change<KeptAutoscaler>) {
        let owner = |hpa: &KeptAutoscaler| {
            let owners = hpa.tags().owner_references.unwrap_or_default();
            let mut owners = owners.iter().filter(|owner| owner.controller == Some(true));
            let owner = owners.find(|owner| owner.kind == ScaledObject::kind(&()))?;
            Some(ObjectKey::new(hpa.namespace().unwrap_or_default(), &owner.name))
        };
        let condition = |hpa: &KeptAutoscaler| status::hpa_condition(&hpa.status.value());
        if let Change::Applied { object, previous } = change
            && previous
                .as_ref()
                .is_none_or(|previous| previous.status != object.status)
            && let Some(entry) = owner(object).and_then(|key| self.entries.get(&key))
        {
            entry.watch(&object.read(), self.clock.now());
        }
        match change {
            Change::Deleted(hpa) => {
                if let Some(key) = owner(hpa) {
                    self.reconcile(key);
                }
            }
            Change::Applied {
                object,
                previous: None,
            } => {
                if let Some(key) = owner(object) {
                    self.queue.add(key);
                }
            }
            Change::Applied {
                object,
                previous: Some(previous),
            } => {
                let Some(key) = owner(previous).or_else(|| owner(object)) else {
                    return;
                };
                if previous.spec != object.spec || previous.tags != object.tags {
                    self.reconcile(key);
                } else if condition(previous) != condition(object) {
                    self.queue.add(key);
                }
            }
        }
    }

    /// A target that appears, goes, or gets another template.
    pub(super) fn target<K: Resource>(&self) -> impl FnMut(&Change<K>) + Clone + Send + 'static {
        let signals = self.clone();
        move |change| {
            let (is_other, is_changed) = match change {
                Change::Applied {
                    object,
                    previous: Some(previous),
                } => {
                    let (object, previous) = (object.meta(), previous.meta());
                    (
                        object.uid != previous.uid,
                        object.generation != previous.generation,
                    )
                }
                _ => (true, true),
            };
            signals.wake_target(&ObjectKey::of(&**change.object()), is_other, is_changed);
        }
    }

    /// A target is another one, or there is more or less of it, or it has changed.
    pub(super) fn wake_target(&self, target: &ObjectKey, is_other: bool, is_changed: bool) {
        if !is_other && !is_changed {
            return;
        }
        for key in self.entries.of_target(target) {
            let entry = self.entries.get(&key);
            if is_other || entry.is_some_and(|entry| entry.live(|live| live.uses_containers)) {
                self.reconcile(key);
            }
        }
    }

    /// Something that triggers are built from.
    pub(super) fn dependency<K: Resource>(
        &self,
        kind: DependencyKind,
    ) -> impl FnMut(&Change<K>) + Clone + Send + 'static {
        let signals = self.clone();
        move |change| {
            let dependency = (kind, ObjectKey::of(&**change.object()));
            signals.changed(&dependency);
        }
    }

    /// An authentication. What it resolves to does not depend on its status.
    pub(super) fn authentication<K: Resource>(
        &self,
        kind: DependencyKind,
    ) -> impl FnMut(&Change<K>) + Clone + Send + 'static {
        let signals = self.clone();
        move |change| {
            signals.users.note_authentication(kind, change);
            if let Change::Applied {
                object,
                previous: Some(previous),
            } = change
            {
                let (object, previous) = (object.meta(), previous.meta());
                if object.uid == previous.uid && object.generation == previous.generation {
                    return;
                }
            }
            signals.changed(&(kind, ObjectKey::of(&**change.object())));
        }
    }

    fn changed(&self, dependency: &Dependency) {
        for key in self.entries.of_dependency(dependency) {
            self.reconcile(key);
        }
        self.listener.tell(dependency);
    }

    /// Everybody who builds triggers.
    pub(super) fn everybody(&self) -> Listener {
        let (told, asked) = (self.clone(), self.clone());
        Listener::new(
            move |dependency| told.changed(dependency),
            move |dependency| asked.entries.uses(dependency) || asked.listener.uses(dependency),
        )
    }
}
