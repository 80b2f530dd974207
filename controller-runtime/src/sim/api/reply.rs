//! Responses: whole ones, watches, and what a backend sends.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Response, StatusCode, header::CONTENT_TYPE};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use serde_json::Value;
use tower::BoxError;

use super::{status::ApiError, watch::WatchStream};

/// The body of a response: all at once, or a stream of watch events.
#[derive(Debug)]
pub struct ApiBody(Kind);

#[derive(Debug)]
enum Kind {
    Full(Option<Bytes>),
    Watch(Box<WatchStream>),
    Backend(UnsyncBoxBody<Bytes, BoxError>),
}

impl ApiBody {
    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Full(Some(bytes.into())))
    }

    pub(crate) fn watch(stream: WatchStream) -> Self {
        Self(Kind::Watch(Box::new(stream)))
    }

    pub(crate) fn backend(body: UnsyncBoxBody<Bytes, BoxError>) -> Self {
        Self(Kind::Backend(body))
    }

    /// The whole of it, where it is there all at once.
    pub(crate) fn into_full(self) -> Option<Bytes> {
        match self.0 {
            Kind::Full(bytes) => bytes,
            _ => None,
        }
    }

    /// Whether more may follow after a time, so that a proxy should pass on each part as it comes.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        !matches!(self.0, Kind::Full(_))
    }
}

impl Body for ApiBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Watch(stream) => stream
                .poll_next(cx)
                .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Backend(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Full(bytes) => bytes.is_none(),
            Kind::Watch(_) => false,
            Kind::Backend(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Kind::Watch(_) => SizeHint::default(),
            Kind::Backend(body) => body.size_hint(),
        }
    }
}

fn respond(code: u16, content_type: &'static str, body: ApiBody) -> Response<ApiBody> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}

/// JSON that was serialized already.
pub(crate) fn json_bytes(code: u16, bytes: Vec<u8>) -> Response<ApiBody> {
    respond(code, "application/json", ApiBody::full(bytes))
}

pub(crate) fn json(code: u16, value: &Value) -> Response<ApiBody> {
    json_bytes(code, value.to_string().into_bytes())
}

/// JSON under another content type.
pub(crate) fn json_as(content_type: &'static str, value: &Value) -> Response<ApiBody> {
    respond(200, content_type, ApiBody::full(value.to_string()))
}

/// Something that is no JSON.
pub(crate) fn bytes(content_type: &'static str, bytes: Vec<u8>) -> Response<ApiBody> {
    respond(200, content_type, ApiBody::full(bytes))
}

pub(crate) fn text(code: u16, text: impl Into<String>) -> Response<ApiBody> {
    respond(code, "text/plain; charset=utf-8", ApiBody::full(text.into()))
}

pub(crate) fn stream(stream: WatchStream) -> Response<ApiBody> {
    respond(200, "application/json", ApiBody::watch(stream))
}

/// The response with what the client is warned of.
pub(crate) fn warn(mut response: Response<ApiBody>, warnings: &[String]) -> Response<ApiBody> {
    for warning in warnings {
        let text = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = http::HeaderValue::from_str(&format!("299 - \"{text}\"")) {
            response.headers_mut().append(http::header::WARNING, value);
        }
    }
    response
}

pub(crate) fn error(error: &ApiError) -> Response<ApiBody> {
    let mut response = json(error.code, &error.to_value());
    let seconds = error
        .details
        .as_ref()
        .map_or(0, |details| details.retry_after_seconds);
    if seconds > 0 {
        response
            .headers_mut()
            .insert(http::header::RETRY_AFTER, seconds.into());
    }
    response
}
