//! The service that asks before it passes a request on.

use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use tower::{Layer, Service};

use super::Delegated;
use crate::{service::status_parts, status::Status};

/// A service behind [`Delegated`].
#[derive(Clone, Debug)]
pub struct DelegatedService<S> {
    delegated: Delegated,
    inner: S,
}

impl<S> DelegatedService<S> {
    pub(super) fn new(delegated: Delegated, inner: S) -> Self {
        Self { delegated, inner }
    }
}

impl<S> Layer<S> for Delegated {
    type Service = DelegatedService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        DelegatedService::new(self.clone(), inner)
    }
}

impl<S, B, R> Service<Request<B>> for DelegatedService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: From<Bytes>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let next = self.inner.clone();
        // The one that was found ready is the one to call.
        let mut inner = std::mem::replace(&mut self.inner, next);
        let delegated = self.delegated.clone();
        Box::pin(async move {
            let (mut head, body) = request.into_parts();
            match delegated.admit(&mut head).await {
                Ok(()) => inner.call(Request::from_parts(head, body)).await,
                Err(refusal) => {
                    let (head, body) = status_parts(&Status::from(refusal));
                    Ok(Response::from_parts(head, R::from(body)))
                }
            }
        })
    }
}
