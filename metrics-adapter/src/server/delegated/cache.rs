//! Answers that hold for a while: bounded, least recently used go first, one question at a time per key.

use std::{
    fmt,
    hash::{BuildHasherDefault, Hasher},
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lru::LruCache;
use tokio::time::Instant;

use super::user::Digest;

/// Answers by the hash of what was asked.
pub(super) struct AnswerCache<V> {
    slots: Mutex<LruCache<Digest, Arc<Slot<V>>, BuildHasherDefault<Prefix>>>,
}

struct Slot<V> {
    answer: Mutex<Option<(V, Instant)>>,
    /// Held by the one who asks; the others wait and find its answer.
    asking: tokio::sync::Mutex<()>,
}

impl<V> fmt::Debug for AnswerCache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerCache").finish_non_exhaustive()
    }
}

impl<V: Clone> AnswerCache<V> {
    pub(super) fn new(capacity: NonZeroUsize) -> Self {
        let slots = LruCache::with_hasher(capacity, BuildHasherDefault::default());
        Self {
            slots: Mutex::new(slots),
        }
    }

    /// The answer under `key`, by `ask` if there is none that still holds. `ask` says how long its answer holds.
    ///
    /// # Cancel safety
    /// If the one who asks goes away, the next one who waits asks anew.
    pub(super) async fn get_or_ask(&self, key: Digest, ask: impl Future<Output = (V, Duration)>) -> V {
        let slot = self.slot(&key);
        if let Some(answer) = slot.fresh() {
            return answer;
        }
        let _asking = slot.asking.lock().await;
        if let Some(answer) = slot.fresh() {
            return answer;
        }
        let (answer, holds) = ask.await;
        let until = Instant::now() + holds;
        *slot.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some((answer.clone(), until));
        answer
    }

    fn slot(&self, key: &Digest) -> Arc<Slot<V>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.get_or_insert(*key, || {
            Arc::new(Slot {
                answer: Mutex::new(None),
                asking: tokio::sync::Mutex::new(()),
            })
        });
        Arc::clone(slot)
    }
}

impl<V: Clone> Slot<V> {
    fn fresh(&self) -> Option<V> {
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        match &*answer {
            Some((answer, until)) if Instant::now() < *until => Some(answer.clone()),
            _ => None,
        }
    }
}

/// The first octets of what is a hash already.
#[derive(Default)]
struct Prefix(u64);

impl Hasher for Prefix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, octets: &[u8]) {
        if let Some(prefix) = octets.first_chunk() {
            self.0 ^= u64::from_le_bytes(*prefix);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures::future::join_all;
    use tokio::time::{advance, sleep};

    use super::*;

    const HOLDS: Duration = Duration::from_secs(10);

    fn cache(capacity: usize) -> AnswerCache<u32> {
        AnswerCache::new(NonZeroUsize::new(capacity).unwrap())
    }

    fn key(octet: u8) -> Digest {
        [octet; 32]
    }

    async fn ask(asked: &AtomicU32) -> (u32, Duration) {
        sleep(Duration::from_millis(5)).await;
        (asked.fetch_add(1, Ordering::Relaxed) + 1, HOLDS)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_holds_for_its_time_and_not_longer() {
        let (cache, asked) = (cache(8), AtomicU32::new(0));
        assert_eq!(cache.get_or_ask(key(1), ask(&asked)).await, 1);
        advance(HOLDS - Duration::from_millis(1)).await;
        assert_eq!(cache.get_or_ask(key(1), ask(&asked)).await, 1);
        advance(Duration::from_millis(1)).await;
        assert_eq!(cache.get_or_ask(key(1), ask(&asked)).await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_who_want_to_know_the_same_ask_once() {
        let (cache, asked) = (cache(8), AtomicU32::new(0));
        let answers = join_all((0..100).map(|_| cache.get_or_ask(key(1), ask(&asked)))).await;
        assert_eq!(answers, vec![1; 100]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_while_asking_leaves_it_to_the_next() {
        let (cache, asked) = (cache(8), AtomicU32::new(0));
        let gone =
            tokio::time::timeout(Duration::from_millis(1), cache.get_or_ask(key(1), ask(&asked))).await;
        assert!(gone.is_err());
        assert_eq!(cache.get_or_ask(key(1), ask(&asked)).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_least_recently_used_answer_makes_room() {
        let (cache, asked) = (cache(2), AtomicU32::new(0));
        for (octet, expected) in [(1, 1), (2, 2), (1, 1), (3, 3), (1, 1), (2, 4)] {
            assert_eq!(
                cache.get_or_ask(key(octet), ask(&asked)).await,
                expected,
                "{octet}"
            );
        }
    }
}
