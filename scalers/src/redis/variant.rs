//! The three ways in which Redis is run.

use std::fmt;

use scaler_api::{Field, Problems, Secret, SourceKey};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    connection::fields::{
        ADDRESS, ADDRESSES, DATABASE, ENABLE_TLS, HOST, HOSTS, PASSWORD, PORT, PORTS, SENTINEL_MASTER,
        SENTINEL_PASSWORD, SENTINEL_USERNAME, TLS, USERNAME,
    },
    lists::fields as list,
    streams::fields as stream,
};
use crate::tcp::tls::fields::{CA, CERT, KEY, KEY_PASSWORD, UNSAFE_SSL};

/// How the servers are run, which decides the trigger's type and its keys: [`Single`], [`Cluster`] or [`Sentinel`].
pub trait Variant: fmt::Debug + Clone + Send + Sync + 'static {
    /// The type of a trigger on lists.
    const LISTS: &'static str;
    /// The type of a trigger on streams.
    const STREAMS: &'static str;
    /// The keys of a trigger on lists.
    const LIST_FIELDS: &'static [Field];
    /// The keys of a trigger on streams.
    const STREAM_FIELDS: &'static [Field];
    /// An example of a trigger on lists.
    const LIST_EXAMPLE: &'static str;
    /// An example of a trigger on streams.
    const STREAM_EXAMPLE: &'static str;
    /// What a trigger on lists measures, in one line.
    const LIST_SUMMARY: &'static str;
    /// What a trigger on streams measures, in one line.
    const STREAM_SUMMARY: &'static str;
    /// The keys that only this variant has.
    type Keys: Keys;
}

/// The keys that only one variant has.
pub trait Keys: DeserializeOwned + fmt::Debug + Clone + Send + Sync + 'static {
    /// Which server to read of those that are named, and which database of it.
    #[doc(hidden)]
    fn topology(&self) -> Topology;
}

/// Which server holds the data.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub enum Topology {
    /// The first that is named.
    Single { database: i64 },
    /// The one that the others say.
    Cluster,
    /// The one that a sentinel says.
    Sentinel {
        database: i64,
        master: String,
        username: Option<Secret>,
        password: Option<Secret>,
    },
}

macro_rules! fields {
    ($own:expr, $($rest:expr),*; $($address:expr),*; $($variant:expr),*) => {
        &[$own, $($rest,)* $($address,)* USERNAME, PASSWORD, $($variant,)* ENABLE_TLS, TLS, UNSAFE_SSL, CA, CERT, KEY,
            KEY_PASSWORD]
    };
}

macro_rules! variant {
    ($(#[$doc:meta])* $name:ident, $lists:literal, $streams:literal, $keys:ty, $where:literal, $example:literal,
        [$($address:expr),*], [$($variant:expr),*]) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl Variant for $name {
            const LISTS: &'static str = $lists;
            const STREAMS: &'static str = $streams;
            const LIST_FIELDS: &'static [Field] =
                fields!(list::NAME, list::LENGTH, list::ACTIVATION; $($address),*; $($variant),*);
            const STREAM_FIELDS: &'static [Field] = fields!(
                stream::STREAM, stream::GROUP, stream::PENDING, stream::LENGTH, stream::LAG, stream::ACTIVATION;
                $($address),*; $($variant),*
            );
            const LIST_EXAMPLE: &'static str = concat!($example, "listName: orders\nlistLength: \"5\"\n");
            const STREAM_EXAMPLE: &'static str =
                concat!($example, "stream: orders\nconsumerGroup: packers\nlagCount: \"5\"\n");
            const LIST_SUMMARY: &'static str = concat!("how much a list, set, sorted set or hash of ", $where, " holds");
            const STREAM_SUMMARY: &'static str = concat!("how many entries of a stream of ", $where, " wait");
            type Keys = $keys;
        }
    };
}

variant!(
    /// One server.
    Single, "redis", "redis-streams", SingleKeys, "Redis",
    "address: redis.shop.svc:6379\nusernameFromEnv: REDIS_USERNAME\npasswordFromEnv: REDIS_PASSWORD\n",
    [ADDRESS, HOST, PORT], [DATABASE]
);
variant!(
    /// A cluster, which spreads its keys over several servers.
    Cluster, "redis-cluster", "redis-cluster-streams", ClusterKeys, "a Redis cluster",
    "addresses: redis-0.redis.shop.svc:6379,redis-1.redis.shop.svc:6379\npasswordFromEnv: REDIS_PASSWORD\n",
    [ADDRESSES, HOSTS, PORTS], []
);
variant!(
    /// A primary with replicas, of which sentinels decide.
    Sentinel, "redis-sentinel", "redis-sentinel-streams", SentinelKeys, "a Redis behind sentinels",
    "addresses: sentinel-0.redis.shop.svc:26379\nsentinelMaster: primary\npasswordFromEnv: REDIS_PASSWORD\n",
    [ADDRESSES, HOSTS, PORTS], [SENTINEL_MASTER, SENTINEL_USERNAME, SENTINEL_PASSWORD, DATABASE]
);

/// The keys of [`Single`].
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SingleKeys {
    database_index: i64,
}

/// The keys of [`Cluster`]: none, a cluster has one database.
#[derive(Clone, Debug, Deserialize)]
pub struct ClusterKeys {}

/// The keys of [`Sentinel`].
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SentinelKeys {
    database_index: i64,
    sentinel_master: String,
    sentinel_username: Option<Secret>,
    sentinel_password: Option<Secret>,
}

impl Keys for SingleKeys {
    fn topology(&self) -> Topology {
        Topology::Single {
            database: self.database_index,
        }
    }
}

impl Keys for ClusterKeys {
    fn topology(&self) -> Topology {
        Topology::Cluster
    }
}

impl Keys for SentinelKeys {
    fn topology(&self) -> Topology {
        Topology::Sentinel {
            database: self.database_index,
            master: self.sentinel_master.clone(),
            username: self.sentinel_username.clone(),
            password: self.sentinel_password.clone(),
        }
    }
}

impl Topology {
    pub(super) fn database(&self) -> i64 {
        match self {
            Self::Single { database } | Self::Sentinel { database, .. } => *database,
            Self::Cluster => 0,
        }
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        let database = self.database();
        if database < 0 {
            let message = format!("databaseIndex must not be negative, got {database}");
            problems.error("databaseIndex", database.to_string(), message);
        }
    }

    pub(super) fn add_to(&self, key: SourceKey) -> SourceKey {
        let key = key.with("database", self.database());
        let Self::Sentinel {
            master,
            username,
            password,
            ..
        } = self
        else {
            return key;
        };
        let secrets = [("sentinelUsername", username), ("sentinelPassword", password)];
        secrets
            .into_iter()
            .filter_map(|(name, secret)| Some((name, secret.as_ref()?)))
            .fold(key.with("master", master), |key, (name, secret)| {
                key.secret(name, secret)
            })
    }
}
