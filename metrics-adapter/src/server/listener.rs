//! The TLS listener: HTTP/1.1 and HTTP/2 for any tower service, with limits, until it is told to end.

use std::{io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use hyper::{body::Incoming, server::conn, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::{BoxError, Service, ServiceExt};
use tracing::{debug, warn};

use super::{ClientAuthorities, Peer, ServingCertificate};

/// What one client may cost. The defaults suit an API behind the aggregation layer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Connections at a time; more wait to be accepted. 1,024.
    pub connections: usize,
    /// Time for a TLS handshake. 10 s.
    pub handshake_timeout: Duration,
    /// Time until the head of the next request on an HTTP/1.1 connection has come; an idle connection ends then. 60 s.
    pub header_timeout: Duration,
    /// Time for the service to read a request and make a response. 60 s.
    pub request_timeout: Duration,
    /// Octets of a request's head. 64 KiB.
    pub header_octets: u32,
    /// Requests at a time on an HTTP/2 connection. 250, as in Kubernetes.
    pub concurrent_streams: u32,
    /// Time without a sign of life after which an HTTP/2 client is pinged. 30 s.
    pub ping_interval: Duration,
    /// Time for the answer to a ping. 15 s.
    pub ping_timeout: Duration,
    /// Time for running requests to finish after the end was asked for. 20 s.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(60),
            header_octets: 64 * 1024,
            concurrent_streams: 250,
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(15),
            drain_timeout: Duration::from_secs(20),
        }
    }
}

/// Serves `service` over TLS until `shutdown` resolves, then ends idle connections, lets running requests finish and
/// returns. [`serve_with_limits`] with the default [`Limits`].
///
/// Every request has a [`Peer`] among its extensions.
///
/// # Errors
/// If the listener cannot be used by the runtime, or TLS cannot be configured.
pub async fn serve<S, B>(
    listener: std::net::TcpListener,
    certificate: ServingCertificate,
    authorities: ClientAuthorities,
    service: S,
    shutdown: impl Future<Output = ()> + Send,
) -> io::Result<()>
where
    S: Service<Request<Incoming>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    serve_with_limits(
        listener,
        certificate,
        authorities,
        service,
        shutdown,
        Limits::default(),
    )
    .await
}

/// [`serve`] with limits of your own.
///
/// # Errors
/// As [`serve`].
pub async fn serve_with_limits<S, B>(
    listener: std::net::TcpListener,
    certificate: ServingCertificate,
    authorities: ClientAuthorities,
    service: S,
    shutdown: impl Future<Output = ()> + Send,
    limits: Limits,
) -> io::Result<()>
where
    S: Service<Request<Incoming>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let limits = Arc::new(limits);
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut handshakes = authorities.subscribe();
    let mut config = handshakes
        .config(Arc::new(certificate.clone()))
        .map_err(io::Error::other)?;
    // A change tells every connection to end when it is idle: other authorities, or the end.
    let (mut epoch, mut ended) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            () = handshakes.changed() => {
                config = handshakes.config(Arc::new(certificate.clone())).map_err(io::Error::other)?;
                // Dropping the old sender is the sign.
                (epoch, ended) = watch::channel(());
                continue;
            }
            accepted = accept(&listener, &slots) => accepted,
        };
        while connections.try_join_next().is_some() {}
        let Some((stream, address, slot)) = accepted else {
            continue;
        };
        let connection = connection(
            stream,
            address,
            Arc::clone(&config),
            service.clone(),
            Arc::clone(&limits),
            ended.clone(),
        );
        connections.spawn(async move {
            connection.await;
            drop(slot);
        });
    }
    drop(listener);
    drop(epoch);
    let drained = timeout(limits.drain_timeout, async {
        while connections.join_next().await.is_some() {}
    });
    if drained.await.is_err() {
        warn!(
            connections = connections.len(),
            "ending connections whose requests did not finish in time"
        );
    }
    Ok(())
}

/// The next connection and its slot, none if accepting failed.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, address)) => Some((stream, address, slot)),
        Err(error) => {
            // Out of file descriptors, most likely: some time may bring some back.
            debug!(%error, "cannot accept a connection");
            sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

/// One connection, from the handshake to its end.
async fn connection<S, B>(
    stream: TcpStream,
    address: SocketAddr,
    config: Arc<ServerConfig>,
    service: S,
    limits: Arc<Limits>,
    ended: watch::Receiver<()>,
) where
    S: Service<Request<Incoming>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, %address, "cannot set TCP_NODELAY");
    }
    let handshake = timeout(limits.handshake_timeout, TlsAcceptor::from(config).accept(stream));
    let stream = match handshake.await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return debug!(%error, %address, "a TLS handshake failed"),
        Err(_) => return debug!(%address, "a TLS handshake took too long"),
    };
    let (peer, is_http2) = peer(&stream, address);
    let request_timeout = limits.request_timeout;
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        let service = service.clone();
        async move {
            match timeout(request_timeout, service.oneshot(request)).await {
                Ok(response) => response.map_err(io::Error::other),
                Err(elapsed) => Err(io::Error::from(elapsed)),
            }
        }
    });
    let io = TokioIo::new(stream);
    let result = if is_http2 {
        let connection = http2(&limits).serve_connection(io, service);
        until(connection, conn::http2::Connection::graceful_shutdown, ended).await
    } else {
        let connection = http1(&limits).serve_connection(io, service);
        until(connection, conn::http1::Connection::graceful_shutdown, ended).await
    };
    if let Err(error) = result {
        debug!(%error, %address, "a connection failed");
    }
}

/// Who shook hands, and whether HTTP/2 was agreed on.
fn peer(stream: &TlsStream<TcpStream>, address: SocketAddr) -> (Peer, bool) {
    let (_, session) = stream.get_ref();
    let certificates = session.peer_certificates().unwrap_or_default();
    let certificates = certificates.iter().map(|one| one.clone().into_owned()).collect();
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    (Peer::new(address, certificates), is_http2)
}

fn http1(limits: &Limits) -> conn::http1::Builder {
    let mut builder = conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(
            usize::try_from(limits.header_octets)
                .unwrap_or(usize::MAX)
                .max(8192),
        );
    builder
}

fn http2(limits: &Limits) -> conn::http2::Builder<TokioExecutor> {
    let mut builder = conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.concurrent_streams)
        .max_header_list_size(limits.header_octets)
        .keep_alive_interval(limits.ping_interval)
        .keep_alive_timeout(limits.ping_timeout);
    builder
}

/// Drives a connection; when the sender of `ended` is gone it finishes what runs and begins nothing.
async fn until<C>(
    connection: C,
    end_gracefully: impl FnOnce(Pin<&mut C>),
    mut ended: watch::Receiver<()>,
) -> hyper::Result<()>
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        result = &mut connection => return result,
        _ = ended.changed() => {}
    }
    end_gracefully(connection.as_mut());
    connection.await
}
