//! Every trigger type that KEDA 2.20 knows, and what a build without it would need.

use scaler_api::Registry;

/// Types that this crate has, each behind the feature that adds it.
const BY_FEATURE: &[(&str, &str, bool)] = &[
    (
        "apache-kafka",
        "the feature `kafka` of the crate `scalers`",
        cfg!(feature = "kafka"),
    ),
    (
        "aws-cloudwatch",
        "the feature `aws-cloudwatch` of the crate `scalers`",
        cfg!(feature = "aws-cloudwatch"),
    ),
    (
        "aws-dynamodb",
        "the feature `aws-dynamodb` of the crate `scalers`",
        cfg!(feature = "aws-dynamodb"),
    ),
    (
        "aws-dynamodb-streams",
        "the feature `aws-dynamodb-streams` of the crate `scalers`",
        cfg!(feature = "aws-dynamodb-streams"),
    ),
    (
        "aws-kinesis-stream",
        "the feature `aws-kinesis-stream` of the crate `scalers`",
        cfg!(feature = "aws-kinesis-stream"),
    ),
    (
        "azure-queue",
        "the feature `azure-queue` of the crate `scalers`",
        cfg!(feature = "azure-queue"),
    ),
    (
        "azure-servicebus",
        "the feature `azure-servicebus` of the crate `scalers`",
        cfg!(feature = "azure-servicebus"),
    ),
    (
        "gcp-pubsub",
        "the feature `gcp-pubsub` of the crate `scalers`",
        cfg!(feature = "gcp-pubsub"),
    ),
    (
        "aws-sqs-queue",
        "the feature `sqs` of the crate `scalers`",
        cfg!(feature = "sqs"),
    ),
    (
        "cron",
        "the feature `cron` of the crate `scalers`",
        cfg!(feature = "cron"),
    ),
    (
        "kafka",
        "the feature `kafka` of the crate `scalers`",
        cfg!(feature = "kafka"),
    ),
    (
        "kubernetes-workload",
        "the feature `kubernetes-workload` of the crate `scalers`",
        cfg!(feature = "kubernetes-workload"),
    ),
    (
        "metrics-api",
        "the feature `metrics-api` of the crate `scalers`",
        cfg!(feature = "metrics-api"),
    ),
    (
        "prometheus",
        "the feature `prometheus` of the crate `scalers`",
        cfg!(feature = "prometheus"),
    ),
    (
        "rabbitmq",
        "the feature `rabbitmq` of the crate `scalers`",
        cfg!(feature = "rabbitmq"),
    ),
    (
        "mongodb",
        "the feature `mongodb` of the crate `scalers`",
        cfg!(feature = "mongodb"),
    ),
    (
        "mysql",
        "the feature `mysql` of the crate `scalers`",
        cfg!(feature = "mysql"),
    ),
    (
        "etcd",
        "the feature `etcd` of the crate `scalers`",
        cfg!(feature = "etcd"),
    ),
    (
        "elasticsearch",
        "the feature `elasticsearch` of the crate `scalers`",
        cfg!(feature = "elasticsearch"),
    ),
    (
        "loki",
        "the feature `loki` of the crate `scalers`",
        cfg!(feature = "loki"),
    ),
    (
        "external",
        "the feature `external` of the crate `scalers`",
        cfg!(feature = "external"),
    ),
    (
        "external-push",
        "the feature `external` of the crate `scalers`",
        cfg!(feature = "external"),
    ),
    (
        "nats-jetstream",
        "the feature `nats-jetstream` of the crate `scalers`",
        cfg!(feature = "nats-jetstream"),
    ),
    (
        "postgresql",
        "the feature `postgresql` of the crate `scalers`",
        cfg!(feature = "postgresql"),
    ),
    (
        "redis",
        "the feature `redis` of the crate `scalers`",
        cfg!(feature = "redis"),
    ),
    (
        "redis-cluster",
        "the feature `redis` of the crate `scalers`",
        cfg!(feature = "redis"),
    ),
    (
        "redis-cluster-streams",
        "the feature `redis` of the crate `scalers`",
        cfg!(feature = "redis"),
    ),
    (
        "redis-sentinel",
        "the feature `redis` of the crate `scalers`",
        cfg!(feature = "redis"),
    ),
    (
        "redis-sentinel-streams",
        "the feature `redis` of the crate `scalers`",
        cfg!(feature = "redis"),
    ),
    (
        "redis-streams",
        "the feature `redis` of the crate `scalers`",
        cfg!(feature = "redis"),
    ),
];

/// Types of this crate that KEDA does not have.
const BEYOND_KEDA: &[(&str, &str, bool)] = &[
    // `cargo xtask new-scaler` adds here.
];

/// Types that are a matter of the HPA alone, and in every build.
#[cfg(test)]
const ALWAYS: &[&str] = &["cpu", "memory"];

/// What [`NOT_SUPPORTED`] types need.
const LATER: &str = "a scaler that is not supported yet";

/// Types of KEDA that this crate does not have yet.
const NOT_SUPPORTED: &[&str] = &[
    "activemq",
    "arangodb",
    "artemis-queue",
    "azure-app-insights",
    "azure-blob",
    "azure-data-explorer",
    "azure-eventhub",
    "azure-log-analytics",
    "azure-monitor",
    "azure-pipelines",
    "beanstalkd",
    "cassandra",
    "clickhouse",
    "couchdb",
    "datadog",
    "dynatrace",
    "elastic-forecast",
    "external-mock",
    "forgejo-runner",
    "gcp-cloudtasks",
    "gcp-spanner",
    "gcp-stackdriver",
    "gcp-storage",
    "github-runner",
    "graphite",
    "huawei-cloudeye",
    "ibmmq",
    "influxdb",
    "kubernetes-resource",
    "liiklus",
    "mssql",
    "new-relic",
    "nsq",
    "opensearch",
    "openstack-metric",
    "openstack-swift",
    "predictkube",
    "pulsar",
    "selenium-grid",
    "solace-direct-messaging",
    "solace-event-queue",
    "solarwinds",
    "solr",
    "splunk",
    "splunk-observability",
    "sumologic",
    "temporal",
];

/// Types that this crate has.
fn ours() -> impl Iterator<Item = &'static (&'static str, &'static str, bool)> {
    BY_FEATURE.iter().chain(BEYOND_KEDA)
}

/// The feature of this crate that has a type built in; none for types that are always there or never.
///
/// ```
/// assert_eq!(scalers::feature("aws-sqs-queue"), Some("sqs"));
/// assert_eq!(scalers::feature("cpu"), None);
/// ```
#[must_use]
pub fn feature(trigger_type: &str) -> Option<&'static str> {
    let (_, needs, _) = ours().find(|(name, ..)| *name == trigger_type)?;
    needs.split('`').nth(1)
}

/// Names what is known but not built in.
pub(crate) fn register_unavailable(registry: &mut Registry) {
    for (name, needs, _) in ours().filter(|(_, _, built_in)| !built_in) {
        registry.register_unavailable(name, needs);
    }
    for name in NOT_SUPPORTED {
        registry.register_unavailable(name, LATER);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use scaler_api::TriggerInput;

    use super::*;

    #[test]
    fn the_79_types_of_keda_are_named_once_each() {
        let names: BTreeSet<&str> = BY_FEATURE
            .iter()
            .map(|(name, ..)| *name)
            .chain(ALWAYS.iter().copied())
            .chain(NOT_SUPPORTED.iter().copied())
            .collect();
        assert_eq!(names.len(), 79);
        assert_eq!(BY_FEATURE.len() + ALWAYS.len() + NOT_SUPPORTED.len(), 79);
    }

    #[test]
    fn every_type_is_either_registered_or_says_what_it_needs() {
        let mut registry = Registry::new();
        crate::register_all(&mut registry);
        let registered: BTreeSet<&str> = registry.types().collect();
        for (name, needs, built_in) in ours() {
            assert_eq!(registered.contains(name), *built_in, "{name}");
            if !built_in {
                let problems = registry.parse(name, &TriggerInput::default()).unwrap_err();
                assert!(problems.to_string().contains(needs), "{problems}");
            }
        }
        for name in ALWAYS {
            assert!(registered.contains(name), "{name}");
        }
        for name in NOT_SUPPORTED {
            let problems = registry.parse(name, &TriggerInput::default()).unwrap_err();
            assert!(
                problems.to_string().contains("not supported yet"),
                "{name}: {problems}"
            );
        }
    }
}
