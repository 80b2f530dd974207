//! The trait behind every event source.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::{Error, Sample};

/// A live connection to an event source.
///
/// # Contract
/// - [`sample`](Scaler::sample) is one round trip and takes `&self`: one scaler is shared by every object whose
///   trigger has an equal [`SourceKey`](crate::SourceKey).
/// - An outage is an error of kind [`Unavailable`](crate::ErrorKind::Unavailable) or
///   [`Timeout`](crate::ErrorKind::Timeout), never a value of zero.
/// - No retry loop and no log of its own errors: [layers](crate::layer) do both.
/// - There is no `close`: dropping the last `Arc` frees the connection.
///
/// # Cancel safety
/// Dropping the future of [`sample`](Scaler::sample) leaves the scaler usable.
#[async_trait]
pub trait Scaler: fmt::Debug + Send + Sync + 'static {
    /// Reads the source once.
    ///
    /// # Errors
    /// Whatever kept the source from giving every value; its kind tells what a caller can do.
    async fn sample(&self) -> Result<Sample, Error>;

    /// The stream of activations, if the source pushes them.
    fn push(&self) -> Option<&dyn PushScaler> {
        None
    }
}

/// A source that tells when it becomes active, so that nobody waits for the next poll.
pub trait PushScaler: fmt::Debug + Send + Sync {
    /// Activations as they come: `true` wakes the target at once; `false` is only a hint, since
    /// deactivation goes by polling and cooldown. The stream ends when the source closes it.
    fn activations(&self) -> BoxStream<'_, Result<bool, Error>>;
}

#[async_trait]
impl<S: Scaler + ?Sized> Scaler for Arc<S> {
    async fn sample(&self) -> Result<Sample, Error> {
        (**self).sample().await
    }

    fn push(&self) -> Option<&dyn PushScaler> {
        (**self).push()
    }
}
