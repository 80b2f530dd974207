//! Pools and node classes: what makes them ready, and what they use.

mod class;

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt as _;
use provisioner::{
    NodeClass, Provisioner, ResourceList,
    karpenter::{
        ConditionValue, NodePool,
        condition::{READY, find, set_condition, set_root},
        hash, labels,
        node_pool::{NodePoolStatus, conditions},
        validate,
    },
};
use scaler_api::Quantity;
use serde_json::json;

use crate::{
    cluster::{self, Precondition},
    node_autoscaler::Context,
    node_claim::{Error, again_if_stale},
    queue::Action,
};

pub(crate) use class::run as run_classes;

/// How many pools are worked on at once.
const CONCURRENCY: usize = 10;

/// Resources that a pool's status has even if it has no node.
const ALWAYS: [&str; 5] = ["cpu", "memory", "pods", "ephemeral-storage", "nodes"];

/// Keeps the status of every pool until dropped.
pub(crate) async fn run<P: Provisioner>(cx: Context<P>) {
    cx.queues
        .pools
        .run(CONCURRENCY, |name| reconcile(&cx, name))
        .await;
}

async fn reconcile<P: Provisioner>(cx: &Context<P>, name: String) -> Result<Action, Error> {
    let Some(pool) = cx.cluster.with(|state| state.pool(&name)) else {
        return Ok(Action::Await);
    };
    if !cx.is_ours(&pool.spec.template.spec.node_class_ref) || pool.metadata.deletion_timestamp.is_some() {
        return Ok(Action::Await);
    }
    again_if_stale(update(cx, &pool).await.map(|()| Action::Await))
}

async fn update<P: Provisioner>(cx: &Context<P>, pool: &Arc<NodePool>) -> Result<(), Error> {
    let mut pool = (**pool).clone();
    let stamps = [
        (labels::NODEPOOL_HASH, hash::node_pool(&pool)),
        (
            labels::NODEPOOL_HASH_VERSION,
            hash::NODEPOOL_HASH_VERSION.to_owned(),
        ),
    ];
    if stamps
        .iter()
        .any(|(key, value)| pool.annotations().get(*key) != Some(value))
    {
        let patch = json!({ "metadata": { "annotations": std::collections::BTreeMap::from(stamps) } });
        pool = cluster::merge_patch(&cx.pools(), &Precondition::of(&pool), patch).await?;
    }
    let class = cx.class(&pool.spec.template.spec.node_class_ref);
    let usage = cx.cluster.with(|state| state.usage(&pool.name_any()));
    let status = status(&pool, class.as_deref(), usage, cx.now());
    if pool.status.as_ref() != Some(&status) {
        cluster::merge_patch_status(&cx.pools(), &Precondition::of(&pool), json!(status)).await?;
    }
    Ok(())
}

/// A pool's status as it is to be.
fn status<C: NodeClass>(
    pool: &NodePool,
    class: Option<&C>,
    usage: ResourceList,
    now: Timestamp,
) -> NodePoolStatus {
    let mut status = pool.status.clone().unwrap_or_default();
    let generation = pool.metadata.generation;
    let problems = validate::node_pool(pool);
    let words = problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ");
    let validated = if problems.is_empty() {
        ConditionValue::is_true(conditions::VALIDATION_SUCCEEDED)
    } else {
        ConditionValue::is_false(
            conditions::VALIDATION_SUCCEEDED,
            "NodePoolValidationFailed",
            &words,
        )
    };
    set_condition(&mut status.conditions, &validated, generation, now);
    let class_ready = class_ready(class);
    set_condition(&mut status.conditions, &class_ready, generation, now);
    set_root(&mut status.conditions, conditions::DEPENDENTS, generation, now);
    status.node_class_observed_generation = class.and_then(|class| class.meta().generation);
    status.nodes = Some(usage.get("nodes").value());
    let mut resources = usage;
    for name in ALWAYS {
        resources.0.entry(name.to_owned()).or_insert(Quantity::ZERO);
    }
    status.resources = Some(resources);
    status
}

fn class_ready<C: NodeClass>(class: Option<&C>) -> ConditionValue<'_> {
    const KIND: &str = conditions::NODE_CLASS_READY;
    let Some(class) = class else {
        return ConditionValue::is_false(KIND, "NodeClassNotFound", "NodeClass not found on cluster");
    };
    if class.meta().deletion_timestamp.is_some() {
        return ConditionValue::is_false(KIND, "NodeClassTerminating", "NodeClass is Terminating");
    }
    match find(class.conditions(), READY) {
        Some(ready) if ready.status == "True" => ConditionValue::is_true(KIND),
        Some(ready) if ready.status == "False" => {
            ConditionValue::is_false(KIND, &ready.reason, &ready.message)
        }
        _ => ConditionValue::unknown(KIND, "NodeClassReadinessUnknown", "Node Class Readiness Unknown"),
    }
}

#[cfg(test)]
mod tests {
    use provisioner::karpenter::{KwokNodeClass, condition::is_true};

    use super::*;

    fn pool() -> NodePool {
        let pool = json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "default", "generation": 3},
            "spec": {"template": {"spec": {
                "requirements": [],
                "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"},
            }}},
        });
        serde_json::from_value(pool).unwrap()
    }

    fn class(ready: Option<&str>) -> KwokNodeClass {
        let conditions: Vec<_> = ready
            .map(|status| {
                json!({"type": "Ready", "status": status, "reason": "AMINotFound", "message": "none",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"})
            })
            .into_iter()
            .collect();
        let class = json!({
            "apiVersion": "karpenter.kwok.sh/v1alpha1", "kind": "KWOKNodeClass", "metadata": {"name": "default"},
            "spec": {}, "status": {"conditions": conditions},
        });
        serde_json::from_value(class).unwrap()
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_767_225_600).unwrap()
    }

    #[test]
    fn readiness_follows_the_class() {
        let cases = [
            (None, "False", "NodeClassNotFound"),
            (Some(class(None)), "Unknown", "NodeClassReadinessUnknown"),
            (Some(class(Some("False"))), "False", "AMINotFound"),
            (Some(class(Some("True"))), "True", "NodeClassReady"),
        ];
        for (class, expected, reason) in cases {
            let status = status(&pool(), class.as_ref(), ResourceList::default(), now());
            let found = find(&status.conditions, conditions::NODE_CLASS_READY).unwrap();
            assert_eq!((found.status.as_str(), found.reason.as_str()), (expected, reason));
            assert_eq!(is_true(&status.conditions, READY), expected == "True");
        }
    }

    #[test]
    fn a_status_computed_twice_is_the_same() {
        let mut pool = pool();
        let first = status(&pool, Some(&class(Some("True"))), ResourceList::default(), now());
        pool.status = Some(first.clone());
        let later = now().saturating_add(std::time::Duration::from_secs(60)).unwrap();
        assert_eq!(
            status(&pool, Some(&class(Some("True"))), ResourceList::default(), later),
            first
        );
        assert_eq!(first.nodes, Some(0));
        assert_eq!(first.resources.unwrap().0.len(), ALWAYS.len());
    }
}
