//! The key of a service account, and what it signs.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Url;
use rustls::{
    SignatureScheme,
    crypto::ring::sign::any_supported_type,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
};
use scaler_api::{Error, ErrorKind, Secret};
use serde::Deserialize;
use serde_json::json;

use crate::http;

pub(super) const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
/// How long an assertion is good: the longest that Google takes.
const LIFETIME_SECONDS: i64 = 3600;

/// The key of a service account.
pub(crate) struct ServiceAccountKey {
    email: String,
    id: Option<String>,
    private_key: Secret,
    token_uri: String,
    pub(crate) project: Option<String>,
}

#[derive(Deserialize)]
struct File {
    #[serde(rename = "type")]
    type_: Option<String>,
    client_email: Option<String>,
    private_key: Option<Secret>,
    private_key_id: Option<String>,
    project_id: Option<String>,
    token_uri: Option<String>,
}

impl fmt::Debug for ServiceAccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccountKey")
            .field("email", &self.email)
            .finish_non_exhaustive()
    }
}

// What the parsers say is dropped on purpose: it could quote the key.

impl ServiceAccountKey {
    /// Reads the JSON that Google gives out; `field` says where it stands.
    pub(crate) fn read(field: &str, text: &Secret) -> Result<Self, Error> {
        let bad = |what: &str| {
            let message = format!("{field} {what}");
            Error::new(ErrorKind::Unauthorized, message)
        };
        let file: File = serde_json::from_str(text.expose())
            .map_err(|_| bad("is not the key of a service account: not its JSON"))?;
        if let Some(other) = file.type_.filter(|type_| type_ != "service_account") {
            return Err(bad(&format!("is of type {other:?}, expected service_account")));
        }
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        Ok(Self {
            email: given(file.client_email).ok_or_else(|| bad("has no client_email"))?,
            id: given(file.private_key_id),
            private_key: file
                .private_key
                .filter(|key| !key.expose().is_empty())
                .ok_or_else(|| bad("has no private_key"))?,
            token_uri: given(file.token_uri).unwrap_or_else(|| TOKEN_URI.to_owned()),
            project: given(file.project_id),
        })
    }

    /// Where tokens are issued.
    pub(crate) fn token_url(&self) -> Result<Url, Error> {
        http::url("token_uri", &self.token_uri).map_err(Error::invalid)
    }

    /// A JWT, signed RS256, that asks for a token at `now`, in seconds of Unix time.
    pub(crate) fn assertion(&self, now: i64) -> Result<Secret, Error> {
        let mut header = json!({"alg": "RS256", "typ": "JWT"});
        if let Some(id) = &self.id {
            header["kid"] = id.as_str().into();
        }
        let claims = json!({
            "iss": self.email, "scope": SCOPE, "aud": self.token_uri, "iat": now, "exp": now + LIFETIME_SECONDS,
        });
        let encoded = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", encoded(header), encoded(claims));
        let signature = self.sign(text.as_bytes())?;
        Ok(Secret::new(format!(
            "{text}.{}",
            URL_SAFE_NO_PAD.encode(signature)
        )))
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let bad = |what: &'static str| Error::new(ErrorKind::Unauthorized, what);
        let key = PrivateKeyDer::from_pem_slice(self.private_key.expose().as_bytes())
            .map_err(|_| bad("private_key of the service account is not a private key in PEM"))?;
        let key = any_supported_type(&key)
            .map_err(|_| bad("private_key of the service account is not a key of RSA"))?;
        let signer = key
            .choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256])
            .ok_or_else(|| bad("private_key of the service account is not a key of RSA"))?;
        signer
            .sign(message)
            .map_err(|_| bad("private_key of the service account cannot sign"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_of_a_service_account_is_refused_and_not_quoted() {
        let cases = [
            ("hunter2", "not its JSON"),
            (
                r#"{"type": "authorized_user", "private_key": "hunter2"}"#,
                "expected service_account",
            ),
            (
                r#"{"type": "service_account", "private_key": "hunter2"}"#,
                "has no client_email",
            ),
            (r#"{"client_email": "a@b"}"#, "has no private_key"),
            (
                r#"{"client_email": "a@b", "private_key": "hunter2"}"#,
                "not a private key in PEM",
            ),
        ];
        for (text, expected) in cases {
            let signed =
                ServiceAccountKey::read("clientSecret", &Secret::new(text)).and_then(|key| key.assertion(0));
            let error = signed.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthorized);
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
