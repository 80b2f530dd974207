//! What is served: the trait that answers a metric request, its values and its errors.

use std::{collections::BTreeMap, fmt};

use async_trait::async_trait;
use jiff::Timestamp;
use scaler_api::{ErrorKind, Quantity};

use crate::selector::Selector;

/// A source of external metrics: whatever stands behind the API.
///
/// # Contract
/// A metric that exists but cannot be read is an error, never an empty list and never a zero: the
/// HorizontalPodAutoscaler holds the replicas on an error and scales in on a zero.
///
/// # Cancel safety
/// The future may be dropped at any await point when the client goes away.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait ExternalMetrics: fmt::Debug + Send + Sync + 'static {
    /// The values of one metric, summed by the reader.
    ///
    /// # Errors
    /// [`MetricErrorKind::NotFound`] if there is no such metric, the other kinds as they say.
    async fn get(&self, request: &MetricRequest) -> Result<Vec<ExternalMetricValue>, MetricError>;
}

/// What the HorizontalPodAutoscaler asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricRequest {
    /// The namespace of the HorizontalPodAutoscaler.
    pub namespace: String,
    /// The metric's name in lower case: clients lower-case it, so names are matched without regard to case.
    pub metric: String,
    /// Which series; KEDA's HPAs require `scaledobject.keda.sh/name` to equal the ScaledObject's name.
    pub selector: Selector,
}

impl MetricRequest {
    /// Whether `name` is the metric that is asked for.
    #[must_use]
    pub fn is_for(&self, name: &str) -> bool {
        self.metric.eq_ignore_ascii_case(name)
    }
}

/// One value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct ExternalMetricValue {
    /// The metric's name, in its own case.
    pub metric_name: String,
    /// The labels of the series.
    pub metric_labels: BTreeMap<String, String>,
    /// When it was measured.
    pub timestamp: Timestamp,
    /// The time over which it was measured, in seconds, if it is a rate.
    pub window_seconds: Option<i64>,
    /// The value.
    pub value: Quantity,
}

impl ExternalMetricValue {
    /// A value without labels or window.
    pub fn new(metric_name: impl Into<String>, value: Quantity, timestamp: Timestamp) -> Self {
        Self {
            metric_name: metric_name.into(),
            metric_labels: BTreeMap::new(),
            timestamp,
            window_seconds: None,
            value,
        }
    }
}

/// What went wrong, in the terms of the Kubernetes API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum MetricErrorKind {
    /// 400: the request makes no sense, e.g. the selector lacks a label that is needed.
    BadRequest,
    /// 403: the caller may not read this metric.
    Forbidden,
    /// 404: there is no such metric.
    NotFound,
    /// 429: asked too often.
    TooManyRequests,
    /// 500: a bug, or a source that answered with nonsense.
    Internal,
    /// 503: the source cannot be reached now.
    ServiceUnavailable,
    /// 504: the source did not answer in time.
    Timeout,
}

/// Why a metric could not be read. `Display` is the message that ends up in the HPA's conditions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MetricError {
    kind: MetricErrorKind,
    message: String,
}

impl MetricError {
    /// An error of `kind`.
    pub fn new(kind: MetricErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// [`MetricErrorKind::NotFound`] in the words of the Kubernetes libraries.
    #[must_use]
    pub fn not_found(request: &MetricRequest) -> Self {
        Self::new(
            MetricErrorKind::NotFound,
            format!(
                "the server could not find the metric {} for namespace {}",
                request.metric, request.namespace
            ),
        )
    }

    /// What to do about it.
    #[must_use]
    pub fn kind(&self) -> MetricErrorKind {
        self.kind
    }
}

impl From<scaler_api::Error> for MetricError {
    fn from(error: scaler_api::Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Unavailable => MetricErrorKind::ServiceUnavailable,
            ErrorKind::Timeout => MetricErrorKind::Timeout,
            ErrorKind::Throttled => MetricErrorKind::TooManyRequests,
            ErrorKind::NotFound => MetricErrorKind::NotFound,
            _ => MetricErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_case() {
        let request = MetricRequest {
            namespace: "default".into(),
            metric: "s0-aws-sqs-orders".into(),
            selector: Selector::everything(),
        };
        assert!(request.is_for("s0-aws-sqs-Orders"));
        assert!(!request.is_for("s1-aws-sqs-orders"));
    }

    #[test]
    fn a_scalers_error_keeps_its_kind_and_text() {
        for (kind, expected) in [
            (ErrorKind::Unavailable, MetricErrorKind::ServiceUnavailable),
            (ErrorKind::Timeout, MetricErrorKind::Timeout),
            (ErrorKind::Throttled, MetricErrorKind::TooManyRequests),
            (ErrorKind::NotFound, MetricErrorKind::NotFound),
            (ErrorKind::Unauthorized, MetricErrorKind::Internal),
            (ErrorKind::Invalid, MetricErrorKind::Internal),
        ] {
            let error = MetricError::from(scaler_api::Error::new(kind, "no queue"));
            assert_eq!(
                (error.kind(), error.to_string().as_str()),
                (expected, "no queue"),
                "{kind:?}"
            );
        }
    }
}
