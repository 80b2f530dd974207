//! Counts and times samples.

use std::sync::Arc;

use async_trait::async_trait;
use prometheus_client::{
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        histogram::Histogram,
    },
    registry::{Registry, Unit},
};
use tokio::time::Instant;

use super::Layer;
use crate::{Error, PushScaler, Sample, Scaler};

/// Upper bounds of the histogram's buckets, in seconds.
const BUCKETS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0];

type Labels = Vec<(&'static str, String)>;

#[derive(Clone, Debug)]
struct Buckets;

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(BUCKETS)
    }
}

/// The metrics of all metered scalers of a program; cheap to clone.
#[derive(Clone, Debug)]
pub struct SampleMetrics {
    samples: Family<Labels, Counter>,
    seconds: Family<Labels, Histogram, Buckets>,
}

impl SampleMetrics {
    /// Adds the metrics to a registry: `scaler_samples_total{trigger_type,outcome}` and
    /// `scaler_sample_duration_seconds{trigger_type}`.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            samples: Family::default(),
            seconds: Family::new_with_constructor(Buckets),
        };
        registry.register(
            "scaler_samples",
            "Samples by outcome: ok or the kind of error",
            metrics.samples.clone(),
        );
        registry.register_with_unit(
            "scaler_sample_duration",
            "Time that samples took",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        metrics
    }

    fn observe(&self, trigger_type: &str, result: &Result<Sample, Error>, started: Instant) {
        let outcome = result
            .as_ref()
            .map_or_else(|error| error.kind().as_str(), |_| "ok");
        let trigger_type = ("trigger_type", trigger_type.to_owned());
        self.samples
            .get_or_create(&vec![trigger_type.clone(), ("outcome", outcome.to_owned())])
            .inc();
        self.seconds
            .get_or_create(&vec![trigger_type])
            .observe(started.elapsed().as_secs_f64());
    }
}

/// Counts samples by outcome and measures how long they take. A sample that is dropped counts nowhere.
#[derive(Clone, Debug)]
pub struct Metered {
    metrics: SampleMetrics,
    trigger_type: &'static str,
}

impl Metered {
    /// Records under the name of a trigger type.
    #[must_use]
    pub fn new(metrics: SampleMetrics, trigger_type: &'static str) -> Self {
        Self {
            metrics,
            trigger_type,
        }
    }
}

impl Layer for Metered {
    fn layer(&self, inner: Arc<dyn Scaler>) -> Arc<dyn Scaler> {
        Arc::new(MeteredScaler {
            inner,
            metered: self.clone(),
        })
    }
}

#[derive(Debug)]
struct MeteredScaler {
    inner: Arc<dyn Scaler>,
    metered: Metered,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Scaler for MeteredScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        let started = Instant::now();
        let result = self.inner.sample().await;
        self.metered
            .metrics
            .observe(self.metered.trigger_type, &result, started);
        result
    }

    fn push(&self) -> Option<&dyn PushScaler> {
        self.inner.push()
    }
}
