//! The API as a [`tower::Service`]: routing, content negotiation and the data path.

use std::{
    convert::Infallible,
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, ready};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use tower::Service;
use tracing::debug;

use crate::{
    discovery::{Document, Documents, GROUP, GROUP_VERSION, LIST_KIND, VERSION, accepts_json},
    metrics::{ExternalMetricValue, ExternalMetrics, MetricRequest},
    selector::Selector,
    status::Status,
};

/// The body of every answer.
pub type Body = Full<Bytes>;

/// The external metrics API over any [`ExternalMetrics`].
///
/// Cheap to clone; serve it from hyper, mount it into another API server or call it directly. It does no
/// authentication: put that in front.
#[derive(Clone)]
pub struct MetricsAdapter {
    metrics: Arc<dyn ExternalMetrics>,
    documents: Arc<Documents>,
    readiness: Option<Arc<Readiness>>,
}

/// Says what the process still waits for.
type Readiness = dyn Fn() -> Result<(), String> + Send + Sync;

impl fmt::Debug for MetricsAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsAdapter")
            .field("metrics", &self.metrics)
            .finish_non_exhaustive()
    }
}

impl MetricsAdapter {
    /// The API over `metrics`.
    #[must_use]
    pub fn new(metrics: Arc<dyn ExternalMetrics>) -> Self {
        let documents = Arc::new(Documents::new(concat!("v", env!("CARGO_PKG_VERSION"))));
        Self {
            metrics,
            documents,
            readiness: None,
        }
    }

    /// Answers `/readyz` with 503 and the reason while `readiness` is an error. Without it the adapter is always ready.
    #[must_use]
    pub fn with_readiness(self, readiness: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self {
            readiness: Some(Arc::new(readiness)),
            ..self
        }
    }

    /// The answer to a request, of which only the head matters.
    pub async fn respond(&self, head: &http::request::Parts) -> Response<Body> {
        let response = match self.route(head) {
            Ok(Route::Document(document)) => document_response(document, head),
            Ok(Route::Healthy) => text_response(StatusCode::OK, "ok"),
            Ok(Route::Ready) => self.ready_response(),
            Ok(Route::Metric(request)) => self.metric_response(&request).await,
            Err(status) => status_response(&status),
        };
        if head.method == Method::HEAD {
            return response.map(|_| Body::default());
        }
        response
    }

    fn ready_response(&self) -> Response<Body> {
        match self.readiness.as_ref().map_or(Ok(()), |readiness| readiness()) {
            Ok(()) => text_response(StatusCode::OK, "ok"),
            Err(reason) => text_response(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}")),
        }
    }

    async fn metric_response(&self, request: &MetricRequest) -> Response<Body> {
        match self.metrics.get(request).await {
            Ok(values) => json_response(StatusCode::OK, &MetricValueList::new(&values)),
            Err(error) => {
                let MetricRequest {
                    namespace,
                    metric,
                    selector,
                } = request;
                debug!(%namespace, %metric, %selector, %error, "cannot serve an external metric");
                status_response(&Status::from(error))
            }
        }
    }

    fn route(&self, head: &http::request::Parts) -> Result<Route<'_>, Status> {
        let accept = head
            .headers
            .get(header::ACCEPT)
            .and_then(|value| value.to_str().ok());
        let segments = path_segments(head.uri.path());
        let documents = &*self.documents;
        let route = match *segments.as_slice() {
            ["healthz" | "livez", ..] => Route::Healthy,
            ["readyz", ..] => Route::Ready,
            [] => Route::Document(&documents.root),
            ["version"] => Route::Document(&documents.version),
            ["openapi", "v2"] => Route::Document(&documents.openapi_v2),
            ["openapi", "v3"] => Route::Document(&documents.openapi_v3),
            ["openapi", "v3", "apis", GROUP, VERSION] => Route::Document(&documents.openapi_v3_group),
            ["apis"] => Route::Document(documents.apis(accept)),
            ["apis", GROUP] => Route::Document(&documents.group),
            ["apis", GROUP, VERSION] => Route::Document(&documents.resources),
            ["apis", GROUP, VERSION, "namespaces", namespace, metric] => {
                return metric_route(head, accept, namespace, metric);
            }
            _ => return Err(Status::no_such_path()),
        };
        if matches!(head.method, Method::GET | Method::HEAD) {
            Ok(route)
        } else {
            Err(Status::method_not_allowed())
        }
    }
}

enum Route<'a> {
    Document(&'a Document),
    Healthy,
    Ready,
    Metric(MetricRequest),
}

fn metric_route<'a>(
    head: &http::request::Parts,
    accept: Option<&str>,
    namespace: &str,
    metric: &str,
) -> Result<Route<'a>, Status> {
    let query = head.uri.query().unwrap_or_default();
    let watches = query_value(query, "watch").is_some_and(|value| !matches!(value.as_str(), "false" | "0"));
    if !matches!(head.method, Method::GET | Method::HEAD) || watches {
        return Err(Status::method_not_allowed());
    }
    if !accepts_json(accept) {
        return Err(Status::not_acceptable());
    }
    let (namespace, metric) = (decode(namespace), decode(metric));
    if metric.contains('/') || namespace.contains('/') {
        return Err(Status::no_such_path());
    }
    let selector = query_value(query, "labelSelector").unwrap_or_default();
    let selector = Selector::parse(&selector).map_err(|error| {
        Status::bad_request(format!("unable to parse labelSelector {selector:?}: {error}"))
    })?;
    Ok(Route::Metric(MetricRequest {
        namespace,
        metric: metric.to_lowercase(),
        selector,
    }))
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The segments of a path, as routing and authorisation see it: both have to mean the same by it.
pub(crate) fn path_segments(path: &str) -> Vec<&str> {
    path.split('/').filter(|segment| !segment.is_empty()).collect()
}

/// The first value of a form-encoded key.
pub(crate) fn query_value(query: &str, key: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name) == key).then(|| decode(&value.replace('+', " ")))
    })
}

impl<B> Service<Request<B>> for MetricsAdapter {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (head, _) = request.into_parts();
        let adapter = self.clone();
        async move { adapter.respond(&head).await }
            .then(|response| ready(Ok(response)))
            .boxed()
    }
}

/// The answer of the data path, written from the values as they are.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MetricValueList<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Empty,
    items: MetricValues<'a>,
}

#[derive(Serialize)]
struct Empty {}

struct MetricValues<'a>(&'a [ExternalMetricValue]);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MetricValue<'a> {
    metric_name: &'a str,
    metric_labels: Option<&'a std::collections::BTreeMap<String, String>>,
    timestamp: Seconds,
    #[serde(rename = "window", skip_serializing_if = "Option::is_none")]
    window_seconds: Option<i64>,
    value: &'a scaler_api::Quantity,
}

/// A time as Kubernetes writes it: whole seconds.
struct Seconds(jiff::Timestamp);

impl<'a> MetricValueList<'a> {
    fn new(values: &'a [ExternalMetricValue]) -> Self {
        Self {
            kind: LIST_KIND,
            api_version: GROUP_VERSION,
            metadata: Empty {},
            items: MetricValues(values),
        }
    }
}

impl Serialize for MetricValues<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|value| MetricValue {
            metric_name: &value.metric_name,
            metric_labels: Some(&value.metric_labels).filter(|labels| !labels.is_empty()),
            timestamp: Seconds(value.timestamp),
            window_seconds: value.window_seconds,
            value: &value.value,
        }))
    }
}

impl Serialize for Seconds {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.0}", self.0))
    }
}

fn respond(code: StatusCode, content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn text_response(code: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    respond(code, "text/plain; charset=utf-8", text.into())
}

fn json_response(code: StatusCode, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(body) => respond(code, "application/json", Bytes::from(body)),
        Err(error) => respond(
            StatusCode::INTERNAL_SERVER_ERROR,
            "text/plain; charset=utf-8",
            Bytes::from(format!("cannot encode the answer: {error}")),
        ),
    }
}

fn status_response(status: &Status) -> Response<Body> {
    json_response(status.code(), status)
}

/// A failure as the head and the body of a response.
#[cfg(feature = "server")]
pub(crate) fn status_parts(status: &Status) -> (http::response::Parts, Bytes) {
    let mut head = Response::new(()).into_parts().0;
    head.status = status.code();
    let json = HeaderValue::from_static("application/json");
    head.headers.insert(header::CONTENT_TYPE, json);
    (head, serde_json::to_vec(status).unwrap_or_default().into())
}

fn document_response(document: &Document, head: &http::request::Parts) -> Response<Body> {
    let known = head
        .headers
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|tags| {
            tags.split(',')
                .any(|tag| tag.trim() == document.etag || tag.trim() == "*")
        });
    let mut response = if known {
        let mut response = Response::new(Body::default());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        respond(StatusCode::OK, document.content_type, document.body.clone())
    };
    let headers = response.headers_mut();
    if let Ok(etag) = HeaderValue::from_str(&document.etag) {
        headers.insert(header::ETAG, etag);
    }
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    response
}
