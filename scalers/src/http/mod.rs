//! What every scaler shares that asks over HTTP: one client per TLS identity, authentication, a deadline, a cap on what is
//! read, and what a failure means.

#[cfg(feature = "http-scalers")]
mod authentication;
mod environment;

#[cfg(feature = "http-scalers")]
use std::{collections::BTreeMap, sync::Arc};
use std::{error::Error as StdError, time::Duration};

use reqwest::{Client, Method, RequestBuilder, StatusCode, Url, header};
#[cfg(any(feature = "http-scalers", feature = "elasticsearch"))]
use scaler_api::Field;
#[cfg(any(feature = "http-scalers", feature = "etcd", feature = "rabbitmq"))]
use scaler_api::Problems;
use scaler_api::{Context, Error, ErrorKind, metadata::GoDuration};
#[cfg(feature = "http-scalers")]
use scaler_api::{SourceKey, observe::Observer};

#[cfg(feature = "http-scalers")]
pub(crate) use self::authentication::{Authentication, fields};
pub use self::environment::HttpEnvironment;
pub(crate) use self::environment::Tls;
#[cfg(feature = "http-scalers")]
use crate::oauth2::TokenSource;

/// Bytes of an answer that are read; an answer of one number needs far fewer.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

#[cfg(any(feature = "http-scalers", feature = "elasticsearch"))]
/// `unsafeSsl`.
pub(crate) const UNSAFE_SSL: Field =
    Field::new("unsafeSsl", "Whether any certificate of the server is accepted.").default("false");

#[cfg(feature = "http-scalers")]
/// `timeout`.
pub(crate) const TIMEOUT: Field = Field::new(
    "timeout",
    "How long an answer may take: a duration such as 2s, or milliseconds; by default that of the program, 3 s.",
);

/// A client with a deadline.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// `None` where the environment reaches nothing.
    client: Option<Client>,
    timeout: Duration,
}

/// One HTTP endpoint with its credentials.
#[cfg(feature = "http-scalers")]
#[derive(Clone, Debug)]
pub(crate) struct Source {
    caller: Caller,
    authentication: Authentication,
    tokens: Option<Arc<TokenSource>>,
    observer: Observer,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
    #[cfg(feature = "azure-queue")]
    pub(crate) headers: header::HeaderMap,
    retry_after: Option<Duration>,
}

impl Caller {
    /// A client of `context`'s environment for servers that present `tls`.
    pub(crate) fn new(context: &Context, tls: &Tls, timeout: Option<GoDuration>) -> Result<Self, Error> {
        let environment = HttpEnvironment::of(context);
        let client = match environment.is_closed() {
            true => None,
            false => Some(environment.client(tls)?),
        };
        Ok(Self {
            client,
            timeout: timeout.map_or(context.timeout, Duration::from),
        })
    }

    /// A request with the deadline, which covers everything from the connection to the last byte.
    pub(crate) fn request(&self, method: Method, url: Url) -> Result<RequestBuilder, Error> {
        let client = self
            .client
            .as_ref()
            .ok_or_else(|| Error::unavailable("this program makes no connections over HTTP"))?;
        Ok(client.request(method, url).timeout(self.timeout))
    }
}

/// Sends a request and reads the whole answer.
pub(crate) async fn send(request: RequestBuilder) -> Result<Answer, Error> {
    let mut response = request.send().await.map_err(error)?;
    let status = response.status();
    let retry_after = retry_after(&response);
    #[cfg(feature = "azure-queue")]
    let headers = response.headers().clone();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(error)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(Error::invalid(format!(
                "the answer is longer than {MAX_ANSWER} bytes"
            )));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status,
        body,
        #[cfg(feature = "azure-queue")]
        headers,
        retry_after,
    })
}

#[cfg(feature = "http-scalers")]
impl Source {
    pub(crate) fn new(
        context: &Context,
        authentication: Authentication,
        unsafe_ssl: bool,
        timeout: Option<GoDuration>,
    ) -> Result<Self, Error> {
        let caller = Caller::new(context, &authentication.tls(unsafe_ssl), timeout)?;
        let client = authentication.oauth_client()?;
        let tokens = client.map(|client| Arc::new(TokenSource::new(caller.clone(), client)));
        Ok(Self {
            caller,
            authentication,
            tokens,
            observer: Observer::of(context),
        })
    }

    /// Asks for `url`. A token that is refused is asked for anew, once.
    pub(crate) async fn get(&self, url: Url, headers: &BTreeMap<String, String>) -> Result<Answer, Error> {
        let Some(tokens) = &self.tokens else {
            return self.send(self.request(url, headers)?).await;
        };
        let token = tokens.token().await?;
        let request = self.request(url.clone(), headers)?;
        let answer = self.send(request.bearer_auth(token.expose())).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        tokens.forget(&token).await;
        let token = tokens.token().await?;
        let request = self.request(url, headers)?;
        self.send(request.bearer_auth(token.expose())).await
    }

    /// Asks for `url` once with these headers too, which are not logged where they are sensitive.
    #[cfg(feature = "prometheus")]
    pub(crate) async fn get_with(
        &self,
        url: Url,
        headers: &BTreeMap<String, String>,
        more: header::HeaderMap,
    ) -> Result<Answer, Error> {
        self.send(self.request(url, headers)?.headers(more)).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Answer, Error> {
        let pending = self.observer.begin_request();
        let answer = send(request).await?;
        pending.answered(answer.status.as_u16());
        Ok(answer)
    }

    fn request(&self, url: Url, headers: &BTreeMap<String, String>) -> Result<RequestBuilder, Error> {
        let mut request = self.caller.request(Method::GET, url)?;
        for (name, value) in headers {
            request = request.header(name, value);
        }
        Ok(self.authentication.apply(request))
    }
}

/// A header's value that the HTTP library does not log.
#[cfg(any(
    feature = "azure-key-vault",
    feature = "azure-queue",
    feature = "azure-servicebus",
    feature = "elasticsearch",
    feature = "etcd",
    feature = "gcp-pubsub",
    feature = "gcp-secret-manager",
    feature = "prometheus",
    feature = "vault"
))]
pub(crate) fn sensitive(value: &scaler_api::Secret) -> Result<header::HeaderValue, Error> {
    let mut header = header::HeaderValue::from_str(value.expose())
        .map_err(|_| Error::new(ErrorKind::Unauthorized, "the token cannot stand in a header"))?;
    header.set_sensitive(true);
    Ok(header)
}

impl Answer {
    /// The error that a status stands for.
    pub(crate) fn error(&self, message: String) -> Error {
        let kind = match self.status.as_u16() {
            401 | 403 | 407 => ErrorKind::Unauthorized,
            404 | 410 => ErrorKind::NotFound,
            408 | 504 => ErrorKind::Timeout,
            429 => ErrorKind::Throttled,
            500.. => ErrorKind::Unavailable,
            _ => ErrorKind::Invalid,
        };
        let error = Error::new(kind, message);
        match self.retry_after {
            Some(after) => error.with_retry_after(after),
            None => error,
        }
    }
}

/// `Retry-After` in seconds; the form with a date is rare and not read.
fn retry_after(response: &reqwest::Response) -> Option<Duration> {
    let text = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

/// Translates a failure. The URL is left out: a key may stand in it.
fn error(error: reqwest::Error) -> Error {
    let (kind, message) = if error.is_timeout() {
        (ErrorKind::Timeout, "no answer in time")
    } else if error.is_builder() {
        (ErrorKind::Invalid, "cannot make the request")
    } else if error.is_redirect() {
        (ErrorKind::Invalid, "too many redirects")
    } else if error.is_connect() {
        (ErrorKind::Unavailable, "cannot connect")
    } else {
        (ErrorKind::Unavailable, "the connection failed")
    };
    Error::new(kind, message).with_source(causes(&error.without_url()))
}

fn causes(error: &(dyn StdError + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in std::iter::successors(Some(error), |error| (*error).source()) {
        let part = cause.to_string();
        if !parts.iter().any(|earlier| earlier.contains(&part)) {
            parts.push(part);
        }
    }
    parts.join(": ")
}

/// Reads the URL of a field, which must be one of `http` or `https`.
pub(crate) fn url(field: &'static str, text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{field} {text:?} is not a URL: {error}"))?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() {
        Ok(url)
    } else {
        Err(format!("{field} {text:?} is not a URL of http or https"))
    }
}

#[cfg(feature = "http-scalers")]
/// Reports a URL that is none.
pub(crate) fn check_url(field: &'static str, text: &str, problems: &mut Problems) {
    if let Err(message) = url(field, text) {
        problems.error(field, text, message);
    }
}

/// Reports certificates and keys that cannot be read.
#[cfg(any(feature = "etcd", feature = "rabbitmq"))]
pub(crate) fn check_tls(tls: &Tls, problems: &mut Problems) {
    if let Some(Err(error)) = tls.ca.as_ref().map(environment::certificates) {
        problems.error("ca", "***", error.to_string());
    }
    if let Some((cert, key)) = &tls.identity
        && let Err(error) = environment::identity(cert, key)
    {
        problems.error("cert", "***", error.to_string());
    }
}

#[cfg(feature = "http-scalers")]
/// Adds the transport to a source key.
pub(crate) fn add_to(
    key: SourceKey,
    authentication: &Authentication,
    unsafe_ssl: bool,
    timeout: Option<GoDuration>,
) -> SourceKey {
    let timeout = timeout.map_or_else(String::new, |timeout| timeout.as_millis().to_string());
    authentication.add_to(key.with("unsafeSsl", unsafe_ssl).with("timeout", timeout))
}

#[cfg(test)]
#[cfg_attr(
    not(feature = "http-scalers"),
    allow(dead_code, reason = "other scalers are tested live")
)]
pub(crate) mod test_server;
#[cfg(test)]
#[cfg(feature = "http-scalers")]
mod tests;
