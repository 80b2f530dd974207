//! One connection to a server, and one query over it.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use async_trait::async_trait;
use scaler_api::{Error, ErrorKind};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_postgres::{
    CancelToken, Client, Config, Error as PostgresError, SimpleQueryMessage,
    error::SqlState,
    tls::{ChannelBinding, TlsConnect, TlsStream},
};
use tokio_rustls::TlsConnector;

use super::address::Address;
use crate::tcp::{self, Failure, Peer};

/// How long it may take to tell a server that a query is not waited for any more.
const CANCEL: Duration = Duration::from_secs(5);

pub(super) struct Postgres {
    pub(super) address: Address,
    pub(super) query: String,
    #[cfg(feature = "postgresql-azure")]
    pub(super) azure: Option<super::azure::Azure>,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("servers", &self.address.servers)
            .finish_non_exhaustive()
    }
}

/// A client, and which server it talks to.
pub(super) struct Session {
    client: Client,
    server: String,
}

#[async_trait]
impl Peer for Postgres {
    type Connection = Arc<Session>;
    type Answer = f64;

    async fn connect(&self) -> Result<Arc<Session>, Error> {
        let mut last = Error::invalid("no host given");
        for server in &self.address.servers {
            match self.connect_to(server).await {
                Ok(session) => return Ok(Arc::new(session)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask(&self, session: &Arc<Session>) -> Result<f64, Failure> {
        let mut cancel = CancelOnDrop {
            token: Some(session.client.cancel_token()),
            server: session.server.clone(),
            address: self.address.clone(),
        };
        let answer = session.client.simple_query(&self.query).await;
        cancel.token = None;
        let answer = answer.map_err(|error| Failure {
            is_lost: error.is_closed() || session.client.is_closed(),
            error: translate("cannot run the query", &error),
        })?;
        number(&answer).map_err(Failure::answered)
    }
}

impl Postgres {
    #[cfg(feature = "postgresql-azure")]
    async fn connect_to(&self, server: &str) -> Result<Session, Error> {
        match &self.azure {
            Some(azure) => azure.connect(self, server).await,
            None => self.connect_as(server, &self.address.config).await,
        }
    }

    #[cfg(not(feature = "postgresql-azure"))]
    async fn connect_to(&self, server: &str) -> Result<Session, Error> {
        self.connect_as(server, &self.address.config).await
    }

    /// Connects as whom `config` says.
    pub(super) async fn connect_as(&self, server: &str, config: &Config) -> Result<Session, Error> {
        let stream = tcp::dial(server).await?;
        let tls = Handshake::new(&self.address, server)?;
        let connecting = config.connect_raw(stream, tls);
        let (client, connection) = connecting
            .await
            .map_err(|error| translate("cannot log in", &error).with_context("address", server))?;
        // It ends with the client.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to PostgreSQL ended");
            }
        });
        Ok(Session {
            client,
            server: server.to_owned(),
        })
    }
}

/// The number in the first row, which must have one column.
fn number(answer: &[SimpleQueryMessage]) -> Result<f64, Error> {
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let row = row.ok_or_else(|| Error::invalid("the query gives no row"))?;
    if row.len() != 1 {
        return Err(Error::invalid(format!(
            "the query gives {} columns, expected one",
            row.len()
        )));
    }
    let text = row
        .get(0)
        .ok_or_else(|| Error::invalid("the query gives NULL, expected a number"))?;
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| Error::invalid(format!("the query gives {text:?}, expected a number")))
}

fn translate(message: &'static str, error: &PostgresError) -> Error {
    let kind = match error.code() {
        None => ErrorKind::Unavailable,
        Some(code) => match *code {
            SqlState::INVALID_PASSWORD
            | SqlState::INVALID_AUTHORIZATION_SPECIFICATION
            | SqlState::INSUFFICIENT_PRIVILEGE => ErrorKind::Unauthorized,
            SqlState::UNDEFINED_TABLE | SqlState::INVALID_CATALOG_NAME | SqlState::INVALID_SCHEMA_NAME => {
                ErrorKind::NotFound
            }
            SqlState::QUERY_CANCELED => ErrorKind::Timeout,
            // Connections, resources, and an operator's doing.
            ref other if ["08", "53", "57"].contains(&other.code().get(..2).unwrap_or_default()) => {
                ErrorKind::Unavailable
            }
            _ => ErrorKind::Invalid,
        },
    };
    // What the server says quotes the query, and no password.
    let words = match error.as_db_error() {
        Some(error) => format!("{} ({})", error.message(), error.code().code()),
        None => causes(error),
    };
    Error::new(kind, message).with_source(words)
}

fn causes(error: &PostgresError) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// Ends a query at the server when nobody waits for it any more.
struct CancelOnDrop {
    token: Option<CancelToken>,
    server: String,
    address: Address,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        let Some(token) = self.token.take() else { return };
        let (server, address) = (std::mem::take(&mut self.server), self.address.clone());
        tokio::spawn(tcp::within(CANCEL, async move {
            let stream = tcp::dial(&server).await?;
            let cancelled = token
                .cancel_query_raw(stream, Handshake::new(&address, &server)?)
                .await;
            cancelled.map_err(|error| translate("cannot cancel the query", &error))
        }));
    }
}

/// TLS over a stream on which both sides have agreed on it.
struct Handshake {
    connector: TlsConnector,
    host: String,
}

impl Handshake {
    fn new(address: &Address, server: &str) -> Result<Self, Error> {
        Ok(Self {
            connector: address.tls.connector()?,
            host: tcp::host(server).to_owned(),
        })
    }
}

impl TlsConnect<TcpStream> for Handshake {
    type Stream = Encrypted;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Encrypted, Self::Error>> + Send>>;

    fn connect(self, stream: TcpStream) -> Self::Future {
        Box::pin(async move {
            let name = tcp::tls::server_name(&self.host)?;
            Ok(Encrypted(self.connector.connect(name, stream).await?))
        })
    }
}

/// An encrypted stream; passwords are not bound to it.
struct Encrypted(tokio_rustls::client::TlsStream<TcpStream>);

impl TlsStream for Encrypted {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
