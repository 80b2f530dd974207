//! `redis`, `redis-cluster`, `redis-sentinel`: how much one key holds.

use async_trait::async_trait;
use redis::{ErrorKind as RedisKind, RedisError, ServerErrorKind};
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

    pub(crate) const NAME: Field = Field::new(
        "listName",
        "Key of a list, set, sorted set or hash, whose elements count.",
    )
    .required();
    pub(crate) const LENGTH: Field =
        Field::new("listLength", "Elements that one replica is to carry.").default("5");
    pub(crate) const ACTIVATION: Field = Field::new(
        "activationListLength",
        "The trigger is active above this number of elements.",
    )
    .default("0");
}

/// The metadata of `redis`.
pub type RedisTrigger = ListTrigger<Single>;
/// The metadata of `redis-cluster`.
pub type RedisClusterTrigger = ListTrigger<Cluster>;
/// The metadata of `redis-sentinel`.
pub type RedisSentinelTrigger = ListTrigger<Sentinel>;

/// The metadata of a trigger on a list, or anything else that has elements.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound = "")]
pub struct ListTrigger<V: Variant> {
    list_name: String,
    list_length: i64,
    activation_list_length: i64,
    connection: Connection,
    keys: V::Keys,
    #[serde(skip)]
    settings: TriggerSettings,
}

impl<V: Variant> ListTrigger<V> {
    fn metric_name(&self) -> String {
        scaler_api::normalize_name(&format!("redis-{}", self.list_name))
    }
}

impl<V: Variant> Trigger for ListTrigger<V> {
    const TYPE: &'static str = V::LISTS;
    type Scaler = RedisScaler;

    fn fields() -> &'static [Field] {
        V::LIST_FIELDS
    }

    fn example() -> &'static str {
        V::LIST_EXAMPLE
    }

    fn summary() -> &'static str {
        V::LIST_SUMMARY
    }

    fn settings(&mut self, settings: &TriggerSettings) {
        self.settings = settings.clone();
    }

    fn check(&self, problems: &mut Problems) {
        target::check_positive("listLength", self.list_length, problems);
        target::check_metric_type(self.settings.metric_type, problems);
        self.connection.check(problems);
        self.keys.topology().check(problems);
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        let target = Quantity::from_units(self.list_length);
        vec![target::external(
            &self.metric_name(),
            self.settings.metric_type,
            target,
        )]
    }

    fn source_key(&self) -> SourceKey {
        let key = SourceKey::new(Self::TYPE)
            .with("list", &self.list_name)
            .with("activation", self.activation_list_length);
        self.keys.topology().add_to(self.connection.add_to(key))
    }

    async fn connect(self, context: &Context) -> Result<RedisScaler, Error> {
        Ok(RedisScaler::new(
            &self.connection,
            self.keys.topology(),
            Elements(self.list_name.clone()),
            self.metric_name(),
            self.activation_list_length,
            context.timeout,
        ))
    }
}

/// The elements of a key.
#[derive(Clone, Debug)]
struct Elements(String);

/// One round trip, whatever the key holds.
const SCRIPT: &str = "local kind = redis.call('TYPE', KEYS[1]).ok
local count = { none = 'LLEN', list = 'LLEN', zset = 'ZCARD', set = 'SCARD', hash = 'HLEN' }
if not count[kind] then return redis.error_reply('the key holds a ' .. kind .. ', which has no elements to count') end
return redis.call(count[kind], KEYS[1])";

/// The name under which servers keep the script once they have run it: its SHA-1.
const SCRIPT_NAME: &str = "c61e2e608dbbb43f67304041c4d525ed0c09bf56";

/// Whether a server does not run the script by its name: it has not run it yet, or may not by that command.
fn wants_the_script(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        RedisKind::Server(ServerErrorKind::NoScript | ServerErrorKind::NoPerm)
    )
}

#[async_trait]
impl Count for Elements {
    fn key(&self) -> &str {
        &self.0
    }

    async fn count(&self, connection: &Asker<'_>) -> Result<i64, RedisError> {
        let command = |name: &str, script: &str| {
            let mut command = redis::cmd(name);
            command.arg(script).arg(1).arg(&self.0);
            command
        };
        match connection.ask(&command("EVALSHA", SCRIPT_NAME)).await {
            Err(error) if wants_the_script(&error) => connection.ask(&command("EVAL", SCRIPT)).await,
            answer => answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_script_is_its_digest() {
        let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, SCRIPT.as_bytes());
        let name: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(name, SCRIPT_NAME);
    }
}
