#![doc = include_str!("docs.md")]

mod amqp;
mod fields;
mod management;
mod mode;
mod scaler;

use reqwest::Url;
use scaler_api::{
    Context, Error, Field, MetricSpec, Problems, Secret, SourceKey, Trigger, TriggerSettings,
    metadata::GoDuration,
};
use serde::Deserialize;

pub use self::scaler::RabbitmqScaler;
use self::{management::Operation, mode::Mode};
use crate::{azure, http, private_key, target, tcp};

/// The metadata of `rabbitmq`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RabbitmqTrigger {
    queue_name: String,
    host: Secret,
    protocol: String,
    vhost_name: Option<String>,
    mode: String,
    value: Option<f64>,
    queue_length: Option<f64>,
    activation_value: f64,
    use_regex: bool,
    page_size: i64,
    operation: Operation,
    exclude_unacknowledged: bool,
    timeout: Option<GoDuration>,
    unsafe_ssl: bool,
    username: Option<Secret>,
    password: Option<Secret>,
    tls: String,
    ca: Option<Secret>,
    cert: Option<Secret>,
    key: Option<Secret>,
    key_password: Option<Secret>,
    workload_identity_resource: Option<String>,
    #[serde(rename = "oauthTokenURI")]
    oauth_token_uri: Option<String>,
    #[serde(rename = "clientID")]
    client_id: Option<String>,
    client_secret: Option<Secret>,
    #[serde(default)]
    scopes: Vec<String>,
    endpoint_params: Option<String>,
    #[serde(skip)]
    settings: TriggerSettings,
}

/// How a broker is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Amqp,
    Http,
}

impl RabbitmqTrigger {
    fn url(&self) -> Result<Url, String> {
        // What the parser says is dropped: it could quote the password.
        Url::parse(self.host.expose()).map_err(|_| "host is not a URL".to_owned())
    }

    fn protocol(&self) -> Result<Protocol, String> {
        let url = self.url()?;
        match (self.protocol.as_str(), url.scheme()) {
            ("auto" | "amqp", "amqp" | "amqps") => Ok(Protocol::Amqp),
            ("auto" | "http", "http" | "https") => Ok(Protocol::Http),
            ("auto", scheme) => Err(format!("unknown host URL scheme: `{scheme}`")),
            (protocol, scheme) => Err(format!(
                "the scheme of host is {scheme:?}, which is none of the protocol {protocol}"
            )),
        }
    }

    /// The mode and the target: what is given, the old `queueLength`, or 20 messages.
    fn mode(&self) -> Result<(Mode, f64), String> {
        let given = |value: Option<f64>| value.filter(|value| *value != 0.0);
        match (given(self.queue_length), self.mode.as_str(), given(self.value)) {
            (None, "Unknown", None) => Ok((Mode::QueueLength, 20.0)),
            (Some(length), "Unknown", None) => Ok((Mode::QueueLength, length)),
            (Some(_), ..) => Err("queueLength is deprecated; use mode and value".to_owned()),
            (None, "Unknown", _) => Err("mode must be specified".to_owned()),
            (None, _, None) => Err("value must be specified".to_owned()),
            (None, word, Some(value)) => Mode::named(word).map(|mode| (mode, value)),
        }
    }

    /// User and password: what is given, or what stands in the URL, or a broker's own guest.
    fn credentials(&self, url: &Url) -> (String, Secret) {
        if let (Some(username), Some(password)) = (&self.username, &self.password) {
            return (username.expose().to_owned(), password.clone());
        }
        if url.username().is_empty() {
            return ("guest".to_owned(), Secret::new("guest"));
        }
        let password = tcp::unescaped(url.password().unwrap_or_default());
        (tcp::unescaped(url.username()), Secret::new(password))
    }

    fn metric_name(&self) -> String {
        let queue = management::escape(&self.queue_name, "+");
        scaler_api::normalize_name(&format!("rabbitmq-{queue}"))
    }

    fn check_protocol(&self, problems: &mut Problems) {
        let protocol = match self.protocol() {
            Ok(protocol) => protocol,
            Err(message) => return problems.error("host", "***", message),
        };
        if protocol == Protocol::Http {
            return;
        }
        let rules = [
            (
                "useRegex",
                self.use_regex,
                "configure useRegex=true only with HTTP protocol",
            ),
            (
                "excludeUnacknowledged",
                self.exclude_unacknowledged,
                "configure excludeUnacknowledged=true only with HTTP protocol",
            ),
            (
                "timeout",
                self.timeout.is_some(),
                "AMQP protocol doesn't support custom timeouts",
            ),
            (
                "oauthTokenURI",
                self.oauth_token_uri.is_some(),
                "OAuth2 authentication is only supported with HTTP protocol, not AMQP",
            ),
            (
                "workloadIdentityResource",
                self.workload_identity_resource.is_some(),
                "workload identity is not supported for the AMQP protocol",
            ),
        ];
        for (field, is_broken, message) in rules {
            if is_broken {
                problems.error(field, "", message);
            }
        }
        if let Ok((mode, _)) = self.mode()
            && mode != Mode::QueueLength
        {
            let message = format!("protocol amqp not supported; must be HTTP to use trigger mode {mode:?}");
            problems.error("mode", &self.mode, message);
        }
    }

    fn check_credentials(&self, problems: &mut Problems) {
        if self.username.is_some() != self.password.is_some() {
            problems.error("username", "", "username and password must be given together");
        }
        if self.cert.is_some() != self.key.is_some() {
            problems.error("cert", "", "both key and certificate must be provided");
        }
        private_key::check(self.key.as_ref(), self.key_password.as_ref(), problems);
        let oauth = [
            self.oauth_token_uri.is_some(),
            self.client_id.is_some(),
            self.client_secret.is_some(),
        ];
        if oauth.contains(&true) && oauth.contains(&false) {
            let message = "OAuth2 requires oauthTokenURI, clientID and clientSecret";
            problems.error("oauthTokenURI", "", message);
        }
        if oauth.contains(&true) && (self.username.is_some() || self.workload_identity_resource.is_some()) {
            let message = "OAuth2 authentication cannot be combined with username/password authentication or Azure \
                           Workload Identity";
            problems.error("oauthTokenURI", "", message);
        }
        if let Some(uri) = &self.oauth_token_uri
            && let Err(message) = http::url("oauthTokenURI", uri)
        {
            problems.error("oauthTokenURI", uri, message);
        }
        http::check_tls(&self.http_tls(), problems);
    }

    /// The identity that asks the management API, and what its token is for.
    fn azure(&self) -> Option<(azure::Identity, String)> {
        let resource = self.workload_identity_resource.as_ref()?;
        let identity = azure::identity_of(self.settings.pod_identity.as_ref());
        let resource = resource.trim_end_matches('/');
        let scope = match resource.ends_with(".default") {
            true => resource.to_owned(),
            false => format!("{resource}/.default"),
        };
        Some((identity.unwrap_or_default(), scope))
    }

    fn http_tls(&self) -> http::Tls {
        let is_on = self.tls == "enable";
        http::Tls {
            unsafe_ssl: self.unsafe_ssl,
            ca: self.ca.clone().filter(|_| is_on),
            identity: private_key::identity(
                self.cert.as_ref(),
                self.key.as_ref(),
                self.key_password.as_ref(),
            )
            .filter(|_| is_on),
        }
    }
}

impl Trigger for RabbitmqTrigger {
    const TYPE: &'static str = "rabbitmq";
    type Scaler = RabbitmqScaler;

    fn fields() -> &'static [Field] {
        fields::FIELDS
    }

    fn example() -> &'static str {
        "host: amqp://rabbitmq.shop.svc:5672/shop\n\
         usernameFromEnv: RABBITMQ_USERNAME\n\
         passwordFromEnv: RABBITMQ_PASSWORD\n\
         queueName: orders\n\
         mode: QueueLength\n\
         value: \"20\"\n"
    }

    fn summary() -> &'static str {
        "what a queue of RabbitMQ holds, or how fast it fills and empties"
    }

    fn settings(&mut self, settings: &TriggerSettings) {
        self.settings = settings.clone();
    }

    fn check(&self, problems: &mut Problems) {
        self.check_protocol(problems);
        match self.mode() {
            Err(message) => problems.error("mode", &self.mode, message),
            Ok((_, value)) => target::check_positive_fraction("value", value, problems),
        }
        if self.page_size < 1 {
            problems.error(
                "pageSize",
                self.page_size.to_string(),
                "pageSize should be 1 or greater",
            );
        }
        if self.queue_name.len() > 255 {
            problems.error(
                "queueName",
                &self.queue_name,
                "queueName is longer than 255 bytes",
            );
        }
        self.check_credentials(problems);
        target::check_metric_type(self.settings.metric_type, problems);
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        let value = self.mode().map_or(0.0, |(_, value)| value);
        vec![target::external(
            &self.metric_name(),
            self.settings.metric_type,
            target::fraction(value),
        )]
    }

    fn source_key(&self) -> SourceKey {
        let key = SourceKey::new(Self::TYPE)
            .with("queue", &self.queue_name)
            .with("protocol", &self.protocol)
            .with("vhost", self.vhost_name.as_deref().unwrap_or_default())
            .with("mode", format_args!("{:?}", self.mode().map(|(mode, _)| mode)))
            .with("activation", self.activation_value)
            .with(
                "regex",
                format_args!("{} {} {:?}", self.use_regex, self.page_size, self.operation),
            )
            .with("onlyReady", self.exclude_unacknowledged)
            .with("timeout", format_args!("{:?}", self.timeout))
            .with("tls", format_args!("{} {}", self.tls, self.unsafe_ssl))
            .with("azure", format_args!("{:?}", self.azure()))
            .with(
                "oauth",
                format_args!(
                    "{:?} {:?} {:?} {:?}",
                    self.oauth_token_uri, self.client_id, self.scopes, self.endpoint_params
                ),
            );
        let secrets = [
            ("username", &self.username),
            ("password", &self.password),
            ("ca", &self.ca),
            ("cert", &self.cert),
            ("key", &self.key),
            ("keyPassword", &self.key_password),
            ("clientSecret", &self.client_secret),
        ];
        secrets
            .into_iter()
            .filter_map(|(name, secret)| Some((name, secret.as_ref()?)))
            .fold(key.secret("host", &self.host), |key, (name, secret)| {
                key.secret(name, secret)
            })
    }

    async fn connect(self, context: &Context) -> Result<RabbitmqScaler, Error> {
        RabbitmqScaler::new(&self, context)
    }
}

#[cfg(test)]
mod tests;
