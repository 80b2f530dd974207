//! The controllers of the embedded cluster's control plane.
//!
//! Each reads its objects from shared stores, calls a decision, and writes through the client, as `kube-controller-manager`
//! does. Garbage collection and namespaces belong to the [API server](super::api), the HorizontalPodAutoscaler stands
//! beside them.

mod children;
mod claim;
mod daemon_set;
mod deployment;
mod disruption_budget;
mod expectations;
mod history;
pub mod horizontal_pod_autoscaler;
mod informers;
mod job;
pub(crate) mod meta;
mod node_lifecycle;
pub(crate) mod pods;
mod replica_set;
mod service_account;
mod stateful_set;
pub(crate) mod volume_claims;

use std::future::Future;

use futures::future::BoxFuture;

pub(crate) use self::informers::{Informers, Stores};
use crate::{
    queue::{Action, WorkQueue},
    runtime::Runtime,
    store::ObjectKey,
};

/// Every controller as a task of its own.
pub(crate) fn all(cx: &Runtime, informers: &mut Informers) -> Vec<BoxFuture<'static, ()>> {
    vec![
        deployment::controller(cx, informers),
        replica_set::controller(cx, informers),
        stateful_set::controller(cx, informers),
        daemon_set::controller(cx, informers),
        job::controller(cx, informers),
        service_account::controller(cx, informers),
        volume_claims::controller(cx, informers),
        disruption_budget::controller(cx, informers),
        node_lifecycle::taints(cx, informers),
        node_lifecycle::evictions(cx, informers),
        node_lifecycle::orphans(cx, informers),
    ]
}

/// Works on `queue` once the stores are filled.
fn work<F, Fut>(stores: Stores, queue: WorkQueue<ObjectKey>, mut reconcile: F) -> BoxFuture<'static, ()>
where
    F: FnMut(ObjectKey) -> Fut + Send + 'static,
    Fut: Future<Output = kube::Result<Action>> + Send + 'static,
{
    Box::pin(async move {
        stores.synced().await;
        queue
            .run(1, |key| {
                let reconciled = reconcile(key.clone());
                async move {
                    reconciled.await.inspect_err(|error| {
                        // Conflicts are the way of optimistic concurrency.
                        tracing::debug!(%key, %error, "reconcile failed, trying again");
                    })
                }
            })
            .await;
    })
}
