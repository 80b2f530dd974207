#![doc = include_str!("docs.md")]

mod client;
mod connection;
mod lists;
mod streams;
mod variant;

pub use self::{
    client::RedisScaler,
    lists::{ListTrigger, RedisClusterTrigger, RedisSentinelTrigger, RedisTrigger},
    streams::{RedisClusterStreamsTrigger, RedisSentinelStreamsTrigger, RedisStreamsTrigger, StreamTrigger},
    variant::{Cluster, ClusterKeys, Keys, Sentinel, SentinelKeys, Single, SingleKeys, Variant},
};

#[cfg(test)]
mod tests;
