#![doc = include_str!("docs.md")]

#[cfg(feature = "sqs-fake")]
pub mod fake;
mod scaler;

use scaler_api::{
    Context, Error, Field, MetricSpec, Problems, Quantity, Source, SourceKey, Trigger, TriggerSettings,
};
use serde::Deserialize;

pub use self::scaler::SqsScaler;
use crate::{
    aws::{Connection, fields},
    target,
};

/// The metadata of `aws-sqs-queue`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SqsTrigger {
    #[serde(rename = "queueURL")]
    queue_url: String,
    queue_length: i64,
    activation_queue_length: i64,
    scale_on_in_flight: bool,
    scale_on_delayed: bool,
    connection: Connection,
    #[serde(skip)]
    settings: TriggerSettings,
}

const FIELDS: &[Field] = &[
    Field::new(
        "queueURL",
        "URL of the queue, with the path `/<account>/<queue>`, or the queue's bare name.",
    )
    .required()
    .from(&[Source::Metadata, Source::Environment]),
    Field::new("queueLength", "Messages that one replica is to carry.").default("5"),
    Field::new(
        "activationQueueLength",
        "The trigger is active above this number of messages.",
    )
    .default("0"),
    fields::REGION,
    fields::ENDPOINT,
    fields::IDENTITY_OWNER,
    Field::new(
        "scaleOnInFlight",
        "Whether messages count that a consumer has received but not deleted.",
    )
    .default("true"),
    Field::new("scaleOnDelayed", "Whether messages count that are delayed.").default("false"),
    fields::ROLE_ARN,
    fields::ACCESS_KEY_ID,
    fields::SECRET_ACCESS_KEY,
    fields::SESSION_TOKEN,
];

impl SqsTrigger {
    /// The queue's name, by which the metric is called.
    ///
    /// # Errors
    /// If `queueURL` is a URL but its path is not `/<account>/<queue>`.
    fn queue_name(&self) -> Result<&str, String> {
        queue_name(&self.queue_url)
    }

    fn metric_name(&self) -> String {
        let queue = self.queue_name().unwrap_or(&self.queue_url);
        scaler_api::normalize_name(&format!("aws-sqs-{queue}"))
    }
}

impl Trigger for SqsTrigger {
    const TYPE: &'static str = "aws-sqs-queue";
    type Scaler = SqsScaler;

    fn fields() -> &'static [Field] {
        FIELDS
    }

    fn example() -> &'static str {
        "queueURL: https://sqs.eu-west-1.amazonaws.com/123456789012/orders\n\
         queueLength: \"5\"\n\
         awsRegion: eu-west-1\n\
         identityOwner: operator\n"
    }

    fn summary() -> &'static str {
        "the number of messages in an Amazon SQS queue"
    }

    fn settings(&mut self, settings: &TriggerSettings) {
        self.settings = settings.clone();
    }

    fn check(&self, problems: &mut Problems) {
        if let Err(message) = self.queue_name() {
            problems.error("queueURL", &self.queue_url, message);
        }
        target::check_positive("queueLength", self.queue_length, problems);
        target::check_metric_type(self.settings.metric_type, problems);
        self.connection.check(&self.settings, problems);
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        let target = Quantity::from_units(self.queue_length);
        vec![target::external(
            &self.metric_name(),
            self.settings.metric_type,
            target,
        )]
    }

    fn source_key(&self) -> SourceKey {
        // The threshold of activation is a part of what a sample says, unlike the target.
        let key = SourceKey::new(Self::TYPE)
            .with("queue", &self.queue_url)
            .with("inFlight", self.scale_on_in_flight)
            .with("delayed", self.scale_on_delayed)
            .with("activation", self.activation_queue_length);
        self.connection.add_to(key, &self.settings)
    }

    async fn connect(self, context: &Context) -> Result<SqsScaler, Error> {
        let client = self.connection.client(&self.settings, context).await?;
        Ok(SqsScaler::new(&self, client))
    }
}

/// The queue's name in `queueURL`.
///
/// What Go's `url.ParseRequestURI` takes for a URI must have the path `/<account>/<queue>`; anything else is a name.
fn queue_name(queue_url: &str) -> Result<&str, String> {
    let Some(path) = request_path(queue_url) else {
        return Ok(queue_url);
    };
    let mut parts = path.split('/');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(""), Some(_), Some(queue), None) if !queue.is_empty() => Ok(queue),
        _ => Err(format!(
            "cannot get queueName from queueURL {queue_url:?}: expected a URL with the path /<account>/<queue>, or a queue's name"
        )),
    }
}

/// The path of a URI, or `None` for what is no URI: neither an absolute path nor anything with a scheme.
fn request_path(text: &str) -> Option<&str> {
    let rest = if text.starts_with('/') {
        text
    } else {
        let (scheme, rest) = text.split_once(':')?;
        let mut letters = scheme.chars();
        let is_scheme = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
            && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        is_scheme.then_some(rest)?
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    match rest.strip_prefix("//") {
        Some(authority) => Some(authority.find('/').map_or("", |start| &authority[start..])),
        None => Some(rest),
    }
}

#[cfg(all(test, feature = "sqs-fake"))]
mod conformance;
#[cfg(test)]
mod tests;
