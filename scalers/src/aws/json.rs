//! Calls of AWS's JSON protocol without an SDK client, for services of which one call is enough.

use std::fmt;

use aws_config::SdkConfig;
use reqwest::{Method, Url};
use scaler_api::{Error, SharedClock, observe::Observer};
use serde_json::Value;

use super::{
    error::kind_of_code,
    signing::{self, Unsigned},
};
use crate::http::{self, Answer, Caller};

/// One service in one region.
pub(crate) struct JsonClient {
    pub(crate) caller: Caller,
    pub(crate) config: SdkConfig,
    pub(crate) clock: SharedClock,
    pub(crate) observer: Observer,
    /// What signatures are for.
    pub(crate) service: &'static str,
    /// Prefix of the operations' names in `X-Amz-Target`.
    pub(crate) target: &'static str,
    pub(crate) url: Url,
}

impl fmt::Debug for JsonClient {
    // The configuration's own output shows a session token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonClient")
            .field("service", &self.service)
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}

impl JsonClient {
    /// Calls an operation.
    ///
    /// # Errors
    /// What the service answers, by its code.
    pub(crate) async fn call(&self, operation: &str, body: &Value) -> Result<Value, Error> {
        let answer = self.send(operation, body.to_string()).await?;
        if !answer.status.is_success() {
            return Err(refusal(&answer, operation));
        }
        serde_json::from_slice(&answer.body)
            .map_err(|error| Error::unavailable("the service answered no JSON").with_source(error))
    }

    async fn send(&self, operation: &str, body: String) -> Result<Answer, Error> {
        let credentials = signing::credentials(&self.config).await?;
        let host = match (self.url.host_str().unwrap_or_default(), self.url.port()) {
            (host, Some(port)) => format!("{host}:{port}"),
            (host, None) => host.to_owned(),
        };
        let target = format!("{}.{operation}", self.target);
        let headers = [
            ("content-type", "application/x-amz-json-1.0"),
            ("host", host.as_str()),
            ("x-amz-target", target.as_str()),
        ];
        let region = self.config.region().map(AsRef::as_ref).unwrap_or_default();
        let signature = signing::headers(
            &credentials,
            Unsigned {
                service: self.service,
                region,
                method: "POST",
                url: self.url.as_str(),
                headers: &headers,
                body: body.as_bytes(),
                time: self.clock.now().into(),
            },
        )?;
        let mut request = self.caller.request(Method::POST, self.url.clone())?;
        for (name, value) in headers.iter().filter(|(name, _)| *name != "host") {
            request = request.header(*name, *value);
        }
        for (name, value) in signature {
            request = request.header(name, value);
        }
        let pending = self.observer.begin_request();
        let answer = http::send(request.body(body)).await?;
        pending.answered(answer.status.as_u16());
        Ok(answer)
    }
}

/// `{"__type": "prefix#Code", "message": "..."}`
fn refusal(answer: &Answer, operation: &str) -> Error {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let code = body["__type"].as_str().unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default();
    let words = body["message"].as_str().or(body["Message"].as_str());
    let status = answer.status.as_u16();
    let message = format!("{operation} was answered with status {status}");
    let error = match code {
        // A proxy's, which may say when to come back.
        "" => answer.error(message),
        code => Error::new(kind_of_code(code, status), message),
    };
    match words {
        Some(words) => error.with_source(format!("{code}: {words}")),
        None if code.is_empty() => error,
        None => error.with_source(code.to_owned()),
    }
}
