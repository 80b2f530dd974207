#![doc = include_str!("docs.md")]

use std::fmt;

use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use scaler_api::{
    Context, Error, Field, MetricSpec, Problems, Quantity, Sample, Scaler, SourceKey, Trigger,
    TriggerSettings,
};
use serde::Deserialize;

use crate::{
    aws::{Connection, fields, service_config, service_error},
    target,
};

/// The metadata of `aws-kinesis-stream`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KinesisTrigger {
    stream_name: String,
    shard_count: i64,
    activation_shard_count: i64,
    connection: Connection,
    #[serde(skip)]
    settings: TriggerSettings,
}

const FIELDS: &[Field] = &[
    Field::new("streamName", "Name of the stream.").required(),
    Field::new("shardCount", "Open shards that one replica is to read.").default("2"),
    Field::new(
        "activationShardCount",
        "The trigger is active above this number of open shards.",
    )
    .default("0"),
    fields::REGION,
    fields::ENDPOINT,
    fields::IDENTITY_OWNER,
    fields::ROLE_ARN,
    fields::ACCESS_KEY_ID,
    fields::SECRET_ACCESS_KEY,
    fields::SESSION_TOKEN,
];

impl Trigger for KinesisTrigger {
    const TYPE: &'static str = "aws-kinesis-stream";
    type Scaler = KinesisScaler;

    fn fields() -> &'static [Field] {
        FIELDS
    }

    fn example() -> &'static str {
        "streamName: clicks\n\
         shardCount: \"2\"\n\
         awsRegion: eu-west-1\n\
         identityOwner: operator\n"
    }

    fn summary() -> &'static str {
        "the number of open shards of an Amazon Kinesis stream"
    }

    fn settings(&mut self, settings: &TriggerSettings) {
        self.settings = settings.clone();
    }

    fn check(&self, problems: &mut Problems) {
        target::check_positive("shardCount", self.shard_count, problems);
        target::check_metric_type(self.settings.metric_type, problems);
        self.connection.check(&self.settings, problems);
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        vec![target::external(
            &metric_name(&self.stream_name),
            self.settings.metric_type,
            Quantity::from_units(self.shard_count),
        )]
    }

    fn source_key(&self) -> SourceKey {
        let key = SourceKey::new(Self::TYPE)
            .with("stream", &self.stream_name)
            .with("activation", self.activation_shard_count);
        self.connection.add_to(key, &self.settings)
    }

    async fn connect(self, context: &Context) -> Result<KinesisScaler, Error> {
        let client = self.connection.client(&self.settings, context).await?;
        Ok(KinesisScaler {
            client: Client::from_conf(service_config!(aws_sdk_kinesis, client)),
            metric_name: metric_name(&self.stream_name),
            stream_name: self.stream_name,
            activation: self.activation_shard_count,
        })
    }
}

/// §2.1: `aws-kinesis-<stream>`.
fn metric_name(stream: &str) -> String {
    scaler_api::normalize_name(&format!("aws-kinesis-{stream}"))
}

/// Counts the open shards of one stream.
pub struct KinesisScaler {
    client: Client,
    stream_name: String,
    metric_name: String,
    activation: i64,
}

impl KinesisScaler {
    async fn open_shards(&self) -> Result<i32, Error> {
        let answer = self
            .client
            .describe_stream_summary()
            .stream_name(&self.stream_name)
            .send()
            .await
            .map_err(|error| service_error("cannot describe the Kinesis stream", &error))?;
        // The SDK makes up what is missing, with zeros.
        let summary = answer
            .stream_description_summary()
            .filter(|summary| summary.stream_name() == self.stream_name);
        let summary =
            summary.ok_or_else(|| Error::invalid("the answer does not describe the Kinesis stream"))?;
        Ok(summary.open_shard_count())
    }
}

#[async_trait]
impl Scaler for KinesisScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        let shards = self
            .open_shards()
            .await
            .map_err(|error| error.with_context("stream", &self.stream_name))?;
        let active = i64::from(shards) > self.activation;
        Ok(Sample::single(&self.metric_name, f64::from(shards), active))
    }
}

impl fmt::Debug for KinesisScaler {
    // The client's own output is pages long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KinesisScaler")
            .field("stream_name", &self.stream_name)
            .field("activation", &self.activation)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "http-base"))]
mod tests;
