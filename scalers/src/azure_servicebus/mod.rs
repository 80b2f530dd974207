#![doc = include_str!("docs.md")]

mod entity;
mod namespace;

use async_trait::async_trait;
use reqwest::{Method, Url};
use scaler_api::{
    Context, Error, Field, MetricSpec, Problems, Quantity, Sample, Scaler, Secret, SharedClock, Source,
    SourceKey, Trigger, TriggerSettings, observe::Observer,
};
use serde::Deserialize;

use self::{
    entity::{Entity, PAGE, Pattern},
    namespace::{Namespace, Proof},
};
use crate::{
    azure::{self, AzureEnvironment, CloudKeys, fields, xml},
    http::{self, Answer, Caller, Tls},
    logins::Reader,
    target,
};

const OPERATIONS: &[&str] = &["sum", "max", "avg"];

/// The metadata of `azure-servicebus`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceBusTrigger {
    queue_name: Option<String>,
    topic_name: Option<String>,
    subscription_name: Option<String>,
    message_count: i64,
    activation_message_count: i64,
    use_regex: bool,
    operation: String,
    connection: Option<Secret>,
    namespace: Option<String>,
    place: CloudKeys,
    #[serde(skip)]
    settings: TriggerSettings,
}

const FIELDS: &[Field] = &[
    Field::new(
        "queueName",
        "Name of the queue, or with `useRegex` an expression that names match.",
    ),
    Field::new("topicName", "Name of the topic, in place of a queue."),
    Field::new(
        "subscriptionName",
        "Name of the topic's subscription, or with `useRegex` an expression that names match.",
    ),
    Field::new("messageCount", "Messages that one replica is to carry.").default("5"),
    Field::new(
        "activationMessageCount",
        "The trigger is active above this number of messages.",
    )
    .default("0"),
    Field::new(
        "useRegex",
        "Whether the name of the queue or subscription is a regular expression.",
    )
    .default("false"),
    Field::new(
        "operation",
        "What one value is made of several by: `sum`, `max` or `avg`.",
    )
    .allowed(OPERATIONS)
    .default("sum"),
    Field::new(
        "connection",
        "Connection string of the namespace; needed without a pod identity.",
    )
    .from(&[Source::Authentication, Source::Environment])
    .secret(),
    Field::new("namespace", "Namespace, which a pod identity needs."),
    fields::CLOUD,
    fields::ENDPOINT_SUFFIX,
];

impl ServiceBusTrigger {
    fn entity(&self) -> Result<Entity, (&'static str, String)> {
        Entity::of(
            self.queue_name.as_deref(),
            self.topic_name.as_deref(),
            self.subscription_name.as_deref(),
            self.use_regex,
        )
    }

    fn namespace(&self) -> Result<Namespace, String> {
        Namespace::of(
            self.connection.as_ref(),
            self.namespace.as_deref(),
            &self.place,
            azure::identity_of(self.settings.pod_identity.as_ref()),
        )
    }

    fn metric_name(&self) -> String {
        let name = match (&self.queue_name, &self.topic_name, self.use_regex) {
            (Some(_), _, true) => "queue-regex",
            (None, _, true) => "topic-regex",
            (Some(name), ..) | (None, Some(name), _) => name,
            (None, None, _) => "",
        };
        scaler_api::normalize_name(&format!("azure-servicebus-{name}"))
    }
}

impl Trigger for ServiceBusTrigger {
    const TYPE: &'static str = "azure-servicebus";
    type Scaler = ServiceBusScaler;

    fn fields() -> &'static [Field] {
        FIELDS
    }

    fn example() -> &'static str {
        "queueName: orders\n\
         messageCount: \"5\"\n\
         connectionFromEnv: SERVICEBUS_CONNECTION_STRING\n"
    }

    fn summary() -> &'static str {
        "the number of active messages in queues or subscriptions of Azure Service Bus"
    }

    fn settings(&mut self, settings: &TriggerSettings) {
        self.settings = settings.clone();
    }

    fn check(&self, problems: &mut Problems) {
        if let Err((field, message)) = self.entity() {
            problems.error(field, "", message);
        }
        target::check_positive("messageCount", self.message_count, problems);
        target::check_metric_type(self.settings.metric_type, problems);
        self.place.check(problems);
        if azure::needs_connection(self.settings.pod_identity.as_ref(), problems) {
            match (&self.connection, self.namespace()) {
                (None, _) => problems.error("connection", "", "no connection setting given"),
                (Some(_), Err(message)) => problems.error("connection", "***", message),
                (Some(_), Ok(_)) => {}
            }
        } else if let Err(message) = namespace::check(self.namespace.as_deref()) {
            problems.error(
                "namespace",
                self.namespace.as_deref().unwrap_or_default(),
                message,
            );
        }
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        vec![target::external(
            &self.metric_name(),
            self.settings.metric_type,
            Quantity::from_units(self.message_count),
        )]
    }

    fn source_key(&self) -> SourceKey {
        let texts = [
            ("queue", &self.queue_name),
            ("topic", &self.topic_name),
            ("subscription", &self.subscription_name),
            ("namespace", &self.namespace),
            ("cloud", &self.place.cloud),
            ("suffix", &self.place.endpoint_suffix),
        ];
        let key = texts
            .into_iter()
            .fold(SourceKey::new(Self::TYPE), |key, (name, value)| {
                key.with(name, value.as_deref().unwrap_or_default())
            });
        let key = key
            .with("regex", self.use_regex)
            .with("operation", &self.operation)
            .with("activation", self.activation_message_count);
        let key = match azure::identity_of(self.settings.pod_identity.as_ref()) {
            Some(identity) => identity.add_to(key),
            None => key,
        };
        match &self.connection {
            Some(connection) => key.secret("connection", connection),
            None => key,
        }
    }

    async fn connect(self, context: &Context) -> Result<ServiceBusScaler, Error> {
        Ok(ServiceBusScaler {
            caller: Caller::new(context, &Tls::default(), None)?,
            observer: Observer::of(context),
            clock: context.clock.clone(),
            entity: self.entity().map_err(|(_, message)| Error::invalid(message))?,
            namespace: self.namespace().map_err(Error::invalid)?,
            environment: AzureEnvironment::of(context),
            metric_name: self.metric_name(),
            trigger: self,
        })
    }
}

/// Counts the active messages of queues or subscriptions.
#[derive(Debug)]
pub struct ServiceBusScaler {
    caller: Caller,
    observer: Observer,
    clock: SharedClock,
    entity: Entity,
    namespace: Namespace,
    environment: AzureEnvironment,
    metric_name: String,
    trigger: ServiceBusTrigger,
}

impl ServiceBusScaler {
    async fn length(&self) -> Result<i64, Error> {
        match &self.entity {
            Entity::Named(path) => {
                let answer = self.ask(&self.namespace.url(path, None)?).await?;
                let found = entity::read(&answer)?;
                let one = found.into_iter().next();
                one.map(|(_, count)| count)
                    .ok_or_else(|| Error::not_found("the queue or subscription does not exist"))
            }
            Entity::Listed(path, pattern) => {
                let counts = self.matching(path, pattern).await?;
                Ok(entity::combine(&self.trigger.operation, &counts))
            }
        }
    }

    async fn matching(&self, path: &[String], pattern: &Pattern) -> Result<Vec<i64>, Error> {
        let (mut counts, mut skip) = (Vec::new(), 0);
        loop {
            let answer = self.ask(&self.namespace.url(path, Some(skip))?).await?;
            let page = entity::read(&answer)?;
            let listed = page.len();
            let matching = page.into_iter().filter(|(name, _)| pattern.matches(name));
            counts.extend(matching.map(|(_, count)| count));
            if listed < PAGE {
                return Ok(counts);
            }
            skip += listed;
        }
    }

    async fn ask(&self, url: &Url) -> Result<xml::Element, Error> {
        let answer = match &self.namespace.proof {
            Proof::Identity(identity) => {
                let login = self.namespace.login(identity, &self.environment)?;
                let reader = EntityReader {
                    scaler: self,
                    login: &login,
                    url,
                };
                self.environment.logins.read(&login, &reader).await?
            }
            proof => {
                let now = self.clock.now().as_second();
                let token = proof.token(url, now)?;
                self.send(url, &token).await?
            }
        };
        let text = String::from_utf8_lossy(&answer.body);
        xml::read(&text).ok_or_else(|| Error::invalid("Service Bus answered no XML"))
    }

    async fn send(&self, url: &Url, authorization: &Secret) -> Result<Answer, Error> {
        let request = self
            .caller
            .request(Method::GET, url.clone())?
            .header("authorization", http::sensitive(authorization)?);
        let pending = self.observer.begin_request();
        let answer = http::send(request).await?;
        pending.answered(answer.status.as_u16());
        match answer.status.is_success() {
            true => Ok(answer),
            false => Err(refusal(&answer)),
        }
    }
}

/// The error of an answer: `<Error><Code>401</Code><Detail>...</Detail></Error>`.
fn refusal(answer: &Answer) -> Error {
    let error = answer.error(format!("Service Bus answered {}", answer.status.as_u16()));
    let body = xml::read(&String::from_utf8_lossy(&answer.body)).unwrap_or_default();
    match body.find("Detail") {
        // What follows is the number of the request, which would make every repetition a new text.
        Some(detail) => {
            let words = detail.text.split(". TrackingId").next().unwrap_or_default();
            error.with_source(words.to_owned())
        }
        None => error,
    }
}

/// What asks with a token.
struct EntityReader<'a> {
    scaler: &'a ServiceBusScaler,
    login: &'a azure::Login,
    url: &'a Url,
}

#[async_trait]
impl Reader for EntityReader<'_> {
    type Found = Answer;

    async fn log_in(&self) -> Result<Answer, Error> {
        self.login.enter(&self.scaler.caller).await
    }

    async fn read(&self, token: &Secret) -> Result<Answer, Error> {
        let bearer = Secret::new(format!("Bearer {}", token.expose()));
        self.scaler.send(self.url, &bearer).await
    }
}

#[async_trait]
impl Scaler for ServiceBusScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        let length = self.length().await.map_err(|error| {
            let trigger = &self.trigger;
            let name = trigger.queue_name.as_ref().or(trigger.subscription_name.as_ref());
            error.with_context("entity", name.cloned().unwrap_or_default())
        })?;
        #[allow(
            clippy::cast_precision_loss,
            reason = "queues hold far fewer than 2^52 messages"
        )]
        let value = length as f64;
        let active = length > self.trigger.activation_message_count;
        Ok(Sample::single(&self.metric_name, value, active))
    }
}

#[cfg(test)]
mod tests;
