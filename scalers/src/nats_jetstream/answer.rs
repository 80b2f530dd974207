//! What the monitoring endpoint answers.

use scaler_api::Error;
use serde::Deserialize;

/// The answer of `/jsz`.
#[derive(Debug, Deserialize)]
pub(super) struct JetStream {
    #[serde(default)]
    account_details: Vec<Account>,
    #[serde(default)]
    meta_cluster: Option<MetaCluster>,
}

#[derive(Debug, Deserialize)]
struct MetaCluster {
    #[serde(default)]
    cluster_size: usize,
}

#[derive(Debug, Deserialize)]
struct Account {
    #[serde(default)]
    id: String,
    name: String,
    #[serde(default)]
    stream_detail: Vec<Stream>,
}

#[derive(Debug, Deserialize)]
struct Stream {
    name: String,
    #[serde(default)]
    consumer_detail: Vec<Consumer>,
}

#[derive(Debug, Deserialize)]
struct Consumer {
    name: String,
    num_pending: i64,
    num_ack_pending: i64,
    #[serde(default)]
    cluster: Option<Cluster>,
}

#[derive(Debug, Deserialize)]
struct Cluster {
    #[serde(default)]
    leader: Option<String>,
}

/// The answer of `/varz`.
#[derive(Debug, Deserialize)]
pub(super) struct Server {
    #[serde(default)]
    pub(super) server_name: String,
    #[serde(default)]
    connect_urls: Vec<String>,
    #[serde(default)]
    cluster: Option<Routes>,
}

#[derive(Debug, Deserialize)]
struct Routes {
    #[serde(default)]
    urls: Vec<String>,
}

/// What was looked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) lag: i64,
    /// Who knows the lag of the consumer, in a cluster.
    pub(super) leader: Option<String>,
}

impl JetStream {
    /// Whether the server is one of several, of which each tells of the streams that it holds.
    pub(super) fn is_clustered(&self) -> bool {
        let cluster = self.meta_cluster.as_ref();
        cluster.is_some_and(|cluster| cluster.cluster_size > 1)
    }

    /// Finds the stream of an account, by name or id, and the lag of its consumer.
    pub(super) fn find(
        &self,
        (name, id): (Option<&str>, Option<&str>),
        stream: &str,
        consumer: &str,
    ) -> Result<Found, Error> {
        // Without an id the server is asked for the name, and tells an id that may be either.
        let id = id.or(name);
        let mut accounts = self
            .account_details
            .iter()
            .filter(|account| id == Some(&*account.id) || name == Some(&*account.name));
        let stream = accounts
            .find_map(|account| account.stream_detail.iter().find(|found| found.name == stream))
            .ok_or_else(|| Error::not_found("the account has no such stream"))?;
        let mut consumers = stream.consumer_detail.iter();
        let found = consumers
            .find(|found| found.name == consumer)
            .ok_or_else(|| Error::not_found("the stream has no such consumer"))?;
        let leader = found.cluster.as_ref().and_then(|cluster| cluster.leader.clone());
        Ok(Found {
            lag: found.num_pending.saturating_add(found.num_ack_pending),
            leader: leader.filter(|_| self.is_clustered()),
        })
    }
}

impl Server {
    /// Where the other servers of the cluster are monitored: at the same port as the one at `endpoint`. They advertise where
    /// clients connect, or else are known by the names of their routes, as the pods of a StatefulSet are.
    pub(super) fn others(&self, endpoint: &str) -> Vec<String> {
        let host = |url: &str| url.rsplit_once(':').map_or(url, |(host, _)| host).to_owned();
        let port = endpoint.rsplit_once(':').map_or("", |(_, port)| port);
        let at = |host: String| match port {
            "" => host,
            port => format!("{host}:{port}"),
        };
        if !self.connect_urls.is_empty() {
            return self.connect_urls.iter().map(|url| at(host(url))).collect();
        }
        let routes = self.cluster.iter().flat_map(|cluster| &cluster.urls);
        let names = routes.filter_map(|url| url.split('.').next());
        names.map(|name| format!("{name}.{endpoint}")).collect()
    }
}
