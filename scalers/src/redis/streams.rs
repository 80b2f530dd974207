//! `redis-streams`, `redis-cluster-streams`, `redis-sentinel-streams`: what of a stream is still to be done.

use std::collections::BTreeMap;

use async_trait::async_trait;
use redis::{RedisError, Value};
use scaler_api::{
    Context, Error, Field, MetricSpec, Problems, Quantity, SourceKey, Trigger, TriggerSettings,
};
use serde::Deserialize;

use super::{
    client::{Asker, Count, RedisScaler},
    connection::Connection,
    variant::{Cluster, Keys as _, Sentinel, Single, Variant},
};
use crate::target;

pub(super) mod fields {
    use scaler_api::Field;

    pub(crate) const STREAM: Field = Field::new("stream", "Key of the stream.").required();
    pub(crate) const GROUP: Field = Field::new(
        "consumerGroup",
        "Group whose entries count; without one it is those of the whole stream.",
    );
    pub(crate) const PENDING: Field = Field::new(
        "pendingEntriesCount",
        "Entries, delivered to the group but not acknowledged, that one replica is to carry.",
    )
    .default("5");
    pub(crate) const LENGTH: Field = Field::new(
        "streamLength",
        "Entries of the stream that one replica is to carry, where no group is given.",
    )
    .default("5");
    pub(crate) const LAG: Field = Field::new(
        "lagCount",
        "Entries, not delivered to the group yet, that one replica is to carry; they count in place of those that are not \
         acknowledged.",
    );
    pub(crate) const ACTIVATION: Field =
        Field::new("activationLagCount", "The trigger is active above this number.").default("0");
}

/// The metadata of `redis-streams`.
pub type RedisStreamsTrigger = StreamTrigger<Single>;
/// The metadata of `redis-cluster-streams`.
pub type RedisClusterStreamsTrigger = StreamTrigger<Cluster>;
/// The metadata of `redis-sentinel-streams`.
pub type RedisSentinelStreamsTrigger = StreamTrigger<Sentinel>;

/// The metadata of a trigger on a stream.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound = "")]
pub struct StreamTrigger<V: Variant> {
    stream: String,
    consumer_group: Option<String>,
    pending_entries_count: i64,
    stream_length: i64,
    lag_count: Option<i64>,
    activation_lag_count: i64,
    connection: Connection,
    keys: V::Keys,
    #[serde(skip)]
    settings: TriggerSettings,
}

/// What of a stream counts.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mode {
    Length,
    Pending { group: String },
    Lag { group: String },
}

impl<V: Variant> StreamTrigger<V> {
    fn metric_name(&self) -> String {
        scaler_api::normalize_name(&format!("redis-streams-{}", self.stream))
    }

    /// The mode, the key of its target, and the target.
    fn mode(&self) -> (Mode, &'static str, i64) {
        match (&self.consumer_group, self.lag_count) {
            (None, _) => (Mode::Length, "streamLength", self.stream_length),
            (Some(group), None | Some(0)) => {
                let mode = Mode::Pending { group: group.clone() };
                (mode, "pendingEntriesCount", self.pending_entries_count)
            }
            (Some(group), Some(lag)) => (Mode::Lag { group: group.clone() }, "lagCount", lag),
        }
    }
}

impl<V: Variant> Trigger for StreamTrigger<V> {
    const TYPE: &'static str = V::STREAMS;
    type Scaler = RedisScaler;

    fn fields() -> &'static [Field] {
        V::STREAM_FIELDS
    }

    fn example() -> &'static str {
        V::STREAM_EXAMPLE
    }

    fn summary() -> &'static str {
        V::STREAM_SUMMARY
    }

    fn settings(&mut self, settings: &TriggerSettings) {
        self.settings = settings.clone();
    }

    fn check(&self, problems: &mut Problems) {
        let (_, field, target) = self.mode();
        target::check_positive(field, target, problems);
        target::check_metric_type(self.settings.metric_type, problems);
        self.connection.check(problems);
        self.keys.topology().check(problems);
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        let target = Quantity::from_units(self.mode().2);
        vec![target::external(
            &self.metric_name(),
            self.settings.metric_type,
            target,
        )]
    }

    fn source_key(&self) -> SourceKey {
        let key = SourceKey::new(Self::TYPE)
            .with("stream", &self.stream)
            .with("mode", format_args!("{:?}", self.mode().0))
            .with("activation", self.activation_lag_count);
        self.keys.topology().add_to(self.connection.add_to(key))
    }

    async fn connect(self, context: &Context) -> Result<RedisScaler, Error> {
        let entries = Entries {
            stream: self.stream.clone(),
            mode: self.mode().0,
        };
        Ok(RedisScaler::new(
            &self.connection,
            self.keys.topology(),
            entries,
            self.metric_name(),
            self.activation_lag_count,
            context.timeout,
        ))
    }
}

/// The entries of a stream.
#[derive(Clone, Debug)]
struct Entries {
    stream: String,
    mode: Mode,
}

#[async_trait]
impl Count for Entries {
    fn key(&self) -> &str {
        &self.stream
    }

    async fn count(&self, connection: &Asker<'_>) -> Result<i64, RedisError> {
        match &self.mode {
            Mode::Length => self.length(connection).await,
            Mode::Pending { group } => {
                let mut command = redis::cmd("XPENDING");
                command.arg(&self.stream).arg(group);
                // The count comes before the smallest and the greatest id and the consumers.
                let (count, _, _, _): (i64, Value, Value, Value) = connection.ask(&command).await?;
                Ok(count)
            }
            Mode::Lag { group } => self.lag(connection, group).await,
        }
    }
}

impl Entries {
    async fn length(&self, connection: &Asker<'_>) -> Result<i64, RedisError> {
        connection.ask(redis::cmd("XLEN").arg(&self.stream)).await
    }

    /// What the server says of the group. A group that is not there yet would have to read all, and so may one whose lag the
    /// server cannot tell, as it cannot after entries in the middle were deleted.
    async fn lag(&self, connection: &Asker<'_>, group: &str) -> Result<i64, RedisError> {
        let mut command = redis::cmd("XINFO");
        command.arg("GROUPS").arg(&self.stream);
        let groups: Result<Vec<BTreeMap<String, Value>>, RedisError> = connection.ask(&command).await;
        let groups = match groups {
            Err(error) if error.detail().is_some_and(|words| words.contains("no such key")) => return Ok(0),
            groups => groups?,
        };
        let named = |found: &&BTreeMap<String, Value>| matches!(found.get("name"), Some(Value::BulkString(name)) if name == group.as_bytes());
        match groups.iter().find(named).map(|group| group.get("lag")) {
            Some(Some(Value::Int(lag))) => Ok(*lag),
            None | Some(Some(_)) => self.length(connection).await,
            Some(None) => Err((
                redis::ErrorKind::Client,
                "lagCount needs Redis 7 or later, which tells the lag of a group",
            )
                .into()),
        }
    }
}
