//! One round after the other: 0 -> 50 -> 0.

use std::time::Duration;

use rand::RngExt as _;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::{
    followed::{Followed, Seen},
    workload::{BUSY, HPA_SYNC_PERIOD, POLLING_INTERVAL, REPLICAS, Source},
};

/// What was timed in a round, in seconds since the value changed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Round {
    /// To `spec.replicas` of at least 1, from 0 -> 50.
    pub(super) first_replica: f64,
    /// To `spec.replicas` of at least 10, from 0 -> 50.
    pub(super) ten_replicas: f64,
    /// To `status.readyReplicas` of at least 10, from 0 -> 50.
    pub(super) ten_ready: f64,
    /// To `spec.replicas` of 0, from 50 -> 0.
    pub(super) back_to_zero: f64,
    /// Each number of replicas on the way up, and when it was asked for.
    pub(super) steps: Vec<(i32, f64)>,
}

/// The way up, as it is told.
#[derive(Debug, Default)]
pub(super) struct Ascent {
    steps: Vec<(i32, f64)>,
    ready: Option<f64>,
}

impl Ascent {
    /// Takes note of what was seen `seconds` after the value changed; whether that was the end.
    fn note(&mut self, seen: &Seen, seconds: f64) -> bool {
        let last = self.steps.last().map_or(0, |(replicas, _)| *replicas);
        if seen.wanted != last {
            self.steps.push((seen.wanted, seconds));
        }
        if seen.ready >= REPLICAS && self.ready.is_none() {
            self.ready = Some(seconds);
        }
        self.ready.is_some() && self.reached(REPLICAS).is_some()
    }

    /// When at least so many replicas were asked for.
    fn reached(&self, replicas: i32) -> Option<f64> {
        let step = self.steps.iter().find(|(wanted, _)| *wanted >= replicas);
        step.map(|(_, seconds)| *seconds)
    }
}

/// Rounds at random moments.
#[derive(Debug)]
pub(super) struct Rounds<'a> {
    source: &'a Source,
    replicas: &'a mut Followed,
    random: ChaCha8Rng,
}

impl<'a> Rounds<'a> {
    /// Rounds of a source and a Deployment that are at rest.
    pub(super) fn new(source: &'a Source, replicas: &'a mut Followed, seed: u64) -> Self {
        Self {
            source,
            replicas,
            random: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// One round, after which everything is at rest again.
    pub(super) async fn next(&mut self) -> anyhow::Result<Round> {
        self.pause(HPA_SYNC_PERIOD).await;
        let begin = self.step(BUSY);
        let mut ascent = Ascent::default();
        loop {
            let seen = self.replicas.next().await?;
            if ascent.note(&seen, seconds(begin, &seen)) {
                break;
            }
        }
        self.pause(POLLING_INTERVAL).await;
        let end = self.step(0);
        let rest = self.replicas.until(|seen| seen.wanted == 0).await?;
        if rest.existing > 0 {
            self.replicas.until(|seen| seen.existing == 0).await?;
        }
        let never = f64::NAN;
        Ok(Round {
            first_replica: ascent.reached(1).unwrap_or(never),
            ten_replicas: ascent.reached(REPLICAS).unwrap_or(never),
            ten_ready: ascent.ready.unwrap_or(never),
            back_to_zero: seconds(end, &rest),
            steps: ascent.steps,
        })
    }

    fn step(&self, value: u64) -> Instant {
        self.source.set(value);
        Instant::now()
    }

    /// Any time up to `longest`.
    async fn pause(&mut self, longest: Duration) {
        sleep(longest.mul_f64(self.random.random_range(0.0..1.0))).await;
    }
}

fn seconds(since: Instant, seen: &Seen) -> f64 {
    seen.at.saturating_duration_since(since).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ascent_ends_when_ten_replicas_are_wanted_and_ready() {
        let mut ascent = Ascent::default();
        let at = Instant::now();
        let mut note = |wanted, ready, seconds| {
            let seen = Seen {
                at,
                wanted,
                existing: ready,
                ready,
            };
            ascent.note(&seen, seconds)
        };
        assert!(!note(0, 0, 0.1));
        assert!(!note(1, 0, 2.0));
        assert!(!note(1, 1, 2.5));
        assert!(!note(4, 1, 9.0));
        assert!(!note(12, 1, 24.0));
        assert!(note(12, 12, 25.0));
        assert_eq!(ascent.steps, [(1, 2.0), (4, 9.0), (12, 24.0)]);
        assert_eq!(ascent.reached(REPLICAS), Some(24.0));
        assert_eq!(ascent.ready, Some(25.0));
    }
}
