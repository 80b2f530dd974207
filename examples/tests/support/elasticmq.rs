//! A real SQS server on loopback: ElasticMQ, as `cargo xtask test` has put it into the user's cache directory.

use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use scaler_api::Secret;
use scalers::aws::{AwsEnvironment, AwsIdentity};
use xtask::services::{self, Options, Server};

const PATIENCE: Duration = Duration::from_secs(60);

/// A running server; it ends when this is dropped.
pub(crate) struct ElasticMq {
    server: Server,
    /// `http://127.0.0.1:<port>`.
    pub(crate) endpoint: String,
}

impl ElasticMq {
    /// Starts a server; `None` where there is none to start and that is allowed.
    pub(crate) async fn start() -> Option<Self> {
        let server = services::start("elasticmq", &Options::default())?;
        let endpoint = server.detail("url").to_owned();
        let server = Self { server, endpoint };
        server.answers().await;
        Some(server)
    }

    /// A client of it; ElasticMQ takes any credentials.
    pub(crate) async fn client(&self) -> Client {
        let keys = AwsIdentity::Keys {
            access_key_id: Secret::new("any"),
            secret_access_key: Secret::new("any"),
            session_token: None,
        };
        let config = AwsEnvironment::new().config(&keys, "elasticmq").await;
        let config = aws_sdk_sqs::config::Builder::from(&config).endpoint_url(&self.endpoint);
        Client::from_conf(config.build())
    }

    /// The URL of a queue of it.
    pub(crate) fn queue_url(&self, name: &str) -> String {
        format!("{}/000000000000/{name}", self.endpoint)
    }

    /// Ends the server as a crash would; what its queues held is lost.
    pub(crate) fn crash(&mut self) {
        self.server.crash(0);
    }

    /// Starts it again at the same place, without queues.
    pub(crate) async fn restart(&mut self) {
        self.server.start_again().expect("ElasticMQ starts");
        self.answers().await;
    }

    async fn answers(&self) {
        let client = self.client().await;
        let start = Instant::now();
        while client.list_queues().send().await.is_err() {
            assert!(
                start.elapsed() < PATIENCE,
                "ElasticMQ does not answer on {}",
                self.endpoint
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
