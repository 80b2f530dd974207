//! Pods that wait for a node.
//!
//! Active pods are tried at once, by priority and then by age. A pod that goes nowhere waits until something happens that
//! may help it, or for five minutes; if that comes before its back-off (1 s doubling to 10 s) is over, others go first.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{filter::Plugin, snapshot::PodInfo};
use crate::{queue::Backoff, store::ObjectKey};

/// How long a pod is kept back after failures.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    last: Duration::from_secs(10),
};
/// An unschedulable pod is tried again after this time even if nothing happens.
const PATIENCE: Duration = Duration::from_secs(300);

/// Something that may make room for a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// A new node, or one of which something changed that matters to the scheduler.
    Node,
    /// A pod left its node.
    PodGone,
    /// A pod came to a node, or its labels changed.
    PodPlaced,
}

impl Hint {
    fn helps(self, plugin: Plugin) -> bool {
        match self {
            Self::Node => true,
            Self::PodGone => matches!(
                plugin,
                Plugin::NodePorts
                    | Plugin::NodeResourcesFit
                    | Plugin::PodTopologySpread
                    | Plugin::InterPodAffinity
            ),
            Self::PodPlaced => matches!(plugin, Plugin::PodTopologySpread | Plugin::InterPodAffinity),
        }
    }
}

/// A pod on its way through the queue.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) pod: Arc<PodInfo>,
    since: Instant,
    attempts: u32,
    ready_at: Instant,
    place: Place,
}

#[derive(Clone, Debug, PartialEq)]
enum Place {
    Active,
    /// Goes first only when no pod is active; after an error not even then.
    BackingOff {
        error: bool,
    },
    Unschedulable {
        plugins: BTreeSet<Plugin>,
        until: Instant,
    },
    BeingScheduled,
}

/// The order in which active pods are tried.
type Rank = (Reverse<i32>, Instant, ObjectKey);

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pods: BTreeMap<ObjectKey, Waiting>,
    active: BTreeSet<Rank>,
    /// When those that wait for time to pass become active.
    timers: BTreeSet<(Instant, ObjectKey)>,
}

fn rank(waiting: &Waiting) -> Rank {
    (
        Reverse(waiting.pod.priority()),
        waiting.since,
        waiting.pod.key.clone(),
    )
}

/// When the pod becomes active by the mere passing of time.
fn due(waiting: &Waiting) -> Option<(Instant, ObjectKey)> {
    let at = match &waiting.place {
        Place::BackingOff { .. } => waiting.ready_at,
        Place::Unschedulable { until, .. } => *until,
        Place::Active | Place::BeingScheduled => return None,
    };
    Some((at, waiting.pod.key.clone()))
}

impl Queue {
    /// A pod that has no node is new or has changed.
    pub(crate) fn add(&mut self, pod: Arc<PodInfo>) {
        let now = Instant::now();
        let key = pod.key.clone();
        match self.take(&key) {
            Some(before) if before.pod.uid == pod.uid => {
                // What the scheduler itself writes into the status helps nobody.
                let same = before.pod.pod.spec == pod.pod.spec
                    && before.pod.pod.metadata.labels == pod.pod.metadata.labels;
                self.put(Waiting { pod, ..before });
                if !same {
                    self.wake(&key);
                }
            }
            _ => {
                self.put(Waiting {
                    pod,
                    since: now,
                    attempts: 0,
                    ready_at: now,
                    place: Place::Active,
                });
            }
        }
    }

    /// The pod is gone or has a node.
    pub(crate) fn remove(&mut self, key: &ObjectKey) {
        self.take(key);
    }

    fn take(&mut self, key: &ObjectKey) -> Option<Waiting> {
        let waiting = self.pods.remove(key)?;
        self.active.remove(&rank(&waiting));
        if let Some(timer) = due(&waiting) {
            self.timers.remove(&timer);
        }
        Some(waiting)
    }

    fn put(&mut self, waiting: Waiting) {
        if waiting.place == Place::Active {
            self.active.insert(rank(&waiting));
        }
        self.timers.extend(due(&waiting));
        self.pods.insert(waiting.pod.key.clone(), waiting);
    }

    fn set_place(&mut self, key: &ObjectKey, place: Place) {
        if let Some(mut waiting) = self.take(key) {
            waiting.place = place;
            self.put(waiting);
        }
    }

    /// Something happened that may help an unschedulable pod.
    fn wake(&mut self, key: &ObjectKey) {
        let now = Instant::now();
        let place = match self.pods.get(key) {
            Some(waiting) if matches!(waiting.place, Place::Unschedulable { .. }) => {
                if waiting.ready_at <= now {
                    Place::Active
                } else {
                    Place::BackingOff { error: false }
                }
            }
            _ => return,
        };
        self.set_place(key, place);
    }

    /// Something happened that may help some pods.
    pub(crate) fn hint(&mut self, hint: Hint) {
        let helped: Vec<_> = self
            .pods
            .iter()
            .filter(|(_, waiting)| match &waiting.place {
                // Without a node there is no plugin to blame, and only a node helps.
                Place::Unschedulable { plugins, .. } if plugins.is_empty() => hint == Hint::Node,
                Place::Unschedulable { plugins, .. } => plugins.iter().any(|plugin| hint.helps(*plugin)),
                _ => false,
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in helped {
            self.wake(&key);
        }
    }

    /// The next pod to try. Call one of [`placed`](Self::remove), [`unschedulable`](Self::unschedulable) or
    /// [`failed`](Self::failed) afterwards.
    pub(crate) fn pop(&mut self) -> Option<Arc<PodInfo>> {
        let now = Instant::now();
        while let Some((_, key)) = self.timers.first().filter(|(at, _)| *at <= now).cloned() {
            self.set_place(&key, Place::Active);
        }
        let key = match self.active.pop_first() {
            Some((_, _, key)) => key,
            // Nobody else wants to go: no need to wait for the end of the back-off.
            None => self
                .timers
                .iter()
                .find(|(_, key)| {
                    self.pods
                        .get(key)
                        .is_some_and(|one| one.place == Place::BackingOff { error: false })
                })
                .map(|(_, key)| key.clone())?,
        };
        let mut waiting = self.take(&key)?;
        waiting.place = Place::BeingScheduled;
        waiting.attempts = waiting.attempts.saturating_add(1);
        let pod = Arc::clone(&waiting.pod);
        self.put(waiting);
        Some(pod)
    }

    /// The pod goes nowhere for now.
    pub(crate) fn unschedulable(&mut self, key: &ObjectKey, plugins: BTreeSet<Plugin>) {
        let now = Instant::now();
        self.back(
            key,
            Place::Unschedulable {
                plugins,
                until: now + PATIENCE,
            },
        );
    }

    /// Something went wrong.
    pub(crate) fn failed(&mut self, key: &ObjectKey) {
        self.back(key, Place::BackingOff { error: true });
    }

    fn back(&mut self, key: &ObjectKey, place: Place) {
        if let Some(mut waiting) = self.take(key) {
            waiting.ready_at = Instant::now() + BACKOFF.after(waiting.attempts);
            waiting.place = place;
            self.put(waiting);
        }
    }

    /// When a pod becomes due by the mere passing of time.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, priority: i32) -> Arc<PodInfo> {
        let pod = serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "default", "uid": name},
            "spec": {"containers": [], "priority": priority},
        }))
        .unwrap();
        Arc::new(PodInfo::new(Arc::new(pod)))
    }

    fn pop(queue: &mut Queue) -> Option<String> {
        queue.pop().map(|pod| pod.key.name.clone())
    }

    #[tokio::test(start_paused = true)]
    async fn priority_goes_before_age() {
        let mut queue = Queue::default();
        queue.add(pod("old", 0));
        tokio::time::advance(Duration::from_secs(1)).await;
        queue.add(pod("young", 0));
        queue.add(pod("important", 100));
        let order: Vec<_> = std::iter::from_fn(|| pop(&mut queue)).collect();
        assert_eq!(order, ["important", "old", "young"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unschedulable_pod_waits_for_what_may_help_it() {
        let mut queue = Queue::default();
        queue.add(pod("a", 0));
        let key = ObjectKey::new("default", "a");
        for (plugin, hint, helps) in [
            (Plugin::NodeResourcesFit, Hint::PodPlaced, false),
            (Plugin::NodeResourcesFit, Hint::PodGone, true),
            (Plugin::TaintToleration, Hint::PodGone, false),
            (Plugin::TaintToleration, Hint::Node, true),
            (Plugin::InterPodAffinity, Hint::PodPlaced, true),
        ] {
            assert_eq!(pop(&mut queue).as_deref(), Some("a"));
            queue.unschedulable(&key, BTreeSet::from([plugin]));
            queue.hint(hint);
            let woken = pop(&mut queue).is_some();
            assert_eq!(woken, helps, "{plugin:?} {hint:?}");
            queue.unschedulable(&key, BTreeSet::from([plugin]));
            queue.hint(Hint::Node);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_unschedulable_pod_is_tried_again_after_five_minutes_and_a_failed_one_after_its_back_off() {
        let mut queue = Queue::default();
        queue.add(pod("a", 0));
        let key = ObjectKey::new("default", "a");
        assert!(pop(&mut queue).is_some());
        queue.unschedulable(&key, BTreeSet::from([Plugin::NodeAffinity]));
        assert_eq!(pop(&mut queue), None);
        tokio::time::advance(PATIENCE).await;
        assert!(pop(&mut queue).is_some());
        queue.failed(&key);
        assert_eq!(pop(&mut queue), None);
        assert_eq!(queue.next_due(), Some(Instant::now() + Duration::from_secs(2)));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(pop(&mut queue).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_in_back_off_lets_active_ones_go_first_but_does_not_wait_for_nothing() {
        let mut queue = Queue::default();
        queue.add(pod("a", 0));
        assert!(pop(&mut queue).is_some());
        queue.unschedulable(
            &ObjectKey::new("default", "a"),
            BTreeSet::from([Plugin::NodeResourcesFit]),
        );
        queue.hint(Hint::Node);
        queue.add(pod("b", 0));
        assert_eq!(pop(&mut queue).as_deref(), Some("b"));
        assert_eq!(pop(&mut queue).as_deref(), Some("a"));
    }
}
