//! Buys the machine of a claim.

use std::sync::Arc;

use kube::ResourceExt as _;
use provisioner::{
    ErrorKind, Instance, LaunchRequest, NodeClass as _, Provisioner, Requirements,
    karpenter::{
        ConditionValue, NodeClaim, labels,
        node_claim::{NodeClaimStatus, conditions},
    },
};
use serde_json::json;

use super::{Error, lifecycle, remove};
use crate::{cluster, events::EventType, node_autoscaler::Context, queue::Action};

/// Messages of conditions are cut to this many characters.
const MESSAGE_LENGTH: usize = 300;

/// Buys a machine for a claim that has none, and writes down what was bought.
///
/// A crash at any point is harmless: the token makes the next try find the same instance.
pub(super) async fn launch<P: Provisioner>(cx: &Context<P>, claim: &Arc<NodeClaim>) -> Result<Action, Error> {
    let Some(class) = cx.class(&claim.spec.node_class_ref) else {
        let message = format!("node class {:?} not found", claim.spec.node_class_ref.name);
        return give_up(cx, claim, "NodeClassNotReady", &message).await;
    };
    let token = claim.uid().unwrap_or_default();
    let request = LaunchRequest {
        claim,
        class: &*class,
        token: &token,
    };
    match cx.provisioner.launch(&request).await {
        Ok(instance) => launched(cx, claim, &class, &instance).await,
        Err(error) if error.kind() == ErrorKind::InsufficientCapacity => {
            give_up(cx, claim, "InsufficientCapacityError", &error.to_string()).await
        }
        Err(error) if error.kind() == ErrorKind::ClassNotReady => {
            give_up(cx, claim, "NodeClassNotReady", &error.to_string()).await
        }
        Err(error) => {
            let message: String = error.to_string().chars().take(MESSAGE_LENGTH).collect();
            let mut status = lifecycle::initial(claim, cx.now());
            let reason = error.reason().unwrap_or("LaunchFailed");
            let value = ConditionValue::unknown(conditions::LAUNCHED, reason, &message);
            lifecycle::set(&mut status, claim, &value, cx.now());
            super::write_status(cx, claim, &status).await?;
            Err(Error::Provisioner(error))
        }
    }
}

/// The claim cannot be had: it goes, and its pods are planned for again.
async fn give_up<P: Provisioner>(
    cx: &Context<P>,
    claim: &Arc<NodeClaim>,
    reason: &str,
    message: &str,
) -> Result<Action, Error> {
    let text = format!("NodeClaim {} event: {message}", claim.name_any());
    cx.announce(&**claim, EventType::Warning, reason, text);
    let object = format!("NodeClaim/{}", claim.name_any());
    cx.runtime.decisions.record(
        "node-claim",
        object,
        "launching",
        "given up",
        format!("{reason}: {message}"),
    );
    remove(cx, claim).await?;
    Ok(Action::Await)
}

async fn launched<P: Provisioner>(
    cx: &Context<P>,
    claim: &Arc<NodeClaim>,
    class: &P::Class,
    instance: &Instance,
) -> Result<Action, Error> {
    let mut known = claim.labels().clone();
    let own = known.clone();
    if let Ok(requirements) = Requirements::from_specs(&claim.spec.requirements) {
        known.extend(requirements.single_values());
    }
    known.extend(instance.labels.clone());
    known.extend(own);
    let mut annotations = claim.annotations().clone();
    let (hash, version) = class.drift_hash();
    let label = labels::class_label(&claim.spec.node_class_ref.group, &claim.spec.node_class_ref.kind);
    annotations.entry(format!("{label}-hash")).or_insert(hash);
    annotations
        .entry(format!("{label}-hash-version"))
        .or_insert_with(|| version.to_owned());
    let patch = json!({ "metadata": { "labels": known, "annotations": annotations } });
    let written = cluster::merge_patch(&cx.claims(), &cluster::Precondition::of(&**claim), patch).await?;
    let status = bought(&written, instance, cx.now());
    let written = Arc::new(written);
    cx.cluster.with(|state| state.update_claim((*written).clone()));
    super::write_status(cx, &written, &status).await?;
    let object = format!("NodeClaim/{}", claim.name_any());
    let what = format!(
        "{} {} in {} at {:.4}/h",
        instance.instance_type, instance.capacity_type, instance.zone, instance.price
    );
    cx.runtime.decisions.record(
        "node-claim",
        object,
        "",
        what,
        format!("launched as {}", instance.id),
    );
    Ok(Action::RequeueAfter(std::time::Duration::ZERO))
}

fn bought(claim: &NodeClaim, instance: &Instance, now: jiff::Timestamp) -> NodeClaimStatus {
    let mut status = lifecycle::initial(claim, now);
    status.provider_id = Some(instance.id.to_string());
    status.image_id.clone_from(&instance.image_id);
    status.capacity = Some(instance.capacity.clone());
    status.allocatable = Some(instance.allocatable.clone());
    lifecycle::set(
        &mut status,
        claim,
        &ConditionValue::is_true(conditions::LAUNCHED),
        now,
    );
    status
}
