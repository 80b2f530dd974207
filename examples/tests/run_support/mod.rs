//! A process to test, and a source for it to read.
#![allow(dead_code, reason = "every test uses a part of it")]
#![allow(clippy::unwrap_used, reason = "everything here is for tests")]

pub(crate) mod door;
mod ends;
pub(crate) mod follow;
#[cfg(feature = "kwok")]
pub(crate) mod kwok;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use controller_runtime::envtest::{ControlPlane, Program};
use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{Api, Client, api::PostParams};
use serde_json::{Value, json};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The binary, with an environment in which nothing is said.
pub(crate) fn autoscaler() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_autoscaler"));
    command.env_clear();
    command
}

/// Asks again and again until there is an answer.
pub(crate) async fn until<T>(what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
    until_for(PATIENCE, what, ask).await
}

/// With more patience, or less.
pub(crate) async fn until_for<T>(
    patience: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> T {
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "{what}: not within {patience:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// KEDA's definitions, as `autoscaler crds` prints them.
pub(crate) async fn install(client: &Client) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in scaler_api::keda::crds() {
        definitions
            .create(&PostParams::default(), &definition)
            .await
            .unwrap();
    }
}

/// The condition `Available` of the APIService of external metrics.
pub(crate) async fn api_service_condition(client: &Client) -> Option<String> {
    let services: Api<APIService> = Api::all(client.clone());
    let service = services
        .get_opt("v1beta1.external.metrics.k8s.io")
        .await
        .unwrap()?;
    let conditions = service.status?.conditions?;
    let available = conditions
        .into_iter()
        .find(|condition| condition.type_ == "Available")?;
    Some(available.status)
}

/// `autoscaler run` outside the cluster, on free ports of loopback.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    health: SocketAddr,
    metrics: SocketAddr,
    /// Where the metrics adapter is served, if it is.
    pub(crate) adapter: Option<SocketAddr>,
    /// Where the admission webhook is served, if it is.
    pub(crate) webhook: Option<SocketAddr>,
}

impl Running {
    pub(crate) async fn start(kubeconfig: &Path, arguments: &[&str]) -> Self {
        Self::start_with(kubeconfig, arguments, &[]).await
    }

    /// With environment variables besides.
    pub(crate) async fn start_with(
        kubeconfig: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let all = [&["--advertise-address=127.0.0.1"][..], arguments].concat();
        Self::behind_a_service(kubeconfig, &all, environment).await
    }

    /// As in a pod, where it is the installation that makes it known; only that ports are free ones of loopback.
    pub(crate) async fn behind_a_service(
        kubeconfig: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        // The binary has its own; this is for the test's requests.
        rustls::crypto::ring::default_provider().install_default().ok();
        let mut child = autoscaler()
            .args(["run", "--log-format=json", "--kubeconfig"])
            .arg(kubeconfig)
            .args([
                "--metrics-bind-address=127.0.0.1:0",
                "--health-probe-bind-address=127.0.0.1:0",
                "--adapter-bind-address=127.0.0.1:0",
                "--webhook-bind-address=127.0.0.1:0",
            ])
            .args(arguments)
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let seen = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                seen.lock().unwrap().push(line);
            }
        });
        let started = until("the line at the start", async || {
            let lines = log.lock().unwrap().clone();
            let mut lines = lines
                .iter()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            lines.find(|line| line["message"] == "autoscaler starts")
        })
        .await;
        let address = |name: &str| started[name].as_str().unwrap().parse().unwrap();
        Self {
            health: address("health"),
            metrics: address("metrics"),
            adapter: started["adapter"].as_str().unwrap().parse().ok(),
            webhook: started["webhook"].as_str().unwrap().parse().ok(),
            child,
            log,
        }
    }

    /// Code and text of a path of the health endpoint.
    pub(crate) async fn health(&self, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("http://{}/{path}", self.health))
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Where metrics, decisions and explanations are served.
    pub(crate) fn metrics_url(&self) -> String {
        format!("http://{}", self.metrics)
    }

    /// The text of a path of the metrics endpoint.
    pub(crate) async fn metrics(&self, path: &str) -> String {
        let answer = reqwest::get(format!("http://{}/{path}", self.metrics))
            .await
            .unwrap();
        answer.text().await.unwrap()
    }

    /// SIGTERM; the exit code.
    pub(crate) async fn terminate(&mut self) -> Option<i32> {
        self.tell_to_end();
        self.ended().await.0.code()
    }
}

impl Drop for Running {
    /// Nothing outlives the test; a failing one shows the log.
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            for line in self.log.lock().unwrap().iter() {
                eprintln!("{line}");
            }
        }
    }
}

/// A source of jobs over HTTP, which a test fills.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Arc<QueueState>,
    address: SocketAddr,
}

#[derive(Debug, Default)]
struct QueueState {
    jobs: AtomicU64,
    is_away: AtomicBool,
}

impl Queue {
    pub(crate) async fn start() -> Self {
        let state = Arc::new(QueueState::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let count = |State(state): State<Arc<QueueState>>| async move {
            match state.is_away.load(Ordering::Relaxed) {
                true => Err(StatusCode::SERVICE_UNAVAILABLE),
                false => Ok(Json(json!({ "jobs": state.jobs.load(Ordering::Relaxed) }))),
            }
        };
        let router = Router::new()
            .route("/queue", get(count))
            .with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { state, address }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/queue", self.address)
    }

    pub(crate) fn set(&self, jobs: u64) {
        self.state.jobs.store(jobs, Ordering::Relaxed);
    }

    /// Whether it answers with an error from now on.
    pub(crate) fn set_away(&self, is_away: bool) {
        self.state.is_away.store(is_away, Ordering::Relaxed);
    }
}

/// kubectl of a control plane, as its administrator.
#[derive(Debug)]
pub(crate) struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

/// What kubectl said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) succeeded: bool,
    pub(crate) out: String,
    /// Refusals and warnings.
    pub(crate) error: String,
}

impl Kubectl {
    pub(crate) fn of(plane: &ControlPlane) -> Self {
        let program = plane.programs().path(Program::Kubectl);
        Self {
            program: program.expect("kubectl belongs to the programs").to_owned(),
            kubeconfig: plane.kubeconfig().to_owned(),
        }
    }

    /// `kubectl apply -f -`.
    pub(crate) fn apply(&self, manifest: &str) -> Said {
        self.run(&["apply", "-f", "-"], manifest)
    }

    /// With `input` on its standard input.
    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> Said {
        let mut child = Command::new(&self.program)
            .args(arguments)
            .env_clear()
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.kubeconfig.parent().unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        Said {
            succeeded: output.status.success(),
            out: String::from_utf8(output.stdout).unwrap(),
            error: String::from_utf8(output.stderr).unwrap(),
        }
    }
}
