//! Reads of one metric through the whole adapter: TLS, TokenReview, SubjectAccessReview, a sample of a ScaledObject.
//!
//! The server, the load and the control plane are processes of their own; processor time and memory are the server's.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};
use axum::{Json, Router, routing::get};
use controller_runtime::envtest::{ControlPlane, Options as ControlPlaneOptions};
use k8s_openapi::api::{
    apps::v1::Deployment,
    authentication::v1::{TokenRequest, TokenRequestSpec},
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::ServiceAccount,
    rbac::v1::{Role, RoleBinding},
};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use scaler_api::keda::ScaledObject;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    adapter_load::Report,
    cluster::{self, eventually},
    process::Process,
};

/// Beside whom: KEDA 2.20 (adapter and operator together) on the same kind of machine.
const KEDA: [(&str, f64); 5] = [
    ("requests/s", 5750.0),
    ("p50 ms", 2.5),
    ("p99 ms", 7.9),
    ("CPU ms/request", 0.30),
    ("peak MB", 121.0),
];
const WARM_UP_SECONDS: u64 = 3;
const NAMESPACE: &str = "default";

/// How much load for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Seconds of load that count.
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Where the programs of the control plane are.
    #[arg(long)]
    bin_dir: Option<PathBuf>,
}

/// Measures and prints.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let plane = ControlPlane::start(ControlPlaneOptions {
        bin_dir: options.bin_dir.clone(),
        kwok: false,
        ..ControlPlaneOptions::default()
    })
    .await?;
    let result = measure(&plane, &options).await;
    plane.stop().await;
    let figures = result?;
    if options.json {
        let figures: serde_json::Map<String, Value> = figures
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        println!("{}", Value::Object(figures));
    } else {
        println!("{:<16}{:>12}{:>12}", "metrics adapter", "here", "KEDA");
        for ((name, here), (_, keda)) in figures.iter().zip(KEDA) {
            println!("{name:<16}{here:>12.3}{keda:>12.3}");
        }
    }
    Ok(())
}

async fn measure(plane: &ControlPlane, options: &Options) -> anyhow::Result<Vec<(&'static str, f64)>> {
    let client = plane.client(NAMESPACE);
    let folder = tempfile::tempdir()?;
    let authority = certificates(folder.path())?;
    apply_objects(&client, &source().await?).await?;
    let (server, address) = start_server(plane.kubeconfig(), folder.path())?;
    let metric = metric_name(&client).await?;
    let token = token(&client).await?;
    let path = format!(
        "/apis/external.metrics.k8s.io/v1beta1/namespaces/{NAMESPACE}/{metric}?labelSelector=scaledobject.keda.sh%2Fname%3Dbench"
    );
    let load = |seconds: u64| load(&address, &authority, &path, &token, options.connections, seconds);
    load(WARM_UP_SECONDS)?;
    let before = server.processor_time()?;
    let report = load(options.seconds)?;
    let used = server.processor_time()? - before;
    let figures = [
        report.per_second,
        report.p50_ms,
        report.p99_ms,
        used.as_secs_f64() * 1e3 / report.requests as f64,
        server.peak_megabytes()?,
    ];
    Ok(KEDA.iter().map(|(name, _)| *name).zip(figures).collect())
}

/// Writes `server.crt` and `server.key`, and returns the file of the authority that signed them.
fn certificates(folder: &Path) -> anyhow::Result<PathBuf> {
    let mut params = CertificateParams::new([])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let file = folder.join("ca.crt");
    std::fs::write(&file, params.self_signed(&key)?.pem())?;
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()])?.signed_by(&key, &issuer)?;
    std::fs::write(folder.join("server.crt"), certificate.pem())?;
    std::fs::write(folder.join("server.key"), key.serialize_pem())?;
    Ok(file)
}

fn start_server(kubeconfig: &Path, folder: &Path) -> anyhow::Result<(Process, String)> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("adapter-server")
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .arg("--certificate")
        .arg(folder.join("server.crt"))
        .arg("--key")
        .arg(folder.join("server.key"))
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().context("the server has no stdout")?;
    let server = Process::of(child);
    let mut address = String::new();
    BufReader::new(stdout).read_line(&mut address)?;
    Ok((server, address.trim().to_owned()))
}

fn load(
    address: &str,
    authority: &Path,
    path: &str,
    token: &str,
    connections: usize,
    seconds: u64,
) -> anyhow::Result<Report> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["adapter-load", "--address", address, "--path", path])
        .args([
            "--connections",
            &connections.to_string(),
            "--seconds",
            &seconds.to_string(),
        ])
        .arg("--authority")
        .arg(authority)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("the load has no stdin")?;
    stdin.write_all(token.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("the load failed: {}", output.status);
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Where a queue of twelve is told, for as long as this process runs.
async fn source() -> anyhow::Result<String> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let queue = Router::new().route("/", get(async || Json(json!({ "value": 12 }))));
    tokio::spawn(async move { axum::serve(listener, queue).await });
    Ok(url)
}

/// A Deployment and a ScaledObject whose value is always there, and an account that may read it.
async fn apply_objects(client: &Client, source: &str) -> anyhow::Result<()> {
    cluster::define_scaled_objects(client).await?;
    let name = json!({ "name": "bench" });
    let labels = json!({ "app": "bench" });
    let pod = json!({ "containers": [{ "name": "bench", "image": "bench" }] });
    create::<Deployment>(
        client,
        json!({
            "metadata": name,
            "spec": {
                "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": pod },
            },
        }),
    )
    .await?;
    create::<ScaledObject>(
        client,
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": name,
            "spec": {
                "scaleTargetRef": { "name": "bench" },
                "pollingInterval": 5,
                "triggers": [{
                    "type": "metrics-api",
                "useCachedMetrics": true,
                "metadata": { "url": source, "valueLocation": "value", "targetValue": "5" },
            }],
            },
        }),
    )
    .await?;
    create::<ServiceAccount>(client, json!({ "metadata": name })).await?;
    create::<Role>(
        client,
        json!({
            "metadata": name,
            "rules": [{ "apiGroups": ["external.metrics.k8s.io"], "resources": ["*"], "verbs": ["list"] }],
        }),
    )
    .await?;
    create::<RoleBinding>(
        client,
        json!({
            "metadata": name,
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "bench" },
            "subjects": [{ "kind": "ServiceAccount", "namespace": NAMESPACE, "name": "bench" }],
        }),
    )
    .await
}

async fn create<K>(client: &Client, object: Value) -> anyhow::Result<()>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    let api: Api<K> = Api::default_namespaced(client.clone());
    api.create(&PostParams::default(), &serde_json::from_value(object)?)
        .await?;
    Ok(())
}

async fn token(client: &Client) -> anyhow::Result<String> {
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    let request = TokenRequest {
        spec: TokenRequestSpec::default(),
        ..TokenRequest::default()
    };
    let answer = accounts
        .create_token_request("bench", &PostParams::default(), &request)
        .await?;
    Ok(answer.status.context("no token was made")?.token)
}

/// The metric that the ScaledObject's HPA asks for.
async fn metric_name(client: &Client) -> anyhow::Result<String> {
    let autoscalers: Api<HorizontalPodAutoscaler> = Api::default_namespaced(client.clone());
    eventually("the HPA is there", async || {
        let list = autoscalers.list(&ListParams::default()).await.ok()?;
        let metric = list.items.into_iter().next()?.spec?.metrics?.into_iter().next()?;
        Some(metric.external?.metric.name.to_lowercase())
    })
    .await
}
