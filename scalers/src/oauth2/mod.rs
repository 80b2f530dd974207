//! OAuth 2 client credentials (RFC 6749 §4.4): a token that is asked for once and used until it expires.

use std::time::Duration;

use reqwest::{Method, StatusCode, Url};
use scaler_api::{Error, ErrorKind, Secret};
use serde::Deserialize;
use tokio::{sync::Mutex, time::Instant};

use crate::http::{self, Answer, Caller};

/// How long before its end a token is no longer used.
const EARLY: Duration = Duration::from_secs(10);
/// How long a token is used that says nothing of its end.
const UNSAID: Duration = Duration::from_secs(3600);

/// A client of an authorization server.
#[derive(Clone, Debug)]
pub(crate) struct ClientCredentials {
    pub(crate) token_url: Url,
    pub(crate) client_id: String,
    pub(crate) client_secret: Secret,
    pub(crate) scopes: Vec<String>,
    /// More parameters of the request.
    pub(crate) parameters: Vec<(String, String)>,
}

/// Where the tokens of a client come from.
#[derive(Debug)]
pub(crate) struct TokenSource {
    caller: Caller,
    client: ClientCredentials,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    token: Option<(Secret, Instant)>,
    /// Whether the server wants the client's secret among the parameters.
    in_body: bool,
}

/// RFC 6749 §5.1; some servers write the number as text.
#[derive(Deserialize)]
struct Issued {
    access_token: Secret,
    #[serde(default)]
    expires_in: serde_json::Value,
}

/// Reads parameters that stand as in a query.
#[cfg(any(feature = "http-scalers", feature = "rabbitmq"))]
pub(crate) fn parameters(text: &str) -> Vec<(String, String)> {
    let Ok(url) = Url::parse(&format!("http://unused/?{}", text.trim_start_matches('?'))) else {
        return Vec::new();
    };
    url.query_pairs()
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
        .collect()
}

impl TokenSource {
    pub(crate) fn new(caller: Caller, client: ClientCredentials) -> Self {
        Self {
            caller,
            client,
            state: Mutex::default(),
        }
    }

    /// A token that has not expired. Whoever asks while one is being issued waits for that one.
    ///
    /// # Errors
    /// If the server cannot be asked or refuses the client.
    pub(crate) async fn token(&self) -> Result<Secret, Error> {
        let mut state = self.state.lock().await;
        if let Some((token, until)) = &state.token
            && *until > Instant::now()
        {
            return Ok(token.clone());
        }
        let mut answer = self.ask(state.in_body).await?;
        // RFC 6749 §2.3.1 wants the secret in the header; servers that do not know it there say so in one of these ways.
        if !state.in_body && matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::BAD_REQUEST) {
            let second = self.ask(true).await?;
            if second.status.is_success() {
                state.in_body = true;
                answer = second;
            }
        }
        let (token, until) = read(&answer)?;
        state.token = Some((token.clone(), until));
        Ok(token)
    }

    /// Does not use a token again that was refused.
    pub(crate) async fn forget(&self, token: &Secret) {
        let mut state = self.state.lock().await;
        if state.token.as_ref().is_some_and(|(known, _)| known == token) {
            state.token = None;
        }
    }

    async fn ask(&self, in_body: bool) -> Result<Answer, Error> {
        let client = &self.client;
        let mut form: Vec<(&str, &str)> = vec![("grant_type", "client_credentials")];
        let scope = client.scopes.join(" ");
        if !scope.is_empty() {
            form.push(("scope", &scope));
        }
        form.extend(
            client
                .parameters
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str())),
        );
        let (id, secret) = (client.client_id.as_str(), client.client_secret.expose());
        if in_body {
            form.push(("client_id", id));
            form.push(("client_secret", secret));
        }
        let request = self.caller.request(Method::POST, client.token_url.clone())?;
        let request = request
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json")
            .body(encode(form));
        let request = match in_body {
            true => request,
            false => request.basic_auth(encoded(id), Some(encoded(secret))),
        };
        http::send(request).await
    }
}

/// As the body of a form.
pub(crate) fn encode(form: Vec<(&str, &str)>) -> String {
    let mut url = Url::parse("http://unused/").expect("the text is a URL");
    url.query_pairs_mut().extend_pairs(form);
    url.query().unwrap_or_default().to_owned()
}

/// RFC 6749 §2.3.1: both halves are encoded like values of a form before they become a header.
fn encoded(text: &str) -> String {
    encode(vec![("", text)]).trim_start_matches('=').to_owned()
}

/// The token of an answer, and until when to use it.
///
/// # Errors
/// If the server refused, or is out.
pub(crate) fn read(answer: &Answer) -> Result<(Secret, Instant), Error> {
    if !answer.status.is_success() {
        let status = answer.status.as_u16();
        let error = answer.error(format!("the authorization server answered {status}"));
        // It says by 400 that it does not know the client.
        return Err(match error.kind() {
            ErrorKind::Invalid => Error::new(ErrorKind::Unauthorized, error.to_string()),
            _ => error,
        });
    }
    let issued: Issued = serde_json::from_slice(&answer.body)
        .map_err(|_| Error::unavailable("the authorization server answered no token"))?;
    let seconds = match &issued.expires_in {
        serde_json::Value::String(text) => text.parse().ok(),
        number => number.as_u64(),
    };
    let lives = seconds
        .filter(|seconds| *seconds > 0)
        .map_or(UNSAID, Duration::from_secs);
    let until = Instant::now() + lives.saturating_sub(EARLY).max(Duration::from_secs(1));
    Ok((issued.access_token, until))
}

#[cfg(test)]
#[cfg(feature = "prometheus")]
mod tests;
