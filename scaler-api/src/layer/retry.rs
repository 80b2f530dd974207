//! More attempts where an error may pass.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::Layer;
use crate::{Error, PushScaler, Sample, Scaler};

/// Repeats a sample that failed with a [transient](crate::ErrorKind::is_transient) error.
///
/// The wait doubles from attempt to attempt up to a limit, without jitter, so that the same failures give the same
/// times. A source that names a time to wait is given it; if that is beyond the limit, its error is returned at once.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    attempts: u32,
    first_wait: Duration,
    longest_wait: Duration,
}

impl Retry {
    /// At most `attempts` attempts, the first included, 100 ms to 2 s apart.
    #[must_use]
    pub fn new(attempts: u32) -> Self {
        Self {
            attempts: attempts.max(1),
            first_wait: Duration::from_millis(100),
            longest_wait: Duration::from_secs(2),
        }
    }

    /// Sets the wait after the first attempt and the longest one.
    #[must_use]
    pub fn with_backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.first_wait = first;
        self.longest_wait = longest;
        self
    }

    /// How long to wait after `error` of the attempt of this number, from 0; `None` to give up.
    fn wait_after(&self, attempt: u32, error: &Error) -> Option<Duration> {
        if !error.is_transient() || attempt + 1 >= self.attempts {
            return None;
        }
        let factor = 2_u32.checked_pow(attempt).unwrap_or(u32::MAX);
        let backoff = self.first_wait.saturating_mul(factor).min(self.longest_wait);
        match error.retry_after() {
            Some(asked) if asked > self.longest_wait => None,
            Some(asked) => Some(asked.max(backoff)),
            None => Some(backoff),
        }
    }
}

impl Layer for Retry {
    fn layer(&self, inner: Arc<dyn Scaler>) -> Arc<dyn Scaler> {
        Arc::new(RetryScaler { inner, retry: *self })
    }
}

#[derive(Debug)]
struct RetryScaler {
    inner: Arc<dyn Scaler>,
    retry: Retry,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Scaler for RetryScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        let mut attempt = 0;
        loop {
            let error = match self.inner.sample().await {
                Ok(sample) => return Ok(sample),
                Err(error) => error,
            };
            let Some(wait) = self.retry.wait_after(attempt, &error) else {
                return Err(error);
            };
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    fn push(&self) -> Option<&dyn PushScaler> {
        self.inner.push()
    }
}
