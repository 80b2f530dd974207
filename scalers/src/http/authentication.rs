//! KEDA's HTTP authentication block, shared by every scaler that asks over HTTP.

use reqwest::{
    RequestBuilder,
    header::{HeaderName, HeaderValue},
};
use scaler_api::{Error, Problems, Secret, SourceKey};
use serde::Deserialize;

use super::environment::{self, Tls};
use crate::oauth2::{self, ClientCredentials};

/// The keys of the block.
pub(crate) mod fields {
    use scaler_api::{Field, Source};

    pub(crate) const MODES: Field = Field::new(
        "authModes",
        "How to authenticate: a list of `apiKey`, `basic`, `bearer`, `custom`, `oauth` and `tls`.",
    )
    .aliases(&["authMode"])
    .from(&[Source::Metadata, Source::Authentication]);
    pub(crate) const BEARER_TOKEN: Field = Field::new("bearerToken", "Token for `bearer`.")
        .aliases(&["token"])
        .from(&[Source::Authentication])
        .secret();
    pub(crate) const USERNAME: Field = Field::new("username", "User for `basic`.")
        .from(&[Source::Authentication])
        .secret();
    pub(crate) const PASSWORD: Field = Field::new("password", "Password for `basic`.")
        .from(&[Source::Authentication])
        .secret();
    pub(crate) const CA: Field = Field::new(
        "ca",
        "Certificates, in PEM, that are trusted beside the system's.",
    )
    .from(&[Source::Authentication])
    .secret();
    pub(crate) const CERT: Field = Field::new("cert", "Client certificate for `tls`, in PEM.")
        .from(&[Source::Authentication])
        .secret();
    pub(crate) const KEY: Field = Field::new("key", "Key of the client certificate, in PEM.")
        .from(&[Source::Authentication])
        .secret();
    pub(crate) const CUSTOM_HEADER: Field =
        Field::new("customAuthHeader", "Name of the header for `custom`.").from(&[Source::Authentication]);
    pub(crate) const CUSTOM_VALUE: Field = Field::new("customAuthValue", "Value of the header for `custom`.")
        .from(&[Source::Authentication])
        .secret();
    pub(crate) const OAUTH_TOKEN_URI: Field =
        Field::new("oauthTokenURI", "URL at which `oauth` gets its tokens.").from(&[Source::Authentication]);
    pub(crate) const CLIENT_ID: Field =
        Field::new("clientID", "Client for `oauth`.").from(&[Source::Authentication]);
    pub(crate) const CLIENT_SECRET: Field = Field::new("clientSecret", "Secret of the client for `oauth`.")
        .from(&[Source::Authentication])
        .secret();
    pub(crate) const SCOPES: Field = Field::new("scopes", "What `oauth` asks for: `scope,scope`.")
        .aliases(&["scope"])
        .from(&[Source::Authentication]);
    pub(crate) const ENDPOINT_PARAMS: Field = Field::new(
        "endpointParams",
        "More parameters with which `oauth` asks for tokens, as a query: `name=value&name=value`.",
    )
    .from(&[Source::Authentication]);
    pub(crate) const API_KEY: Field = Field::new("apiKey", "Key for `apiKey`.")
        .from(&[Source::Authentication, Source::Metadata])
        .secret();
    pub(crate) const METHOD: Field =
        Field::new("method", "Where `apiKey` puts the key: `header` or `query`.")
            .from(&[Source::Authentication, Source::Metadata])
            .allowed(&["header", "query"])
            .default("header");
    pub(crate) const KEY_PARAM_NAME: Field = Field::new(
        "keyParamName",
        "Name of the header (by default X-API-KEY) or parameter (api_key) that carries the key.",
    )
    .from(&[Source::Authentication, Source::Metadata]);
}

/// A way to authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Mode {
    ApiKey,
    Basic,
    Bearer,
    Custom,
    Tls,
    Oauth,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KeyMethod {
    #[default]
    Header,
    Query,
}

/// The block; a struct to nest in that of a trigger.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Authentication {
    #[serde(default)]
    auth_modes: Vec<Mode>,
    bearer_token: Option<Secret>,
    username: Option<Secret>,
    password: Option<Secret>,
    ca: Option<Secret>,
    cert: Option<Secret>,
    key: Option<Secret>,
    custom_auth_header: Option<String>,
    custom_auth_value: Option<Secret>,
    api_key: Option<Secret>,
    #[serde(default)]
    method: KeyMethod,
    key_param_name: Option<String>,
    #[serde(rename = "oauthTokenURI")]
    oauth_token_uri: Option<String>,
    #[serde(rename = "clientID")]
    client_id: Option<String>,
    client_secret: Option<Secret>,
    #[serde(default)]
    scopes: Vec<String>,
    endpoint_params: Option<String>,
}

impl Authentication {
    /// Whether any mode was asked for.
    #[cfg(feature = "prometheus")]
    pub(crate) fn is_used(&self) -> bool {
        !self.auth_modes.is_empty()
    }

    fn uses(&self, mode: Mode) -> bool {
        self.auth_modes.contains(&mode)
    }

    /// Reports modes that exclude each other, and what a mode lacks.
    pub(crate) fn check(&self, problems: &mut Problems) {
        let exclusive = [Mode::Bearer, Mode::Basic, Mode::Oauth];
        if exclusive.into_iter().filter(|mode| self.uses(*mode)).count() > 1 {
            problems.error(
                "authModes",
                "",
                "authModes can name only one of bearer, basic and oauth",
            );
        }
        let needs = [
            (Mode::Bearer, "bearer", "bearerToken", self.bearer_token.is_some()),
            (Mode::Basic, "basic", "username", self.username.is_some()),
            (Mode::ApiKey, "apiKey", "apiKey", self.api_key.is_some()),
            (
                Mode::Custom,
                "custom",
                "customAuthHeader",
                self.custom_auth_header.is_some(),
            ),
            (
                Mode::Custom,
                "custom",
                "customAuthValue",
                self.custom_auth_value.is_some(),
            ),
            (
                Mode::Oauth,
                "oauth",
                "oauthTokenURI",
                self.oauth_token_uri.is_some(),
            ),
            (Mode::Oauth, "oauth", "clientID", self.client_id.is_some()),
            (Mode::Tls, "tls", "cert", self.cert.is_some()),
            (Mode::Tls, "tls", "key", self.key.is_some()),
        ];
        for (mode, word, field, given) in needs {
            if self.uses(mode) && !given {
                problems.error(field, "", format!("authModes {word} needs {field}"));
            }
        }
        if let Some(uri) = self.oauth_token_uri.as_deref().filter(|_| self.uses(Mode::Oauth)) {
            super::check_url("oauthTokenURI", uri, problems);
        }
        self.check_headers(problems);
        self.check_certificates(problems);
    }

    /// Reports what cannot stand in a header, which the HTTP library would refuse at each request.
    fn check_headers(&self, problems: &mut Problems) {
        let names = [
            (
                "customAuthHeader",
                self.custom_auth_header
                    .as_deref()
                    .filter(|_| self.uses(Mode::Custom)),
            ),
            (
                "keyParamName",
                self.key_param_name.as_deref().filter(|_| self.sends_key_header()),
            ),
        ];
        for (field, name) in names {
            if let Some(name) = name.filter(|name| HeaderName::try_from(*name).is_err()) {
                problems.error(
                    field,
                    name,
                    format!("{field} {name:?} is not the name of a header"),
                );
            }
        }
        let values = [
            (
                "bearerToken",
                self.bearer_token.as_ref().filter(|_| self.uses(Mode::Bearer)),
            ),
            (
                "customAuthValue",
                self.custom_auth_value
                    .as_ref()
                    .filter(|_| self.uses(Mode::Custom)),
            ),
            (
                "apiKey",
                self.api_key.as_ref().filter(|_| self.sends_key_header()),
            ),
        ];
        for (field, value) in values {
            if value.is_some_and(|value| HeaderValue::from_str(value.expose()).is_err()) {
                problems.error(field, "***", format!("{field} cannot stand in a header"));
            }
        }
    }

    fn sends_key_header(&self) -> bool {
        self.uses(Mode::ApiKey) && self.method == KeyMethod::Header
    }

    fn check_certificates(&self, problems: &mut Problems) {
        if let Some(Err(error)) = self.ca.as_ref().map(environment::certificates) {
            problems.error("ca", "***", error.to_string());
        }
        if let (true, Some(cert), Some(key)) = (self.uses(Mode::Tls), &self.cert, &self.key)
            && let Err(error) = environment::identity(cert, key)
        {
            problems.error("cert", "***", error.to_string());
        }
    }

    pub(super) fn tls(&self, unsafe_ssl: bool) -> Tls {
        let identity = self.cert.clone().zip(self.key.clone());
        Tls {
            unsafe_ssl,
            ca: self.ca.clone(),
            identity: identity.filter(|_| self.uses(Mode::Tls)),
        }
    }

    /// The client of an authorization server that requests are made as.
    pub(super) fn oauth_client(&self) -> Result<Option<ClientCredentials>, Error> {
        let (true, Some(uri), Some(id)) = (
            self.uses(Mode::Oauth),
            self.oauth_token_uri.as_deref(),
            &self.client_id,
        ) else {
            return Ok(None);
        };
        Ok(Some(ClientCredentials {
            token_url: super::url("oauthTokenURI", uri).map_err(Error::invalid)?,
            client_id: id.clone(),
            client_secret: self.client_secret.clone().unwrap_or_default(),
            scopes: self.scopes.clone(),
            parameters: oauth2::parameters(self.endpoint_params.as_deref().unwrap_or_default()),
        }))
    }

    /// Adds the credentials to a request.
    pub(super) fn apply(&self, mut request: RequestBuilder) -> RequestBuilder {
        if let Some(token) = self.bearer_token.as_ref().filter(|_| self.uses(Mode::Bearer)) {
            request = request.bearer_auth(token.expose());
        }
        if let Some(username) = self.username.as_ref().filter(|_| self.uses(Mode::Basic)) {
            request = request.basic_auth(username.expose(), self.password.as_ref().map(Secret::expose));
        }
        if let (true, Some(name), Some(value)) = (
            self.uses(Mode::Custom),
            &self.custom_auth_header,
            &self.custom_auth_value,
        ) {
            request = request.header(name, sensitive(value));
        }
        let Some(key) = self.api_key.as_ref().filter(|_| self.uses(Mode::ApiKey)) else {
            return request;
        };
        let name = self.key_param_name.as_deref();
        match self.method {
            KeyMethod::Header => request.header(name.unwrap_or("X-API-KEY"), sensitive(key)),
            KeyMethod::Query => request.query(&[(name.unwrap_or("api_key"), key.expose())]),
        }
    }

    /// Adds the block to a source key; credentials as digests.
    pub(super) fn add_to(&self, key: SourceKey) -> SourceKey {
        let key = key
            .with("authModes", format_args!("{:?}", self.auth_modes))
            .with(
                "customAuthHeader",
                self.custom_auth_header.as_deref().unwrap_or_default(),
            )
            .with("method", format_args!("{:?}", self.method))
            .with("keyParamName", self.key_param_name.as_deref().unwrap_or_default())
            .with(
                "oauthTokenURI",
                self.oauth_token_uri.as_deref().unwrap_or_default(),
            )
            .with("clientID", self.client_id.as_deref().unwrap_or_default())
            .with("scopes", format_args!("{:?}", self.scopes))
            .with(
                "endpointParams",
                self.endpoint_params.as_deref().unwrap_or_default(),
            );
        let secrets = [
            ("bearerToken", &self.bearer_token),
            ("username", &self.username),
            ("password", &self.password),
            ("ca", &self.ca),
            ("cert", &self.cert),
            ("key", &self.key),
            ("customAuthValue", &self.custom_auth_value),
            ("apiKey", &self.api_key),
            ("clientSecret", &self.client_secret),
        ];
        secrets
            .into_iter()
            .filter_map(|(name, secret)| Some((name, secret.as_ref()?)))
            .fold(key, |key, (name, secret)| key.secret(name, secret))
    }
}

/// A header's value that the HTTP library does not log. One that cannot stand in a header was refused by the check.
fn sensitive(value: &Secret) -> HeaderValue {
    let mut header = HeaderValue::from_str(value.expose()).unwrap_or_else(|_| HeaderValue::from_static(""));
    header.set_sensitive(true);
    header
}
