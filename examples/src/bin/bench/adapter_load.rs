//! The load: connections that each ask again as soon as they have the answer.

use std::{io::Read as _, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpStream, time::Instant};
use tokio_rustls::TlsConnector;

/// What to ask for, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    address: SocketAddr,
    /// PEM of the authority that signed the server's certificate.
    #[arg(long)]
    authority: PathBuf,
    #[arg(long)]
    path: String,
    #[arg(long)]
    connections: usize,
    #[arg(long)]
    seconds: u64,
}

/// What was seen.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) requests: usize,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

/// Reads the token from stdin and prints a [`Report`] as JSON; any answer but 200 is an error.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let mut token = String::new();
    std::io::stdin().read_to_string(&mut token)?;
    let mut authorization = HeaderValue::from_str(&format!("Bearer {}", token.trim()))?;
    authorization.set_sensitive(true);
    let clients = try_join_all((0..options.connections).map(|_| connect(&options))).await?;

    let begin = Instant::now();
    let end = begin + Duration::from_secs(options.seconds);
    let path: Arc<str> = options.path.into();
    let tasks = clients
        .into_iter()
        .map(|client| tokio::spawn(ask_until(end, client, Arc::clone(&path), authorization.clone())));
    let mut latencies = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        latencies.extend(task.await??);
    }
    println!("{}", serde_json::to_string(&report(latencies, begin.elapsed())?)?);
    Ok(())
}

async fn connect(options: &Options) -> anyhow::Result<SendRequest<Empty<Bytes>>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&options.authority)?)?;
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(options.address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::from(options.address.ip());
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let (client, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn ask_until(
    end: Instant,
    mut client: SendRequest<Empty<Bytes>>,
    path: Arc<str>,
    authorization: HeaderValue,
) -> anyhow::Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    loop {
        let begin = Instant::now();
        if begin >= end {
            return Ok(latencies);
        }
        let request = Request::get(&*path)
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, &authorization)
            .header(header::ACCEPT, "application/vnd.kubernetes.protobuf, */*")
            .body(Empty::new())?;
        let (head, body) = client.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        ensure!(
            head.status.is_success(),
            "{}: {}",
            head.status,
            String::from_utf8_lossy(&body)
        );
        latencies.push(begin.elapsed());
    }
}

fn report(mut latencies: Vec<Duration>, took: Duration) -> anyhow::Result<Report> {
    latencies.sort_unstable();
    let requests = latencies.len();
    let quantile = |percent: usize| {
        let at = latencies.get((requests * percent / 100).min(requests.saturating_sub(1)));
        at.map(|latency| latency.as_secs_f64() * 1e3)
            .context("no request was answered")
    };
    Ok(Report {
        requests,
        per_second: requests as f64 / took.as_secs_f64(),
        p50_ms: quantile(50)?,
        p99_ms: quantile(99)?,
        max_ms: quantile(100)?,
    })
}
