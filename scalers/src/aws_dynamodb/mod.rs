#![doc = include_str!("docs.md")]

mod expression;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use async_trait::async_trait;
use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, Select},
};
use scaler_api::{
    Context, Error, Field, MetricSpec, Problems, Quantity, Sample, Scaler, SourceKey, Trigger,
    TriggerSettings,
};
use serde::Deserialize;

use crate::{
    aws::{Connection, fields, service_config, service_error},
    target,
};

/// What `targetValue` is where it is not given.
const NO_TARGET: i64 = -1;

/// The metadata of `aws-dynamodb`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DynamodbTrigger {
    table_name: String,
    key_condition_expression: String,
    expression_attribute_names: String,
    expression_attribute_values: String,
    index_name: Option<String>,
    filter_expression: Option<String>,
    target_value: i64,
    activation_target_value: i64,
    connection: Connection,
    #[serde(skip)]
    settings: TriggerSettings,
}

const FIELDS: &[Field] = &[
    Field::new("tableName", "Name of the table.").required(),
    Field::new(
        "keyConditionExpression",
        "Which keys count, such as `#state = :state`.",
    )
    .required(),
    Field::new(
        "expressionAttributeNames",
        "The names of the expressions, as JSON: `{\"#state\": \"state\"}`.",
    )
    .required(),
    Field::new(
        "expressionAttributeValues",
        "The values of the expressions, as JSON with DynamoDB's types: `{\":state\": {\"S\": \"open\"}}`.",
    )
    .required(),
    Field::new("indexName", "Index that is asked instead of the table."),
    Field::new(
        "filterExpression",
        "Which of the items count that the keys select.",
    ),
    Field::new(
        "targetValue",
        "Items that one replica is to carry; needed unless the value feeds a formula.",
    )
    .default("-1"),
    Field::new(
        "activationTargetValue",
        "The trigger is active above this number of items.",
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

impl DynamodbTrigger {
    fn names(&self) -> Result<BTreeMap<String, String>, String> {
        expression::names(&self.expression_attribute_names)
    }

    fn values(&self) -> Result<BTreeMap<String, AttributeValue>, String> {
        expression::values(&self.expression_attribute_values)
    }
}

impl Trigger for DynamodbTrigger {
    const TYPE: &'static str = "aws-dynamodb";
    type Scaler = DynamodbScaler;

    fn fields() -> &'static [Field] {
        FIELDS
    }

    fn example() -> &'static str {
        "tableName: orders\n\
         keyConditionExpression: \"#state = :state\"\n\
         expressionAttributeNames: '{\"#state\": \"state\"}'\n\
         expressionAttributeValues: '{\":state\": {\"S\": \"open\"}}'\n\
         targetValue: \"5\"\n\
         awsRegion: eu-west-1\n\
         identityOwner: operator\n"
    }

    fn summary() -> &'static str {
        "the number of items that a query of Amazon DynamoDB finds"
    }

    fn settings(&mut self, settings: &TriggerSettings) {
        self.settings = settings.clone();
    }

    fn check(&self, problems: &mut Problems) {
        if let Err(message) = self.names() {
            let field = "expressionAttributeNames";
            problems.error(field, &self.expression_attribute_names, message);
        }
        if let Err(message) = self.values() {
            let field = "expressionAttributeValues";
            problems.error(field, &self.expression_attribute_values, message);
        }
        match self.target_value {
            NO_TARGET if self.settings.as_metric_source => {}
            NO_TARGET => problems.error("targetValue", "", "no targetValue given"),
            value => target::check_positive("targetValue", value, problems),
        }
        target::check_metric_type(self.settings.metric_type, problems);
        self.connection.check(&self.settings, problems);
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        let target = if self.target_value == NO_TARGET {
            0
        } else {
            self.target_value
        };
        vec![target::external(
            &metric_name(&self.table_name),
            self.settings.metric_type,
            Quantity::from_units(target),
        )]
    }

    fn source_key(&self) -> SourceKey {
        let key = SourceKey::new(Self::TYPE)
            .with("table", &self.table_name)
            .with("index", self.index_name.as_deref().unwrap_or_default())
            .with("keys", &self.key_condition_expression)
            .with("filter", self.filter_expression.as_deref().unwrap_or_default())
            .with("names", &self.expression_attribute_names)
            .with("values", &self.expression_attribute_values)
            .with("activation", self.activation_target_value);
        self.connection.add_to(key, &self.settings)
    }

    async fn connect(self, context: &Context) -> Result<DynamodbScaler, Error> {
        let client = self.connection.client(&self.settings, context).await?;
        Ok(DynamodbScaler {
            client: Client::from_conf(service_config!(aws_sdk_dynamodb, client)),
            metric_name: metric_name(&self.table_name),
            names: self.names().map_err(Error::invalid)?.into_iter().collect(),
            values: self.values().map_err(Error::invalid)?.into_iter().collect(),
            trigger: self,
        })
    }
}

/// §2.1: `aws-dynamodb-<table>`.
fn metric_name(table: &str) -> String {
    scaler_api::normalize_name(&format!("aws-dynamodb-{table}"))
}

/// Counts the items that one query finds.
pub struct DynamodbScaler {
    client: Client,
    metric_name: String,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
    trigger: DynamodbTrigger,
}

impl DynamodbScaler {
    /// The sum of all pages; DynamoDB ends one after a megabyte of items.
    async fn count(&self) -> Result<i64, Error> {
        let (mut count, mut last) = (0_i64, None);
        loop {
            let page = self
                .client
                .query()
                .table_name(&self.trigger.table_name)
                .set_index_name(self.trigger.index_name.clone())
                .key_condition_expression(&self.trigger.key_condition_expression)
                .set_filter_expression(self.trigger.filter_expression.clone())
                .set_expression_attribute_names(Some(self.names.clone()))
                .set_expression_attribute_values(Some(self.values.clone()))
                .select(Select::Count)
                .set_exclusive_start_key(last)
                .send()
                .await
                .map_err(|error| service_error("cannot query the DynamoDB table", &error))?;
            count = count.saturating_add(page.count().into());
            last = page.last_evaluated_key().filter(|key| !key.is_empty()).cloned();
            if last.is_none() {
                return Ok(count);
            }
        }
    }
}

#[async_trait]
impl Scaler for DynamodbScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        let count = self.count().await;
        let count = count.map_err(|error| error.with_context("table", &self.trigger.table_name))?;
        #[allow(
            clippy::cast_precision_loss,
            reason = "tables that are queried hold far fewer than 2^52 items"
        )]
        let value = count as f64;
        let active = count > self.trigger.activation_target_value;
        Ok(Sample::single(&self.metric_name, value, active))
    }
}

impl fmt::Debug for DynamodbScaler {
    // The client's own output is pages long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamodbScaler")
            .field("trigger", &self.trigger)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "http-base"))]
mod tests;
