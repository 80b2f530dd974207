#![doc = include_str!("docs.md")]

mod query;

use std::fmt;

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
    gcp::{self, Login, TriggerIdentity},
    http::{self, Answer, Caller, Tls},
    logins::Reader,
    target,
};

pub use crate::gcp::GcpEnvironment;

const ENDPOINT: &str = "https://monitoring.googleapis.com/";

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
    gcp::fields::KEY,
    gcp::fields::CREDENTIALS,
    gcp::fields::FILE,
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

    fn identity(&self) -> Option<TriggerIdentity> {
        TriggerIdentity::of(
            self.settings.pod_identity.as_ref(),
            self.google_application_credentials.as_ref(),
            self.credentials.as_ref(),
        )
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
        gcp::check_identity(
            self.identity().as_ref(),
            self.credentials_from_env_file.as_deref(),
            problems,
        );
        if self.identity().is_none() {
            let message = "google application credentials not found: expected GoogleApplicationCredentials in the \
                           TriggerAuthentication, credentialsFromEnv, or a podIdentity of provider gcp";
            problems.error("GoogleApplicationCredentials", "", message);
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
        match self.identity() {
            Some(identity) => identity.add_to(key),
            None => key.with("identity", "none"),
        }
    }

    async fn connect(self, context: &Context) -> Result<PubSubScaler, Error> {
        let none = || Error::new(scaler_api::ErrorKind::Unauthorized, "no Google credentials");
        let environment = GcpEnvironment::of(context);
        let endpoint = environment.endpoint.as_deref().unwrap_or(ENDPOINT);
        Ok(PubSubScaler {
            caller: Caller::new(context, &Tls::default(), None)?,
            observer: Observer::of(context),
            clock: context.clock.clone(),
            endpoint: http::url("gcp-pubsub", endpoint).map_err(Error::invalid)?,
            metadata: environment.metadata()?,
            resource: self.resource().map_err(Error::invalid)?,
            login: environment.login(&self.identity().ok_or_else(none)?),
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
    login: Login,
    /// That of the login, once it is known.
    project: tokio::sync::Mutex<Option<String>>,
    environment: GcpEnvironment,
    trigger: PubSubTrigger,
}

impl fmt::Debug for PubSubScaler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PubSubScaler")
            .field("resource", &self.resource)
            .finish_non_exhaustive()
    }
}

impl PubSubScaler {
    /// That of the whole name, of the key, of the environment, or of the machine.
    async fn project(&self) -> Result<String, Error> {
        if let Some(project) = &self.resource.project {
            return Ok(project.clone());
        }
        let mut known = self.project.lock().await;
        if known.is_none() {
            let found = self.own_project().await?;
            if !query::is_project(&found) {
                return Err(Error::invalid(format!("the project {found:?} is not one")));
            }
            *known = Some(found);
        }
        Ok(known.clone().unwrap_or_default())
    }

    async fn own_project(&self) -> Result<String, Error> {
        let is_process = !matches!(self.login, Login::Key(..));
        if let Some(project) = self.environment.project.as_ref().filter(|_| is_process) {
            return Ok(project.clone());
        }
        match self.login.key()? {
            Some(key) => key.project.ok_or_else(|| {
                Error::invalid(
                    "GoogleApplicationCredentials has no project_id, so the subscription needs its whole name",
                )
            }),
            None => gcp::project(&self.caller, &self.metadata).await,
        }
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
        scaler.login.enter(&scaler.caller, &scaler.metadata, now).await
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
