//! Wrappers that add one behaviour to any scaler.
//!
//! A scaler reads its source and nothing else; deadlines, retries, sharing, metrics and traces are layers around it.
//! Every layer passes [`Scaler::push`] on, and is cancel-safe if what it wraps is.
//!
//! ```
//! # async fn run(scaler: std::sync::Arc<dyn scaler_api::Scaler>) -> Result<(), scaler_api::Error> {
//! use std::time::Duration;
//! use scaler_api::layer::{Retry, Shared, Stack, Timeout, Traced};
//!
//! let stack = Stack::new()
//!     .with(Traced::new("aws-sqs-queue"))
//!     .with(Retry::new(3))
//!     .with(Timeout::new(Duration::from_secs(3)));
//! let shared = Shared::new(stack.apply(scaler));
//! let (sample, taken_at) = shared.sample_within(Duration::from_secs(5)).await?;
//! # let _ = (sample, taken_at);
//! # Ok(())
//! # }
//! ```

mod chaos;
mod metered;
mod retry;
mod shared;
mod timeout;
mod traced;

use std::{fmt, sync::Arc};

pub use self::{
    chaos::Chaos,
    metered::{Metered, SampleMetrics},
    retry::Retry,
    shared::{Shared, Sharing},
    timeout::Timeout,
    traced::Traced,
};
use crate::Scaler;

/// Adds one behaviour to a scaler.
pub trait Layer: fmt::Debug + Send + Sync + 'static {
    /// Wraps `inner`.
    fn layer(&self, inner: Arc<dyn Scaler>) -> Arc<dyn Scaler>;
}

/// Several layers; the first that was added is the outermost.
#[derive(Clone, Debug, Default)]
pub struct Stack {
    layers: Vec<Arc<dyn Layer>>,
}

impl Stack {
    /// No layers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a layer inside of those that are there.
    #[must_use]
    pub fn with(mut self, layer: impl Layer) -> Self {
        self.layers.push(Arc::new(layer));
        self
    }

    /// Wraps a scaler in all layers.
    #[must_use]
    pub fn apply(&self, scaler: Arc<dyn Scaler>) -> Arc<dyn Scaler> {
        self.layers
            .iter()
            .rev()
            .fold(scaler, |inner, layer| layer.layer(inner))
    }
}

impl Layer for Stack {
    fn layer(&self, inner: Arc<dyn Scaler>) -> Arc<dyn Scaler> {
        self.apply(inner)
    }
}

#[cfg(test)]
mod tests;
