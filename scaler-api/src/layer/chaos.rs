//! Failures and delays on purpose, the same ones for the same seed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;

use super::Layer;
use crate::{Error, ErrorKind, PushScaler, Sample, Scaler};

/// Makes some samples late and some fail. Scalers that are wrapped one after the other get different sequences, each
/// determined by the seed.
#[derive(Debug)]
pub struct Chaos {
    seed: u64,
    wrapped: AtomicU64,
    plan: Plan,
}

#[derive(Clone, Debug)]
struct Plan {
    error_rate: f64,
    kinds: Vec<ErrorKind>,
    longest_delay: Duration,
}

impl Chaos {
    /// No failures and no delays yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let plan = Plan {
            error_rate: 0.0,
            kinds: vec![ErrorKind::Unavailable],
            longest_delay: Duration::ZERO,
        };
        Self {
            seed,
            wrapped: AtomicU64::new(0),
            plan,
        }
    }

    /// The share of samples that fail, from 0 to 1.
    #[must_use]
    pub fn with_errors(mut self, rate: f64) -> Self {
        self.plan.error_rate = rate;
        self
    }

    /// The kinds of failures, each as likely as the other; [`ErrorKind::Unavailable`] alone by default.
    #[must_use]
    pub fn with_kinds(mut self, kinds: impl IntoIterator<Item = ErrorKind>) -> Self {
        self.plan.kinds = kinds.into_iter().collect();
        self
    }

    /// Samples are late by up to this time.
    #[must_use]
    pub fn with_delays(mut self, longest: Duration) -> Self {
        self.plan.longest_delay = longest;
        self
    }
}

impl Layer for Chaos {
    fn layer(&self, inner: Arc<dyn Scaler>) -> Arc<dyn Scaler> {
        let sequence = self.wrapped.fetch_add(1, Ordering::Relaxed);
        let state = AtomicU64::new(mix(self.seed ^ mix(sequence)));
        Arc::new(ChaosScaler {
            inner,
            plan: self.plan.clone(),
            state,
        })
    }
}

#[derive(Debug)]
struct ChaosScaler {
    inner: Arc<dyn Scaler>,
    plan: Plan,
    state: AtomicU64,
}

/// The increment of SplitMix64, an odd number near 2^64 over the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output function of SplitMix64: every bit of the input touches every bit of the output.
fn mix(mut value: u64) -> u64 {
    value = value.wrapping_add(STEP);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl ChaosScaler {
    fn next(&self) -> u64 {
        mix(self.state.fetch_add(STEP, Ordering::Relaxed))
    }

    /// From 0 up to, but without, 1.
    fn next_fraction(&self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The failure of this sample, if it shall fail. Every sample draws as often, whatever comes of it, so that one
    /// plan's change leaves the rest of the sequence alone.
    fn next_failure(&self) -> Option<Error> {
        let fails = self.next_fraction() < self.plan.error_rate;
        let choice = self.next();
        let count = u64::try_from(self.plan.kinds.len())
            .ok()
            .filter(|count| fails && *count > 0)?;
        let kind = usize::try_from(choice % count)
            .ok()
            .and_then(|index| self.plan.kinds.get(index))?;
        Some(Error::new(*kind, "failure on purpose"))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Scaler for ChaosScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        let delay = self.plan.longest_delay.mul_f64(self.next_fraction());
        let failure = self.next_failure();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        match failure {
            Some(error) => Err(error),
            None => self.inner.sample().await,
        }
    }

    fn push(&self) -> Option<&dyn PushScaler> {
        self.inner.push()
    }
}
