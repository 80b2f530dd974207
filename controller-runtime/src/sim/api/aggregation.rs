//! Aggregated APIs: APIServices, the backends behind their Services, and the proxy between.

use std::{collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body::Body;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use serde_json::{Value, json};
use tower::{BoxError, Service, ServiceExt, util::BoxCloneSyncService};

use super::{ApiBody, reply, resources::Resource, state::State, status::ApiError, value};

/// An in-process service that stands for a Service's pods.
pub type BoxedBackend =
    BoxCloneSyncService<Request<Full<Bytes>>, Response<UnsyncBoxBody<Bytes, BoxError>>, BoxError>;

/// Boxes a service for [`ApiServer::register_backend`](super::ApiServer::register_backend).
pub fn boxed_backend<S, B>(service: S) -> BoxedBackend
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let service = service
        .map_response(|response: Response<B>| response.map(|body| body.map_err(Into::into).boxed_unsync()))
        .map_err(Into::into);
    BoxCloneSyncService::new(service)
}

/// The registered backends by namespace and Service.
#[derive(Default)]
pub(crate) struct Backends(BTreeMap<(String, String), BoxedBackend>);

impl fmt::Debug for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

const GROUP: &str = "apiregistration.k8s.io";

pub(crate) fn register(state: &mut State, namespace: &str, service: &str, backend: BoxedBackend) {
    state
        .backends
        .0
        .insert((namespace.to_owned(), service.to_owned()), backend);
    refresh(state);
}

pub(crate) fn unregister(state: &mut State, namespace: &str, service: &str) {
    state
        .backends
        .0
        .remove(&(namespace.to_owned(), service.to_owned()));
    refresh(state);
}

/// Keeps the availability of APIServices when they or Services change.
pub(crate) fn committed(state: &mut State, resource: &Resource) {
    if resource.is("", "services") || resource.is(GROUP, "apiservices") {
        refresh(state);
    }
}

/// Writes each APIService's `Available` condition where it has changed.
fn refresh(state: &mut State) {
    let Some(resource) = state.registry.get(GROUP, "apiservices").cloned() else {
        return;
    };
    let keys: Vec<Arc<str>> = state
        .builtins(GROUP, "apiservices", None)
        .map(|entry| entry.key.clone())
        .collect();
    for key in keys {
        // Looked up anew each time: a write below comes back here through its commit.
        let Some(entry) = state.builtin(GROUP, "apiservices", &key).cloned() else {
            continue;
        };
        let (status, reason, message) = availability(state, &entry.value);
        let conditions = value::items(&entry.value, &["status", "conditions"]);
        let known = conditions
            .iter()
            .find(|condition| condition["type"] == "Available");
        if known.is_some_and(|known| known["reason"] == reason && known["message"] == message.as_str()) {
            continue;
        }
        let since = known.filter(|known| known["status"] == status).map_or_else(
            || state.timestamp().into(),
            |known| known["lastTransitionTime"].clone(),
        );
        let mut object = Value::clone(&entry.value);
        let condition = json!({
            "type": "Available",
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": since,
        });
        value::set(&mut object, &["status", "conditions"], json!([condition]));
        state.replace(&resource, &entry, object);
    }
}

/// The status, reason and message of `Available`.
fn availability(state: &State, service: &Value) -> (&'static str, &'static str, String) {
    let Some(reference) = value::at(service, &["spec", "service"]).filter(|spec| !spec.is_null()) else {
        return (
            "True",
            "Local",
            "Local APIServices are always available".to_owned(),
        );
    };
    let namespace = value::text(reference, &["namespace"]);
    let name = value::text(reference, &["name"]);
    if state
        .builtin("", "services", &format!("{namespace}/{name}"))
        .is_none()
    {
        let message = format!("service/{name} in \"{namespace}\" is not present");
        return ("False", "ServiceNotFound", message);
    }
    if state
        .backends
        .0
        .contains_key(&(namespace.to_owned(), name.to_owned()))
    {
        return ("True", "Passed", "all checks passed".to_owned());
    }
    let message = format!("endpoints for service/{name} in \"{namespace}\" have no addresses");
    ("False", "MissingEndpoints", message)
}

/// A request on its way to a backend.
#[derive(Debug)]
pub(crate) struct ProxyCall {
    backend: BoxedBackend,
    request: Request<Full<Bytes>>,
}

/// The backend of a group and version that an APIService registers; `None` if none does.
///
/// # Errors
/// 503 if it is not available.
pub(crate) fn find(state: &State, group: &str, version: &str) -> Result<Option<ProxyCall>, ApiError> {
    let Some(entry) = state.builtin(GROUP, "apiservices", &format!("{version}.{group}")) else {
        return Ok(None);
    };
    let Some(reference) = value::at(&entry.value, &["spec", "service"]) else {
        return Ok(None);
    };
    let key = (
        value::text(reference, &["namespace"]).to_owned(),
        value::text(reference, &["name"]).to_owned(),
    );
    let (status, ..) = availability(state, &entry.value);
    match state.backends.0.get(&key) {
        Some(backend) if status == "True" => Ok(Some(ProxyCall {
            backend: backend.clone(),
            request: Request::new(Full::default()),
        })),
        _ => Err(ApiError::service_unavailable("service unavailable")),
    }
}

impl ProxyCall {
    /// Takes over the client's request, as the front proxy passes it on.
    pub(crate) fn with(mut self, parts: &Parts, body: Bytes) -> Self {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = parts.uri.clone();
        for (name, value) in &parts.headers {
            if name != http::header::AUTHORIZATION {
                request.headers_mut().append(name, value.clone());
            }
        }
        let headers = request.headers_mut();
        if !headers.contains_key("x-remote-user") {
            headers.insert(
                "x-remote-user",
                http::HeaderValue::from_static("kubernetes-admin"),
            );
            headers.append("x-remote-group", http::HeaderValue::from_static("system:masters"));
        }
        self.request = request;
        self
    }
}

/// Lets the backend answer.
pub(crate) async fn proxy(call: ProxyCall) -> Response<ApiBody> {
    match call.backend.oneshot(call.request).await {
        Ok(response) => response.map(ApiBody::backend),
        Err(error) => {
            let message = format!("error trying to reach service: {error}");
            reply::error(&ApiError::service_unavailable(message))
        }
    }
}

/// The groups and versions of APIServices that a Service serves, by rising priority number last.
pub(crate) fn registered(state: &State) -> Vec<(String, String, bool)> {
    let services: Vec<Arc<_>> = state.builtins(GROUP, "apiservices", None).cloned().collect();
    let spec = |object: &Value, field: &str| value::text(object, &["spec", field]).to_owned();
    services
        .iter()
        .filter(|entry| value::at(&entry.value, &["spec", "service"]).is_some_and(|spec| !spec.is_null()))
        .map(|entry| {
            let available = availability(state, &entry.value).0 == "True";
            (
                spec(&entry.value, "group"),
                spec(&entry.value, "version"),
                available,
            )
        })
        .collect()
}
