#![doc = include_str!("docs.md")]

mod authentication;
mod bounded;
#[cfg(test)]
mod brokers;
mod client;
mod codes;
mod fields;
mod lag;
#[cfg(feature = "kafka-msk-iam")]
mod msk;
mod sasl;
mod scram;
mod wire;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    marker::PhantomData,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use scaler_api::{
    Context, Error, Field, MetricSpec, Problems, Quantity, Sample, Scaler, SourceKey, Trigger,
    TriggerSettings,
};
use serde::Deserialize;

use self::{
    authentication::Authentication,
    client::{Cluster, KafkaLag},
    lag::{OffsetReset, Partition, Rules},
};
use crate::{target, tcp::Kept};

/// The metadata of `kafka`.
pub type KafkaTrigger = LagTrigger<Kafka>;
/// The metadata of `apache-kafka`.
pub type ApacheKafkaTrigger = LagTrigger<ApacheKafka>;

/// Under which of its two names the trigger goes: [`Kafka`] or [`ApacheKafka`]. In KEDA they are two clients.
pub trait Name: fmt::Debug + Clone + Send + Sync + 'static {
    /// The type of the trigger.
    const TYPE: &'static str;
}

/// `kafka`.
#[derive(Clone, Copy, Debug)]
pub struct Kafka;

/// `apache-kafka`.
#[derive(Clone, Copy, Debug)]
pub struct ApacheKafka;

impl Name for Kafka {
    const TYPE: &'static str = "kafka";
}

impl Name for ApacheKafka {
    const TYPE: &'static str = "apache-kafka";
}

/// The metadata of a trigger on the lag of a consumer group.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound = "")]
#[allow(clippy::struct_excessive_bools, reason = "these are KEDA's switches")]
pub struct LagTrigger<N: Name> {
    bootstrap_servers: Vec<String>,
    consumer_group: String,
    #[serde(default)]
    topic: Vec<String>,
    lag_threshold: i64,
    activation_lag_threshold: i64,
    offset_reset_policy: OffsetReset,
    allow_idle_consumers: bool,
    exclude_persistent_lag: bool,
    scale_to_zero_on_invalid_offset: bool,
    limit_to_partitions_with_lag: bool,
    ensure_even_distribution_of_partitions: bool,
    partition_limitation: Option<String>,
    version: String,
    full_metadata: bool,
    authentication: Authentication,
    #[serde(skip)]
    settings: TriggerSettings,
    #[serde(skip)]
    name: PhantomData<N>,
}

impl<N: Name> LagTrigger<N> {
    fn metric_name(&self) -> String {
        scaler_api::normalize_name(&match self.topic.is_empty() {
            true => format!("kafka-{}-topics", self.consumer_group),
            false => format!("kafka-{}", self.topic.join(",")),
        })
    }

    fn rules(&self) -> Rules {
        Rules {
            threshold: self.lag_threshold,
            activation: self.activation_lag_threshold,
            reset: self.offset_reset_policy,
            zero_on_invalid_offset: self.scale_to_zero_on_invalid_offset,
            allow_idle_consumers: self.allow_idle_consumers,
            exclude_persistent: self.exclude_persistent_lag,
            limit_to_lagging: self.limit_to_partitions_with_lag,
            even: self.ensure_even_distribution_of_partitions,
        }
    }

    /// The partitions that count, if not all do.
    fn only(&self) -> Result<Option<BTreeSet<i32>>, String> {
        match &self.partition_limitation {
            Some(text) if !self.topic.is_empty() => numbers(text).map(Some),
            _ => Ok(None),
        }
    }

    fn check_combinations(&self, problems: &mut Problems) {
        let limit = ("limitToPartitionsWithLag", self.limit_to_partitions_with_lag);
        let even = (
            "ensureEvenDistributionOfPartitions",
            self.ensure_even_distribution_of_partitions,
        );
        let idle = ("allowIdleConsumers", self.allow_idle_consumers);
        for (one, other) in [(idle, limit), (limit, even)] {
            if one.1 && other.1 {
                let message = format!("{} and {} cannot be set simultaneously", one.0, other.0);
                problems.error(one.0, "true", message);
            }
        }
        if !self.topic.is_empty() {
            return;
        }
        for (field, value, is_broken) in [
            (limit.0, "true", limit.1),
            (even.0, "true", even.1),
            ("fullMetadata", "false", !self.full_metadata),
        ] {
            if is_broken {
                let message = format!("topic must be specified when using {field} {value}");
                problems.error(field, value, message);
            }
        }
        if let Some(text) = &self.partition_limitation {
            let message = "partitionLimitation is of no effect without topic";
            problems.warn("partitionLimitation", text, message);
        }
    }

    fn check_names(&self, problems: &mut Problems) {
        for server in &self.bootstrap_servers {
            let port = server.rsplit_once(':').and_then(|(host, port)| {
                let port = port.parse::<u16>().ok()?;
                (port > 0 && !host.is_empty() && !host.contains('/')).then_some(port)
            });
            if port.is_none() {
                let message = format!("bootstrapServers: {server:?} is not host:port");
                problems.error("bootstrapServers", server, message);
            }
        }
        for topic in &self.topic {
            // What brokers allow.
            let is_name = (1..=249).contains(&topic.len())
                && topic
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
            if !is_name {
                let message = format!("topic: {topic:?} is not the name of a topic");
                problems.error("topic", topic, message);
            }
        }
        if self.consumer_group.len() > wire::MAX_TEXT {
            problems.error("consumerGroup", "", "consumerGroup is longer than 32767 bytes");
        }
    }
}

/// Numbers and ranges of them: `1,2,10-20`.
fn numbers(text: &str) -> Result<BTreeSet<i32>, String> {
    /// More than any broker has of one topic.
    const MAX: i32 = 1_000_000;
    let mut numbers = BTreeSet::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let bounds = (first.trim().parse::<i32>(), last.trim().parse::<i32>());
        let (Ok(first @ 0..=MAX), Ok(last @ 0..=MAX)) = bounds else {
            return Err(format!(
                "partitionLimitation: {part:?} is neither a partition nor a range such as 10-20"
            ));
        };
        if first > last {
            return Err(format!(
                "partitionLimitation: the range {part:?} ends before it begins"
            ));
        }
        numbers.extend(first..=last);
    }
    Ok(numbers)
}

/// Whether it is a version as KEDA reads it: `1.0.0`, or of four parts where the first is 0.
fn is_version(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let are_numbers = parts.iter().all(|part| part.parse::<u32>().is_ok());
    let expected = if parts[0] == "0" { 4 } else { 3 };
    are_numbers && parts.len() == expected
}

impl<N: Name> Trigger for LagTrigger<N> {
    const TYPE: &'static str = N::TYPE;
    type Scaler = KafkaScaler;

    fn fields() -> &'static [Field] {
        fields::FIELDS
    }

    fn example() -> &'static str {
        "bootstrapServers: kafka-0.kafka.shop.svc:9092,kafka-1.kafka.shop.svc:9092\n\
         consumerGroup: packers\n\
         topic: orders\n\
         lagThreshold: \"50\"\n\
         offsetResetPolicy: earliest\n"
    }

    fn summary() -> &'static str {
        "how far a consumer group of Kafka is behind"
    }

    fn settings(&mut self, settings: &TriggerSettings) {
        self.settings = settings.clone();
    }

    fn check(&self, problems: &mut Problems) {
        self.check_names(problems);
        target::check_positive("lagThreshold", self.lag_threshold, problems);
        if self.activation_lag_threshold < 0 {
            let value = self.activation_lag_threshold.to_string();
            let message = format!("activationLagThreshold must not be negative, got {value}");
            problems.error("activationLagThreshold", value, message);
        }
        if let Err(message) = self.only() {
            let text = self.partition_limitation.clone().unwrap_or_default();
            problems.error("partitionLimitation", text, message);
        }
        if !is_version(&self.version) {
            let message = format!("version: {:?} is not a version such as 1.0.0", self.version);
            problems.error("version", &self.version, message);
        }
        self.check_combinations(problems);
        target::check_metric_type(self.settings.metric_type, problems);
        self.authentication
            .check(self.settings.pod_identity.as_ref(), problems);
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        vec![target::external(
            &self.metric_name(),
            self.settings.metric_type,
            Quantity::from_units(self.lag_threshold),
        )]
    }

    fn source_key(&self) -> SourceKey {
        // What is read is bounded by the threshold, which is therefore a part of it.
        let key = SourceKey::new(Self::TYPE)
            .with("servers", self.bootstrap_servers.join(","))
            .with("group", &self.consumer_group)
            .with("topic", self.topic.join(","))
            .with("only", self.partition_limitation.as_deref().unwrap_or_default())
            .with("rules", format_args!("{:?}", self.rules()));
        self.authentication
            .add_to(key, self.settings.pod_identity.as_ref())
    }

    async fn connect(self, context: &Context) -> Result<KafkaScaler, Error> {
        let servers = u32::try_from(self.bootstrap_servers.len()).unwrap_or(u32::MAX);
        let pod_identity = self.settings.pod_identity.as_ref();
        let cluster = Cluster {
            tls: self.authentication.tls(),
            login: self.authentication.login(pod_identity, context).await?,
            group: self.consumer_group.clone(),
            topics: self.topic.iter().cloned().collect(),
            only: self.only().map_err(Error::invalid)?,
            patience: context.timeout / servers.max(1),
            servers: self.bootstrap_servers.clone(),
        };
        Ok(KafkaScaler {
            source: Box::new(Kept::new(cluster, context.timeout)),
            rules: self.rules(),
            seen: Mutex::default(),
            metric: self.metric_name(),
            group: self.consumer_group,
        })
    }
}

/// Reads how far a group is behind.
#[derive(Debug)]
pub struct KafkaScaler {
    source: Box<dyn KafkaLag>,
    rules: Rules,
    /// The offsets that the last sample saw.
    seen: Mutex<BTreeMap<Partition, i64>>,
    metric: String,
    group: String,
}

#[async_trait]
impl Scaler for KafkaScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        let offsets = self.source.offsets().await;
        let offsets = offsets.map_err(|error| error.with_context("group", &self.group))?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let lag = self.rules.lag(&offsets, &mut seen);
        #[allow(
            clippy::cast_precision_loss,
            reason = "a lag beyond 2^53 messages scales as one of 2^53"
        )]
        let value = lag.value as f64;
        Ok(Sample::single(&self.metric, value, lag.active))
    }
}

#[cfg(test)]
mod tests;
