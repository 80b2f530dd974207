//! Counting and timing the requests of any service.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::{FutureExt as _, future::BoxFuture};
use http::{Method, Request, Response};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};
use tokio::time::Instant;
use tower::{Layer, Service};

/// Bounds of the buckets, in seconds.
const BUCKETS: [f64; 13] = [
    0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    verb: &'static str,
    code: String,
}

/// The requests through one kind of service: how many and how long, by verb and code. It is a [`Layer`]; clones share it.
#[derive(Clone, Debug)]
pub struct RequestMetrics {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    requests: Family<Labels, Counter>,
    durations: Family<Labels, Histogram, fn() -> Histogram>,
}

impl RequestMetrics {
    /// Registers `<name>_requests_total` and `<name>_request_duration_seconds`; `whose` says of which requests.
    pub fn register(registry: &mut Registry, name: &str, whose: &str) -> Self {
        let durations: Family<Labels, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(BUCKETS));
        let shared = Shared {
            requests: Family::default(),
            durations,
        };
        registry.register(
            format!("{name}_requests"),
            format!("Requests {whose}"),
            shared.requests.clone(),
        );
        registry.register_with_unit(
            format!("{name}_request_duration"),
            format!("Time to the answer's head of requests {whose}"),
            Unit::Seconds,
            shared.durations.clone(),
        );
        Self {
            shared: Arc::new(shared),
        }
    }

    fn observe(&self, verb: &'static str, code: String, since: Instant) {
        let labels = Labels { verb, code };
        self.shared.requests.get_or_create(&labels).inc();
        // A watch is answered when it begins.
        let seconds = since.elapsed().as_secs_f64();
        self.shared.durations.get_or_create(&labels).observe(seconds);
    }
}

impl<S> Layer<S> for RequestMetrics {
    type Service = MeasuredService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        MeasuredService {
            inner,
            metrics: self.clone(),
        }
    }
}

/// A service whose requests are counted.
#[derive(Clone, Debug)]
pub struct MeasuredService<S> {
    inner: S,
    metrics: RequestMetrics,
}

/// The verb in the words of the Kubernetes API, as far as the head tells it.
fn verb<B>(request: &Request<B>) -> &'static str {
    let watches = || {
        let query = request.uri().query().unwrap_or_default();
        query
            .split('&')
            .any(|pair| pair == "watch=true" || pair == "watch=1")
    };
    match *request.method() {
        Method::GET if watches() => "watch",
        Method::GET | Method::HEAD => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

impl<S, B, R> Service<Request<B>> for MeasuredService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        ready!(self.inner.poll_ready(context))?;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (metrics, verb, start) = (self.metrics.clone(), verb(&request), Instant::now());
        self.inner
            .call(request)
            .map(move |result| {
                let code = match &result {
                    Ok(response) => response.status().as_str().to_owned(),
                    Err(_) => "error".to_owned(),
                };
                metrics.observe(verb, code, start);
                result
            })
            .boxed()
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    #[tokio::test]
    async fn requests_are_counted_by_verb_and_code() {
        let mut registry = Registry::default();
        let metrics = RequestMetrics::register(&mut registry, "api", "to the API server");
        let service = metrics.layer(service_fn(|request: Request<()>| async move {
            if request.uri().path() == "/down" {
                return Err(std::io::Error::other("down"));
            }
            let mut response = Response::new(());
            *response.status_mut() = StatusCode::NOT_FOUND;
            Ok(response)
        }));
        for (method, uri) in [
            (Method::GET, "/pods?labelSelector=a&watch=true"),
            (Method::GET, "/pods"),
            (Method::GET, "/nodes"),
            (Method::PATCH, "/down"),
        ] {
            let mut request = Request::new(());
            *request.method_mut() = method;
            *request.uri_mut() = uri.parse().unwrap();
            service.clone().oneshot(request).await.ok();
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "api_requests_total{verb=\"watch\",code=\"404\"} 1",
            "api_requests_total{verb=\"get\",code=\"404\"} 2",
            "api_requests_total{verb=\"patch\",code=\"error\"} 1",
            "api_request_duration_seconds_count{verb=\"get\",code=\"404\"} 2",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
