//! One real control plane for all cases.

use std::{
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use super::{Case, REAL_LIMIT, cluster::Cluster};

/// A cluster to use instead of one of our own.
const KUBECONFIG: &str = "AUTOSCALER_TEST_KUBECONFIG";

/// Why there is no control plane.
#[derive(Clone, Debug)]
pub(crate) enum Unavailable {
    /// It is not needed here.
    Skip(String),
    /// It has to be there.
    Fail(String),
}

/// The control plane, started when the first case needs it.
#[derive(Debug, Default)]
pub(crate) struct Plane {
    started: OnceLock<Result<PathBuf, Unavailable>>,
}

impl Plane {
    pub(crate) fn kubeconfig(&self) -> Result<PathBuf, Unavailable> {
        self.started.get_or_init(start).clone()
    }

    /// Says why cases were skipped.
    pub(crate) fn report(&self) {
        if let Some(Err(Unavailable::Skip(reason))) = self.started.get() {
            println!("skipped: real control plane: {reason}");
        }
    }

    pub(crate) fn stop(&self) {}
}

fn start() -> Result<PathBuf, Unavailable> {
    if let Some(file) = std::env::var_os(KUBECONFIG) {
        return Ok(PathBuf::from(file));
    }
    Err(Unavailable::Skip(format!("{KUBECONFIG} is not set")))
}

pub(crate) fn run(case: Case, name: &str, kubeconfig: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = client(kubeconfig).await?;
        let cluster = Cluster::new(client, "real", name, &unique());
        tokio::time::timeout(REAL_LIMIT, cluster.run(case))
            .await
            .context("took too long")?
    })
}

async fn client(kubeconfig: &Path) -> anyhow::Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    config.read_timeout = Some(Duration::from_secs(120));
    Ok(Client::try_from(config)?)
}

/// Unlike any other case's, of this run or another on the same cluster.
fn unique() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    format!("{:x}-{number:x}", now.as_millis() % (1 << 40))
}
