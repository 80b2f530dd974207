//! What KEDA calls the scalers of a trigger type in its metrics and events: the names of its Go types.

use std::borrow::Cow;

/// Those that are not the trigger type in camel case.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("activemq", "activeMQScaler"),
    ("arangodb", "arangoDBScaler"),
    ("artemis-queue", "artemisScaler"),
    ("aws-dynamodb", "awsDynamoDBScaler"),
    ("aws-dynamodb-streams", "awsDynamoDBStreamsScaler"),
    ("azure-eventhub", "azureEventHubScaler"),
    ("azure-servicebus", "azureServiceBusScaler"),
    ("couchdb", "couchDBScaler"),
    ("cpu", "cpuMemoryScaler"),
    ("gcp-pubsub", "pubsubScaler"),
    ("gcp-stackdriver", "stackdriverScaler"),
    ("gcp-storage", "gcsScaler"),
    ("influxdb", "influxDBScaler"),
    ("memory", "cpuMemoryScaler"),
    ("metrics-api", "metricsAPIScaler"),
    ("mongodb", "mongoDBScaler"),
    ("mysql", "mySQLScaler"),
    ("nats-jetstream", "natsJetStreamScaler"),
    ("new-relic", "newrelicScaler"),
    ("postgresql", "postgreSQLScaler"),
    ("rabbitmq", "rabbitMQScaler"),
    ("redis-cluster", "redisScaler"),
    ("redis-cluster-streams", "redisStreamsScaler"),
    ("redis-sentinel", "redisScaler"),
    ("redis-sentinel-streams", "redisStreamsScaler"),
];

/// The name of the Go type of a trigger type's scaler. Of a type that KEDA does not know it is what KEDA would call it.
#[must_use]
pub fn go_scaler_name(trigger_type: &str) -> Cow<'static, str> {
    if let Ok(found) = EXCEPTIONS.binary_search_by_key(&trigger_type, |(known, _)| known) {
        return Cow::Borrowed(EXCEPTIONS[found].1);
    }
    let mut name = String::with_capacity(trigger_type.len() + 6);
    let mut starts_word = false;
    for letter in trigger_type.chars() {
        match letter {
            '-' => starts_word = true,
            letter if starts_word => {
                name.push(letter.to_ascii_uppercase());
                starts_word = false;
            }
            letter => name.push(letter),
        }
    }
    name.push_str("Scaler");
    Cow::Owned(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalers_have_the_names_of_their_go_types() {
        assert!(EXCEPTIONS.is_sorted(), "they are searched by halves");
        for (trigger_type, name) in [
            ("aws-sqs-queue", "awsSqsQueueScaler"),
            ("prometheus", "prometheusScaler"),
            ("cron", "cronScaler"),
            ("kubernetes-workload", "kubernetesWorkloadScaler"),
            ("metrics-api", "metricsAPIScaler"),
            ("apache-kafka", "apacheKafkaScaler"),
            ("redis-streams", "redisStreamsScaler"),
            ("redis-sentinel-streams", "redisStreamsScaler"),
            ("activemq", "activeMQScaler"),
            ("rabbitmq", "rabbitMQScaler"),
            ("postgresql", "postgreSQLScaler"),
            ("external-push", "externalPushScaler"),
            ("azure-servicebus", "azureServiceBusScaler"),
            ("cpu", "cpuMemoryScaler"),
        ] {
            assert_eq!(go_scaler_name(trigger_type), name, "{trigger_type}");
        }
    }
}
