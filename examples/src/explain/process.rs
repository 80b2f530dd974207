//! Asks a running process: at its address, or through the API server.

use anyhow::{Context as _, bail, ensure};
use controller_runtime::explain::Explanation;
use http::{Request, StatusCode};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Pod};
use kube::{Api, Client, Config};

use super::Object;
use crate::names;

/// A process that can be asked.
pub(super) struct Process {
    client: Client,
    /// What stands before the path.
    prefix: String,
    /// Who it is, in words.
    who: String,
}

impl Process {
    /// The process whose metrics are served there.
    pub(super) fn at(url: &str) -> anyhow::Result<Self> {
        let uri: http::Uri = url
            .trim_end_matches('/')
            .parse()
            .ok()
            .filter(|uri: &http::Uri| matches!(uri.scheme_str(), Some("http" | "https")))
            .with_context(|| format!("--admin is {url:?}, expected a URL such as http://127.0.0.1:8080"))?;
        let client = Client::try_from(Config::new(uri)).context("no client can be made")?;
        Ok(Self {
            client,
            prefix: String::new(),
            who: url.to_owned(),
        })
    }

    /// The pod that leads, through the API server.
    pub(super) async fn of_leader(client: Client, namespace: &str) -> anyhow::Result<Self> {
        let identity = leader(&client, namespace).await?;
        // The name of the pod, and what makes the process unique.
        let name = identity
            .rsplit_once('_')
            .map_or(identity.as_str(), |(name, _)| name);
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let pod = pods
            .get_opt(name)
            .await
            .with_context(|| format!("the pod {namespace}/{name} cannot be read"))?;
        let Some(pod) = pod else {
            bail!(
                "the leader, {identity}, is no pod of the namespace {namespace}; name its address with --admin"
            );
        };
        Ok(Self {
            client,
            prefix: format!("/api/v1/namespaces/{namespace}/pods/{name}:{}/proxy", port(&pod)),
            who: format!("the pod {namespace}/{name}"),
        })
    }

    pub(super) async fn explain(&self, kind: &str, object: &Object) -> anyhow::Result<Explanation> {
        let Object { namespace, name } = object;
        let uri = format!("{}/explain/{kind}/{namespace}/{name}", self.prefix);
        let request = Request::get(uri).body(kube::client::Body::empty())?;
        let who = &self.who;
        let response = self
            .client
            .send(request)
            .await
            .with_context(|| format!("{who} does not answer"))?;
        let status = response.status();
        let body = response.into_body().collect_bytes().await;
        let body = body.with_context(|| format!("{who} does not answer"))?;
        if status == StatusCode::OK {
            return serde_json::from_slice(&body)
                .with_context(|| format!("{who} answers something else than an explanation"));
        }
        let said = String::from_utf8_lossy(&body);
        ensure!(!said.trim().is_empty(), "{who} answers {status}");
        bail!("{}", said.trim())
    }
}

/// Who holds the Lease of the half that scales pods.
async fn leader(client: &Client, namespace: &str) -> anyhow::Result<String> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    for name in [names::LEASE, names::LEASE_PODS] {
        let lease = leases
            .get_opt(name)
            .await
            .with_context(|| format!("the Lease {namespace}/{name} cannot be read"))?;
        let holder = lease.and_then(|lease| lease.spec?.holder_identity);
        if let Some(holder) = holder.filter(|holder| !holder.is_empty()) {
            return Ok(holder);
        }
    }
    bail!(
        "nobody leads in the namespace {namespace}; name another with --namespace, or the address of a process with --admin"
    )
}

/// Where the pod serves its metrics.
fn port(pod: &Pod) -> i32 {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    let mut named = ports.filter(|port| port.name.as_deref() == Some(names::METRICS_PORT_NAME));
    named
        .next()
        .map_or_else(|| i32::from(names::METRICS_PORT), |port| port.container_port)
}
