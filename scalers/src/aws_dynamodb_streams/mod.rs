#![doc = include_str!("docs.md")]

use std::fmt;

use async_trait::async_trait;
use scaler_api::{
    Context, Error, ErrorKind, Field, MetricSpec, Problems, Quantity, Sample, Scaler, SourceKey, Trigger,
    TriggerSettings,
};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::{
    aws::{Connection, fields, service_config, service_error},
    target,
};

/// The metadata of `aws-dynamodb-streams`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DynamodbStreamsTrigger {
    table_name: String,
    shard_count: i64,
    activation_shard_count: i64,
    connection: Connection,
    #[serde(skip)]
    settings: TriggerSettings,
}

const FIELDS: &[Field] = &[
    Field::new("tableName", "Name of the table whose stream is read.").required(),
    Field::new("shardCount", "Shards that one replica is to read.").default("2"),
    Field::new(
        "activationShardCount",
        "The trigger is active above this number of shards.",
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

impl Trigger for DynamodbStreamsTrigger {
    const TYPE: &'static str = "aws-dynamodb-streams";
    type Scaler = DynamodbStreamsScaler;

    fn fields() -> &'static [Field] {
        FIELDS
    }

    fn example() -> &'static str {
        "tableName: orders\n\
         shardCount: \"2\"\n\
         awsRegion: eu-west-1\n\
         identityOwner: operator\n"
    }

    fn summary() -> &'static str {
        "the number of open shards of the stream of an Amazon DynamoDB table"
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
            &metric_name(&self.table_name),
            self.settings.metric_type,
            Quantity::from_units(self.shard_count),
        )]
    }

    fn source_key(&self) -> SourceKey {
        let key = SourceKey::new(Self::TYPE)
            .with("table", &self.table_name)
            .with("activation", self.activation_shard_count);
        self.connection.add_to(key, &self.settings)
    }

    async fn connect(self, context: &Context) -> Result<DynamodbStreamsScaler, Error> {
        let tables = self.connection.client(&self.settings, context).await?;
        let streams = self.connection.client(&self.settings, context).await?;
        Ok(DynamodbStreamsScaler {
            tables: aws_sdk_dynamodb::Client::from_conf(service_config!(aws_sdk_dynamodb, tables)),
            streams: aws_sdk_dynamodbstreams::Client::from_conf(service_config!(
                aws_sdk_dynamodbstreams,
                streams
            )),
            stream: Mutex::default(),
            metric_name: metric_name(&self.table_name),
            table_name: self.table_name,
            activation: self.activation_shard_count,
        })
    }
}

/// §2.1: `aws-dynamodb-streams-<table>`.
fn metric_name(table: &str) -> String {
    scaler_api::normalize_name(&format!("aws-dynamodb-streams-{table}"))
}

/// Counts the shards of one table's stream.
pub struct DynamodbStreamsScaler {
    tables: aws_sdk_dynamodb::Client,
    streams: aws_sdk_dynamodbstreams::Client,
    /// ARN of the stream, once it is known. One that is turned off and on again has another.
    stream: Mutex<Option<String>>,
    table_name: String,
    metric_name: String,
    activation: i64,
}

impl DynamodbStreamsScaler {
    async fn stream(&self) -> Result<String, Error> {
        let mut known = self.stream.lock().await;
        if let Some(arn) = &*known {
            return Ok(arn.clone());
        }
        let answer = self
            .tables
            .describe_table()
            .table_name(&self.table_name)
            .send()
            .await
            .map_err(|error| service_error("cannot describe the DynamoDB table", &error))?;
        let arn = answer.table().and_then(|table| table.latest_stream_arn());
        let arn = arn.ok_or_else(|| Error::not_found("the DynamoDB table has no stream"))?;
        *known = Some(arn.to_owned());
        Ok(arn.to_owned())
    }

    /// The shards that the pages of the description list.
    async fn count(&self, stream: &str) -> Result<usize, Error> {
        let (mut count, mut last) = (0, None);
        loop {
            let answer = self
                .streams
                .describe_stream()
                .stream_arn(stream)
                .set_exclusive_start_shard_id(last)
                .send()
                .await
                .map_err(|error| service_error("cannot describe the DynamoDB stream", &error))?;
            let page = answer
                .stream_description()
                .ok_or_else(|| Error::invalid("the answer does not describe the DynamoDB stream"))?;
            count += page.shards().len();
            last = page.last_evaluated_shard_id().map(str::to_owned);
            if last.is_none() {
                return Ok(count);
            }
        }
    }

    async fn shards(&self) -> Result<usize, Error> {
        let stream = self.stream().await?;
        let counted = self.count(&stream).await;
        if counted
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::NotFound)
        {
            // The next sample looks for the stream that the table has by then.
            *self.stream.lock().await = None;
        }
        counted
    }
}

#[async_trait]
impl Scaler for DynamodbStreamsScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        let shards = self
            .shards()
            .await
            .map_err(|error| error.with_context("table", &self.table_name))?;
        let shards = u32::try_from(shards).unwrap_or(u32::MAX);
        let active = i64::from(shards) > self.activation;
        Ok(Sample::single(&self.metric_name, f64::from(shards), active))
    }
}

impl fmt::Debug for DynamodbStreamsScaler {
    // The clients' own output is pages long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamodbStreamsScaler")
            .field("table_name", &self.table_name)
            .field("activation", &self.activation)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "http-base"))]
mod tests;
