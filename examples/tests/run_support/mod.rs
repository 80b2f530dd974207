//! A process to test, and a source for it to read.
#![allow(dead_code, reason = "every test uses a part of it")]

pub(crate) mod door;
mod ends;
pub(crate) mod follow;
#[cfg(feature = "kwok")]
pub(crate) mod kwok;

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Json, Router, extract::State, routing::get};
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

/// `autoscaler run` outside the cluster, on free ports of loopback.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    health: SocketAddr,
    metrics: SocketAddr,
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
        // The binary has its own; this is for the test's requests.
        rustls::crypto::ring::default_provider().install_default().ok();
        let mut child = autoscaler()
            .args([
                "run",
                "--log-format=json",
                "--advertise-address=127.0.0.1",
                "--kubeconfig",
            ])
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
    jobs: Arc<AtomicU64>,
    address: SocketAddr,
}

impl Queue {
    pub(crate) async fn start() -> Self {
        let jobs = Arc::new(AtomicU64::new(0));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let count = |State(jobs): State<Arc<AtomicU64>>| async move {
            Json(json!({ "jobs": jobs.load(Ordering::Relaxed) }))
        };
        let router = Router::new()
            .route("/queue", get(count))
            .with_state(Arc::clone(&jobs));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { jobs, address }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/queue", self.address)
    }

    pub(crate) fn set(&self, jobs: u64) {
        self.jobs.store(jobs, Ordering::Relaxed);
    }
}
