//! One real control plane for all cases.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Context as _;
use controller_runtime::envtest::{ControlPlane, Options, Programs};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::sync::oneshot;

use super::{Case, REAL_LIMIT, adapter::Adapter, cluster::Cluster, surroundings::Surroundings};

/// A cluster to use instead of one of our own.
const KUBECONFIG: &str = "AUTOSCALER_TEST_KUBECONFIG";

/// If set, nothing may be skipped.
const REQUIRE: &str = "AUTOSCALER_TESTS_REQUIRE_TOOLS";

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
    started: OnceLock<Result<Held, Unavailable>>,
    pub(crate) adapter: Arc<Adapter>,
}

/// A control plane that is there until it is let go.
#[derive(Debug)]
struct Held {
    kubeconfig: PathBuf,
    /// The thread that holds it; none for somebody else's.
    keeper: Mutex<Option<Keeper>>,
}

#[derive(Debug)]
struct Keeper {
    end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Plane {
    pub(crate) fn kubeconfig(&self) -> Result<PathBuf, Unavailable> {
        let started = self.started.get_or_init(start).as_ref();
        started.map(|held| held.kubeconfig.clone()).map_err(Clone::clone)
    }

    /// Says why cases were skipped.
    pub(crate) fn report(&self) {
        if let Some(Err(Unavailable::Skip(reason))) = self.started.get() {
            println!("skipped: real control plane: {reason}");
        }
    }

    /// Stops it, and waits until its processes are gone.
    pub(crate) fn stop(&self) {
        let Some(Ok(held)) = self.started.get() else {
            return;
        };
        if let Err(error) = self.adapter.stop(&held.kubeconfig) {
            println!("the metrics adapter did not end well: {error:#}");
        }
        let keeper = held.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeper) = keeper {
            drop(keeper.end);
            if keeper.thread.join().is_err() {
                println!("the control plane did not end well");
            }
        }
    }
}

fn start() -> Result<Held, Unavailable> {
    if let Some(file) = std::env::var_os(KUBECONFIG) {
        return Ok(Held {
            kubeconfig: PathBuf::from(file),
            keeper: Mutex::default(),
        });
    }
    match Programs::find(&Options::default()) {
        Ok(Some(_)) => {}
        missing => {
            let reason = match missing {
                Err(error) => error.to_string(),
                Ok(_) => "its programs are not here; `cargo xtask test` builds them".to_owned(),
            };
            return Err(if std::env::var_os(REQUIRE).is_some() {
                Unavailable::Fail(format!(
                    "{REQUIRE} is set, but there is no control plane: {reason}"
                ))
            } else {
                Unavailable::Skip(reason)
            });
        }
    }
    let (end, ended) = oneshot::channel();
    let (tell, told) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || keep(ended, &tell));
    match told.recv() {
        Ok(Ok(kubeconfig)) => {
            let keeper = Mutex::new(Some(Keeper { end, thread }));
            Ok(Held { kubeconfig, keeper })
        }
        Ok(Err(reason)) => Err(Unavailable::Fail(reason)),
        Err(_) => Err(Unavailable::Fail(
            "the control plane could not be started".to_owned(),
        )),
    }
}

/// Holds a control plane until `ended`.
fn keep(ended: oneshot::Receiver<()>, tell: &std::sync::mpsc::Sender<Result<PathBuf, String>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let held = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        runtime.block_on(async {
            let control_plane = ControlPlane::start(Options::default())
                .await
                .map_err(|error| error.to_string())?;
            // Nobody listens any more only if the whole run is over.
            if tell.send(Ok(control_plane.kubeconfig().to_owned())).is_ok() {
                ended.await.ok();
            }
            control_plane.stop().await;
            Ok(())
        })
    });
    if let Err(reason) = held {
        tell.send(Err(format!("the control plane cannot be started: {reason}")))
            .ok();
    }
}

pub(crate) fn run(case: Case, name: &str, kubeconfig: &Path, adapter: Arc<Adapter>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let client = client(kubeconfig).await?;
        let surroundings = Surroundings::Real {
            adapter,
            kubeconfig: kubeconfig.to_owned(),
        };
        let cluster = Cluster::new(client, surroundings, name, &unique());
        tokio::time::timeout(REAL_LIMIT, cluster.run(case))
            .await
            .context("took too long")?
    })
}

/// A client of an administrator.
pub(super) async fn client(kubeconfig: &Path) -> anyhow::Result<Client> {
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
