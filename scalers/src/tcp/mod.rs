//! What every scaler shares that keeps a connection of its own: TLS, one connection for all samples, a deadline.

#[cfg(any(
    feature = "kafka",
    feature = "mysql",
    feature = "postgresql",
    feature = "rabbitmq",
    feature = "redis"
))]
mod kept;
#[cfg(any(
    feature = "kafka",
    feature = "external",
    feature = "postgresql",
    feature = "rabbitmq",
    feature = "redis"
))]
pub(crate) mod tls;

use std::time::Duration;

use scaler_api::{Error, ErrorKind};
#[cfg(any(
    feature = "external",
    feature = "kafka",
    feature = "rabbitmq",
    feature = "redis"
))]
use tokio::io::{AsyncRead, AsyncWrite};
#[cfg(any(
    feature = "external",
    feature = "kafka",
    feature = "postgresql",
    feature = "rabbitmq",
    feature = "redis"
))]
use tokio::net::TcpStream;

#[cfg(any(
    feature = "kafka",
    feature = "mysql",
    feature = "postgresql",
    feature = "rabbitmq",
    feature = "redis"
))]
pub(crate) use self::kept::{Failure, Kept, Peer};
#[cfg(any(
    feature = "kafka",
    feature = "external",
    feature = "postgresql",
    feature = "rabbitmq",
    feature = "redis"
))]
pub(crate) use self::tls::Tls;

/// A connection, encrypted or not.
#[cfg(any(
    feature = "external",
    feature = "kafka",
    feature = "rabbitmq",
    feature = "redis"
))]
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

#[cfg(any(
    feature = "external",
    feature = "kafka",
    feature = "rabbitmq",
    feature = "redis"
))]
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects to `host:port`.
///
/// # Errors
/// If nobody listens.
#[cfg(any(
    feature = "kafka",
    feature = "external",
    feature = "postgresql",
    feature = "rabbitmq",
    feature = "redis"
))]
pub(crate) async fn dial(address: &str) -> Result<TcpStream, Error> {
    let connecting = async {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    connecting.await.map_err(|error| failed(address, error))
}

/// Connects to `host:port`, with TLS if there is any.
///
/// # Errors
/// If nobody listens, or the server's certificate is not trusted.
#[cfg(any(feature = "kafka", feature = "rabbitmq", feature = "redis"))]
pub(crate) async fn connect(address: &str, tls: Option<&Tls>) -> Result<Box<dyn Stream>, Error> {
    let connector = tls.map(Tls::connector).transpose()?;
    connect_with(address, connector.as_ref()).await
}

/// The same, with a connector that was made before.
#[cfg(any(
    feature = "external",
    feature = "kafka",
    feature = "rabbitmq",
    feature = "redis"
))]
pub(crate) async fn connect_with(
    address: &str,
    connector: Option<&tokio_rustls::TlsConnector>,
) -> Result<Box<dyn Stream>, Error> {
    let stream = dial(address).await?;
    let Some(connector) = connector else {
        return Ok(Box::new(stream));
    };
    let name = tls::server_name(host(address))?;
    let connecting = connector.connect(name, stream);
    let stream = connecting.await.map_err(|error| failed(address, error))?;
    Ok(Box::new(stream))
}

#[cfg(any(
    feature = "kafka",
    feature = "external",
    feature = "postgresql",
    feature = "rabbitmq",
    feature = "redis"
))]
fn failed(address: &str, error: std::io::Error) -> Error {
    Error::unavailable("cannot connect")
        .with_context("address", address)
        .with_source(error)
}

/// The host of `host:port`.
#[cfg(any(
    feature = "kafka",
    feature = "external",
    feature = "postgresql",
    feature = "rabbitmq",
    feature = "redis"
))]
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

/// Undoes the escapes of a URL.
#[cfg(any(feature = "postgresql", feature = "rabbitmq"))]
pub(crate) fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match escaped.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
