//! What every scaler shares that keeps a connection of its own: TLS, one connection for all samples, a deadline.

mod kept;
pub(crate) mod tls;

use std::time::Duration;

use scaler_api::{Error, ErrorKind};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

pub(crate) use self::{
    kept::{Failure, Kept, Peer},
    tls::Tls,
};

/// A connection, encrypted or not.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects to `host:port`, with TLS if there is any.
///
/// # Errors
/// If nobody listens, or the server's certificate is not trusted.
pub(crate) async fn connect(address: &str, tls: Option<&Tls>) -> Result<Box<dyn Stream>, Error> {
    let failed = |error: std::io::Error| {
        Error::unavailable("cannot connect")
            .with_context("address", address)
            .with_source(error)
    };
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let Some(tls) = tls else {
        return Ok(Box::new(stream));
    };
    let (connector, name) = (tls.connector()?, tls::server_name(host(address))?);
    let stream = connector.connect(name, stream).await.map_err(failed)?;
    Ok(Box::new(stream))
}

/// The host of `host:port`.
pub(crate) fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// Gives up after a while.
///
/// # Errors
/// Of kind [`Timeout`](ErrorKind::Timeout) then.
pub(crate) async fn within<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(timeout, work).await.unwrap_or_else(|_| {
        Err(Error::new(
            ErrorKind::Timeout,
            format!("the server did not answer within {timeout:?}"),
        ))
    })
}
