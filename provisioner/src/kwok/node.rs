//! From a claim to a Node, and from a Node to an instance: pure functions.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus};
use kube::{Resource as _, ResourceExt as _, api::ObjectMeta};

use super::KwokOptions;
use crate::{
    CapacityType, Instance, InstanceState, InstanceType, Offering, ProviderId, Requirements, ResourceList,
    karpenter::{NodeClaim, labels},
    taints,
};

/// Annotation: kwok looks after the node.
const FAKE: (&str, &str) = ("kwok.x-k8s.io/node", "fake");
/// Label of every node that was bought: `"true"`.
pub const PROVISIONED: &str = "kwok.autoscaler.dev/provisioned";
/// Annotation: the claim that a node was bought for (its name may be longer than a label takes).
pub const CLAIM: &str = "kwok.autoscaler.dev/node-claim";
/// Annotation: the token that it was bought with.
pub const TOKEN: &str = "kwok.autoscaler.dev/token";
/// Annotation: its price per hour.
pub const PRICE: &str = "kwok.autoscaler.dev/price";
/// Annotation: the instance was returned (`"true"`), though something may still hold the object.
pub const TERMINATED: &str = "kwok.autoscaler.dev/terminated";
const SCHEME: &str = "kwok://";

/// The name of the node of a claim, the same for the same token: as much of the claim's name as a label's value has
/// room for, and a hash.
pub(super) fn name(claim: &NodeClaim, token: &str) -> String {
    const ROOM: usize = 63 - 9;
    let own: String = claim.name_any().chars().take(ROOM).collect();
    let own = own.trim_end_matches(['-', '.']);
    format!("{own}-{:08x}", hash(token))
}

/// FNV-1a.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// The node's name in an id, if the id is one of kwok's.
pub(super) fn name_in(id: &ProviderId) -> Option<&str> {
    id.as_str().strip_prefix(SCHEME).filter(|name| !name.is_empty())
}

/// The node that is to be created for a claim, as its kubelet would register it.
pub(super) fn wanted(
    claim: &NodeClaim,
    token: &str,
    it: &InstanceType,
    offering: &Offering,
    options: &KwokOptions,
) -> Node {
    let name = name(claim, token);
    let mut labelled = options.node_labels.clone();
    if let Ok(asked) = Requirements::from_specs(&claim.spec.requirements) {
        labelled.extend(asked.single_values());
    }
    labelled.extend(claim.labels().clone());
    labelled.extend(bought_labels(it, offering));
    labelled.insert(labels::HOSTNAME.to_owned(), name.clone());
    labelled.insert(PROVISIONED.to_owned(), "true".to_owned());
    let mut annotations = options.node_annotations.clone();
    let own = [
        (FAKE.0, FAKE.1.to_owned()),
        (CLAIM, claim.name_any()),
        (TOKEN, token.to_owned()),
        (PRICE, offering.price.to_string()),
    ];
    annotations.extend(own.map(|(key, value)| (key.to_owned(), value)));
    let startup = taints::merge(&claim.spec.taints, &claim.spec.startup_taints);
    Node {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(labelled),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        },
        spec: Some(NodeSpec {
            provider_id: Some(format!("{SCHEME}{name}")),
            taints: Some(taints::merge(&startup, &[labels::unregistered_taint()])),
            ..NodeSpec::default()
        }),
        status: Some(NodeStatus {
            capacity: Some(it.capacity.to_kube()),
            allocatable: Some(it.allocatable().to_kube()),
            ..NodeStatus::default()
        }),
    }
}

/// Labels that follow from what was bought.
fn bought_labels(it: &InstanceType, offering: &Offering) -> BTreeMap<String, String> {
    let mut bought = it.requirements.single_values();
    bought.insert(labels::INSTANCE_TYPE.to_owned(), it.name.clone());
    bought.insert(labels::ZONE.to_owned(), offering.zone.clone());
    bought.insert(
        labels::CAPACITY_TYPE.to_owned(),
        offering.capacity_type.to_string(),
    );
    bought
}

/// Whether a node is one of this provisioner's.
pub(super) fn is_ours(node: &Node) -> bool {
    node.labels().contains_key(PROVISIONED) && node.annotations().contains_key(CLAIM)
}

/// Whether [`TERMINATED`] is on it.
pub(super) fn is_returned(node: &Node) -> bool {
    node.annotations().contains_key(TERMINATED)
}

/// Whether the instance is gone, although the object may still be held. A node that was marked but is not being deleted
/// yet still is to go, so that it counts.
pub(super) fn is_gone(node: &Node) -> bool {
    is_returned(node) && node.meta().deletion_timestamp.is_some()
}

/// The instance that a node is, if it is one of this provisioner's and not gone.
pub(super) fn instance(node: &Node, types: &[std::sync::Arc<InstanceType>]) -> Option<Instance> {
    if !is_ours(node) || is_gone(node) {
        return None;
    }
    let label = |key: &str| node.labels().get(key).cloned().unwrap_or_default();
    let instance_type = label(labels::INSTANCE_TYPE);
    let capacity_type = label(labels::CAPACITY_TYPE)
        .parse()
        .unwrap_or(CapacityType::OnDemand);
    // What a catalogue says now; a type that it no longer has is known by the labels that every type has.
    let known = types.iter().find(|it| it.name == instance_type);
    let mut bought = known
        .map(|it| it.requirements.single_values())
        .unwrap_or_default();
    for key in [
        labels::INSTANCE_TYPE,
        labels::ZONE,
        labels::CAPACITY_TYPE,
        labels::ARCH,
        labels::OS,
    ] {
        bought.insert(key.to_owned(), label(key));
    }
    bought.retain(|_, value| !value.is_empty());
    let annotation = |key: &str| node.annotations().get(key);
    let status = node.status.as_ref();
    let amounts = |of: Option<&BTreeMap<_, _>>| ResourceList::from_kube_lossy(of);
    let provider_id = node.spec.as_ref().and_then(|spec| spec.provider_id.clone());
    Some(Instance {
        id: ProviderId(provider_id.unwrap_or_else(|| format!("{SCHEME}{}", node.name_any()))),
        node_name: Some(node.name_any()),
        instance_type,
        zone: label(labels::ZONE),
        capacity_type,
        price: annotation(PRICE)
            .and_then(|price| price.parse().ok())
            .unwrap_or_default(),
        image_id: None,
        capacity: amounts(status.and_then(|status| status.capacity.as_ref())),
        allocatable: amounts(status.and_then(|status| status.allocatable.as_ref())),
        labels: bought,
        claim: annotation(CLAIM).cloned(),
        state: state(node),
        launched_at: node
            .creation_timestamp()
            .map_or(Timestamp::UNIX_EPOCH, |time| time.0),
    })
}

fn state(node: &Node) -> InstanceState {
    let ready = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref())
        .is_some_and(|conditions| {
            conditions
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True")
        });
    match (node.meta().deletion_timestamp.is_some(), ready) {
        (true, _) => InstanceState::ShuttingDown,
        (false, true) => InstanceState::Running,
        (false, false) => InstanceState::Pending,
    }
}
