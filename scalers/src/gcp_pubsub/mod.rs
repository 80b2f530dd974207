#![doc = include_str!("docs.md")]

mod query;

use std::{env, fmt};

use async_trait::async_trait;
use reqwest::{Method, Url};
use scaler_api::{
    Context, Error, Field, MetricSpec, Problems, Sample, Scaler, Secret, SharedClock, Source, SourceKey,
    Trigger, TriggerSettings, metadata::GoDuration, observe::Observer,
};
use serde::Deserialize;
use serde_json::{Value, json};

use self::query::Resource;
use crate::{
    gcp::{self, Login, ServiceAccountKey},
    http::{self, Answer, Caller, Tls},
    logins::{Logins, Reader},
    target,
};

const ENDPOINT: &str = "https://monitoring.googleapis.com/";

/// Where Cloud Monitoring and the metadata server are, and the tokens of this process; put one into a [`Context`] to change it.
/// Without one, scalers share that of the process's environment.
#[derive(Clone, Default)]
pub struct GcpEnvironment {
    endpoint: Option<String>,
    metadata: Option<String>,
    project: Option<String>,
    logins: Logins<Login>,
}

impl GcpEnvironment {
    /// The public one, with the metadata server of the machine.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that takes `GCE_METADATA_HOST`, a host with or without port, and `CLOUDSDK_CORE_PROJECT`, the project of a pod identity,
    /// from the environment.
    #[must_use]
    pub fn from_environment() -> Self {
        let given = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            metadata: given("GCE_METADATA_HOST").map(|host| format!("http://{host}/")),
            project: given("CLOUDSDK_CORE_PROJECT"),
            ..Self::default()
        }
    }

    /// Asks the server at this URL for metrics.
    #[must_use]
    pub fn with_endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// Asks the metadata server at this URL.
    #[must_use]
    pub fn with_metadata_server(mut self, url: impl Into<String>) -> Self {
        self.metadata = Some(url.into());
        self
    }

    fn of(context: &Context) -> Self {
        static SHARED: std::sync::OnceLock<GcpEnvironment> = std::sync::OnceLock::new();
        context.get::<Self>().map_or_else(
            || SHARED.get_or_init(Self::from_environment).clone(),
            |environment| (*environment).clone(),
        )
    }
}

impl fmt::Debug for GcpEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GcpEnvironment")
            .field("endpoint", &self.endpoint)
            .field("metadata", &self.metadata)
            .field("project", &self.project)
            .finish_non_exhaustive()
    }
}

/// The metadata of `gcp-pubsub`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PubSubTrigger {
    subscription_name: Option<String>,
    topic_name: Option<String>,
    mode: String,
    value: f64,
    activation_value: f64,
    subscription_size: Option<i64>,
    aggregation: Option<String>,
    time_horizon: Option<GoDuration>,
    value_if_null: Option<f64>,
    #[serde(rename = "GoogleApplicationCredentials")]
    google_application_credentials: Option<Secret>,
    credentials: Option<Secret>,
    credentials_from_env_file: Option<String>,
    #[serde(skip)]
    settings: TriggerSettings,
}

const M_E: &[Source] = &[Source::Metadata, Source::Environment];

const FIELDS: &[Field] = &[
    Field::new(
        "subscriptionName",
        "The subscription: its name, or `projects/PROJECT/subscriptions/NAME`.",
    )
    .from(M_E),
    Field::new(
        "topicName",
        "The topic, in place of a subscription: its name, or `projects/PROJECT/topics/NAME`.",
    )
    .from(M_E),
    Field::new(
        "mode",
        "The metric, such as `NumUndeliveredMessages` or `OldestUnackedMessageAge`; `SubscriptionSize` is the former.",
    )
    .default("SubscriptionSize"),
    Field::new("value", "Value that one replica is to carry.").default("10"),
    Field::new("activationValue", "The trigger is active above this value.").default("0"),
    Field::new(
        "subscriptionSize",
        "Old key for `value` with the mode `SubscriptionSize`.",
    ),
    Field::new(
        "aggregation",
        "How points are aggregated: `mean`, `median`, `variance`, `stddev`, `sum`, `count` or `percentileN`; metrics that are \
         distributions need one.",
    ),
    Field::new(
        "timeHorizon",
        "How far back points are looked for: a duration such as 5m; 2m by default, 5m with an aggregation.",
    ),
    Field::new("valueIfNull", "The value where Cloud Monitoring has none."),
    Field::new(
        "GoogleApplicationCredentials",
        "JSON key of a service account.",
    )
    .from(&[Source::Authentication])
    .secret(),
    Field::new(
        "credentials",
        "JSON key of a service account, in an environment variable of the target's container.",
    )
    .from(&[Source::Environment])
    .secret(),
    Field::new(
        "credentialsFromEnvFile",
        "Refused: KEDA reads the key from a file of the operator's own.",
    ),
];

impl PubSubTrigger {
    fn resource(&self) -> Result<Resource, String> {
        match (&self.subscription_name, &self.topic_name) {
            (Some(name), None) => Resource::of("subscription", name),
            (None, Some(name)) => Resource::of("topic", name),
            _ => Err("exactly one of subscription or topic name must be given".to_owned()),
        }
    }

    /// The mode and the target; the old key sets both.
    fn wanted(&self) -> (&str, f64) {
        match self.subscription_size.filter(|size| *size != 0) {
            #[allow(clippy::cast_precision_loss, reason = "a target far below 2^52")]
            Some(size) => ("SubscriptionSize", size as f64),
            None => (&self.mode, self.value),
        }
    }

    fn login(&self) -> Option<Login> {
        let identity = self.settings.pod_identity.as_ref();
        if identity.is_some_and(|identity| identity.provider == "gcp") {
            return Some(Login::Metadata);
        }
        let given = self.google_application_credentials.as_ref();
        given.or(self.credentials.as_ref()).cloned().map(Login::Key)
    }

    fn key(&self) -> Result<Option<ServiceAccountKey>, Error> {
        match self.login() {
            Some(Login::Key(text)) => {
                ServiceAccountKey::read("GoogleApplicationCredentials", &text).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn query(&self, resource: &Resource, project: &str) -> Result<String, String> {
        let horizon = self.time_horizon.map(Into::into);
        query::query(
            resource,
            project,
            self.wanted().0,
            horizon,
            self.aggregation.as_deref(),
        )
    }

    fn metric_name(&self) -> String {
        let name = self.subscription_name.as_ref().or(self.topic_name.as_ref());
        let name = name.map(String::as_str).unwrap_or_default();
        scaler_api::normalize_name(&format!("gcp-ps-{name}"))
    }

    fn check_query(&self, problems: &mut Problems) {
        if let Err(message) = self.resource() {
            let field = if self.topic_name.is_some() {
                "topicName"
            } else {
                "subscriptionName"
            };
            problems.error(field, "", message);
        }
        if self.subscription_size.is_some_and(|size| size != 0) && self.topic_name.is_some() {
            let message = "you cannot use subscriptionSize field together with topicName field. Use subscriptionName field instead";
            problems.error("subscriptionSize", "", message);
        }
        if let Err(message) = query::metric(self.wanted().0) {
            problems.error("mode", &self.mode, message);
        }
        if let Some(Err(message)) = self.aggregation.as_deref().map(query::aggregation) {
            let word = self.aggregation.as_deref().unwrap_or_default();
            problems.error("aggregation", word, message);
        }
    }
}

impl Trigger for PubSubTrigger {
    const TYPE: &'static str = "gcp-pubsub";
    type Scaler = PubSubScaler;

    fn fields() -> &'static [Field] {
        FIELDS
    }

    fn example() -> &'static str {
        "subscriptionName: projects/shop/subscriptions/orders\n\
         mode: NumUndeliveredMessages\n\
         value: \"10\"\n\
         credentialsFromEnv: GOOGLE_APPLICATION_CREDENTIALS_JSON\n"
    }

    fn summary() -> &'static str {
        "how much waits in a subscription or topic of Google Cloud Pub/Sub"
    }

    fn settings(&mut self, settings: &TriggerSettings) {
        self.settings = settings.clone();
    }

    fn check(&self, problems: &mut Problems) {
        self.check_query(problems);
        target::check_positive_fraction("value", self.wanted().1, problems);
        target::check_metric_type(self.settings.metric_type, problems);
        if let Some(size) = self.subscription_size {
            let message = "subscriptionSize is deprecated, expected mode and value";
            problems.warn("subscriptionSize", size.to_string(), message);
        }
        if let Some(variable) = &self.credentials_from_env_file {
            let message = "credentialsFromEnvFile is not supported, expected credentialsFromEnv or a TriggerAuthentication";
            problems.error("credentialsFromEnvFile", variable, message);
        }
        match self.key() {
            Err(error) => problems.error("GoogleApplicationCredentials", "***", error.to_string()),
            Ok(None) if self.login().is_none() => {
                let message = "google application credentials not found: expected GoogleApplicationCredentials in the \
                               TriggerAuthentication, credentialsFromEnv, or a podIdentity of provider gcp";
                problems.error("GoogleApplicationCredentials", "", message);
            }
            Ok(_) => {}
        }
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        vec![target::external(
            &self.metric_name(),
            self.settings.metric_type,
            target::fraction(self.wanted().1),
        )]
    }

    fn source_key(&self) -> SourceKey {
        let given = |text: &Option<String>| text.clone().unwrap_or_default();
        let horizon = self.time_horizon.map(std::time::Duration::from);
        let key = SourceKey::new(Self::TYPE)
            .with("subscription", given(&self.subscription_name))
            .with("topic", given(&self.topic_name))
            .with("mode", self.wanted().0)
            .with("aggregation", given(&self.aggregation))
            .with("horizon", horizon.unwrap_or_default().as_millis())
            .with("null", format_args!("{:?}", self.value_if_null))
            .with("activation", self.activation_value);
        match self.login() {
            Some(Login::Key(text)) => key.secret("key", &text),
            Some(Login::Metadata) => key.with("identity", "gcp"),
            None => key.with("identity", "none"),
        }
    }

    async fn connect(self, context: &Context) -> Result<PubSubScaler, Error> {
        let none = || Error::new(scaler_api::ErrorKind::Unauthorized, "no Google credentials");
        let environment = GcpEnvironment::of(context);
        let url = |text: Option<&str>, default| {
            http::url("gcp-pubsub", text.unwrap_or(default)).map_err(Error::invalid)
        };
        Ok(PubSubScaler {
            caller: Caller::new(context, &Tls::default(), None)?,
            observer: Observer::of(context),
            clock: context.clock.clone(),
            endpoint: url(environment.endpoint.as_deref(), ENDPOINT)?,
            metadata: url(environment.metadata.as_deref(), gcp::METADATA)?,
            resource: self.resource().map_err(Error::invalid)?,
            key: self.key()?,
            login: self.login().ok_or_else(none)?,
            project: tokio::sync::Mutex::default(),
            environment,
            trigger: self,
        })
    }
}

/// Reads one metric of a subscription or topic.
pub struct PubSubScaler {
    caller: Caller,
    observer: Observer,
    clock: SharedClock,
    endpoint: Url,
    metadata: Url,
    resource: Resource,
    key: Option<ServiceAccountKey>,
    login: Login,
    /// That of the metadata server, once it is known.
    project: tokio::sync::Mutex<Option<String>>,
    environment: GcpEnvironment,
    trigger: PubSubTrigger,
}

impl fmt::Debug for PubSubScaler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PubSubScaler")
            .field("resource", &self.resource)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl PubSubScaler {
    /// That of the whole name, of the key, of the environment, or of the machine.
    async fn project(&self) -> Result<String, Error> {
        if let Some(project) = &self.resource.project {
            return Ok(project.clone());
        }
        let found = match &self.key {
            Some(key) => key.project.clone().ok_or_else(|| {
                Error::invalid(
                    "GoogleApplicationCredentials has no project_id, so the subscription needs its whole name",
                )
            })?,
            None => match &self.environment.project {
                Some(project) => project.clone(),
                None => self.machines_project().await?,
            },
        };
        match query::is_project(&found) {
            true => Ok(found),
            false => Err(Error::invalid(format!("the project {found:?} is not one"))),
        }
    }

    async fn machines_project(&self) -> Result<String, Error> {
        let mut known = self.project.lock().await;
        if known.is_none() {
            *known = Some(gcp::project(&self.caller, &self.metadata).await?);
        }
        Ok(known.clone().unwrap_or_default())
    }

    async fn value(&self) -> Result<f64, Error> {
        let project = self.project().await?;
        let query = self.trigger.query(&self.resource, &project);
        let reader = SeriesReader {
            scaler: self,
            project: &project,
            body: json!({"query": query.map_err(Error::invalid)?, "pageSize": 1}).to_string(),
        };
        let answer = self.environment.logins.read(&self.login, &reader).await?;
        query::newest(&answer, self.trigger.value_if_null)
    }
}

/// What asks Cloud Monitoring with a token.
struct SeriesReader<'a> {
    scaler: &'a PubSubScaler,
    project: &'a str,
    body: String,
}

#[async_trait]
impl Reader for SeriesReader<'_> {
    type Found = Value;

    async fn log_in(&self) -> Result<Answer, Error> {
        let scaler = self.scaler;
        let now = scaler.clock.now().as_second();
        gcp::log_in(&scaler.caller, scaler.key.as_ref(), &scaler.metadata, now).await
    }

    async fn read(&self, token: &Secret) -> Result<Value, Error> {
        let scaler = self.scaler;
        let mut url = scaler.endpoint.clone();
        url.path_segments_mut()
            .map_err(|()| Error::invalid("the endpoint of Cloud Monitoring cannot carry a path"))?
            .pop_if_empty()
            .extend(["v3", "projects", self.project, "timeSeries:query"]);
        let bearer = http::sensitive(&Secret::new(format!("Bearer {}", token.expose())))?;
        let request = scaler
            .caller
            .request(Method::POST, url)?
            .header("authorization", bearer)
            .header("content-type", "application/json")
            .body(self.body.clone());
        let pending = scaler.observer.begin_request();
        let answer = http::send(request).await?;
        pending.answered(answer.status.as_u16());
        if !answer.status.is_success() {
            return Err(refusal(&answer));
        }
        serde_json::from_slice(&answer.body)
            .map_err(|error| Error::invalid("Cloud Monitoring answered no JSON").with_source(error))
    }
}

/// The error of an answer: `{"error": {"message": "...", "status": "..."}}`.
fn refusal(answer: &Answer) -> Error {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let error = answer.error(format!("Cloud Monitoring answered {}", answer.status.as_u16()));
    let status = body["error"]["status"].as_str().unwrap_or_default();
    let words = body["error"]["message"].as_str().unwrap_or_default();
    match (status, words.lines().next().unwrap_or_default()) {
        ("", "") => error,
        (status, words) => error.with_source(format!("{status}: {words}")),
    }
}

#[async_trait]
impl Scaler for PubSubScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        let value = self
            .value()
            .await
            .map_err(|error| error.with_context(self.resource.kind, &self.resource.id))?;
        let active = value > self.trigger.activation_value;
        Ok(Sample::single(self.trigger.metric_name(), value, active))
    }
}

#[cfg(test)]
mod tests;
