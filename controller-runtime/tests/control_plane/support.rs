//! What several of these tests use.

use std::{fs, future::Future, path::Path, time::Duration};

use kube::{Client, Config, config::KubeConfigOptions, config::Kubeconfig};
use tokio::time::{Instant, sleep};

/// A client with what a kubeconfig says.
pub(crate) async fn client_of(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("a usable kubeconfig")).expect("a client")
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T, F>(what: &str, ask: impl Fn() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(60) {
        if let Some(answer) = ask().await {
            return answer;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("{what}: not within a minute");
}

/// The status code of a refusal.
pub(crate) fn code(error: &kube::Error) -> u16 {
    match error {
        kube::Error::Api(status) => status.code,
        other => panic!("not an answer of the API server: {other:?}"),
    }
}

/// Whether a process is there and not just waiting for its parent to notice its end.
pub(crate) fn is_running(pid: u32) -> bool {
    // One read: between two questions a process may be reaped.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest);
    state.is_some_and(|state| !state.starts_with('Z'))
}
