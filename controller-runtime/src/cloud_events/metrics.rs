//! What `/metrics` says of CloudEvents, under KEDA's names.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::store::ObjectKey;

/// What was sent, and what waits. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct CloudEventMetrics {
    shared: Arc<Mutex<Counts>>,
}

/// Who sent what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sent {
    /// The source.
    pub(crate) source: ObjectKey,
    /// The namespace of the object that the event was about.
    pub(crate) namespace: String,
    /// The kind of destination.
    pub(crate) sink: &'static str,
    /// `emitted` or `failed`.
    pub(crate) state: &'static str,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sent: BTreeMap<Sent, u64>,
    pub(crate) queued: BTreeMap<ObjectKey, usize>,
}

impl CloudEventMetrics {
    pub(crate) fn counts(&self) -> MutexGuard<'_, Counts> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sent(&self, source: &ObjectKey, namespace: &str, sink: &'static str, worked: bool) {
        let sent = Sent {
            source: source.clone(),
            namespace: namespace.to_owned(),
            sink,
            state: if worked { "emitted" } else { "failed" },
        };
        *self.counts().sent.entry(sent).or_default() += 1;
    }

    pub(super) fn queued(&self, source: &ObjectKey, number: usize) {
        self.counts().queued.insert(source.clone(), number);
    }

    pub(super) fn remove(&self, source: &ObjectKey) {
        let mut counts = self.counts();
        counts.sent.retain(|sent, _| sent.source != *source);
        counts.queued.remove(source);
    }
}

impl Counts {
    /// How many wait, by the namespace of their source.
    pub(crate) fn queued_by_namespace(&self) -> BTreeMap<&str, usize> {
        let mut numbers = BTreeMap::new();
        for (source, number) in &self.queued {
            *numbers.entry(source.namespace.as_str()).or_default() += number;
        }
        numbers
    }
}
