//! One connection to the server that holds a key, wherever that is.

use std::fmt;

use async_trait::async_trait;
use redis::{
    Cmd, ErrorKind as RedisKind, ProtocolVersion, RedisConnectionInfo, RedisError, ServerErrorKind,
    aio::MultiplexedConnection,
};
use scaler_api::{Error, ErrorKind, Sample, Scaler, Secret};

use super::{connection::Connection, variant::Topology};
use crate::tcp::{self, Failure, Kept, Peer, Tls};

/// How often one server of a cluster may send us to another before that counts as an outage.
const REDIRECTS: usize = 5;

/// What is counted.
#[async_trait]
pub(super) trait Count: fmt::Debug + Clone + Send + Sync + 'static {
    /// The key that it is about.
    fn key(&self) -> &str;

    /// Asks for the count; `ask` sends one command.
    async fn count(&self, connection: &Asker<'_>) -> Result<i64, RedisError>;
}

/// Counts one thing in Redis.
pub struct RedisScaler {
    peer: Kept<Redis>,
    metric: String,
    activation: i64,
    key: String,
}

/// The servers, and what is asked of them.
struct Redis {
    addresses: Vec<String>,
    username: Option<Secret>,
    password: Option<Secret>,
    tls: Option<Tls>,
    topology: Topology,
    count: Box<dyn Counting>,
}

/// [`Count`] as an object.
#[async_trait]
trait Counting: Send + Sync {
    fn key(&self) -> &str;
    async fn count(&self, connection: &Asker<'_>) -> Result<i64, RedisError>;
}

#[async_trait]
impl<C: Count> Counting for C {
    fn key(&self) -> &str {
        Count::key(self)
    }

    async fn count(&self, connection: &Asker<'_>) -> Result<i64, RedisError> {
        Count::count(self, connection).await
    }
}

/// Sends commands over a connection that many use.
pub(super) struct Asker<'a> {
    connection: &'a MultiplexedConnection,
    /// Whether the key is about to move here, in a cluster.
    asking: bool,
}

impl Asker<'_> {
    pub(super) async fn ask<T: redis::FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        let mut connection = self.connection.clone();
        if self.asking {
            // Both in one go, so that no command of another sample comes between them.
            let mut pipeline = redis::pipe();
            pipeline.cmd("ASKING").ignore().add_command(command.clone());
            let (answer,) = pipeline.query_async(&mut connection).await?;
            return Ok(answer);
        }
        command.query_async(&mut connection).await
    }
}

impl RedisScaler {
    pub(super) fn new(
        connection: &Connection,
        topology: Topology,
        count: impl Count,
        metric: String,
        activation: i64,
        timeout: std::time::Duration,
    ) -> Self {
        let key = count.key().to_owned();
        let redis = Redis {
            addresses: connection.addresses(),
            username: connection.username.clone(),
            password: connection.password.clone(),
            tls: connection.tls(),
            topology,
            count: Box::new(count),
        };
        Self {
            peer: Kept::new(redis, timeout),
            metric,
            activation,
            key,
        }
    }
}

#[async_trait]
impl Scaler for RedisScaler {
    async fn sample(&self) -> Result<Sample, Error> {
        let count = self.peer.ask().await;
        let count = count.map_err(|error| error.with_context("key", &self.key))?;
        #[allow(
            clippy::cast_precision_loss,
            reason = "lists hold far fewer than 2^52 elements"
        )]
        let value = count as f64;
        Ok(Sample::single(&self.metric, value, count > self.activation))
    }
}

impl fmt::Debug for RedisScaler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisScaler")
            .field("key", &self.key)
            .field("metric", &self.metric)
            .field("activation", &self.activation)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Peer for Redis {
    type Connection = MultiplexedConnection;
    type Answer = i64;

    async fn connect(&self) -> Result<MultiplexedConnection, Error> {
        let mut last = Error::invalid("no address is given");
        for address in &self.addresses {
            match self.connect_by(address).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask(&self, connection: &MultiplexedConnection) -> Result<i64, Failure> {
        let asker = Asker {
            connection,
            asking: false,
        };
        let error = match self.count.count(&asker).await {
            Ok(count) => return Ok(count),
            Err(error) => error,
        };
        match error.kind() {
            RedisKind::Server(ServerErrorKind::Ask) => {}
            // The next connection goes where the cluster says then.
            RedisKind::Server(ServerErrorKind::Moved) => return Err(Failure::lost(translate(&error))),
            _ => return Err(failure(&error)),
        }
        let (address, _) = error.redirect_node().ok_or_else(|| failure(&error))?;
        let connection = self.log_in(address, self.topology.database()).await;
        let connection = connection.map_err(Failure::answered)?;
        let asker = Asker {
            connection: &connection,
            asking: true,
        };
        let count = self.count.count(&asker).await;
        count.map_err(|error| Failure::answered(translate(&error)))
    }
}

impl Redis {
    /// Connects to the server that holds the key, beginning at one that is named.
    async fn connect_by(&self, address: &str) -> Result<MultiplexedConnection, Error> {
        match &self.topology {
            Topology::Single { database } => self.log_in(address, *database).await,
            Topology::Cluster => self.follow(address).await,
            Topology::Sentinel { database, .. } => {
                let primary = self.primary(address).await?;
                self.log_in(&primary, *database).await
            }
        }
    }

    async fn log_in(&self, address: &str, database: i64) -> Result<MultiplexedConnection, Error> {
        let info = settings(self.username.as_ref(), self.password.as_ref()).set_db(database);
        dial(address, self.tls.as_ref(), &info).await
    }

    /// Goes where the servers of a cluster say that the key is.
    async fn follow(&self, address: &str) -> Result<MultiplexedConnection, Error> {
        let mut address = address.to_owned();
        for _ in 0..REDIRECTS {
            let mut connection = self.log_in(&address, 0).await?;
            let command = redis::cmd("TYPE").arg(self.count.key()).to_owned();
            let answer: Result<String, RedisError> = command.query_async(&mut connection).await;
            let Err(error) = answer else {
                return Ok(connection);
            };
            match error.redirect_node() {
                // It is here yet.
                Some(_) if error.kind() == RedisKind::Server(ServerErrorKind::Ask) => return Ok(connection),
                Some((next, _)) => address = beside(next, &address),
                None => return Err(translate(&error)),
            }
        }
        Err(
            Error::unavailable("the servers of the cluster disagree on where the key is")
                .with_context("address", address),
        )
    }

    /// Asks a sentinel for the primary.
    async fn primary(&self, sentinel: &str) -> Result<String, Error> {
        let Topology::Sentinel {
            master,
            username,
            password,
            ..
        } = &self.topology
        else {
            return Ok(sentinel.to_owned());
        };
        let info = settings(username.as_ref(), password.as_ref());
        let mut connection = dial(sentinel, self.tls.as_ref(), &info).await?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("get-master-addr-by-name").arg(master);
        let answer: Option<(String, u16)> = command
            .query_async(&mut connection)
            .await
            .map_err(|error| translate(&error).with_context("sentinel", sentinel))?;
        match answer {
            Some((host, port)) if host.contains(':') => Ok(format!("[{host}]:{port}")),
            Some((host, port)) => Ok(format!("{host}:{port}")),
            None => Err(Error::not_found("the sentinel does not know the master")
                .with_context("sentinelMaster", master)
                .with_context("sentinel", sentinel)),
        }
    }
}

fn settings(username: Option<&Secret>, password: Option<&Secret>) -> RedisConnectionInfo {
    let mut info = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP2)
        .set_skip_set_lib_name();
    if let Some(username) = username {
        info = info.set_username(username.expose());
    }
    if let Some(password) = password {
        info = info.set_password(password.expose());
    }
    info
}

async fn dial(
    address: &str,
    tls: Option<&Tls>,
    info: &RedisConnectionInfo,
) -> Result<MultiplexedConnection, Error> {
    let stream = tcp::connect(address, tls).await?;
    // The deadline is that of the sample.
    let config = redis::AsyncConnectionConfig::new()
        .set_response_timeout(None)
        .set_connection_timeout(None);
    let (connection, driver) = {
        let connecting = MultiplexedConnection::new_with_config(info, stream, config);
        connecting
            .await
            .map_err(|error| translate(&error).with_context("address", address))?
    };
    // It ends with the last clone of the connection.
    tokio::spawn(driver);
    Ok(connection)
}

/// The address of another server; one that does not know its own host leaves it out.
fn beside(next: &str, current: &str) -> String {
    match next.strip_prefix(':') {
        Some(port) => format!("{}:{port}", tcp::host(current)),
        None => next.to_owned(),
    }
}

fn failure(error: &RedisError) -> Failure {
    let lost = error.is_io_error() || error.is_connection_dropped();
    Failure {
        error: translate(error),
        is_lost: lost,
    }
}

/// What an error means. Servers quote no credentials.
fn translate(error: &RedisError) -> Error {
    let code = error.code().unwrap_or_default();
    let words = error.detail().unwrap_or_default();
    let kind = match error.kind() {
        RedisKind::AuthenticationFailed | RedisKind::Server(ServerErrorKind::NoPerm) => {
            ErrorKind::Unauthorized
        }
        _ if matches!(code, "NOAUTH" | "WRONGPASS" | "NOPERM") => ErrorKind::Unauthorized,
        _ if code == "NOGROUP" => ErrorKind::NotFound,
        RedisKind::Io
        | RedisKind::ClusterConnectionNotFound
        | RedisKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown,
        ) => ErrorKind::Unavailable,
        _ if words.contains("max number of clients") => ErrorKind::Unavailable,
        _ => ErrorKind::Invalid,
    };
    let message = match kind {
        ErrorKind::Unauthorized => "the server refuses the credentials",
        ErrorKind::Unavailable => "the server cannot be asked",
        _ => "the server answers with an error",
    };
    Error::new(kind, message).with_source(error.to_string())
}
