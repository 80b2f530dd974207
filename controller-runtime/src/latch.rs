//! Something that happens once, and those who wait for it.
//!
//! `tokio::sync::watch` wakes its waiters in an order that chance decides, which would tell one run from the next; here
//! they are woken in the order in which they came.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Notify;

/// A latch. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latch {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    set: AtomicBool,
    changed: Notify,
}

impl Latch {
    /// It has happened.
    pub(crate) fn set(&self) {
        self.shared.set.store(true, Ordering::Release);
        self.shared.changed.notify_waiters();
    }

    /// Whether it has happened.
    pub(crate) fn is_set(&self) -> bool {
        self.shared.set.load(Ordering::Acquire)
    }

    /// Waits until it has happened; returns at once afterwards.
    pub(crate) async fn wait(&self) {
        let mut changed = std::pin::pin!(self.shared.changed.notified());
        // First in line, then look: nothing is missed in between.
        changed.as_mut().enable();
        if !self.is_set() {
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};

    use super::*;

    #[tokio::test]
    async fn waiters_are_woken_in_the_order_of_their_coming() {
        let latch = Latch::default();
        let mut waiting: FuturesUnordered<_> = (0..50)
            .map(|number| {
                let latch = latch.clone();
                async move {
                    latch.wait().await;
                    number
                }
            })
            .collect();
        assert!(waiting.next().now_or_never().is_none());
        latch.set();
        let order: Vec<_> = waiting.collect().await;
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(order == sorted || order.iter().rev().eq(&sorted), "{order:?}");
        latch.wait().await;
    }
}
