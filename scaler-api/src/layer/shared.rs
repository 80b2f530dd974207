//! One sample for many readers.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;

use super::Layer;
use crate::{DEFAULT_SAMPLE_MAX_AGE, Error, PushScaler, Sample, Scaler};

/// A scaler that many read: a sample that is young enough is given again, and readers that come while one is being
/// taken wait for it together, whether it succeeds or fails.
///
/// # Cancel safety
/// If the reader that takes the sample is dropped, the next one that waits takes it instead.
#[derive(Debug)]
pub struct Shared {
    inner: Arc<dyn Scaler>,
    max_age: Duration,
    /// Held while a sample is taken.
    flight: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many samples were taken, failures included.
    finished: u64,
    last: Option<Outcome>,
}

#[derive(Clone, Debug)]
struct Outcome {
    result: Result<Sample, Error>,
    taken_at: Instant,
}

impl Outcome {
    fn into_result(self) -> Result<(Sample, Instant), Error> {
        self.result.map(|sample| (sample, self.taken_at))
    }
}

impl Shared {
    /// Shares `inner`; [`Scaler::sample`] accepts samples up to [`DEFAULT_SAMPLE_MAX_AGE`].
    #[must_use]
    pub fn new(inner: Arc<dyn Scaler>) -> Self {
        Self {
            inner,
            max_age: DEFAULT_SAMPLE_MAX_AGE,
            flight: tokio::sync::Mutex::new(()),
            state: Mutex::default(),
        }
    }

    /// Sets how old a sample [`Scaler::sample`] accepts.
    #[must_use]
    pub fn with_max_age(mut self, max_age: Duration) -> Self {
        self.max_age = max_age;
        self
    }

    /// A sample that is at most `max_age` old, and when it was begun; a new one if there is none. With an age of zero
    /// it is a new one, or that which others were waiting for already.
    ///
    /// # Errors
    /// Those of the scaler. A failure is shared by those who waited for it, and tried again by those who come later.
    pub async fn sample_within(&self, max_age: Duration) -> Result<(Sample, Instant), Error> {
        let finished = {
            let state = self.state();
            if let Some(young) = state.last.as_ref().filter(|last| is_young(last, max_age)) {
                return young.clone().into_result();
            }
            state.finished
        };
        let _flight = self.flight.lock().await;
        {
            // Whatever finished while this reader waited is its answer too.
            let state = self.state();
            if state.finished != finished
                && let Some(last) = &state.last
            {
                return last.clone().into_result();
            }
        }
        let taken_at = Instant::now();
        let outcome = Outcome {
            result: self.inner.sample().await,
            taken_at,
        };
        let mut state = self.state();
        state.finished += 1;
        state.last = Some(outcome.clone());
        outcome.into_result()
    }

    /// What the last sample gave, and when it was begun, however long ago; nothing is sampled.
    #[must_use]
    pub fn last(&self) -> Option<(Result<Sample, Error>, Instant)> {
        self.state().last.clone().map(|last| (last.result, last.taken_at))
    }

    /// How many samples were taken so far, failures included.
    #[must_use]
    pub fn samples_taken(&self) -> u64 {
        self.state().finished
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held, and a state is whole at any time.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Only successes count: a failure is no answer for those who come later.
fn is_young(outcome: &Outcome, max_age: Duration) -> bool {
    outcome.result.is_ok() && !max_age.is_zero() && outcome.taken_at.elapsed() <= max_age
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Scaler for Shared {
    async fn sample(&self) -> Result<Sample, Error> {
        self.sample_within(self.max_age).await.map(|(sample, _)| sample)
    }

    fn push(&self) -> Option<&dyn PushScaler> {
        self.inner.push()
    }
}

/// The layer that makes a scaler [`Shared`].
#[derive(Clone, Copy, Debug)]
pub struct Sharing {
    max_age: Duration,
}

impl Sharing {
    /// Samples are given again up to this age.
    #[must_use]
    pub fn new(max_age: Duration) -> Self {
        Self { max_age }
    }
}

impl Layer for Sharing {
    fn layer(&self, inner: Arc<dyn Scaler>) -> Arc<dyn Scaler> {
        Arc::new(Shared::new(inner).with_max_age(self.max_age))
    }
}
