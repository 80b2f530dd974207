//! Scalers against real servers, which `cargo xtask test` puts into the user's cache directory.
//!
//! Each test starts a server of its own; what it passes stands in the table at the end of `cargo xtask test`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is a test")]
#![allow(clippy::disallowed_methods, reason = "a real server takes real time")]

mod aws;
mod azure_queue;
mod elasticsearch;
mod etcd;
mod external;
mod kafka;
mod kafka_admin;
mod measure;
mod metrics_api;
mod mongodb;
mod mysql;
mod nats;
mod postgresql;
mod prometheus;
mod proxy;
mod rabbitmq;
mod redis;
mod sqs;
mod support;
