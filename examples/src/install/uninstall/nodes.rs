//! Nodes that were bought: left as they are, or drained and removed.

use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::{
    api::{
        core::v1::{Pod, Taint},
        policy::v1::Eviction,
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Api, ResourceExt as _, api::PostParams, core::DynamicObject};
use provisioner::karpenter::labels;
use serde_json::{Value, json};

use super::{
    kinds::{DEPLOYMENT, NODE, NODE_CLAIM, NODE_POOL, POD},
    resources::{is_foreign, without_finalizers, without_owners},
    session::Session,
};
use crate::names;

/// Marks nodes that exist in the API only.
const KWOK: &str = "kwok://";

/// What has to go from a node so that it lives on by itself: our finalizer, its owner, and taints that nobody would take
/// away any more. Nothing where it has none of them.
fn released(node: &DynamicObject) -> Option<(Value, String)> {
    let mut patch = json!({});
    let mut what = Vec::new();
    if let Some(finalizers) = without_finalizers(node) {
        patch["metadata"]["finalizers"] = json!(finalizers);
        what.push("finalizer");
    }
    if let Some(owners) = without_owners(node, NODE_CLAIM) {
        patch["metadata"]["ownerReferences"] = json!(owners);
        what.push("owner NodeClaim");
    }
    let taints: Vec<Taint> = serde_json::from_value(node.data["spec"]["taints"].clone()).unwrap_or_default();
    let ours = [labels::DISRUPTED_TAINT, labels::UNREGISTERED_TAINT];
    let others: Vec<_> = taints
        .iter()
        .filter(|taint| !ours.contains(&taint.key.as_str()))
        .collect();
    if others.len() < taints.len() {
        patch["spec"]["taints"] = json!(others);
        what.push("taint");
    }
    (!what.is_empty()).then(|| (patch, what.join(", ")))
}

/// Lets every node live on by itself.
pub(super) async fn release(session: &Session) -> anyhow::Result<()> {
    if is_foreign(session, NODE_CLAIM).await? {
        return Ok(());
    }
    for node in session.list(NODE, None, "").await? {
        session.patch(NODE, &node, released).await?;
    }
    Ok(())
}

/// Drains and removes every node that was bought. Pools go first, so that nothing is bought for the pods that go.
pub(super) async fn drain(session: &Session, limit: Duration) -> anyhow::Result<()> {
    let claims = session.list(NODE_CLAIM, None, "").await?;
    let runs = somebody_runs(session).await?;
    if !runs && let Some(claim) = claims.iter().find(|claim| !is_kwok(claim)) {
        bail!(
            "NodeClaim {} cannot be terminated: no replica of the autoscaler is there to do it; let it run, or leave \
             --drain-nodes away and terminate the instances yourself",
            claim.name_any()
        );
    }
    for pool in session.list(NODE_POOL, None, "").await? {
        session.delete_this(NODE_POOL, &pool).await?;
    }
    for claim in &claims {
        session.delete_this(NODE_CLAIM, claim).await?;
    }
    if runs {
        return session
            .wait(limit, async || {
                let left = session.list(NODE_CLAIM, None, "").await?;
                Ok(left
                    .first()
                    .map(|claim| format!("NodeClaim {}", claim.name_any())))
            })
            .await;
    }
    for claim in claims {
        drain_claim(session, &claim, limit).await?;
    }
    Ok(())
}

fn is_kwok(claim: &DynamicObject) -> bool {
    let id = claim.data["status"]["providerID"].as_str().unwrap_or_default();
    id.is_empty() && claim.data["spec"]["nodeClassRef"]["group"] == labels::KWOK_GROUP || id.starts_with(KWOK)
}

/// Whether a replica is there to do what the node half does.
async fn somebody_runs(session: &Session) -> anyhow::Result<bool> {
    let deployment = session
        .get(DEPLOYMENT, Some(&session.namespace), names::NAME)
        .await?;
    Ok(deployment.is_some_and(|found| found.data["status"]["readyReplicas"].as_i64().unwrap_or(0) > 0))
}

/// Drains and removes the node of a claim whose instance exists in the API only.
async fn drain_claim(session: &Session, claim: &DynamicObject, limit: Duration) -> anyhow::Result<()> {
    if let Some(name) = claim.data["status"]["nodeName"].as_str()
        && let Some(node) = session.get(NODE, None, name).await?
    {
        if !session.is_dry_run() {
            let cordon = json!({ "spec": { "unschedulable": true } });
            let patch = kube::api::Patch::Merge(&cordon);
            let api = NODE.api(&session.client, None);
            api.patch(name, &kube::api::PatchParams::default(), &patch)
                .await
                .with_context(|| format!("Node {name} cannot be cordoned"))?;
        }
        let verb = if session.is_dry_run() { "would be" } else { "is" };
        session.say(&format!("Node {name} {verb} drained"));
        session.wait(limit, async || evict(session, name).await).await?;
        session.patch(NODE, &node, released).await?;
        session.delete(NODE, None, name).await?;
    }
    session
        .patch(NODE_CLAIM, claim, |claim| {
            let finalizers = without_finalizers(claim)?;
            Some((
                json!({ "metadata": { "finalizers": finalizers } }),
                "finalizer".to_owned(),
            ))
        })
        .await
}

/// Asks every pod of a node to go, and says which one is still there.
async fn evict(session: &Session, node: &str) -> anyhow::Result<Option<String>> {
    let mut left = None;
    for pod in session.list(POD, None, "").await? {
        if pod.data["spec"]["nodeName"] != node || !is_evicted(&pod) {
            continue;
        }
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        if pod.metadata.deletion_timestamp.is_none() {
            let api: Api<Pod> = Api::namespaced(session.client.clone(), &namespace);
            let mut eviction = Eviction::default();
            eviction.metadata.name = Some(name.clone());
            eviction.metadata.namespace = Some(namespace.clone());
            let answer = api
                .create_subresource::<_, Value>("eviction", &name, &PostParams::default(), &eviction)
                .await;
            match answer {
                // Gone; or a budget holds it back for now.
                Err(kube::Error::Api(status)) if status.code == 404 || status.code == 429 => {}
                answer => _ = answer.with_context(|| format!("Pod {namespace}/{name} cannot be evicted"))?,
            }
        }
        left = Some(format!("Pod {namespace}/{name} on Node {node}"));
    }
    Ok(left)
}

/// Whether a pod keeps a node from going: not those of DaemonSets and of the node itself, nor those that have ended.
fn is_evicted(pod: &DynamicObject) -> bool {
    let ended = ["Succeeded", "Failed"].contains(&pod.data["status"]["phase"].as_str().unwrap_or_default());
    let stays = |owner: &OwnerReference| owner.kind == "DaemonSet" || owner.kind == "Node";
    !ended && !pod.owner_references().iter().any(stays)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_node_keeps_what_is_not_ours() {
        let node = object(json!({
            "metadata": {
                "name": "n",
                "finalizers": ["karpenter.sh/termination", "example.com/mine"],
                "ownerReferences": [{"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "name": "n", "uid": "1", "blockOwnerDeletion": true}],
            },
            "spec": {"taints": [
                {"key": "karpenter.sh/disrupted", "effect": "NoSchedule"},
                {"key": "dedicated", "value": "a", "effect": "NoSchedule"},
            ]},
        }));
        let (patch, what) = released(&node).unwrap();
        assert_eq!(patch["metadata"]["finalizers"], json!(["example.com/mine"]));
        assert_eq!(patch["metadata"]["ownerReferences"], json!([]));
        assert_eq!(
            patch["spec"]["taints"],
            json!([{"key": "dedicated", "value": "a", "effect": "NoSchedule"}])
        );
        assert_eq!(what, "finalizer, owner NodeClaim, taint");
        assert!(released(&object(json!({"metadata": {"name": "n"}, "spec": {}}))).is_none());
    }

    #[test]
    fn pods_that_stay_with_their_node_are_not_evicted() {
        let pod = |owner: &str, phase: &str| {
            object(json!({
                "metadata": {"name": "p", "ownerReferences": [{"apiVersion": "v1", "kind": owner, "name": "o", "uid": "1"}]},
                "status": {"phase": phase},
            }))
        };
        assert!(is_evicted(&pod("ReplicaSet", "Running")));
        assert!(!is_evicted(&pod("DaemonSet", "Running")));
        assert!(!is_evicted(&pod("Node", "Running")));
        assert!(!is_evicted(&pod("Job", "Succeeded")));
    }
}
