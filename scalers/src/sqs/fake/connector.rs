//! The seam: an HTTP client of the SDK whose server is this module.

use std::io;

use aws_smithy_runtime_api::{
    client::{
        http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;

use super::{FakeSqs, Outage, error::ApiError, protocol};

/// What the protocol layer needs of a request.
#[derive(Debug)]
pub(super) struct Call {
    /// The operation, e.g. `SendMessage`.
    pub(super) action: String,
    /// Scheme and authority, of which URLs of new queues are made.
    pub(super) endpoint: String,
    /// The access key in the signature.
    pub(super) access_key: String,
    pub(super) body: Vec<u8>,
}

impl Call {
    fn new(request: &HttpRequest) -> Self {
        let header = |name: &str| request.headers().get(name).unwrap_or_default();
        let target = header("x-amz-target");
        // `AWS4-HMAC-SHA256 Credential=AKIA.../20260101/eu-west-1/sqs/aws4_request, SignedHeaders=...`
        let credential = header("authorization")
            .split_once("Credential=")
            .map_or("", |(_, rest)| rest);
        let access_key = credential.split('/').next().unwrap_or_default().to_owned();
        let uri = request.uri();
        let authority_at = uri.find("://").map_or(0, |at| at + 3);
        let end = uri
            .get(authority_at..)
            .and_then(|rest| rest.find('/'))
            .map_or(uri.len(), |at| authority_at + at);
        Self {
            action: target.rsplit('.').next().unwrap_or_default().to_owned(),
            endpoint: uri.get(..end).unwrap_or_default().to_owned(),
            access_key,
            body: request.body().bytes().unwrap_or_default().to_vec(),
        }
    }
}

impl HttpClient for FakeSqs {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for FakeSqs {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let call = Call::new(&request);
        let sqs = self.clone();
        HttpConnectorFuture::new(async move { sqs.answer(call).await })
    }
}

impl FakeSqs {
    async fn answer(self, call: Call) -> Result<HttpResponse, ConnectorError> {
        let request_id = {
            let mut state = self.lock();
            *state.requests.entry(call.action.clone()).or_default() += 1;
            state.ids.next()
        };
        let url = protocol::queue_url_of(&call.body);
        let result = match self.outage(url.as_deref().unwrap_or_default()) {
            Some(Outage::Unreachable) => {
                let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
                return Err(ConnectorError::io(refused.into()));
            }
            Some(Outage::Hang) => std::future::pending().await,
            Some(Outage::Error500) => Err(ApiError::internal()),
            Some(Outage::Throttle) => Err(ApiError::throttled()),
            Some(Outage::Deny) => Err(ApiError::access_denied(&call.action)),
            None if !self.admits(&call.access_key) => Err(ApiError::invalid_client_token()),
            None => protocol::handle(&self, &call).await,
        };
        response(result, &request_id)
    }

    fn admits(&self, access_key: &str) -> bool {
        self.lock()
            .access_keys
            .as_ref()
            .is_none_or(|keys| keys.contains(access_key))
    }
}

fn response(
    result: Result<serde_json::Value, ApiError>,
    request_id: &str,
) -> Result<HttpResponse, ConnectorError> {
    let (status, body, query_error) = match result {
        Ok(body) => (200, body.to_string(), None),
        Err(error) => (error.status, error.body(), Some(error.query_error())),
    };
    let status = StatusCode::try_from(status).map_err(|error| ConnectorError::other(error.into(), None))?;
    let length = body.len().to_string();
    let mut response = HttpResponse::new(status, SdkBody::from(body));
    let headers = response.headers_mut();
    headers.insert("content-type", "application/x-amz-json-1.0");
    headers.insert("content-length", length);
    headers.insert("x-amzn-requestid", request_id.to_owned());
    if let Some(query_error) = query_error {
        headers.insert("x-amzn-query-error", query_error);
    }
    Ok(response)
}
