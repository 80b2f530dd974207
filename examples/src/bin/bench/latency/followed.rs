//! A Deployment's replicas as a watch tells them, each with the moment in which it did.

use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Client,
    runtime::{watcher, watcher::watch_object},
};
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// The replicas at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) at: Instant,
    /// `spec.replicas`.
    pub(super) wanted: i32,
    /// `status.replicas`.
    pub(super) existing: i32,
    /// `status.readyReplicas`.
    pub(super) ready: i32,
}

impl Seen {
    fn of(deployment: Deployment) -> Self {
        let status = deployment.status.unwrap_or_default();
        Self {
            at: Instant::now(),
            wanted: deployment.spec.and_then(|spec| spec.replicas).unwrap_or(1),
            existing: status.replicas.unwrap_or(0),
            ready: status.ready_replicas.unwrap_or(0),
        }
    }
}

/// A Deployment that is watched until this is dropped.
#[derive(Debug)]
pub(super) struct Followed {
    changes: mpsc::UnboundedReceiver<Seen>,
    watch: JoinHandle<()>,
}

impl Followed {
    pub(super) fn deployment(client: &Client, name: &str) -> Self {
        let (sender, changes) = mpsc::unbounded_channel();
        let api: Api<Deployment> = Api::default_namespaced(client.clone());
        let name = name.to_owned();
        // A task of its own, so that the moments are right also while nobody waits.
        let watch = tokio::spawn(async move {
            let mut objects = std::pin::pin!(watch_object(api, &name));
            while let Some(object) = objects.next().await {
                match object {
                    Ok(Some(deployment)) => {
                        if sender.send(Seen::of(deployment)).is_err() {
                            return;
                        }
                    }
                    Ok(None) => {}
                    Err(error) => report(&error),
                }
            }
        });
        Self { changes, watch }
    }

    /// The next change.
    pub(super) async fn next(&mut self) -> anyhow::Result<Seen> {
        let Ok(seen) = tokio::time::timeout(PATIENCE, self.changes.recv()).await else {
            bail!("the Deployment has not changed for {PATIENCE:?}");
        };
        seen.context("the watch of the Deployment has ended")
    }

    /// The next change that is as wanted.
    pub(super) async fn until(&mut self, is_wanted: impl Fn(&Seen) -> bool) -> anyhow::Result<Seen> {
        loop {
            let seen = self.next().await?;
            if is_wanted(&seen) {
                return Ok(seen);
            }
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

fn report(error: &watcher::Error) {
    eprintln!("the watch of the Deployment: {error}");
}
