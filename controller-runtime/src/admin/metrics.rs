//! The registry behind `/metrics`.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text},
    metrics::{gauge::ConstGauge, info::Info},
    registry::Registry,
};

use super::{decided, process::Process, requests::RequestMetrics};
use crate::{
    decisions::DecisionLog, lease::Leadership, pod_autoscaler::metrics::PodMetrics, work::WorkMetrics,
};

/// The metrics of a process. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// Whether this replica writes, asked at every scrape.
#[derive(Debug)]
struct Leads(Leadership);

impl Collector for Leads {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let gauge = ConstGauge::new(i64::from(self.0.leads()));
        let help = "Whether this replica is the one that writes";
        let metric = encoder.encode_descriptor("autoscaler_leader", help, None, gauge.metric_type())?;
        gauge.encode(metric)
    }
}

impl Metrics {
    /// The metrics of every process: what it is, and what the kernel says of it.
    #[must_use]
    pub fn new(version: &'static str) -> Self {
        let mut registry = Registry::default();
        let build = Info::new([("version", version)]);
        registry.register("autoscaler_build", "Which program this is", build);
        registry.register_collector(Box::new(Process));
        Self {
            registry: Arc::new(Mutex::new(registry)),
        }
    }

    /// Adds whatever `register` registers.
    pub fn with_registry<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds `autoscaler_leader`.
    pub fn add_leadership(&self, leadership: Leadership) {
        self.with_registry(|registry| registry.register_collector(Box::new(Leads(leadership))));
    }

    /// Adds `autoscaler_decisions_total`, and gives the future that counts from now on.
    pub fn add_decisions(&self, decisions: &DecisionLog) -> impl Future<Output = ()> + Send + use<> {
        self.with_registry(|registry| decided::register(registry, decisions))
    }

    /// Adds what controllers have to do and how long it takes them; see [`WorkMetrics`].
    pub fn add_work(&self, work: &WorkMetrics) {
        self.with_registry(|registry| registry.register_collector(Box::new(work.clone())));
    }

    /// Adds what is said of ScaledObjects and ScaledJobs; see [`PodMetrics`].
    pub fn add_pods(&self, pods: &PodMetrics) {
        self.with_registry(|registry| registry.register_collector(Box::new(pods.clone())));
    }

    /// Adds the requests of one kind of service; see [`RequestMetrics::register`].
    #[must_use]
    pub fn add_requests(&self, name: &str, whose: &str) -> RequestMetrics {
        self.with_registry(|registry| RequestMetrics::register(registry, name, whose))
    }

    /// Everything as OpenMetrics text.
    ///
    /// # Errors
    /// If a collector fails.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut page = String::new();
        text::encode(
            &mut page,
            &self.registry.lock().unwrap_or_else(PoisonError::into_inner),
        )?;
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use scaler_api::SystemClock;

    use super::*;

    #[tokio::test]
    async fn leadership_and_decisions_are_there_to_be_scraped() {
        let metrics = Metrics::new("1.2.3");
        let leadership = Leadership::standby();
        metrics.add_leadership(leadership.clone());
        let decisions = DecisionLog::new(Arc::new(SystemClock));
        let counting = tokio::spawn(metrics.add_decisions(&decisions));
        decisions.record("scaled-object", "ScaledObject/a/b", 0, 1, "there is work");
        drop(decisions);
        counting.await.unwrap();
        let page = metrics.render().unwrap();
        for line in [
            "autoscaler_build_info{version=\"1.2.3\"} 1",
            "autoscaler_leader 0",
            "autoscaler_decisions_total{controller=\"scaled-object\"} 1",
            "process_cpu_seconds_total ",
            "process_resident_memory_bytes ",
            "# EOF",
        ] {
            assert!(page.contains(line), "{line} is missing in\n{page}");
        }
        leadership.set(true);
        assert!(metrics.render().unwrap().contains("autoscaler_leader 1"));
    }
}
