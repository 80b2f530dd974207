#![doc = include_str!("docs.md")]

mod query;

use async_trait::async_trait;
use scaler_api::{
    Context, Error, Field, MetricSpec, Problems, Sample, Scaler, SourceKey, Trigger, TriggerSettings,
    observe::Observer,
};
use serde::Deserialize;

use crate::{
    aws::{Connection, fields, json::JsonClient},
    http::{self, Caller, Tls},
    target,
};

/// §2.1: constant.
const METRIC: &str = "aws-cloudwatch";

/// The metadata of `aws-cloudwatch`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CloudwatchTrigger {
    namespace: Option<String>,
    metric_name: Option<String>,
    dimension_name: Option<String>,
    dimension_value: Option<String>,
    expression: Option<String>,
    target_metric_value: f64,
    activation_target_metric_value: f64,
    min_metric_value: f64,
    ignore_null_values: bool,
    metric_collection_time: i64,
    metric_stat: String,
    metric_unit: Option<String>,
    metric_stat_period: i64,
    metric_end_time_offset: i64,
    connection: Connection,
    #[serde(skip)]
    settings: TriggerSettings,
}

const FIELDS: &[Field] = &[
    Field::new(
        "namespace",
        "Namespace of the metric; needed unless `expression` is given.",
    ),
    Field::new(
        "metricName",
        "Name of the metric; needed unless `expression` is given.",
    ),
    Field::new(
        "dimensionName",
        "Names of the metric's dimensions, with semicolons between; needed unless `expression` is given.",
    ),
    Field::new(
        "dimensionValue",
        "Values of the dimensions, with semicolons between, as many as there are names.",
    ),
    Field::new(
        "expression",
        "Metrics expression, or query of Metrics Insights, that is asked instead of one metric.",
    ),
    Field::new("targetMetricValue", "Value that one replica is to carry.").required(),
    Field::new(
        "activationTargetMetricValue",
        "The trigger is active above this value.",
    )
    .default("0"),
    Field::new("minMetricValue", "The value where CloudWatch has none.").required(),
    Field::new(
        "ignoreNullValues",
        "Whether `minMetricValue` stands in where CloudWatch has no value; otherwise that is an error.",
    )
    .default("true"),
    Field::new("metricCollectionTime", "Seconds that are looked at.").default("300"),
    Field::new("metricStat", "Statistic, such as `Average`, `Sum` or `p99`.").default("Average"),
    Field::new("metricUnit", "Unit in which the metric was recorded."),
    Field::new(
        "metricStatPeriod",
        "Seconds that one value stands for: 1, 5, 10, 30, or a multiple of 60.",
    )
    .default("300"),
    Field::new(
        "metricEndTimeOffset",
        "Seconds before now at which what is looked at ends.",
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

impl CloudwatchTrigger {
    fn check_metric(&self, problems: &mut Problems) {
        let needed = [
            ("namespace", &self.namespace),
            ("metricName", &self.metric_name),
            ("dimensionName", &self.dimension_name),
            ("dimensionValue", &self.dimension_value),
        ];
        for (field, _) in needed.iter().filter(|(_, value)| value.is_none()) {
            problems.error(
                *field,
                "",
                format!("{field} not given: expected it, or an expression"),
            );
        }
        if let (Some(names), Some(values)) = (&self.dimension_name, &self.dimension_value)
            && query::list(names).count() != query::list(values).count()
        {
            let message = "dimensionName and dimensionValue are not matching in size";
            problems.error("dimensionValue", values, message);
        }
        if let Some(unit) = &self.metric_unit
            && !query::UNITS.contains(&unit.as_str())
        {
            let units = query::UNITS.join(", ");
            problems.error(
                "metricUnit",
                unit,
                format!("metricUnit {unit:?} is not one of {units}"),
            );
        }
    }
}

impl Trigger for CloudwatchTrigger {
    const TYPE: &'static str = "aws-cloudwatch";
    type Scaler = CloudwatchScaler;

    fn fields() -> &'static [Field] {
        FIELDS
    }

    fn example() -> &'static str {
        "namespace: AWS/SQS\n\
         metricName: ApproximateNumberOfMessagesVisible\n\
         dimensionName: QueueName\n\
         dimensionValue: orders\n\
         targetMetricValue: \"5\"\n\
         minMetricValue: \"0\"\n\
         awsRegion: eu-west-1\n\
         identityOwner: operator\n"
    }

    fn summary() -> &'static str {
        "the value of a metric of Amazon CloudWatch"
    }

    fn settings(&mut self, settings: &TriggerSettings) {
        self.settings = settings.clone();
    }

    fn check(&self, problems: &mut Problems) {
        if self.expression.is_none() {
            self.check_metric(problems);
        }
        query::check_times(
            self.metric_stat_period,
            self.metric_collection_time,
            self.metric_end_time_offset,
            problems,
        );
        target::check_positive_fraction("targetMetricValue", self.target_metric_value, problems);
        for (field, value) in [
            ("minMetricValue", self.min_metric_value),
            ("activationTargetMetricValue", self.activation_target_metric_value),
        ] {
            if !value.is_finite() {
                let message = format!("{field} must be a finite number, got {value}");
                problems.error(field, value.to_string(), message);
            }
        }
        target::check_metric_type(self.settings.metric_type, problems);
        self.connection.check(&self.settings, problems);
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        vec![target::external(
            METRIC,
            self.settings.metric_type,
            target::fraction(self.target_metric_value),
        )]
    }

    fn source_key(&self) -> SourceKey {
        let key = SourceKey::new(Self::TYPE);
        let texts = [
            ("namespace", &self.namespace),
            ("metric", &self.metric_name),
            ("names", &self.dimension_name),
            ("values", &self.dimension_value),
            ("expression", &self.expression),
            ("unit", &self.metric_unit),
        ];
        let key = texts.into_iter().fold(key, |key, (name, value)| {
            key.with(name, value.as_deref().unwrap_or_default())
        });
        let key = key
            .with("stat", &self.metric_stat)
            .with("period", self.metric_stat_period)
            .with("time", self.metric_collection_time)
            .with("offset", self.metric_end_time_offset)
            .with("minimum", self.min_metric_value)
            .with("ignoreNull", self.ignore_null_values)
            .with("activation", self.activation_target_metric_value);
        self.connection.add_to(key, &self.settings)
    }

    async fn connect(self, context: &Context) -> Result<CloudwatchScaler, Error> {
        let client = self.connection.client(&self.settings, context).await?;
        let region = self.connection.aws_region.as_str();
        let url = client.endpoint.unwrap_or_else(|| public_url(region));
        Ok(CloudwatchScaler {
            client: JsonClient {
                caller: Caller::new(context, &Tls::default(), None)?,
                config: client.config,
                clock: context.clock.clone(),
                observer: Observer::of(context),
                service: "monitoring",
                target: "GraniteServiceVersion20100801",
                url: http::url("awsEndpoint", &url).map_err(Error::invalid)?,
            },
            trigger: self,
        })
    }
}

/// Where CloudWatch is in a region.
fn public_url(region: &str) -> String {
    let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("https://monitoring.{region}.amazonaws.com{suffix}/")
}

/// Reads the newest value of one metric or expression.
#[derive(Debug)]
pub struct CloudwatchScaler {
    client: JsonClient,
    trigger: CloudwatchTrigger,
}

impl CloudwatchScaler {
    async fn value(&self) -> Result<f64, Error> {
        let trigger = &self.trigger;
        let request = query::request(trigger, self.client.clock.now().as_second());
        let answer = self.client.call("GetMetricData", &request).await?;
        let instead = trigger.ignore_null_values.then_some(trigger.min_metric_value);
        query::newest(&answer, instead)
    }
}

#[async_trait]
impl Scaler for CloudwatchScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        let value = self.value().await.map_err(|error| {
            let trigger = &self.trigger;
            let what = trigger.expression.as_ref().or(trigger.metric_name.as_ref());
            error.with_context("metric", what.cloned().unwrap_or_default())
        })?;
        let active = value > self.trigger.activation_target_metric_value;
        Ok(Sample::single(METRIC, value, active))
    }
}

#[cfg(test)]
mod tests;
