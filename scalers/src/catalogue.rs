//! Every trigger type that KEDA 2.20 knows, and what a build without it would need.

use scaler_api::Registry;

/// Types that this crate has, each behind the feature that adds it.
const BY_FEATURE: &[(&str, &str, bool)] = &[
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

/// Types that are a matter of the HPA alone, and in every build.
#[cfg(test)]
const ALWAYS: &[&str] = &["cpu", "memory"];

/// What [`NOT_SUPPORTED`] types need.
const LATER: &str = "a scaler that is not supported yet";

/// Types of KEDA that this crate does not have yet.
const NOT_SUPPORTED: &[&str] = &[
    "activemq",
    "apache-kafka",
    "arangodb",
    "artemis-queue",
    "aws-cloudwatch",
    "aws-dynamodb",
    "aws-dynamodb-streams",
    "aws-kinesis-stream",
    "azure-app-insights",
    "azure-blob",
    "azure-data-explorer",
    "azure-eventhub",
    "azure-log-analytics",
    "azure-monitor",
    "azure-pipelines",
    "azure-queue",
    "azure-servicebus",
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
    "gcp-pubsub",
    "gcp-spanner",
    "gcp-stackdriver",
    "gcp-storage",
    "github-runner",
    "graphite",
    "huawei-cloudeye",
    "ibmmq",
    "influxdb",
    "kafka",
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

/// Names what is known but not built in.
pub(crate) fn register_unavailable(registry: &mut Registry) {
    for (name, needs, _) in BY_FEATURE.iter().filter(|(_, _, built_in)| !built_in) {
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
        for (name, needs, built_in) in BY_FEATURE {
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
