//! Tells what samples gave.

use std::sync::Arc;

use async_trait::async_trait;
use tracing::Instrument as _;

use super::Layer;
use crate::{Error, PushScaler, Sample, Scaler};

/// Puts every sample into a span, and logs its outcome: values at debug level, errors as warnings.
#[derive(Clone, Copy, Debug)]
pub struct Traced {
    trigger_type: &'static str,
}

impl Traced {
    /// Names the trigger type in spans.
    #[must_use]
    pub fn new(trigger_type: &'static str) -> Self {
        Self { trigger_type }
    }
}

impl Layer for Traced {
    fn layer(&self, inner: Arc<dyn Scaler>) -> Arc<dyn Scaler> {
        Arc::new(TracedScaler {
            inner,
            trigger_type: self.trigger_type,
        })
    }
}

#[derive(Debug)]
struct TracedScaler {
    inner: Arc<dyn Scaler>,
    trigger_type: &'static str,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Scaler for TracedScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        let span = tracing::info_span!("sample", trigger_type = self.trigger_type);
        async {
            let result = self.inner.sample().await;
            match &result {
                Ok(sample) => tracing::debug!(values = ?sample.values, active = sample.active, "sampled"),
                Err(error) => tracing::warn!(kind = error.kind().as_str(), %error, "cannot sample"),
            }
            result
        }
        .instrument(span)
        .await
    }

    fn push(&self) -> Option<&dyn PushScaler> {
        self.inner.push()
    }
}
