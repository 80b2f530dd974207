//! Workload identity federation: a token of somebody else, such as a ServiceAccount of a cluster, for one of Google Cloud.

use std::{fs, path::PathBuf};

use jiff::Timestamp;
use reqwest::Method;
use scaler_api::{Error, ErrorKind, Secret};
use serde::Deserialize;
use serde_json::{Value, json};

use super::key::SCOPE;
use crate::{
    http::{self, Answer, Caller},
    logins, oauth2,
};

/// RFC 8693.
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// How long a token of a service account is asked for.
const LIFETIME_SECONDS: i64 = 3600;

/// A file of type `external_account`.
#[derive(Debug, Deserialize)]
pub(super) struct Federation {
    audience: String,
    subject_token_type: String,
    token_url: String,
    service_account_impersonation_url: Option<String>,
    credential_source: CredentialSource,
}

/// Where the token of somebody else is.
#[derive(Debug, Deserialize)]
struct CredentialSource {
    file: Option<PathBuf>,
    #[serde(default)]
    format: Format,
}

#[derive(Debug, Default, Deserialize)]
struct Format {
    #[serde(default, rename = "type")]
    type_: String,
    #[serde(default)]
    subject_token_field_name: String,
}

impl CredentialSource {
    fn read(&self) -> Result<Secret, Error> {
        let bad = |message: String| Error::new(ErrorKind::Unauthorized, message);
        let file = self.file.as_ref().ok_or_else(|| {
            bad("credential_source names no file, and nothing else is supported".to_owned())
        })?;
        let text = fs::read_to_string(file)
            .map_err(|error| bad(format!("credential_source {file:?} cannot be read")).with_source(error))?;
        if self.format.type_ != "json" {
            return Ok(Secret::new(text.trim()));
        }
        let name = &self.format.subject_token_field_name;
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        let token = body[name].as_str().map(Secret::new);
        token.ok_or_else(|| bad(format!("credential_source {file:?} has no token in {name:?}")))
    }
}

impl Federation {
    /// Asks for a token at `now`, in seconds of Unix time: by exchange, and then for one of the service account that is named.
    pub(super) async fn enter(&self, caller: &Caller, now: i64) -> Result<Answer, Error> {
        let subject = self.credential_source.read()?;
        let form = vec![
            ("grant_type", GRANT),
            ("audience", self.audience.as_str()),
            ("scope", SCOPE),
            ("requested_token_type", ACCESS_TOKEN),
            ("subject_token_type", self.subject_token_type.as_str()),
            ("subject_token", subject.expose()),
        ];
        let url = http::url("token_url", &self.token_url).map_err(Error::invalid)?;
        let answer = logins::post(caller, url, form).await?;
        match &self.service_account_impersonation_url {
            Some(url) if answer.status.is_success() => {
                let (token, _) = oauth2::read(&answer)?;
                impersonate(caller, url, &token, now).await
            }
            _ => Ok(answer),
        }
    }
}

/// Asks for a token of a service account; the answer is one of OAuth 2.
async fn impersonate(caller: &Caller, url: &str, token: &Secret, now: i64) -> Result<Answer, Error> {
    let url = http::url("service_account_impersonation_url", url).map_err(Error::invalid)?;
    let bearer = http::sensitive(&Secret::new(format!("Bearer {}", token.expose())))?;
    let body = json!({"scope": [SCOPE], "lifetime": format!("{LIFETIME_SECONDS}s")});
    let request = caller
        .request(Method::POST, url)?
        .header("authorization", bearer)
        .header("content-type", "application/json")
        .body(body.to_string());
    let mut answer = http::send(request).await?;
    if answer.status.is_success() {
        let issued: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let end = issued["expireTime"].as_str().and_then(|end| end.parse().ok());
        let lives = end.map_or(0, |end: Timestamp| end.as_second() - now);
        let issued = json!({"access_token": issued["accessToken"], "expires_in": lives.max(1)});
        answer.body = issued.to_string().into_bytes();
    }
    Ok(answer)
}
