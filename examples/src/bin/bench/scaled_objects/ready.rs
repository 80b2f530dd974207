//! When each ScaledObject became Ready, as a watch tells it.

use std::{collections::BTreeSet, pin::Pin, time::Duration};

use anyhow::bail;
use futures::{Stream, StreamExt as _};
use kube::{
    Api, Client, ResourceExt as _,
    runtime::{WatchStreamExt as _, watcher},
};
use scaler_api::keda::{Condition, ScaledObject};
use tokio::time::{Instant, timeout_at};

/// How long that may take in all: KEDA, with its default flags, needs over an hour for 1,000.
const PATIENCE: Duration = Duration::from_secs(600);

type Objects = Pin<Box<dyn Stream<Item = watcher::Result<ScaledObject>> + Send>>;

/// The watch.
pub(super) struct Readiness(Objects);

impl Readiness {
    pub(super) fn watch(client: &Client) -> Self {
        let objects: Api<ScaledObject> = Api::default_namespaced(client.clone());
        Self(Box::pin(
            watcher(objects, watcher::Config::default())
                .default_backoff()
                .applied_objects(),
        ))
    }

    /// When each of so many became Ready, in that order.
    pub(super) async fn of(&mut self, objects: usize) -> anyhow::Result<Vec<Instant>> {
        let deadline = Instant::now() + PATIENCE;
        let (mut ready, mut times) = (BTreeSet::new(), Vec::new());
        while ready.len() < objects {
            match timeout_at(deadline, self.0.next()).await {
                Ok(Some(Ok(object))) => {
                    if is_ready(&object) && ready.insert(object.name_any()) {
                        times.push(Instant::now());
                    }
                }
                Ok(Some(Err(error))) => eprintln!("the watch of the ScaledObjects: {error}"),
                Ok(None) => bail!("the watch of the ScaledObjects has ended"),
                Err(_elapsed) => bail!("after {PATIENCE:?} {} of {objects} are Ready", ready.len()),
            }
        }
        Ok(times)
    }
}

fn is_ready(object: &ScaledObject) -> bool {
    let status = object.status.as_ref();
    status
        .and_then(|status| status.condition("Ready"))
        .is_some_and(Condition::is_true)
}
