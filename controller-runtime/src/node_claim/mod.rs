//! The life of a claim: launched, registered, initialised, drained, returned.
//!
//! One queue of claims; each time one is due everything about it is looked at, what is to be is computed by
//! `lifecycle` as a value, and only the difference is written. A claim that cannot make progress waits by itself.

mod drain;
mod drift;
mod eviction;
mod garbage_collection;
mod launch;
mod lifecycle;
mod termination;

use std::{sync::Arc, time::Duration};

use kube::{
    ResourceExt as _,
    api::{DeleteParams, Preconditions},
};
use provisioner::{
    Provisioner,
    karpenter::{
        NodeClaim,
        condition::is_true,
        labels,
        node_claim::{NodeClaimStatus, conditions},
    },
};
use serde_json::json;

use crate::{
    cluster::{self, Precondition},
    events::EventType,
    node_autoscaler::Context,
    queue::Action,
};
use eviction::Evictions;
use launch::Attempts;
use lifecycle::{Seen, advance};

pub(crate) use drift::run as run_drift;
pub(crate) use garbage_collection::{run as run_garbage_collection, run_nodes};

/// How many claims are worked on at once.
const CONCURRENCY: usize = 100;

/// What can go wrong with a claim; all of it is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The API server refused or could not be reached.
    #[error(transparent)]
    Kube(#[from] kube::Error),
    /// The cloud refused or could not be reached.
    #[error(transparent)]
    Provisioner(#[from] provisioner::Error),
}

impl Error {
    /// Whether what was read is out of date; the watch will say so.
    pub(crate) fn is_stale(&self) -> bool {
        matches!(self, Self::Kube(error) if cluster::is_conflict(error) || cluster::is_gone(error))
    }
}

/// What was read is out of date: look again when the watch has caught up, or soon.
pub(crate) fn again_if_stale(result: Result<Action, Error>) -> Result<Action, Error> {
    match result {
        Err(error) if error.is_stale() => Ok(Action::RequeueAfter(Duration::from_secs(1))),
        other => other,
    }
}

/// Runs the life of every claim until dropped.
pub(crate) async fn run<P: Provisioner>(cx: Context<P>) {
    let (evictions, attempts) = (Evictions::new(), Attempts::default());
    let claims = cx
        .queues
        .claims
        .run(CONCURRENCY, |name| reconcile(&cx, &evictions, &attempts, name));
    futures::join!(claims, evictions.run(&cx));
}

async fn reconcile<P: Provisioner>(
    cx: &Context<P>,
    evictions: &Evictions,
    attempts: &Attempts,
    name: String,
) -> Result<Action, Error> {
    let Some(claim) = cx.cluster.with(|state| state.claim(&name)) else {
        return Ok(Action::Await);
    };
    if !cx.is_ours(&claim.spec.node_class_ref) {
        return Ok(Action::Await);
    }
    let result = if claim.metadata.deletion_timestamp.is_some() {
        termination::finalize(cx, evictions, &claim).await
    } else {
        live(cx, attempts, &claim).await
    };
    if let Err(error) = &result {
        tracing::debug!(claim = name, %error, "claim is tried again");
    }
    again_if_stale(result)
}

async fn live<P: Provisioner>(
    cx: &Context<P>,
    attempts: &Attempts,
    claim: &Arc<NodeClaim>,
) -> Result<Action, Error> {
    let config = &cx.config;
    let now = cx.now();
    let end = lifecycle::end(claim, config.launch_timeout, config.registration_timeout, now);
    if let Some((when, end)) = end
        && when <= now
    {
        let object = format!("NodeClaim/{}", claim.name_any());
        cx.runtime
            .decisions
            .record("node-claim", object, "", "deleted", end.reason());
        remove(cx, claim).await?;
        return Ok(Action::Await);
    }
    if !claim
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == labels::TERMINATION_FINALIZER)
    {
        let mut finalizers = claim.finalizers().to_vec();
        finalizers.push(labels::TERMINATION_FINALIZER.to_owned());
        let patch = json!({ "metadata": { "finalizers": finalizers } });
        write(cx, claim, patch).await?;
        return Ok(Action::RequeueAfter(Duration::ZERO));
    }
    if !is_true(claim.conditions(), conditions::LAUNCHED) {
        return launch::launch(cx, attempts, claim).await;
    }
    let next = progress(cx, claim).await?;
    let due = [next, end.map(|(when, _)| when)].into_iter().flatten().min();
    Ok(due.map_or(Action::Await, |due| {
        let wait = Duration::try_from(due.duration_since(now)).unwrap_or(Duration::ZERO);
        Action::RequeueAfter(wait.max(Duration::from_millis(1)))
    }))
}

/// Registration, initialisation and consolidatability; says when something is due next.
async fn progress<P: Provisioner>(
    cx: &Context<P>,
    claim: &Arc<NodeClaim>,
) -> Result<Option<jiff::Timestamp>, Error> {
    let (nodes, pool, pod_event) = cx.cluster.with(|state| {
        let pool = claim.pool().and_then(|pool| state.pool(pool));
        (state.nodes_of(claim), pool, state.pod_event(&claim.name_any()))
    });
    let step = advance(&Seen {
        claim,
        nodes: &nodes,
        pool: pool.as_deref(),
        pod_event,
        now: cx.now(),
    });
    if let (Some(patch), [node]) = (step.node, nodes.as_slice()) {
        let written = cluster::merge_patch(&cx.nodes(), &Precondition::of(&**node), patch).await?;
        cx.cluster.with(|state| state.update_node(written));
        if step.taint_missing {
            let message = "Missing karpenter.sh/unregistered taint which prevents registration related race conditions on Karpenter-managed nodes";
            cx.announce(&**claim, EventType::Warning, "UnregisteredTaintMissing", message);
        }
    }
    write_status(cx, claim, &step.status).await?;
    Ok(step.next)
}

/// Merges a patch into a claim.
async fn write<P: Provisioner>(
    cx: &Context<P>,
    claim: &NodeClaim,
    patch: serde_json::Value,
) -> Result<(), Error> {
    let written = cluster::merge_patch(&cx.claims(), &Precondition::of(claim), patch).await;
    if written.as_ref().is_err_and(cluster::is_gone) {
        cx.cluster.with(|state| state.delete_claim(&claim.name_any()));
    }
    let written = written?;
    cx.cluster.with(|state| state.update_claim(written));
    Ok(())
}

/// Writes a claim's status if it differs.
pub(crate) async fn write_status<P: Provisioner>(
    cx: &Context<P>,
    claim: &NodeClaim,
    status: &NodeClaimStatus,
) -> Result<(), Error> {
    if claim.status.as_ref() == Some(status) {
        return Ok(());
    }
    let written = cluster::merge_patch_status(&cx.claims(), &Precondition::of(claim), json!(status)).await?;
    cx.cluster.with(|state| state.update_claim(written));
    Ok(())
}

/// Deletes a claim; its finalizer does the rest.
pub(crate) async fn remove<P: Provisioner>(cx: &Context<P>, claim: &NodeClaim) -> Result<(), Error> {
    let precondition = Preconditions {
        uid: claim.uid(),
        resource_version: None,
    };
    let params = DeleteParams {
        preconditions: Some(precondition),
        ..DeleteParams::default()
    };
    match cx.claims().delete(&claim.name_any(), &params).await {
        Ok(response) => {
            // Nothing comes back if nothing held it.
            if let Some(written) = response.left() {
                cx.cluster.with(|state| state.update_claim(written));
            }
        }
        Err(error) if cluster::is_gone(&error) || cluster::is_conflict(&error) => {}
        Err(error) => return Err(error.into()),
    }
    cx.queues.claims.add(claim.name_any());
    Ok(())
}
