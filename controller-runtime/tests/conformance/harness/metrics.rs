//! External metrics that cases set, behind the metrics API of either cluster.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use jiff::Timestamp;
use metrics_adapter::{
    ExternalMetricValue, ExternalMetrics, MetricError, MetricErrorKind, MetricRequest, MetricsAdapter,
};
use scaler_api::Quantity;
use serde_json::{Value, json};

/// The APIService's group.
pub(crate) const GROUP: &str = "external.metrics.k8s.io";
/// The Service behind it, in `kube-system`.
pub(crate) const SERVICE: &str = "conformance-metrics";

/// The values of a metric, or why there are none.
type Values = Result<Vec<Quantity>, String>;

/// Values by namespace and name. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(Arc<Mutex<BTreeMap<(String, String), Values>>>);

impl Metrics {
    pub(crate) fn set(&self, namespace: &str, name: &str, values: Values) {
        let key = (namespace.to_owned(), name.to_owned());
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, values);
    }

    pub(crate) fn adapter(&self) -> MetricsAdapter {
        MetricsAdapter::new(Arc::new(self.clone()))
    }
}

#[async_trait]
impl ExternalMetrics for Metrics {
    async fn get(&self, request: &MetricRequest) -> Result<Vec<ExternalMetricValue>, MetricError> {
        let key = (request.namespace.clone(), request.metric.clone());
        let metrics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match metrics.get(&key) {
            None => Err(MetricError::not_found(request)),
            Some(Err(message)) => Err(MetricError::new(MetricErrorKind::ServiceUnavailable, message)),
            Some(Ok(values)) => Ok(values
                .iter()
                .map(|value| ExternalMetricValue::new(&request.metric, *value, Timestamp::UNIX_EPOCH))
                .collect()),
        }
    }
}

/// The Service of the adapter.
pub(crate) fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": SERVICE, "namespace": "kube-system"},
        "spec": {"type": "ExternalName", "externalName": "127.0.0.1"},
    })
}

/// The APIService of an adapter that listens on `port`.
pub(crate) fn api_service(port: u16, trust: Value) -> Value {
    json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": format!("v1beta1.{GROUP}")},
        "spec": {
            "group": GROUP, "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "caBundle": trust, "service": {"namespace": "kube-system", "name": SERVICE, "port": port},
        },
    })
}
