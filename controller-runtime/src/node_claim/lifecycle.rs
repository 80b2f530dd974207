//! What a claim's status is to be: a pure function of the claim, its nodes, its pool and the time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Node, Taint},
    apimachinery::pkg::apis::meta::v1::{OwnerReference, Time},
};
use kube::{Resource as _, ResourceExt as _};
use provisioner::{
    ResourceList,
    karpenter::{
        ConditionValue, NodeClaim, NodePool,
        condition::{clear_condition, find, is_true, set_condition, set_root},
        labels,
        node_claim::{NodeClaimStatus, conditions},
    },
    taints,
};
use serde_json::{Value, json};

use crate::cluster::is_node_ready;

/// Pod events are written down at most this often.
const POD_EVENT_PERIOD: Duration = Duration::from_secs(10);

/// What a claim's surroundings are.
#[derive(Clone, Debug)]
pub(super) struct Seen<'a> {
    pub(super) claim: &'a NodeClaim,
    /// The nodes with the claim's provider id: normally one at most.
    pub(super) nodes: &'a [Arc<Node>],
    pub(super) pool: Option<&'a NodePool>,
    pub(super) pod_event: Option<Timestamp>,
    pub(super) now: Timestamp,
}

/// What follows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    /// The status as it is to be.
    pub(super) status: NodeClaimStatus,
    /// What is to be merged into the node, if anything.
    pub(super) node: Option<Value>,
    /// The node joined without the taint that keeps pods away until it is registered.
    pub(super) taint_missing: bool,
    /// When something is due although nothing changes.
    pub(super) next: Option<Timestamp>,
}

pub(super) fn created(claim: &NodeClaim, now: Timestamp) -> Timestamp {
    claim
        .metadata
        .creation_timestamp
        .as_ref()
        .map_or(now, |time| time.0)
}

/// The status with every condition that `Ready` depends on; those nobody has set yet are unknown since the creation.
pub(super) fn initial(claim: &NodeClaim, now: Timestamp) -> NodeClaimStatus {
    let mut status = claim.status.clone().unwrap_or_default();
    let since = created(claim, now);
    for kind in conditions::DEPENDENTS.iter().chain(&[conditions::READY]) {
        if find(&status.conditions, kind).is_none() {
            let value = ConditionValue::unknown(
                kind,
                "AwaitingReconciliation",
                "object is awaiting reconciliation",
            );
            set_condition(&mut status.conditions, &value, claim.metadata.generation, since);
        }
    }
    status
}

/// Sets a condition and the root.
pub(super) fn set(
    status: &mut NodeClaimStatus,
    claim: &NodeClaim,
    value: &ConditionValue<'_>,
    now: Timestamp,
) {
    let generation = claim.metadata.generation;
    set_condition(&mut status.conditions, value, generation, now);
    set_root(&mut status.conditions, conditions::DEPENDENTS, generation, now);
}

/// Registration, initialisation, consolidatability and pod events of a claim that is launched.
pub(super) fn advance(seen: &Seen<'_>) -> Step {
    let mut status = initial(seen.claim, seen.now);
    let mut step = Step {
        status: NodeClaimStatus::default(),
        node: None,
        taint_missing: false,
        next: None,
    };
    if is_true(&status.conditions, conditions::LAUNCHED) {
        register(seen, &mut status, &mut step);
    }
    note_pod_event(seen, &mut status);
    step.next = consolidatable(seen, &mut status);
    step.status = status;
    step
}

fn register(seen: &Seen<'_>, status: &mut NodeClaimStatus, step: &mut Step) {
    let node = match seen.nodes {
        [node] => node,
        [] => return node_missing(seen, status),
        _ => {
            let message = "Invariant violated, matched multiple nodes";
            let value = ConditionValue::is_false(conditions::REGISTERED, "MultipleNodesFound", message);
            return set(status, seen.claim, &value, seen.now);
        }
    };
    let mut wanted = (**node).clone();
    if !is_true(&status.conditions, conditions::REGISTERED) {
        step.taint_missing = !node_taints(node)
            .iter()
            .any(|taint| taint.key == labels::UNREGISTERED_TAINT)
            && node.labels().get(labels::REGISTERED).is_none();
        join(seen.claim, &mut wanted);
        status.node_name = Some(node.name_any());
        set(
            status,
            seen.claim,
            &ConditionValue::is_true(conditions::REGISTERED),
            seen.now,
        );
    }
    if !is_true(&status.conditions, conditions::INITIALIZED) {
        match uninitialized(seen.claim, &wanted) {
            Some((reason, message)) => {
                let value = ConditionValue::unknown(conditions::INITIALIZED, reason, &message);
                set(status, seen.claim, &value, seen.now);
            }
            None => {
                wanted
                    .labels_mut()
                    .insert(labels::INITIALIZED.to_owned(), "true".to_owned());
                set(
                    status,
                    seen.claim,
                    &ConditionValue::is_true(conditions::INITIALIZED),
                    seen.now,
                );
            }
        }
    }
    step.node = node_patch(node, &wanted);
}

fn node_missing(seen: &Seen<'_>, status: &mut NodeClaimStatus) {
    for kind in [conditions::REGISTERED, conditions::INITIALIZED] {
        if !is_true(&status.conditions, kind) {
            let value = ConditionValue::unknown(kind, "NodeNotFound", "Node not registered with cluster");
            set(status, seen.claim, &value, seen.now);
        }
    }
}

fn node_taints(node: &Node) -> &[Taint] {
    node.spec
        .as_ref()
        .and_then(|spec| spec.taints.as_deref())
        .unwrap_or_default()
}

/// Gives a node what its claim says.
fn join(claim: &NodeClaim, node: &mut Node) {
    let mut own = node_taints(node).to_vec();
    if node
        .labels()
        .get(labels::DO_NOT_SYNC_TAINTS)
        .is_none_or(|value| value != "true")
    {
        own = taints::merge(&own, &claim.spec.taints);
        own = taints::merge(&own, &claim.spec.startup_taints);
    }
    own.retain(|taint| taint.key != labels::UNREGISTERED_TAINT);
    node.spec.get_or_insert_default().taints = Some(own);
    node.labels_mut().extend(claim.labels().clone());
    node.labels_mut()
        .insert(labels::REGISTERED.to_owned(), "true".to_owned());
    node.annotations_mut().extend(claim.annotations().clone());
    if !node
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == labels::TERMINATION_FINALIZER)
    {
        node.finalizers_mut()
            .push(labels::TERMINATION_FINALIZER.to_owned());
    }
    if !node
        .owner_references()
        .iter()
        .any(|owner| Some(&owner.uid) == claim.metadata.uid.as_ref())
    {
        node.owner_references_mut().push(OwnerReference {
            api_version: NodeClaim::api_version(&()).into_owned(),
            kind: NodeClaim::kind(&()).into_owned(),
            name: claim.name_any(),
            uid: claim.uid().unwrap_or_default(),
            block_owner_deletion: Some(true),
            controller: None,
        });
    }
}

/// Why a node does not take pods yet.
fn uninitialized(claim: &NodeClaim, node: &Node) -> Option<(&'static str, String)> {
    if !is_node_ready(node) {
        return Some(("NodeNotReady", "Node status is NotReady".to_owned()));
    }
    let present = node_taints(node);
    let startup = claim
        .spec
        .startup_taints
        .iter()
        .find(|start| present.iter().any(|taint| taints::same(taint, start)));
    if let Some(taint) = startup {
        return Some((
            "StartupTaintsExist",
            format!("StartupTaint {:?} still exists", taints::display(taint)),
        ));
    }
    if let Some(taint) = present.iter().find(|taint| taints::is_ephemeral(taint)) {
        let message = format!("KnownEphemeralTaint {:?} still exists", taints::display(taint));
        return Some(("KnownEphemeralTaintsExist", message));
    }
    let status = node.status.as_ref();
    let allocatable = ResourceList::from_kube_lossy(status.and_then(|status| status.allocatable.as_ref()));
    let asked = claim.spec.resources.requests.iter();
    let missing = asked
        .filter(|(_, amount)| !amount.is_zero())
        .find(|(name, _)| allocatable.get(name).is_zero());
    missing.map(|(name, _)| {
        (
            "ResourceNotRegistered",
            format!("Resource {name:?} was requested but not registered"),
        )
    })
}

/// The merge patch from one node to another.
fn node_patch(node: &Node, wanted: &Node) -> Option<Value> {
    if node == wanted {
        return None;
    }
    let mut metadata = BTreeMap::new();
    if node.metadata.labels != wanted.metadata.labels {
        metadata.insert("labels", json!(wanted.metadata.labels));
    }
    if node.metadata.annotations != wanted.metadata.annotations {
        metadata.insert("annotations", json!(wanted.metadata.annotations));
    }
    if node.metadata.finalizers != wanted.metadata.finalizers {
        metadata.insert("finalizers", json!(wanted.metadata.finalizers));
    }
    if node.metadata.owner_references != wanted.metadata.owner_references {
        metadata.insert("ownerReferences", json!(wanted.metadata.owner_references));
    }
    let mut patch = json!({ "metadata": metadata });
    if node_taints(node) != node_taints(wanted) {
        patch["spec"] = json!({ "taints": node_taints(wanted) });
    }
    Some(patch)
}

fn note_pod_event(seen: &Seen<'_>, status: &mut NodeClaimStatus) {
    let Some(event) = seen.pod_event else { return };
    let last = status.last_pod_event_time.as_ref().map(|time| time.0);
    let due = last.and_then(|last| last.checked_add(POD_EVENT_PERIOD).ok());
    // The API keeps whole seconds.
    let event = Timestamp::from_second(event.as_second()).unwrap_or(event);
    if due.is_none_or(|due| event >= due) {
        status.last_pod_event_time = Some(Time(event));
    }
}

/// Sets or clears `Consolidatable`; says when it is to be looked at again.
fn consolidatable(seen: &Seen<'_>, status: &mut NodeClaimStatus) -> Option<Timestamp> {
    let after = seen
        .pool
        .and_then(|pool| pool.spec.disruption.consolidate_after.get());
    let initialized =
        find(&status.conditions, conditions::INITIALIZED).filter(|found| found.status == "True");
    let (Some(after), Some(initialized)) = (after, initialized) else {
        clear_condition(&mut status.conditions, conditions::CONSOLIDATABLE);
        return None;
    };
    let since = status
        .last_pod_event_time
        .as_ref()
        .unwrap_or(&initialized.last_transition_time)
        .0;
    let due = since.saturating_add(after).unwrap_or(Timestamp::MAX);
    if seen.now < due {
        clear_condition(&mut status.conditions, conditions::CONSOLIDATABLE);
        return Some(due);
    }
    let value = ConditionValue::is_true(conditions::CONSOLIDATABLE);
    set_condition(
        &mut status.conditions,
        &value,
        seen.claim.metadata.generation,
        seen.now,
    );
    None
}

/// Why a claim is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It is older than `expireAfter`.
    Expired,
    /// It has no instance after the launch timeout.
    LaunchTimeout,
    /// Its node has not joined after the registration timeout.
    RegistrationTimeout,
}

/// When a claim ends by itself, and why, if it does.
pub(super) fn end(
    claim: &NodeClaim,
    launch: Duration,
    registration: Duration,
    now: Timestamp,
) -> Option<(Timestamp, End)> {
    let since = |kind: &str| {
        find(claim.conditions(), kind).map_or_else(
            || created(claim, now),
            |condition| condition.last_transition_time.0,
        )
    };
    let after = |since: Timestamp, wait: Duration| since.saturating_add(wait).unwrap_or(Timestamp::MAX);
    let expiry = claim
        .spec
        .expire_after
        .get()
        .map(|wait| (after(created(claim, now), wait), End::Expired));
    let stuck = if !is_true(claim.conditions(), conditions::LAUNCHED) {
        Some((after(since(conditions::LAUNCHED), launch), End::LaunchTimeout))
    } else if !is_true(claim.conditions(), conditions::REGISTERED) {
        Some((
            after(since(conditions::REGISTERED), registration),
            End::RegistrationTimeout,
        ))
    } else {
        None
    };
    [expiry, stuck]
        .into_iter()
        .flatten()
        .min_by_key(|(when, _)| *when)
}

impl End {
    /// In words.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Expired => "older than expireAfter",
            Self::LaunchTimeout => "no instance within the launch timeout",
            Self::RegistrationTimeout => "its node did not join within the registration timeout",
        }
    }
}

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod tests;
