//! CloudEventSource and ClusterCloudEventSource: what happens to KEDA's resources, told as CloudEvents (keda.md §1.4).
//!
//! Whatever is published as a Kubernetes event and has a type among KEDA's is given to every source that subscribes to
//! it. Each source has a buffer of its own and delivers from it in order; nobody waits for a receiver, and one that is
//! away finds what it missed when it is back. Receivers that are away for long cost the oldest events, never scaling.
//!
//! As in KEDA, a CloudEventSource hears of every namespace, like a ClusterCloudEventSource; they differ in where their
//! authentication is.

mod controller;
mod destination;
pub mod event;
pub(crate) mod metrics;
mod worker;

use std::{fmt, time::Duration};

use async_trait::async_trait;

pub(crate) use self::controller::CloudEvents;

/// How many events wait for a receiver at most; the oldest go first.
pub const BUFFER: usize = 1024;
/// How often an event is sent again before its source counts as failed.
pub const RETRIES: u32 = 5;

/// Posts events. The reference binary does it over HTTP; within an embedded cluster it is a script.
#[async_trait]
pub trait Sink: fmt::Debug + Send + Sync + 'static {
    /// Posts `request` to its URI; the status of the answer.
    ///
    /// # Errors
    /// In words, if there was no answer.
    async fn post(&self, request: http::Request<Vec<u8>>) -> Result<http::StatusCode, String>;
}

/// How events are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The cluster's name in the source and subject of events, where a source says nothing else.
    pub cluster_name: String,
    /// The namespace of this process, the second part of the source of events.
    pub namespace: String,
    /// How long a receiver may take to answer.
    pub timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cluster_name: "kubernetes-default".to_owned(),
            namespace: "keda".to_owned(),
            timeout: Duration::from_secs(10),
        }
    }
}
