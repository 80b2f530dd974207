//! Evicts pods through the eviction API, each with its own back-off, as often as its disruption budget refuses.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::{
    api::{core::v1::Pod, policy::v1::Eviction},
    apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Preconditions},
};
use kube::{Api, ResourceExt as _, api::PostParams, core::Status};
use provisioner::Provisioner;

use crate::{
    cluster::pod,
    events::EventType,
    node_autoscaler::Context,
    queue::{Action, Backoff, WorkQueue},
    store::ObjectKey,
};

/// A pod that has to go; another of the same name need not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    pod: ObjectKey,
    uid: String,
    why: String,
}

/// The pods that are being evicted. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Evictions {
    queue: WorkQueue<Target>,
    /// Waiting, or between two tries: asking for them again must not cut their back-off short.
    known: Arc<Mutex<BTreeSet<Target>>>,
}

impl Evictions {
    const CONCURRENCY: usize = 100;

    pub(super) fn new() -> Self {
        let backoff = Backoff {
            first: Duration::from_millis(100),
            last: Duration::from_secs(10),
        };
        Self {
            queue: WorkQueue::with_backoff(backoff),
            known: Arc::default(),
        }
    }

    fn with<T>(&self, with: impl FnOnce(&mut BTreeSet<Target>) -> T) -> T {
        with(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks for an eviction.
    pub(super) fn add(&self, pod: &Pod, why: &str) {
        let target = Target {
            pod: ObjectKey::of(pod),
            uid: pod.uid().unwrap_or_default(),
            why: why.to_owned(),
        };
        if self.with(|known| known.insert(target.clone())) {
            self.queue.add(target);
        }
    }

    /// Evicts until dropped.
    pub(super) async fn run<P: Provisioner>(&self, cx: &Context<P>) {
        cx.runtime.work.add("eviction", &self.queue);
        self.queue
            .run(Self::CONCURRENCY, |target| self.evict(cx, target))
            .await;
    }

    async fn evict<P: Provisioner>(&self, cx: &Context<P>, target: Target) -> kube::Result<Action> {
        let pod = cx.cluster.with(|state| state.pod(&target.pod));
        let pod = pod.filter(|pod| pod.metadata.uid.as_ref() == Some(&target.uid));
        let Some(pod) = pod.filter(|pod| pod::is_evictable(pod, cx.now())) else {
            self.with(|known| known.remove(&target));
            return Ok(Action::Await);
        };
        match request(cx, &target).await {
            Ok(()) => {
                cx.announce(
                    &*pod,
                    EventType::Normal,
                    "Evicted",
                    format!("Evicted pod: {}", target.why),
                );
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => {
                refused(cx, &pod, &error);
                return Err(error);
            }
        }
        self.with(|known| known.remove(&target));
        Ok(Action::Await)
    }
}

/// Says that a node cannot be drained because of a pod.
fn refused<P: Provisioner>(cx: &Context<P>, pod: &Pod, error: &kube::Error) {
    let kube::Error::Api(status) = error else { return };
    if !matches!(status.code, 429 | 500) {
        return;
    }
    let node = pod::node_name(pod).and_then(|name| cx.cluster.with(|state| state.node(name)));
    if let Some(node) = node {
        let message = format!(
            "Failed to drain node, evicting pod {} violates a PDB",
            ObjectKey::of(pod)
        );
        cx.announce(&*node, EventType::Warning, "FailedDraining", message);
    }
}

/// Posts the eviction. `Api::evict` would lose the precondition: it spells `deleteOptions` with an underscore.
async fn request<P: Provisioner>(cx: &Context<P>, target: &Target) -> kube::Result<()> {
    let api: Api<Pod> = Api::namespaced(cx.runtime.client.clone(), &target.pod.namespace);
    let eviction = Eviction {
        metadata: ObjectMeta {
            name: Some(target.pod.name.clone()),
            namespace: Some(target.pod.namespace.clone()),
            ..ObjectMeta::default()
        },
        delete_options: Some(DeleteOptions {
            preconditions: Some(Preconditions {
                uid: Some(target.uid.clone()),
                resource_version: None,
            }),
            ..DeleteOptions::default()
        }),
    };
    let _done: Status = api
        .create_subresource("eviction", &target.pod.name, &PostParams::default(), &eviction)
        .await?;
    Ok(())
}
