//! The work queue.
//!
//! Keys are de-duplicated while they wait, handed out in the order of their arrival, and never worked on twice at the
//! same time: a key that is added while it is being worked on comes again afterwards. Delayed keys stand in one ordered
//! set, so ten thousand of them cost one timer. Failures come back after an exponential back-off per key.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    future::Future,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::{sync::Notify, time::Instant};

use crate::work::{Depth, Turns};

/// What to do with a key after it was worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing until it is added again.
    Await,
    /// Work on it again after this time, unless it is added earlier.
    RequeueAfter(Duration),
}

/// How long a key waits after failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// At most.
    pub last: Duration,
}

impl Backoff {
    /// controller-runtime's: 5 ms doubling to 1000 s.
    pub const CONTROLLER: Self = Self {
        first: Duration::from_millis(5),
        last: Duration::from_secs(1000),
    };

    /// The wait after `failures` failures in a row, counted from 1.
    #[must_use]
    pub fn after(self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doublings).min(self.last)
    }
}

/// A queue of keys. Clones share it.
pub struct WorkQueue<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    state: Mutex<State<K>>,
    changed: Notify,
    backoff: Backoff,
    turns: OnceLock<Turns>,
}

struct State<K> {
    waiting: VecDeque<K>,
    queued: BTreeSet<K>,
    working: BTreeSet<K>,
    /// Added while being worked on.
    again: BTreeSet<K>,
    delayed: BTreeSet<(Instant, u64, K)>,
    delays: BTreeMap<K, (Instant, u64)>,
    failures: BTreeMap<K, u32>,
    sequence: u64,
    closed: bool,
}

impl<K> Clone for WorkQueue<K> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<K> fmt::Debug for WorkQueue<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("WorkQueue")
            .field("waiting", &state.waiting.len())
            .field("delayed", &state.delayed.len())
            .field("working", &state.working.len())
            .finish()
    }
}

impl<K: Ord + Clone> Default for WorkQueue<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Ord + Clone> WorkQueue<K> {
    /// An empty queue with controller-runtime's back-off.
    #[must_use]
    pub fn new() -> Self {
        Self::with_backoff(Backoff::CONTROLLER)
    }

    /// An empty queue with a back-off of its own.
    #[must_use]
    pub fn with_backoff(backoff: Backoff) -> Self {
        let state = State {
            waiting: VecDeque::new(),
            queued: BTreeSet::new(),
            working: BTreeSet::new(),
            again: BTreeSet::new(),
            delayed: BTreeSet::new(),
            delays: BTreeMap::new(),
            failures: BTreeMap::new(),
            sequence: 0,
            closed: false,
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                changed: Notify::new(),
                backoff,
                turns: OnceLock::new(),
            }),
        }
    }

    fn with_state<T>(&self, change: impl FnOnce(&mut State<K>) -> T) -> T {
        change(&mut self.shared.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a key now; a delay that it had is over.
    pub fn add(&self, key: K) {
        self.with_state(|state| state.enqueue(key));
        self.shared.changed.notify_one();
    }

    /// Adds a key after `delay`. Of two delays the earlier one counts.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        self.with_state(|state| state.delay(key, Instant::now() + delay));
        self.shared.changed.notify_one();
    }

    /// Drops a waiting or delayed key and its failures, e.g. because its object is gone.
    pub fn remove(&self, key: &K) {
        self.with_state(|state| {
            state.undelay(key);
            state.failures.remove(key);
            state.again.remove(key);
            if state.queued.remove(key) {
                state.waiting.retain(|waiting| waiting != key);
            }
        });
    }

    /// Forgets what waits, is delayed, has failed, or was being worked on by a [`run`](WorkQueue::run) that was
    /// dropped, and starts over with `keys`.
    pub fn restart(&self, keys: impl IntoIterator<Item = K>) {
        self.with_state(|state| {
            state.waiting.clear();
            state.queued.clear();
            state.working.clear();
            state.again.clear();
            state.delayed.clear();
            state.delays.clear();
            state.failures.clear();
            keys.into_iter().for_each(|key| state.enqueue(key));
        });
        self.shared.changed.notify_one();
    }

    /// Takes keys and does nothing with them until dropped, so that they do not gather where nobody works.
    pub(crate) async fn discard(&self) {
        while let Some(key) = self.next().await {
            self.done(&key, Action::Await);
        }
    }

    /// Tells `turns` how long each turn of [`run`](Self::run) takes from now on; once.
    pub(crate) fn time_turns(&self, turns: Turns) {
        self.shared.turns.get_or_init(|| turns);
    }

    /// How many keys there are.
    #[must_use]
    pub fn depth(&self) -> Depth {
        self.with_state(|state| Depth {
            waiting: state.waiting.len(),
            delayed: state.delayed.len(),
            working: state.working.len(),
        })
    }

    /// How many keys wait or are delayed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.with_state(|state| state.waiting.len() + state.delayed.len())
    }

    /// Whether no key waits or is delayed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends [`next`](WorkQueue::next) and [`run`](WorkQueue::run) once what is being worked on is done.
    pub fn close(&self) {
        self.with_state(|state| state.closed = true);
        self.shared.changed.notify_one();
    }

    /// The next key, or none once the queue was closed. Call [`done`](WorkQueue::done) or
    /// [`failed`](WorkQueue::failed) with it afterwards. For one consumer at a time.
    ///
    /// Cancel safe: a key is taken only when it is returned.
    pub async fn next(&self) -> Option<K> {
        loop {
            let due = self.with_state(|state| state.take(Instant::now()));
            let timer = match due {
                Taken::Key(key) => return Some(key),
                Taken::Closed => return None,
                Taken::Nothing(timer) => timer,
            };
            let changed = self.shared.changed.notified();
            match timer {
                Some(at) => {
                    tokio::select! {
                        biased;
                        () = changed => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    /// A key was worked on with success.
    pub fn done(&self, key: &K, action: Action) {
        self.with_state(|state| {
            state.failures.remove(key);
            state.release(key);
            if let Action::RequeueAfter(delay) = action {
                state.delay(key.clone(), Instant::now() + delay);
            }
        });
        self.shared.changed.notify_one();
    }

    /// A key was worked on without success; it comes back after its back-off, which is returned.
    pub fn failed(&self, key: &K) -> Duration {
        let delay = self.with_state(|state| {
            let failures = state.failures.entry(key.clone()).or_insert(0);
            *failures = failures.saturating_add(1);
            let delay = self.shared.backoff.after(*failures);
            state.release(key);
            state.delay(key.clone(), Instant::now() + delay);
            delay
        });
        self.shared.changed.notify_one();
        delay
    }

    /// Works on keys, at most `concurrency` at once, until the queue is closed.
    ///
    /// An error brings the key back after its back-off; `reconcile` says what it has to say about it itself.
    pub async fn run<F, Fut, E>(&self, concurrency: usize, mut reconcile: F)
    where
        F: FnMut(K) -> Fut,
        Fut: Future<Output = Result<Action, E>>,
        E: fmt::Display,
    {
        let mut working = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some((key, since, result)) = working.next(), if !working.is_empty() => {
                    self.finish(&key, since, result);
                }
                next = self.next(), if working.len() < concurrency.max(1) => {
                    let Some(key) = next else { break };
                    let (since, work) = (Instant::now(), reconcile(key.clone()));
                    working.push(async move { (key, since, work.await) });
                }
            }
        }
        while let Some((key, since, result)) = working.next().await {
            self.finish(&key, since, result);
        }
    }

    fn finish<E: fmt::Display>(&self, key: &K, since: Instant, result: Result<Action, E>) {
        if let Some(turns) = self.shared.turns.get() {
            turns.observe(since.elapsed(), result.is_ok());
        }
        match result {
            Ok(action) => self.done(key, action),
            Err(error) => {
                let delay = self.failed(key);
                tracing::debug!(%error, ?delay, "failed, trying again");
            }
        }
    }
}

enum Taken<K> {
    Key(K),
    Nothing(Option<Instant>),
    Closed,
}

impl<K: Ord + Clone> State<K> {
    fn enqueue(&mut self, key: K) {
        self.undelay(&key);
        if self.working.contains(&key) {
            self.again.insert(key);
        } else if self.queued.insert(key.clone()) {
            self.waiting.push_back(key);
        }
    }

    fn delay(&mut self, key: K, at: Instant) {
        if self.queued.contains(&key) || self.again.contains(&key) {
            return;
        }
        if self.delays.get(&key).is_some_and(|(known, _)| *known <= at) {
            return;
        }
        self.undelay(&key);
        self.sequence += 1;
        self.delays.insert(key.clone(), (at, self.sequence));
        self.delayed.insert((at, self.sequence, key));
    }

    fn undelay(&mut self, key: &K) {
        if let Some((at, sequence)) = self.delays.remove(key) {
            self.delayed.remove(&(at, sequence, key.clone()));
        }
    }

    fn release(&mut self, key: &K) {
        self.working.remove(key);
        if self.again.remove(key) {
            self.enqueue(key.clone());
        }
    }

    fn take(&mut self, now: Instant) -> Taken<K> {
        if self.closed {
            return Taken::Closed;
        }
        while self.delayed.first().is_some_and(|(at, _, _)| *at <= now) {
            let Some((_, _, key)) = self.delayed.pop_first() else {
                break;
            };
            self.delays.remove(&key);
            self.enqueue(key);
        }
        match self.waiting.pop_front() {
            Some(key) => {
                self.queued.remove(&key);
                self.working.insert(key.clone());
                Taken::Key(key)
            }
            None => Taken::Nothing(self.delayed.first().map(|(at, _, _)| *at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn next_now(queue: &WorkQueue<&'static str>) -> Option<&'static str> {
        tokio::time::timeout(Duration::ZERO, queue.next())
            .await
            .ok()
            .flatten()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_added_twice_is_handed_out_once() {
        let queue = WorkQueue::new();
        queue.add("a");
        queue.add("b");
        queue.add("a");
        assert_eq!(next_now(&queue).await, Some("a"));
        assert_eq!(next_now(&queue).await, Some("b"));
        assert_eq!(next_now(&queue).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_added_while_worked_on_comes_again_only_after_it_is_done() {
        let queue = WorkQueue::new();
        queue.add("a");
        assert_eq!(next_now(&queue).await, Some("a"));
        queue.add("a");
        assert_eq!(next_now(&queue).await, None);
        queue.done(&"a", Action::Await);
        assert_eq!(next_now(&queue).await, Some("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn delayed_keys_come_in_the_order_of_their_time_and_the_earlier_delay_counts() {
        let queue = WorkQueue::new();
        let start = Instant::now();
        queue.add_after("late", Duration::from_secs(20));
        queue.add_after("early", Duration::from_secs(10));
        queue.add_after("late", Duration::from_secs(15));
        queue.add_after("early", Duration::from_secs(30));
        assert_eq!(queue.next().await, Some("early"));
        assert_eq!(start.elapsed(), Duration::from_secs(10));
        assert_eq!(queue.next().await, Some("late"));
        assert_eq!(start.elapsed(), Duration::from_secs(15));
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_back_off_per_key_until_a_success() {
        let queue = WorkQueue::new();
        for expected in [5, 10, 20] {
            queue.add("a");
            assert_eq!(queue.next().await, Some("a"));
            assert_eq!(queue.failed(&"a"), Duration::from_millis(expected));
        }
        queue.add("a");
        assert_eq!(queue.next().await, Some("a"));
        queue.done(&"a", Action::Await);
        queue.add("a");
        assert_eq!(queue.next().await, Some("a"));
        assert_eq!(queue.failed(&"a"), Duration::from_millis(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_hands_out_again_what_was_being_worked_on() {
        let queue = WorkQueue::new();
        queue.add("a");
        queue.add("b");
        queue.add_after("c", Duration::from_secs(1));
        let mut run = Box::pin(queue.run(1, |_| std::future::pending::<Result<Action, String>>()));
        assert!(futures::poll!(&mut run).is_pending());
        drop(run);
        queue.restart(["b", "a"]);
        assert_eq!(next_now(&queue).await, Some("b"));
        assert_eq!(next_now(&queue).await, Some("a"));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(next_now(&queue).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn run_bounds_concurrency_and_ends_when_closed() {
        let queue = WorkQueue::new();
        for key in 0..6 {
            queue.add(key);
        }
        let active = std::cell::Cell::new((0, 0));
        let work = queue.run(2, |_| async {
            active.set((active.get().0 + 1, active.get().1.max(active.get().0 + 1)));
            tokio::time::sleep(Duration::from_secs(1)).await;
            active.set((active.get().0 - 1, active.get().1));
            Ok::<_, String>(Action::Await)
        });
        let stop = async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            queue.close();
        };
        futures::join!(work, stop);
        assert_eq!(active.get(), (0, 2));
    }
}
