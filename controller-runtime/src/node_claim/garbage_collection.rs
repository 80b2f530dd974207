//! Instances without a claim, claims without an instance, nodes without either.

use std::collections::BTreeSet;

use kube::ResourceExt as _;
use provisioner::{
    Instance, InstanceState, Provisioner,
    karpenter::{condition::is_true, labels, node_claim::conditions},
};

use super::{Error, again_if_stale, remove, termination::drop_finalizer};
use crate::{cluster::Member, node_autoscaler::Context, queue::Action};

/// The first looks come quickly: after a crash that is when something may have been left over.
const EARLY: u32 = 20;
const EARLY_PERIOD: std::time::Duration = std::time::Duration::from_secs(10);

/// Compares claims and instances until dropped.
pub(crate) async fn run<P: Provisioner>(cx: Context<P>) {
    for round in 0u32.. {
        if let Err(error) = collect(&cx).await {
            tracing::warn!(%error, "garbage was not collected, trying again");
        }
        let period = if round < EARLY {
            EARLY_PERIOD
        } else {
            cx.config.garbage_collection
        };
        tokio::time::sleep(period).await;
    }
}

async fn collect<P: Provisioner>(cx: &Context<P>) -> Result<(), Error> {
    let instances = cx.provisioner.list().await?;
    for instance in instances.iter().filter(|instance| is_leaked(cx, instance)) {
        let object = format!("Instance/{}", instance.id);
        cx.runtime.decisions.record(
            "garbage-collection",
            object,
            &instance.instance_type,
            "",
            "no claim names it",
        );
        cx.provisioner.terminate(&instance.id).await?;
    }
    let known: BTreeSet<&str> = instances.iter().map(|instance| instance.id.as_str()).collect();
    let claims: Vec<_> = cx.cluster.with(|state| state.claims().cloned().collect());
    for claim in claims
        .iter()
        .filter(|claim| cx.is_ours(&claim.spec.node_class_ref))
    {
        let registered = is_true(claim.conditions(), conditions::REGISTERED);
        let Some(id) = claim
            .provider_id()
            .filter(|_| registered && claim.metadata.deletion_timestamp.is_none())
        else {
            continue;
        };
        let member = cx.cluster.with(|state| state.member(&claim.name_any()));
        if known.contains(id) || member.is_some_and(|member: Member| member.is_ready()) {
            continue;
        }
        let object = format!("NodeClaim/{}", claim.name_any());
        cx.runtime.decisions.record(
            "garbage-collection",
            object,
            "",
            "deleted",
            format!("its instance {id} is gone"),
        );
        remove(cx, claim).await?;
    }
    Ok(())
}

/// Whether nothing knows an instance although there was time to write it down.
fn is_leaked<P: Provisioner>(cx: &Context<P>, instance: &Instance) -> bool {
    let young = instance
        .launched_at
        .saturating_add(cx.config.garbage_collection_age)
        .is_ok_and(|end| cx.now() < end);
    let going = matches!(
        instance.state,
        InstanceState::ShuttingDown | InstanceState::Terminated
    );
    if young || going || may_be_of_an_unreadable(cx, instance) {
        return false;
    }
    cx.cluster.with(|state| {
        if state.claim_of_provider(instance.id.as_str()).is_some() {
            return false;
        }
        // A claim that is still to learn of its instance will find it by its token.
        let claim = instance.claim.as_deref().and_then(|name| state.claim(name));
        claim.is_none_or(|claim| claim.provider_id().is_some())
    })
}

/// Whether the claim of an instance may be one of those that cannot be read.
fn may_be_of_an_unreadable<P: Provisioner>(cx: &Context<P>, instance: &Instance) -> bool {
    let unreadable = cx.watched_claims.unreadable();
    unreadable.iter().any(|claim| {
        let name = claim.metadata.name.as_deref();
        instance.claim.is_none() || instance.claim.as_deref() == name
    })
}

/// Lets nodes go that are being deleted: with their claim, or by themselves if it is gone.
pub(crate) async fn run_nodes<P: Provisioner>(cx: Context<P>) {
    cx.queues
        .nodes
        .run(super::CONCURRENCY, |name| reconcile_node(&cx, name))
        .await;
}

async fn reconcile_node<P: Provisioner>(cx: &Context<P>, name: String) -> Result<Action, Error> {
    let (node, claim) = cx.cluster.with(|state| {
        let node = state.node(&name);
        let claim = node.as_ref().and_then(|node| state.claim_of(node));
        (node, claim)
    });
    let Some(node) = node.filter(|node| node.metadata.deletion_timestamp.is_some()) else {
        return Ok(Action::Await);
    };
    let result = match claim {
        Some(claim) if claim.metadata.deletion_timestamp.is_none() => {
            let object = format!("NodeClaim/{}", claim.name_any());
            cx.runtime.decisions.record(
                "node-claim",
                object,
                "",
                "deleted",
                format!("node {name} was deleted"),
            );
            remove(cx, &claim).await
        }
        Some(_) => Ok(()),
        None if node
            .finalizers()
            .iter()
            .any(|finalizer| finalizer == labels::TERMINATION_FINALIZER) =>
        {
            drop_finalizer(&cx.nodes(), &*node).await.map(drop)
        }
        None => Ok(()),
    };
    again_if_stale(result.map(|()| Action::Await))
}
