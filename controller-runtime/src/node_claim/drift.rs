//! Whether a machine still is what its pool and its class ask for.

use std::sync::Arc;

use kube::ResourceExt as _;
use provisioner::{
    NodeClass, ProviderId, Provisioner, Requirements,
    karpenter::{
        ConditionValue, NodeClaim, NodePool,
        condition::{clear_condition, is_true, set_condition},
        hash, labels,
        node_claim::conditions,
    },
};
use serde_json::json;

use super::{Error, again_if_stale, lifecycle, write, write_status};
use crate::{node_autoscaler::Context, queue::Action};

/// The template of the pool has changed.
const NODE_POOL_DRIFTED: &str = "NodePoolDrifted";
/// The machine is not one that the pool would buy now.
const REQUIREMENTS_DRIFTED: &str = "RequirementsDrifted";
/// The class has changed.
const NODE_CLASS_DRIFT: &str = "NodeClassDrift";

/// Looks for drift until dropped.
pub(crate) async fn run<P: Provisioner>(cx: Context<P>) {
    cx.queues
        .drift
        .run(super::CONCURRENCY, |name| reconcile(&cx, name))
        .await;
}

async fn reconcile<P: Provisioner>(cx: &Context<P>, name: String) -> Result<Action, Error> {
    let Some(claim) = cx.cluster.with(|state| state.claim(&name)) else {
        return Ok(Action::Await);
    };
    if !cx.is_ours(&claim.spec.node_class_ref) || claim.metadata.deletion_timestamp.is_some() {
        return Ok(Action::Await);
    }
    again_if_stale(look(cx, &claim).await)
}

async fn look<P: Provisioner>(cx: &Context<P>, claim: &Arc<NodeClaim>) -> Result<Action, Error> {
    let next = Action::RequeueAfter(cx.config.drift_recheck);
    let pool = claim
        .pool()
        .and_then(|pool| cx.cluster.with(|state| state.pool(pool)));
    let Some(pool) = pool.filter(|_| is_true(claim.conditions(), conditions::LAUNCHED)) else {
        return Ok(next);
    };
    let class = cx.class(&claim.spec.node_class_ref);
    if let Some(patch) = restamp(claim, &pool, class.as_deref()) {
        write(cx, claim, patch).await?;
        return Ok(Action::RequeueAfter(std::time::Duration::ZERO));
    }
    let mut reason = static_drift(claim, &pool, class.as_deref()).map(str::to_owned);
    if let (None, Some(class), Some(id)) = (&reason, &class, claim.provider_id())
        && let Some(instance) = cx.provisioner.get(&ProviderId(id.to_owned())).await?
    {
        reason = cx.provisioner.drift(&instance, class).await?.map(|drift| drift.0);
    }
    let mut status = lifecycle::initial(claim, cx.now());
    match &reason {
        Some(reason) => {
            let value = ConditionValue {
                reason,
                ..ConditionValue::is_true(conditions::DRIFTED)
            };
            set_condition(
                &mut status.conditions,
                &value,
                claim.metadata.generation,
                cx.now(),
            );
        }
        None => {
            clear_condition(&mut status.conditions, conditions::DRIFTED);
        }
    }
    write_status(cx, claim, &status).await?;
    Ok(next)
}

fn class_annotations(claim: &NodeClaim) -> (String, String) {
    let label = labels::class_label(&claim.spec.node_class_ref.group, &claim.spec.node_class_ref.kind);
    (format!("{label}-hash"), format!("{label}-hash-version"))
}

/// New hashes for a claim whose hashes are of another version: a new version of this program is no drift.
fn restamp<C: NodeClass>(claim: &NodeClaim, pool: &NodePool, class: Option<&C>) -> Option<serde_json::Value> {
    if is_true(claim.conditions(), conditions::DRIFTED) {
        return None;
    }
    let annotation = |key: &str| claim.annotations().get(key).map(String::as_str);
    let mut stamps = serde_json::Map::new();
    if hash::needs_restamp(
        annotation(labels::NODEPOOL_HASH_VERSION),
        hash::NODEPOOL_HASH_VERSION,
    ) {
        stamps.insert(labels::NODEPOOL_HASH.to_owned(), json!(hash::node_pool(pool)));
        stamps.insert(
            labels::NODEPOOL_HASH_VERSION.to_owned(),
            json!(hash::NODEPOOL_HASH_VERSION),
        );
    }
    if let Some((hash, version)) = class.map(NodeClass::drift_hash) {
        let (key, version_key) = class_annotations(claim);
        if hash::needs_restamp(annotation(&version_key), version) {
            stamps.insert(key, json!(hash));
            stamps.insert(version_key, json!(version));
        }
    }
    (!stamps.is_empty()).then(|| json!({ "metadata": { "annotations": stamps } }))
}

/// Drift that shows in the API alone.
fn static_drift<C: NodeClass>(claim: &NodeClaim, pool: &NodePool, class: Option<&C>) -> Option<&'static str> {
    let annotations = claim.annotations();
    if annotations
        .get(labels::NODEPOOL_HASH)
        .is_some_and(|hash| *hash != hash::node_pool(pool))
    {
        return Some(NODE_POOL_DRIFTED);
    }
    let wanted = Requirements::from_specs(&pool.spec.template.spec.requirements);
    let is = Requirements::from_labels(claim.labels());
    if wanted.is_ok_and(|wanted| {
        is.compatible(&wanted, provisioner::AllowUndefined::WellKnown)
            .is_err()
    }) {
        return Some(REQUIREMENTS_DRIFTED);
    }
    let (key, _) = class_annotations(claim);
    let class_hash = class.map(|class| class.drift_hash().0);
    let stamped = annotations.get(&key);
    (stamped.is_some() && class_hash.is_some() && stamped != class_hash.as_ref()).then_some(NODE_CLASS_DRIFT)
}
