//! A deadline for every sample.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::Layer;
use crate::{Error, ErrorKind, PushScaler, Sample, Scaler};

/// Gives up a sample after a while, with an error of kind [`Timeout`](ErrorKind::Timeout).
#[derive(Clone, Copy, Debug)]
pub struct Timeout {
    after: Duration,
}

impl Timeout {
    /// A deadline `after` the start of each sample.
    #[must_use]
    pub fn new(after: Duration) -> Self {
        Self { after }
    }
}

impl Layer for Timeout {
    fn layer(&self, inner: Arc<dyn Scaler>) -> Arc<dyn Scaler> {
        Arc::new(TimeoutScaler {
            inner,
            after: self.after,
        })
    }
}

#[derive(Debug)]
struct TimeoutScaler {
    inner: Arc<dyn Scaler>,
    after: Duration,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Scaler for TimeoutScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        tokio::time::timeout(self.after, self.inner.sample())
            .await
            .unwrap_or_else(|_| {
                Err(Error::new(
                    ErrorKind::Timeout,
                    format!("the source did not answer within {:?}", self.after),
                ))
            })
    }

    fn push(&self) -> Option<&dyn PushScaler> {
        self.inner.push()
    }
}
