//! What every scaler shares that asks over HTTP: one client per TLS identity, authentication, a deadline, a cap on what is
//! read, and what a failure means.

mod authentication;
mod environment;

use std::{collections::BTreeMap, error::Error as StdError, time::Duration};

use reqwest::{Client, StatusCode, Url, header};
use scaler_api::{
    Context, Error, ErrorKind, Field, Problems, SourceKey, metadata::GoDuration, observe::Observer,
};

pub(crate) use self::authentication::{Authentication, fields};
pub use self::environment::HttpEnvironment;

/// Bytes of an answer that are read; an answer of one number needs far fewer.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// `unsafeSsl`.
pub(crate) const UNSAFE_SSL: Field =
    Field::new("unsafeSsl", "Whether any certificate of the server is accepted.").default("false");

/// `timeout`.
pub(crate) const TIMEOUT: Field = Field::new(
    "timeout",
    "How long an answer may take: a duration such as 2s, or milliseconds; by default that of the program, 3 s.",
);

/// One HTTP endpoint with its credentials.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// `None` where the environment reaches nothing.
    client: Option<Client>,
    authentication: Authentication,
    timeout: Duration,
    observer: Observer,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
    retry_after: Option<Duration>,
}

impl Source {
    pub(crate) fn new(
        context: &Context,
        authentication: Authentication,
        unsafe_ssl: bool,
        timeout: Option<GoDuration>,
    ) -> Result<Self, Error> {
        let environment = HttpEnvironment::of(context);
        let client = match environment.is_closed() {
            true => None,
            false => Some(environment.client(&authentication.tls(unsafe_ssl))?),
        };
        Ok(Self {
            client,
            authentication,
            timeout: timeout.map_or(context.timeout, Duration::from),
            observer: Observer::of(context),
        })
    }

    /// Asks for `url`; the deadline covers everything from the connection to the last byte.
    pub(crate) async fn get(&self, url: Url, headers: &BTreeMap<String, String>) -> Result<Answer, Error> {
        let client = self
            .client
            .as_ref()
            .ok_or_else(|| Error::unavailable("this program makes no connections over HTTP"))?;
        let mut request = client.get(url).timeout(self.timeout);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = self.authentication.apply(request);
        let pending = self.observer.begin_request();
        let mut response = request.send().await.map_err(error)?;
        let status = response.status();
        pending.answered(status.as_u16());
        let retry_after = retry_after(&response);
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
            retry_after,
        })
    }
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

/// Reports a URL that is none.
pub(crate) fn check_url(field: &'static str, text: &str, problems: &mut Problems) {
    if let Err(message) = url(field, text) {
        problems.error(field, text, message);
    }
}

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
pub(crate) mod test_server;
#[cfg(test)]
mod tests;
