//! Reading the metrics of an autoscaler.

use std::fmt;

use async_trait::async_trait;
use metrics_adapter::selector::Selector;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use scaler_api::Quantity;
use serde::Deserialize;

use super::{Controller, target::message};
use crate::hpa::{
    Reading, Scale, Spec,
    pods::PodUsage,
    spec::{ExternalMetric, Metric},
};

/// CPU and memory of pods: what stands behind `metrics.k8s.io`.
#[async_trait]
pub trait ResourceMetrics: fmt::Debug + Send + Sync + 'static {
    /// What the pods of a namespace that `selector` matches use. A pod without a measurement is left out.
    ///
    /// # Errors
    /// The message of why nothing can be read; it ends up in a condition.
    async fn usage(&self, namespace: &str, selector: &Selector) -> Result<Vec<PodUsage>, String>;
}

/// What a cluster without the API says.
const NO_RESOURCE_METRICS: &str =
    "the server could not find the requested resource (get pods.metrics.k8s.io)";
const NO_CUSTOM_METRICS: &str = "no custom metrics API (custom.metrics.k8s.io) registered";

/// What may stand in a path or query as it is.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

#[derive(Deserialize)]
struct ExternalMetricValueList {
    items: Vec<ExternalMetricValue>,
}

#[derive(Deserialize)]
struct ExternalMetricValue {
    value: Quantity,
}

impl Controller {
    /// Reads every metric of an autoscaler, one after the other.
    pub(super) async fn read(&self, namespace: &str, spec: &Spec, scale: &Scale) -> Vec<Reading> {
        let mut readings = Vec::with_capacity(spec.metrics.len());
        for metric in &spec.metrics {
            readings.push(match metric {
                Metric::External(metric) => self.read_external(namespace, metric).await,
                Metric::Resource(_) | Metric::ContainerResource(_) => {
                    self.read_resource(namespace, scale).await
                }
                Metric::Object(_) | Metric::Pods(_) => Reading::Failed(NO_CUSTOM_METRICS.to_owned()),
                Metric::Unknown(_) => Reading::Failed(String::new()),
            });
        }
        readings
    }

    async fn read_external(&self, namespace: &str, metric: &ExternalMetric) -> Reading {
        let uri = match external_uri(namespace, metric) {
            Ok(uri) => uri,
            Err(error) => return Reading::Failed(error),
        };
        let request = match http::Request::get(uri).body(Vec::new()) {
            Ok(request) => request,
            Err(error) => return Reading::Failed(error.to_string()),
        };
        match self.cx.client.request::<ExternalMetricValueList>(request).await {
            Ok(list) => Reading::External(list.items.iter().map(|item| item.value.milli_value()).collect()),
            Err(kube::Error::Api(status)) if is_no_status(&status) => Reading::Failed(format!(
                "the server could not find the requested resource (get {}.external.metrics.k8s.io)",
                metric.metric.name.to_lowercase()
            )),
            Err(error) => Reading::Failed(message(&error)),
        }
    }

    async fn read_resource(&self, namespace: &str, scale: &Scale) -> Reading {
        let Some(metrics) = &self.options.resource_metrics else {
            return Reading::Failed(NO_RESOURCE_METRICS.to_owned());
        };
        let usage = match Selector::parse(&scale.selector) {
            Ok(selector) => metrics.usage(namespace, &selector).await,
            Err(error) => Err(error.to_string()),
        };
        usage.map_or_else(Reading::Failed, Reading::Resource)
    }
}

/// Whether nobody serves the API: a 404 in plain text, for which Go's client has words of its own.
fn is_no_status(status: &kube::core::Status) -> bool {
    status.code == 404 && status.reason == "Failed to parse error data"
}

/// The one data path; Kubernetes' client lower-cases the name and sends a selector always.
fn external_uri(namespace: &str, metric: &ExternalMetric) -> Result<String, String> {
    let selector = metric
        .metric
        .selector
        .as_ref()
        .map(|selector| selector.to_selector())
        .transpose();
    let selector = selector
        .map_err(|error| error.to_string())?
        .unwrap_or_default()
        .to_string();
    let name = metric.metric.name.to_lowercase();
    if name.is_empty() || matches!(name.as_str(), "." | "..") || name.contains(['/', '%']) {
        return Err(format!(
            "invalid metric name {name:?}: may not be \".\" or \"..\" or contain '/' or '%'"
        ));
    }
    Ok(format!(
        "/apis/external.metrics.k8s.io/v1beta1/namespaces/{}/{}?labelSelector={}",
        utf8_percent_encode(namespace, UNRESERVED),
        utf8_percent_encode(&name, UNRESERVED),
        utf8_percent_encode(&selector, UNRESERVED),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hpa::{
        LabelSelector,
        spec::{MetricIdentifier, Target},
    };

    fn uri(name: &str, selector: Option<LabelSelector>) -> Result<String, String> {
        let metric = MetricIdentifier {
            name: name.to_owned(),
            selector,
        };
        external_uri(
            "keda-test",
            &ExternalMetric {
                metric,
                target: Target::average_value(1),
            },
        )
    }

    #[test]
    fn an_external_metric_is_asked_for_as_kubernetes_asks() {
        let selector = LabelSelector::of("scaledobject.keda.sh/name", "orders");
        let base = "/apis/external.metrics.k8s.io/v1beta1/namespaces/keda-test";
        assert_eq!(
            uri("s0-aws-sqs-Orders.fifo", Some(selector)).unwrap(),
            format!("{base}/s0-aws-sqs-orders.fifo?labelSelector=scaledobject.keda.sh%2Fname%3Dorders")
        );
        assert_eq!(uri("qps", None).unwrap(), format!("{base}/qps?labelSelector="));
        assert_eq!(uri("a b", None).unwrap(), format!("{base}/a%20b?labelSelector="));
        for name in ["", ".", "..", "a/b", "a%b"] {
            assert!(
                uri(name, None).unwrap_err().starts_with("invalid metric name"),
                "{name}"
            );
        }
    }
}
