//! The metrics adapter in front of the real control plane: one for all cases, registered when the first needs it.

use std::{path::Path, thread::JoinHandle, time::Duration};

use anyhow::{Context as _, bail};
use k8s_openapi::ByteString;
use kube::{Client, client::Body};
use metrics_adapter::server::{Delegated, DelegatedOptions, ServingCertificate, serve};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tokio::sync::{Mutex, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, oneshot};

use super::{
    metrics::{GROUP, Metrics, SERVICE, api_service, service},
    real,
};

/// How long it may take until the API server has it.
const LIMIT: Duration = Duration::from_secs(60);
const API_SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const SERVICES: &str = "/api/v1/namespaces/kube-system/services";

/// The adapter. Cases that need it share it, and the case that needs it not to be there has the cluster to itself.
#[derive(Debug, Default)]
pub(crate) struct Adapter {
    pub(crate) metrics: Metrics,
    gate: std::sync::Arc<RwLock<()>>,
    serving: Mutex<Option<Serving>>,
}

/// A server on a thread of its own.
#[derive(Debug)]
struct Serving {
    api_service: Value,
    is_registered: bool,
    end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// Held while the metrics API has to stay as it is.
#[derive(Debug)]
#[expect(dead_code, reason = "held for their drop")]
pub(crate) enum Held {
    There(OwnedRwLockReadGuard<()>),
    Gone(OwnedRwLockWriteGuard<()>),
    Own,
}

impl Adapter {
    /// Serves the metrics API and waits until it is available.
    pub(crate) async fn provide(&self, client: &Client, kubeconfig: &Path) -> anyhow::Result<Held> {
        let held = self.gate.clone().read_owned().await;
        let mut serving = self.serving.lock().await;
        if serving.is_none() {
            *serving = Some(start(kubeconfig.to_owned(), self.metrics.clone())?);
        }
        if let Some(serving) = serving.as_mut().filter(|serving| !serving.is_registered) {
            for (path, name, object) in [
                (SERVICES, SERVICE.to_owned(), service()),
                (
                    API_SERVICES,
                    format!("v1beta1.{GROUP}"),
                    serving.api_service.clone(),
                ),
            ] {
                // Whatever an earlier run has left behind points elsewhere.
                ask(client, "DELETE", &format!("{path}/{name}"), None).await?;
                let (code, answer) = ask(client, "POST", path, Some(&object)).await?;
                if code != 201 {
                    bail!("{name} was not registered: {answer}");
                }
            }
            serving.is_registered = true;
        }
        until(client, "the metrics API is served", 200).await?;
        Ok(Held::There(held))
    }

    /// Takes the metrics API away.
    pub(crate) async fn withhold(&self, client: &Client) -> anyhow::Result<Held> {
        let held = self.gate.clone().write_owned().await;
        let mut serving = self.serving.lock().await;
        if let Some(serving) = serving.as_mut() {
            serving.is_registered = false;
        }
        ask(client, "DELETE", &format!("{API_SERVICES}/v1beta1.{GROUP}"), None).await?;
        until(client, "the metrics API is gone", 404).await?;
        Ok(Held::Gone(held))
    }

    /// Takes it away for good: a namespace cannot be deleted while an API does not answer.
    pub(crate) fn stop(&self, kubeconfig: &Path) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let serving = runtime.block_on(async {
            let Some(serving) = self.serving.lock().await.take() else {
                return anyhow::Ok(None);
            };
            let client = real::client(kubeconfig).await?;
            for path in [
                format!("{API_SERVICES}/v1beta1.{GROUP}"),
                format!("{SERVICES}/{SERVICE}"),
            ] {
                ask(&client, "DELETE", &path, None).await?;
            }
            Ok(Some(serving))
        })?;
        if let Some(serving) = serving {
            drop(serving.end);
            serving.thread.join().ok().context("the adapter panicked")?;
        }
        Ok(())
    }
}

/// Waits until the group's list of resources is answered with `code`.
async fn until(client: &Client, what: &str, code: u16) -> anyhow::Result<()> {
    let start = tokio::time::Instant::now();
    loop {
        let (found, answer) = ask(client, "GET", &format!("/apis/{GROUP}/v1beta1"), None).await?;
        if found == code {
            return Ok(());
        }
        if start.elapsed() > LIMIT {
            bail!("not within {LIMIT:?}: {what}: {found} {answer}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn ask(
    client: &Client,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<(u16, String)> {
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string().into_bytes()));
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(body)?;
    let (parts, body) = client.send(request).await?.into_parts();
    let bytes = body.collect_bytes().await?;
    Ok((
        parts.status.as_u16(),
        String::from_utf8_lossy(&bytes).into_owned(),
    ))
}

fn start(kubeconfig: std::path::PathBuf, metrics: Metrics) -> anyhow::Result<Serving> {
    rustls::crypto::ring::default_provider().install_default().ok();
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let (trust, certificate) = certificates()?;
    let (end, ended) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let served = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
            runtime.block_on(async {
                let delegated = Delegated::new(real::client(&kubeconfig).await?, DelegatedOptions::default());
                let authorities = delegated.client_authorities();
                let service = delegated.layer(metrics.adapter());
                tokio::select! {
                    biased;
                    served = serve(listener, certificate, authorities, service, async { drop(ended.await) }) => Ok(served?),
                    () = delegated.run() => Ok(()),
                }
            })
        });
        if let Err(error) = served {
            println!("the metrics adapter ended: {error:#}");
        }
    });
    let trust = serde_json::to_value(ByteString(trust.into_bytes()))?;
    Ok(Serving {
        api_service: api_service(port, json!(trust)),
        is_registered: false,
        end,
        thread,
    })
}

/// An authority, and a certificate of its for the adapter's Service.
fn certificates() -> anyhow::Result<(String, ServingCertificate)> {
    let mut params = CertificateParams::new([])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let trust = params.self_signed(&key)?.pem();
    let issuer = Issuer::new(params, key);
    let mut params = CertificateParams::new([format!("{SERVICE}.kube-system.svc"), "127.0.0.1".to_owned()])?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = ServingCertificate::empty();
    certificate.replace(
        params.signed_by(&key, &issuer)?.pem().as_bytes(),
        key.serialize_pem().as_bytes(),
    )?;
    Ok((trust, certificate))
}
