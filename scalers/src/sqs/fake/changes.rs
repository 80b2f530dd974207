//! That something changed, and those who wait for it.
//!
//! `tokio::sync::watch` wakes several waiters in an order that chance decides, which would tell one run from the next;
//! here they are woken in the order in which they came.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Notify;

/// Counts changes; clones share the count.
#[derive(Clone, Debug, Default)]
pub(super) struct Counter {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    count: AtomicU64,
    changed: Notify,
}

impl Counter {
    /// One more change.
    pub(super) fn add(&self) {
        self.shared.count.fetch_add(1, Ordering::AcqRel);
        self.shared.changed.notify_waiters();
    }

    /// The changes from now on.
    pub(super) fn subscribe(&self) -> Changes {
        Changes {
            seen: self.shared.count(),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl Shared {
    fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }
}

/// Tells of changes since it was last asked.
#[derive(Debug)]
pub struct Changes {
    seen: u64,
    shared: Arc<Shared>,
}

impl Changes {
    /// Whether something changed that [`Changes::changed`] has not told of.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.shared.count() != self.seen
    }

    /// Waits until something changes; returns at once if something has since the last call. Several changes in between
    /// are told of once. It may be dropped while it waits, and nothing is missed.
    pub async fn changed(&mut self) {
        let mut changed = pin!(self.shared.changed.notified());
        // First in line, then look: nothing is missed in between.
        changed.as_mut().enable();
        if self.shared.count() == self.seen {
            changed.await;
        }
        self.seen = self.shared.count();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    #[tokio::test]
    async fn waiters_are_woken_in_the_order_of_their_coming() {
        let counter = Counter::default();
        let order = Arc::new(Mutex::new(Vec::new()));
        let waiting: Vec<_> = (0..50)
            .map(|number| {
                let mut changes = counter.subscribe();
                let order = Arc::clone(&order);
                tokio::spawn(async move {
                    changes.changed().await;
                    order.lock().unwrap_or_else(PoisonError::into_inner).push(number);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        assert!(order.lock().unwrap().is_empty());
        counter.add();
        for waiter in waiting {
            waiter.await.unwrap();
        }
        assert!(order.lock().unwrap().iter().copied().eq(0..50), "{order:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_told_of_once_whether_it_came_before_or_while_waiting() {
        let counter = Counter::default();
        let mut changes = counter.subscribe();
        assert!(!changes.has_changed());
        counter.add();
        counter.add();
        assert!(changes.has_changed());
        changes.changed().await;
        assert!(!changes.has_changed());
        let second = std::time::Duration::from_secs(1);
        assert!(tokio::time::timeout(second, changes.changed()).await.is_err());
        counter.add();
        assert!(tokio::time::timeout(second, changes.changed()).await.is_ok());
    }
}
