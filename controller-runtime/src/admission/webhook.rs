//! The admission webhook: KEDA's paths, answered from the rules of this module.
//!
//! A [`Webhook`] is a tower service over HTTP requests; put it behind a TLS listener whose certificate a
//! [`Keeper`](crate::certificates::Keeper) keeps, or give it to the embedded API server. What the rules look at besides
//! the object comes from [`Stores`] that the pod half fills anyway; the containers of a target are asked for when a
//! trigger on CPU or memory makes them matter.
//!
//! An update is not refused for what it leaves alone: where neither the specification nor an annotation changes, what
//! would be refused in a new object is a warning. So controllers can go on with an object that others made wrong.

mod metrics;

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests;

use std::{
    convert::Infallible,
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::{Container, LimitRange},
};
use kube::{Api, Client, api::ListParams};
use scaler_api::{
    Registry,
    keda::{
        CloudEventSource, ClusterCloudEventSource, ClusterTriggerAuthentication, ScaledJob, ScaledObject,
        TriggerAuthentication,
    },
};
use serde::de::DeserializeOwned;
use tower::{BoxError, Service};

pub use self::metrics::ValidationMetrics;
use super::{
    Findings, Severity, cloud_event_source,
    conflicts::Rivals,
    requests,
    review::{self, Question, Verdict},
    scaled_job,
    surroundings::{self, Surroundings},
    trigger_authentication,
};
use crate::{
    pod_autoscaler::watched::{Watched, Watches},
    scaled_object::hpa::KeptAutoscaler,
};

/// How large a question may be: the API server's own limit for an object.
const LIMIT: usize = 3 * 1024 * 1024;
/// How long an answer may take; the API server waits for ten seconds.
const TIMEOUT: Duration = Duration::from_secs(9);

/// What the rules look at besides an object. Clones share it.
#[derive(Clone, Debug)]
pub struct Stores {
    /// Every ScaledObject.
    pub scaled_objects: Watched<ScaledObject>,
    /// Every HorizontalPodAutoscaler.
    pub autoscalers: Watched<KeptAutoscaler>,
    /// Both by what they can contradict each other over.
    pub rivals: Rivals,
}

impl Stores {
    /// Stores of their own, for a process without a pod half; they are filled while `watches` run.
    pub fn watch(watches: &mut Watches<'_>) -> Self {
        let rivals = Rivals::default();
        let (objects, hpas) = (rivals.clone(), rivals.clone());
        Self {
            scaled_objects: watches.namespaced(move |change| objects.scaled_object(change)),
            autoscalers: watches.namespaced(move |change| hpas.autoscaler(change)),
            rivals,
        }
    }

    fn is_synced(&self) -> bool {
        self.scaled_objects.is_synced() && self.autoscalers.is_synced()
    }
}

/// Answers admission reviews. Clones share everything.
#[derive(Clone)]
pub struct Webhook {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    registry: Arc<Registry>,
    stores: Stores,
    metrics: ValidationMetrics,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("stores", &self.shared.stores)
            .finish_non_exhaustive()
    }
}

/// What a path is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    ScaledObject,
    ScaledJob,
    TriggerAuthentication,
    ClusterTriggerAuthentication,
    CloudEventSource,
    ClusterCloudEventSource,
}

/// Every path and what it is about.
const PATHS: [(&str, Subject); 6] = [
    ("/validate-keda-sh-v1alpha1-scaledobject", Subject::ScaledObject),
    ("/validate-keda-sh-v1alpha1-scaledjob", Subject::ScaledJob),
    (
        "/validate-keda-sh-v1alpha1-triggerauthentication",
        Subject::TriggerAuthentication,
    ),
    (
        "/validate-keda-sh-v1alpha1-clustertriggerauthentication",
        Subject::ClusterTriggerAuthentication,
    ),
    (
        "/validate-eventing-keda-sh-v1alpha1-cloudeventsource",
        Subject::CloudEventSource,
    ),
    (
        "/validate-eventing-keda-sh-v1alpha1-clustercloudeventsource",
        Subject::ClusterCloudEventSource,
    ),
];

impl Webhook {
    /// A webhook that knows the trigger types of `registry`.
    #[must_use]
    pub fn new(client: Client, registry: Arc<Registry>, stores: Stores, metrics: ValidationMetrics) -> Self {
        let shared = Shared {
            client,
            registry,
            stores,
            metrics,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Whether it knows what is there already, to be asked while it serves.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.shared.stores.is_synced()
    }

    async fn answer<B>(self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        match tokio::time::timeout(TIMEOUT, self.try_answer(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err((code, why))) => text(code, &why),
            Err(_) => text(StatusCode::GATEWAY_TIMEOUT, "no answer in time"),
        }
    }

    async fn try_answer<B>(&self, request: Request<B>) -> Result<Response<Full<Bytes>>, (StatusCode, String)>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let refuse = |code: StatusCode, why: &str| Err((code, why.to_owned()));
        let path = request.uri().path();
        let Some(&(_, subject)) = PATHS.iter().find(|(known, _)| *known == path) else {
            return refuse(StatusCode::NOT_FOUND, "nothing is validated at this path");
        };
        if request.method() != Method::POST {
            return refuse(StatusCode::METHOD_NOT_ALLOWED, "expected a POST");
        }
        let content_type = request.headers().get(header::CONTENT_TYPE);
        let content_type = content_type
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        if content_type.split(';').next().map(str::trim) != Some("application/json") {
            return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected application/json");
        }
        let body = Limited::new(request.into_body(), LIMIT).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => (
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("expected at most {LIMIT} bytes"),
            ),
            false => (StatusCode::BAD_REQUEST, error.to_string()),
        })?;
        let question: Question = serde_json::from_slice(&body.to_bytes())
            .map_err(|error| (StatusCode::BAD_REQUEST, format!("no AdmissionReview: {error}")))?;
        if (question.api_version.as_str(), question.kind.as_str()) != (review::API_VERSION, review::KIND) {
            let found = format!("{} {}, expected v1", question.kind, question.api_version);
            return Err((StatusCode::BAD_REQUEST, found));
        }
        let verdict = self.judge(subject, &question.request).await;
        let answer = serde_json::to_vec(&verdict.answer(&question.request.uid))
            .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
        let mut response = Response::new(Full::from(answer));
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            http::HeaderValue::from_static("application/json"),
        );
        Ok(response)
    }

    async fn judge(&self, subject: Subject, request: &review::Request) -> Verdict {
        if request.is_exempt() {
            return Verdict::default();
        }
        let registry = &self.shared.registry;
        match subject {
            Subject::ScaledObject => self.scaled_object(request).await,
            Subject::ScaledJob => judged(request, |job: &ScaledJob| scaled_job::check(job, registry)),
            Subject::TriggerAuthentication => judged(request, |object: &TriggerAuthentication| {
                trigger_authentication::check(&request.about(object), &object.spec)
            }),
            Subject::ClusterTriggerAuthentication => {
                judged(request, |object: &ClusterTriggerAuthentication| {
                    trigger_authentication::check(&request.about(object), &object.spec)
                })
            }
            Subject::CloudEventSource => judged(request, |object: &CloudEventSource| {
                cloud_event_source::check(&request.about(object), &object.spec)
            }),
            Subject::ClusterCloudEventSource => judged(request, |object: &ClusterCloudEventSource| {
                cloud_event_source::check(&request.about(object), &object.spec)
            }),
        }
    }

    async fn scaled_object(&self, request: &review::Request) -> Verdict {
        let Shared {
            registry,
            stores,
            metrics,
            ..
        } = &*self.shared;
        metrics.validated(&request.namespace, &request.operation);
        let object: ScaledObject = match super::parse(&request.object) {
            Ok(object) => object,
            Err(why) => return refused(why),
        };
        let namespace = request.namespace.as_str();
        let (mut found, mut warnings) = (None, Vec::new());
        if requests::concerns(&object) && surroundings::looks_at_target(&object, request.dry_run) {
            match self.containers(namespace, &object).await {
                Ok(containers) => found = containers,
                Err(error) => {
                    tracing::warn!(%error, "the containers of a target were not checked");
                    warnings.push(format!(
                        "spec.triggers: the target's requests were not checked: {error}"
                    ));
                }
            }
        }
        let (scaled_objects, autoscalers) = stores.rivals.of(namespace, &object);
        let around = Surroundings {
            scaled_objects: &scaled_objects,
            autoscalers: &autoscalers,
            containers: found
                .as_ref()
                .map(|(containers, ranges)| (containers.as_slice(), ranges.as_slice())),
            dry_run: request.dry_run,
        };
        let findings = surroundings::check(&object, registry, &around);
        let mut verdict = verdict(request, &findings);
        verdict.warnings.extend(warnings);
        if verdict.refusal.is_some() {
            let refusing = findings.at_least(Severity::AdmissionError);
            let reasons = refusing.map(|finding| finding.reason);
            metrics.refused(namespace, &request.operation, reasons);
        }
        verdict
    }

    /// The containers of the target, if it is there, and the LimitRanges of its namespace.
    async fn containers(
        &self,
        namespace: &str,
        object: &ScaledObject,
    ) -> kube::Result<Option<(Vec<Container>, Vec<LimitRange>)>> {
        let client = || self.shared.client.clone();
        let target = &object.spec.scale_target_ref;
        let template = if target.kind() == "StatefulSet" {
            let api: Api<StatefulSet> = Api::namespaced(client(), namespace);
            let found = api.get_opt(&target.name).await?;
            found.and_then(|found| found.spec).map(|spec| spec.template)
        } else {
            let api: Api<Deployment> = Api::namespaced(client(), namespace);
            let found = api.get_opt(&target.name).await?;
            found.and_then(|found| found.spec).map(|spec| spec.template)
        };
        let Some(template) = template else {
            return Ok(None);
        };
        let containers = template.spec.map(|spec| spec.containers).unwrap_or_default();
        let ranges: Api<LimitRange> = Api::namespaced(client(), namespace);
        let ranges = ranges.list(&ListParams::default()).await?.items;
        Ok(Some((containers, ranges)))
    }
}

impl<B> Service<Request<B>> for Webhook
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let webhook = self.clone();
        Box::pin(async move { Ok(webhook.answer(request).await) })
    }
}

fn text(code: StatusCode, why: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(why.to_owned()));
    *response.status_mut() = code;
    response
}

fn refused(why: String) -> Verdict {
    Verdict {
        refusal: Some(why),
        warnings: Vec::new(),
    }
}

fn judged<T: DeserializeOwned>(request: &review::Request, check: impl FnOnce(&T) -> Findings) -> Verdict {
    match super::parse(&request.object) {
        Ok(object) => verdict(request, &check(&object)),
        Err(why) => refused(why),
    }
}

/// What findings mean for a request.
fn verdict(request: &review::Request, findings: &Findings) -> Verdict {
    let refuses = !request.is_beside_the_rules();
    let is_warning = |severity: Severity| severity < Severity::AdmissionError || !refuses;
    let warnings = findings
        .all()
        .iter()
        .filter(|finding| is_warning(finding.severity));
    let refusal = findings.in_words(Severity::AdmissionError);
    Verdict {
        warnings: warnings.map(ToString::to_string).collect(),
        refusal: Some(refusal).filter(|refusal| refuses && !refusal.is_empty()),
    }
}
