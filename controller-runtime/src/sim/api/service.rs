//! The API server as a `tower::Service`: collects a request, routes it, answers.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Method, Request, Response, header, request::Parts};
use http_body::Body;
use http_body_util::BodyExt;
use tower::Service;

use super::{
    ApiBody, ApiServer, Call, admission, aggregation, discovery, old, openapi, reply,
    routes::{self, Form, Query, Target},
    state::State,
    status::ApiError,
    verbs,
};

/// Answers HTTP requests from an [`ApiServer`]'s state.
#[derive(Clone, Debug)]
pub struct ApiService {
    server: ApiServer,
}

impl ApiService {
    pub(crate) fn new(server: ApiServer) -> Self {
        Self { server }
    }
}

impl<B> Service<Request<B>> for ApiService
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: fmt::Display,
{
    type Response = Response<ApiBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<ApiBody>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let server = self.server.clone();
        Box::pin(async move { Ok(server.answer(request).await) })
    }
}

/// What a request comes to under the lock.
pub(crate) enum Outcome {
    Done(Response<ApiBody>),
    /// It is a backend's to answer.
    Proxy(aggregation::ProxyCall),
    /// It waits for what webhooks say.
    Admit(Box<admission::Pending>),
    /// It is about an object in an old form.
    Redirect(old::Redirected),
}

impl ApiServer {
    async fn answer<B>(&self, request: Request<B>) -> Response<ApiBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: fmt::Display,
    {
        let (parts, body) = request.into_parts();
        let body = if body.is_end_stream() {
            Bytes::new()
        } else {
            match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(error) => return reply::error(&ApiError::bad_request(error.to_string())),
            }
        };
        let outcome = self
            .route(&parts, body)
            .unwrap_or_else(|error| Outcome::Done(reply::error(&error)));
        match outcome {
            Outcome::Done(response) if parts.method == Method::HEAD => response.map(|_| ApiBody::full("")),
            Outcome::Done(response) => response,
            Outcome::Proxy(call) => aggregation::proxy(call).await,
            Outcome::Admit(pending) => self.admit(*pending).await,
            Outcome::Redirect(redirected) => self.redirect(redirected).await,
        }
    }

    /// Does the same for what the object is today, until something is refused.
    async fn redirect(&self, redirected: old::Redirected) -> Response<ApiBody> {
        let mut first = None;
        for request in redirected.requests {
            let response = Box::pin(self.answer(request)).await;
            if !response.status().is_success() {
                return reply::warn(response, &redirected.warnings);
            }
            first.get_or_insert(response);
        }
        match first {
            Some(response) => reply::warn(response, &redirected.warnings),
            None => reply::error(&ApiError::bad_request(
                "the object is in no old form that is known",
            )),
        }
    }

    fn route(&self, parts: &Parts, body: Bytes) -> Result<Outcome, ApiError> {
        let (segments, watching) = routes::without_watch(routes::segments(parts.uri.path()));
        let mut query = Query::parse(parts.uri.query().unwrap_or_default());
        let accept = header(parts, header::ACCEPT);
        let mut state = self.inner.lock();
        if let [root, group, version, ..] = segments.as_slice()
            && root == "apis"
            && state.registry.in_group(group).next().is_none()
            && let Some(call) = aggregation::find(&state, group, version)?
        {
            return Ok(Outcome::Proxy(call.with(parts, body)));
        }
        if let Some(target) = Target::parse(&segments) {
            if let Some(redirected) = old::redirect(&state, &target, parts, &body)? {
                return Ok(Outcome::Redirect(redirected));
            }
            let Some(mut call) = resolve(&state, target)? else {
                return missing(&state, &segments);
            };
            call.form = Form::negotiate(accept).ok_or_else(ApiError::not_acceptable)?;
            if watching {
                query.set("watch", "true");
            }
            call.watch_path = watching;
            call.query = query;
            call.body = body;
            call.content_type = header(parts, header::CONTENT_TYPE).to_owned();
            call.manager = manager(&call.query, parts);
            call.user = user(parts);
            if let Some(pending) = admission::pending(self, &mut state, &parts.method, &call)? {
                return Ok(Outcome::Admit(Box::new(pending)));
            }
            let response = verbs::serve(self, &mut state, &parts.method, &call)?;
            return Ok(Outcome::Done(reply::warn(response, &call.warnings.into_inner())));
        }
        if parts.method != Method::GET && parts.method != Method::HEAD {
            return Err(ApiError::method_not_allowed());
        }
        match self.document(&state, &segments, accept) {
            Some(document) => Ok(Outcome::Done(document)),
            None => missing(&state, &segments),
        }
    }

    /// The documents outside resources: discovery, OpenAPI, health, version.
    fn document(&self, state: &State, segments: &[String], accept: &str) -> Option<Response<ApiBody>> {
        let words: Vec<&str> = segments.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["healthz" | "livez" | "readyz", ..] => Some(reply::text(200, "ok")),
            ["version"] => Some(reply::json(200, &discovery::version())),
            ["openapi", rest @ ..] => openapi::document(state, rest, accept),
            [] => Some(reply::json(200, &discovery::paths(state))),
            rest => discovery::document(state, rest, accept),
        }
    }
}

/// What nothing serves. Below a built-in group that is a `Status`, elsewhere a text.
fn missing(state: &State, segments: &[String]) -> Result<Outcome, ApiError> {
    let words: Vec<&str> = segments.iter().map(String::as_str).collect();
    let group = match words.as_slice() {
        ["api", _, ..] => Some(""),
        ["apis", group, ..] => Some(*group),
        _ => None,
    };
    let builtin = |group: &str| {
        let mut resources = state.registry.in_group(group);
        resources.any(|resource| resource.extension.is_none() && !resource.traits.old)
    };
    if group.is_some_and(builtin) {
        return Err(ApiError::unknown_resource());
    }
    Ok(Outcome::Done(reply::text(404, "404 page not found\n")))
}

/// The call's resource, if it is served in that version and scope.
fn resolve(state: &State, target: Target) -> Result<Option<Call>, ApiError> {
    let Some(resource) = state.registry.get(&target.group, &target.resource) else {
        return Ok(None);
    };
    let Some(version) = resource.version(&target.version) else {
        return Ok(None);
    };
    if !resource.namespaced && target.namespace.is_some() {
        return Ok(None);
    }
    Ok(Some(Call::new(resource.clone(), version.clone(), target)))
}

fn header(parts: &Parts, name: header::HeaderName) -> &str {
    parts
        .headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn user(parts: &Parts) -> String {
    let remote = parts
        .headers
        .get("x-remote-user")
        .and_then(|value| value.to_str().ok());
    remote.unwrap_or("kubernetes-admin").to_owned()
}

/// The field manager: as asked for, or the first word of the user agent.
fn manager(query: &Query, parts: &Parts) -> String {
    if let Some(manager) = query.get("fieldManager") {
        return manager.to_owned();
    }
    let agent = header(parts, header::USER_AGENT);
    let name = agent.split('/').next().unwrap_or_default();
    if name.is_empty() {
        "unknown".to_owned()
    } else {
        name.to_owned()
    }
}
