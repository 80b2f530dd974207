//! The target of an external metric, from a trigger's metadata and its `metricType`.

use scaler_api::{MetricSpec, MetricType, Problems, Quantity};

/// The metric called `name` (normalised here) with `target`.
#[allow(dead_code, reason = "the feature `external` alone has names of its own")]
pub(crate) fn external(name: &str, metric_type: MetricType, target: Quantity) -> MetricSpec {
    MetricSpec::external(name, metric_type, target)
}

/// Refuses `metricType: Utilization`, which makes sense for CPU and memory only.
pub(crate) fn check_metric_type(metric_type: MetricType, problems: &mut Problems) {
    metric_type.check_external(problems);
}

/// Refuses an integer target below 1, which no HPA takes.
#[cfg(any(
    feature = "aws-dynamodb",
    feature = "aws-dynamodb-streams",
    feature = "aws-kinesis-stream",
    feature = "azure-queue",
    feature = "azure-servicebus",
    feature = "cron",
    feature = "etcd",
    feature = "kafka",
    feature = "nats-jetstream",
    feature = "redis",
    feature = "sqs"
))]
pub(crate) fn check_positive(field: &'static str, value: i64, problems: &mut Problems) {
    if value < 1 {
        problems.error(
            field,
            value.to_string(),
            format!("{field} must be greater than 0, got {value}"),
        );
    }
}

/// A target with a fraction, at the three decimals that the HPA's API carries.
#[cfg(any(
    feature = "aws-cloudwatch",
    feature = "elasticsearch",
    feature = "etcd",
    feature = "gcp-pubsub",
    feature = "kubernetes-workload",
    feature = "loki",
    feature = "metrics-api",
    feature = "mongodb",
    feature = "mysql",
    feature = "postgresql",
    feature = "prometheus",
    feature = "rabbitmq"
))]
pub(crate) fn fraction(target: f64) -> Quantity {
    Quantity::from_f64_milli(target)
}

/// Refuses a target that is not a positive number.
#[cfg(any(
    feature = "aws-cloudwatch",
    feature = "elasticsearch",
    feature = "etcd",
    feature = "gcp-pubsub",
    feature = "kubernetes-workload",
    feature = "loki",
    feature = "metrics-api",
    feature = "mongodb",
    feature = "mysql",
    feature = "postgresql",
    feature = "prometheus",
    feature = "rabbitmq"
))]
pub(crate) fn check_positive_fraction(field: &'static str, value: f64, problems: &mut Problems) {
    if !value.is_finite() || fraction(value) == Quantity::ZERO || value < 0.0 {
        problems.error(
            field,
            value.to_string(),
            format!("{field} must be greater than 0, got {value}"),
        );
    }
}

/// Refuses a target that is not a positive number, or is not there, but where the value feeds a formula.
#[cfg(feature = "postgresql")]
pub(crate) fn check_metric_source(
    field: &'static str,
    value: Option<f64>,
    settings: &scaler_api::TriggerSettings,
    problems: &mut Problems,
) {
    match value {
        None if settings.as_metric_source => {}
        value => check_positive_fraction(field, value.unwrap_or_default(), problems),
    }
}
