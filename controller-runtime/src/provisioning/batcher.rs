//! Waits for pods to gather, so that one pass plans for all of them.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// Gathers pods: a batch ends when no new pod has come for the idle time, or after the longest time. Clones share it.
#[derive(Clone)]
pub struct Batcher {
    shared: Arc<Shared>,
    idle: Duration,
    longest: Duration,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Seen {
    pods: BTreeSet<String>,
    /// Grows with every pod that is new to the batch.
    arrivals: u64,
    /// Something other than a new pod asks for a pass.
    again: bool,
}

impl fmt::Debug for Batcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batcher")
            .field("idle", &self.idle)
            .field("longest", &self.longest)
            .finish_non_exhaustive()
    }
}

impl Batcher {
    /// A batch ends `idle` after its last new pod, and `longest` after its first.
    #[must_use]
    pub fn new(idle: Duration, longest: Duration) -> Self {
        Self {
            shared: Arc::default(),
            idle,
            longest,
        }
    }

    fn with<T>(&self, with: impl FnOnce(&mut Seen) -> T) -> T {
        with(&mut self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A pod wants a machine. The same pod again does not make a batch longer.
    pub fn trigger(&self, uid: &str) {
        let new = self.with(|seen| {
            let new = !seen.pods.contains(uid) && seen.pods.insert(uid.to_owned());
            seen.arrivals += u64::from(new);
            new
        });
        if new {
            self.shared.changed.notify_one();
        }
    }

    /// Something else has changed that may let waiting pods have a machine.
    pub fn trigger_again(&self) {
        self.with(|seen| seen.again = true);
        self.shared.changed.notify_one();
    }

    /// How many pods there are in the batch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.with(|seen| seen.pods.len())
    }

    /// Whether there is no pod in the batch.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets what came, and asks for a pass.
    pub(crate) fn restart(&self) {
        self.with(|seen| {
            *seen = Seen {
                arrivals: seen.arrivals,
                again: true,
                ..Seen::default()
            }
        });
        self.shared.changed.notify_one();
    }

    /// Waits for a batch. `until` asks for one at the latest then, even if nothing came.
    ///
    /// Cancel safe: what came meanwhile stays for the next call.
    pub async fn next(&self, until: Option<Instant>) {
        self.first(until).await;
        let end = Instant::now() + self.longest;
        loop {
            let arrivals = self.with(|seen| seen.arrivals);
            let idle = Instant::now() + self.idle;
            tokio::select! {
                biased;
                () = self.more_than(arrivals) => {}
                () = sleep_until(idle.min(end)) => break,
            }
            if Instant::now() >= end {
                break;
            }
        }
        self.with(|seen| {
            *seen = Seen {
                arrivals: seen.arrivals,
                ..Seen::default()
            }
        });
    }

    async fn first(&self, until: Option<Instant>) {
        while !self.with(|seen| seen.again || !seen.pods.is_empty()) {
            let changed = self.shared.changed.notified();
            match until {
                Some(until) => tokio::select! {
                    biased;
                    () = changed => {}
                    () = sleep_until(until) => return,
                },
                None => changed.await,
            }
        }
    }

    async fn more_than(&self, arrivals: u64) {
        while self.with(|seen| seen.arrivals) == arrivals {
            self.shared.changed.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batcher() -> Batcher {
        Batcher::new(Duration::from_secs(1), Duration::from_secs(10))
    }

    async fn length(batcher: &Batcher, feed: impl Future<Output = ()>) -> Duration {
        let start = Instant::now();
        let batch = async {
            batcher.next(None).await;
            start.elapsed()
        };
        futures::join!(batch, feed).0
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_ends_a_second_after_its_only_pod() {
        let batcher = batcher();
        batcher.trigger("a");
        assert_eq!(length(&batcher, async {}).await, Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_pod_makes_the_batch_longer_and_the_same_pod_does_not() {
        let batcher = batcher();
        batcher.trigger("a");
        let feed = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            batcher.trigger("b");
            tokio::time::sleep(Duration::from_millis(500)).await;
            batcher.trigger("a");
        };
        assert_eq!(length(&batcher, feed).await, Duration::from_millis(1500));
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_ends_after_ten_seconds_however_many_pods_come() {
        let batcher = batcher();
        batcher.trigger("0");
        let feed = async {
            for pod in 1..40 {
                tokio::time::sleep(Duration::from_millis(500)).await;
                batcher.trigger(&pod.to_string());
            }
        };
        let start = Instant::now();
        let batch = async {
            batcher.next(None).await;
            start.elapsed()
        };
        assert_eq!(futures::join!(batch, feed).0, Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_asks_for_a_batch_without_pods() {
        let start = Instant::now();
        batcher().next(Some(start + Duration::from_secs(5))).await;
        assert_eq!(start.elapsed(), Duration::from_secs(6));
    }
}
