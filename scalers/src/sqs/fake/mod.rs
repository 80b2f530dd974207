//! An in-memory SQS: the real protocol under the unmodified SDK client, in tokio's time.
//!
//! [`FakeSqs`] is an HTTP client of the SDK (a `HttpClient`), so requests are built, signed, parsed and timed out by the SDK itself and no socket is
//! opened. Standard and FIFO queues behave as SQS documents them: visibility timeouts, delays, retention, long polls, message
//! groups that are blocked while one of their messages is in flight, deduplication for five minutes. Counts are exact.
//!
//! All time is tokio's, so a paused clock gives virtual time; ids come from a seed, state is ordered, and nothing depends on
//! threads: the same calls in the same order give the same bytes.
//!
//! ```
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use scaler_api::{Context, SystemClock};
//! use scalers::{aws::AwsEnvironment, sqs::fake::{FakeSqs, QueueOptions}};
//!
//! let sqs = FakeSqs::new(7, "2026-01-01T00:00:00Z".parse()?);
//! let url = "https://sqs.eu-west-1.amazonaws.com/123456789012/orders";
//! let queue = sqs.create_queue(url, QueueOptions::default());
//! queue.send("hello", None, None);
//! // Scalers that are connected with this context read this queue.
//! let context = Context::new().with(AwsEnvironment::in_memory(sqs.clone(), Arc::new(SystemClock)));
//! # let _ = context; Ok(()) }
//! ```
//!
//! Not modelled: dead-letter queues, policies and tags, encryption, per-group deduplication, signatures (an access key may be
//! [refused](FakeSqs::allow_only_access_keys), but no signature is checked), duplicates and disorder of standard queues.

mod changes;
mod connector;
mod error;
mod handle;
mod md5;
mod model;
mod protocol;
mod queue;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

pub use self::{
    changes::Changes,
    handle::{Message, QueueHandle},
    model::{Counts, QueueOptions, Totals},
};
use self::{changes::Counter, error::ApiError, queue::Queue};

/// How an endpoint fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outage {
    /// Connections are refused.
    Unreachable,
    /// Every answer is an internal error.
    Error500,
    /// No answer ever comes.
    Hang,
    /// Every answer asks to slow down.
    Throttle,
    /// Every answer denies access.
    Deny,
}

/// The endpoint; clones are handles to the same one.
#[derive(Clone)]
pub struct FakeSqs {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changes: Counter,
    start: Timestamp,
    origin: Instant,
}

struct State {
    queues: BTreeMap<String, Entry>,
    outage: Option<Outage>,
    outages: BTreeMap<String, Outage>,
    access_keys: Option<BTreeSet<String>>,
    requests: BTreeMap<String, u64>,
    ids: Ids,
}

struct Entry {
    queue: Queue,
    changes: Counter,
}

impl FakeSqs {
    /// An endpoint without queues. Call it inside the runtime whose clock it follows; `start` is the time of day now.
    #[must_use]
    pub fn new(seed: u64, start: Timestamp) -> Self {
        let state = State {
            queues: BTreeMap::new(),
            outage: None,
            outages: BTreeMap::new(),
            access_keys: None,
            requests: BTreeMap::new(),
            ids: Ids { seed, drawn: 0 },
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                changes: Counter::default(),
                start,
                origin: Instant::now(),
            }),
        }
    }

    /// Adds a queue under its whole URL, or gives the one that is there, whatever its options.
    pub fn create_queue(&self, url: &str, options: QueueOptions) -> QueueHandle {
        let now = self.now();
        self.lock().queues.entry(url.to_owned()).or_insert_with(|| Entry {
            queue: Queue::new(options, now),
            changes: Counter::default(),
        });
        self.shared.changes.add();
        QueueHandle::new(self.clone(), url)
    }

    /// The queue at `url`.
    #[must_use]
    pub fn queue(&self, url: &str) -> Option<QueueHandle> {
        self.lock()
            .queues
            .contains_key(url)
            .then(|| QueueHandle::new(self.clone(), url))
    }

    /// The URLs of all queues, sorted.
    #[must_use]
    pub fn queue_urls(&self) -> Vec<String> {
        self.lock().queues.keys().cloned().collect()
    }

    /// Makes requests for the queue at `url`, or all requests, fail in the way of `outage`, or work again.
    ///
    /// Only requests that come over HTTP fail: [`QueueHandle`]s work on, so that a story can cut off the autoscaler and leave
    /// the consumers alone. A story that cuts off both asks [`FakeSqs::outage`] before it uses a handle.
    pub fn set_outage(&self, url: Option<&str>, outage: Option<Outage>) {
        let mut state = self.lock();
        match (url, outage) {
            (None, outage) => state.outage = outage,
            (Some(url), Some(outage)) => {
                state.outages.insert(url.to_owned(), outage);
            }
            (Some(url), None) => {
                state.outages.remove(url);
            }
        }
        drop(state);
        self.shared.changes.add();
    }

    /// How requests for the queue at `url` fail at present.
    #[must_use]
    pub fn outage(&self, url: &str) -> Option<Outage> {
        let state = self.lock();
        state.outage.or_else(|| state.outages.get(url).copied())
    }

    /// Makes the queue at `url` report these counts whatever messages it has, creating it if need be.
    pub fn set_depth(&self, url: &str, visible: u64, in_flight: u64, delayed: u64) {
        self.create_queue(url, QueueOptions::default())
            .script(Some(Counts {
                visible,
                in_flight,
                delayed,
            }));
    }

    /// Refuses every access key but these.
    pub fn allow_only_access_keys(&self, keys: impl IntoIterator<Item = impl Into<String>>) {
        self.lock().access_keys = Some(keys.into_iter().map(Into::into).collect());
    }

    /// Requests received over HTTP so far, by action, those that failed included.
    #[must_use]
    pub fn requests(&self) -> BTreeMap<String, u64> {
        self.lock().requests.clone()
    }

    /// Tells of every change of any queue or outage that somebody makes from now on; of messages that become visible by
    /// the passing of time it does not (see [`QueueHandle::counts_differ`]).
    #[must_use]
    pub fn changes(&self) -> Changes {
        self.shared.changes.subscribe()
    }

    /// Time since the start.
    fn now(&self) -> Duration {
        self.shared.origin.elapsed()
    }

    /// The time of day at `elapsed` after the start.
    fn time_of_day(&self, elapsed: Duration) -> Timestamp {
        let elapsed = SignedDuration::try_from(elapsed).unwrap_or(SignedDuration::MAX);
        self.shared
            .start
            .saturating_add(elapsed)
            .unwrap_or(Timestamp::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `read` with the queue at `url`.
    fn read<T>(&self, url: &str, read: impl FnOnce(&mut Queue, Duration) -> T) -> Result<T, ApiError> {
        let now = self.now();
        let mut state = self.lock();
        let entry = state
            .queues
            .get_mut(url)
            .ok_or_else(ApiError::queue_does_not_exist)?;
        Ok(read(&mut entry.queue, now))
    }

    /// Calls `change` with the queue at `url`, and tells everybody who waits for changes.
    fn change<T>(
        &self,
        url: &str,
        change: impl FnOnce(&mut Queue, Duration, &mut Ids) -> T,
    ) -> Result<T, ApiError> {
        let now = self.now();
        let mut state = self.lock();
        let State { queues, ids, .. } = &mut *state;
        let entry = queues.get_mut(url).ok_or_else(ApiError::queue_does_not_exist)?;
        let result = change(&mut entry.queue, now, ids);
        entry.changes.add();
        drop(state);
        self.shared.changes.add();
        Ok(result)
    }

    /// Waits until the queue at `url` changes by anybody's doing (its deletion too) or by time, or until `deadline`.
    ///
    /// `changes` was subscribed to before the queue was last looked at, so that nothing is missed.
    async fn changed(
        &self,
        url: &str,
        changes: &mut Changes,
        deadline: Option<Duration>,
    ) -> Result<(), ApiError> {
        let due = self.read(url, |queue, _| queue.next_due())?;
        let wake = due.into_iter().chain(deadline).min();
        let timer = async {
            match wake {
                Some(at) => tokio::time::sleep_until(self.shared.origin + at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = changes.changed() => {}
            () = timer => {}
        }
        Ok(())
    }

    fn subscribe(&self, url: &str) -> Result<Changes, ApiError> {
        let state = self.lock();
        let entry = state.queues.get(url).ok_or_else(ApiError::queue_does_not_exist)?;
        Ok(entry.changes.subscribe())
    }
}

impl fmt::Debug for FakeSqs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeSqs")
            .field("queues", &self.queue_urls())
            .finish_non_exhaustive()
    }
}

/// Draws ids in the shape of UUIDs from a seed.
#[derive(Clone, Copy, Debug)]
struct Ids {
    seed: u64,
    drawn: u64,
}

impl Ids {
    fn next(&mut self) -> String {
        self.drawn += 1;
        let high = split_mix(self.seed ^ split_mix(self.drawn));
        let low = split_mix(high ^ self.drawn);
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            ((low >> 48) & 0x3fff) | 0x8000,
            low & 0xffff_ffff_ffff
        )
    }
}

/// Steele, Lea and Flood's SplitMix64: a bijection that scatters consecutive numbers.
fn split_mix(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests;
