//! Failures as `metav1.Status`, the form that every Kubernetes client understands.

use http::StatusCode;
use serde::Serialize;

use crate::metrics::{MetricError, MetricErrorKind};

/// A failed request: HTTP code, reason and message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Status {
    kind: &'static str,
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    metadata: Empty,
    status: &'static str,
    message: String,
    reason: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Empty {}

impl Status {
    pub(crate) fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind: "Status",
            api_version: "v1",
            metadata: Empty {},
            status: "Failure",
            message: message.into(),
            reason,
            code: code.as_u16(),
        }
    }

    /// No such path.
    pub(crate) fn no_such_path() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NotFound",
            "the server could not find the requested resource",
        )
    }

    /// External metrics can be listed and nothing else.
    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    /// The client accepts nothing that is served here.
    pub(crate) fn not_acceptable() -> Self {
        Self::new(
            StatusCode::NOT_ACCEPTABLE,
            "NotAcceptable",
            "only the following media types are accepted: application/json",
        )
    }

    /// The request makes no sense.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// The HTTP code.
    pub(crate) fn code(&self) -> StatusCode {
        StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl From<MetricError> for Status {
    fn from(error: MetricError) -> Self {
        let (code, reason) = match error.kind() {
            MetricErrorKind::BadRequest => (StatusCode::BAD_REQUEST, "BadRequest"),
            MetricErrorKind::Forbidden => (StatusCode::FORBIDDEN, "Forbidden"),
            MetricErrorKind::NotFound => (StatusCode::NOT_FOUND, "NotFound"),
            MetricErrorKind::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
            MetricErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
            MetricErrorKind::ServiceUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
            MetricErrorKind::Timeout => (StatusCode::GATEWAY_TIMEOUT, "Timeout"),
        };
        Self::new(code, reason, error.to_string())
    }
}
