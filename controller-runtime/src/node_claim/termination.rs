//! The end of a claim: its node is tainted and drained, its volumes detached, its instance returned.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{Node, Pod},
    storage::v1::VolumeAttachment,
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Preconditions},
};
use provisioner::{
    ProviderId, Provisioner, Termination,
    karpenter::{
        ConditionValue, NodeClaim,
        condition::{find, set_condition},
        labels,
        node_claim::conditions,
    },
    taints,
};
use serde_json::{Value, json};

use super::{
    Error,
    drain::{Drain, drain},
    eviction::Evictions,
    lifecycle, write_status,
};
use crate::{
    cluster::{self, Precondition, is_node_ready},
    events::EventType,
    node_autoscaler::Context,
    queue::Action,
};

/// The value of the label that takes a draining node out of load balancers.
const EXCLUDED: &str = "karpenter";

/// One step of the end of a claim that is being deleted.
pub(super) async fn finalize<P: Provisioner>(
    cx: &Context<P>,
    evictions: &Evictions,
    claim: &Arc<NodeClaim>,
) -> Result<Action, Error> {
    if !claim
        .finalizers()
        .iter()
        .any(|finalizer| finalizer == labels::TERMINATION_FINALIZER)
    {
        return Ok(Action::Await);
    }
    let claim = &with_deadline(cx, claim).await?;
    let mut nodes = Vec::new();
    for node in cx.cluster.with(|state| state.nodes_of(claim)) {
        nodes.push(begin(cx, claim, &node).await?);
    }
    if let Some(action) = wait_for_pods(cx, evictions, claim, &nodes).await? {
        return Ok(action);
    }
    if let Some(action) = wait_for_volumes(cx, claim, &nodes).await? {
        return Ok(action);
    }
    if let Some(action) = give_back(cx, claim).await? {
        return Ok(action);
    }
    for node in &nodes {
        drop_finalizer(&cx.nodes(), &**node).await?;
    }
    if !drop_finalizer(&cx.claims(), &**claim).await? {
        return Ok(Action::Await);
    }
    // A claim that never had an instance gives nothing back.
    if let Some(id) = claim.provider_id() {
        let object = format!("NodeClaim/{}", claim.name_any());
        let what = claim.label(labels::INSTANCE_TYPE).unwrap_or("instance");
        let why = disrupted_for(claim).unwrap_or("the NodeClaim was deleted");
        let reason = format!("drained, instance {id} returned: {why}");
        cx.runtime
            .decisions
            .record("node-claim", object, what, "returned", reason);
    }
    Ok(Action::Await)
}

/// When the machine goes whatever is on it.
fn deadline(claim: &NodeClaim) -> Option<Timestamp> {
    claim
        .annotations()
        .get(labels::TERMINATION_TIMESTAMP)?
        .parse()
        .ok()
}

/// Writes the end of the grace period down, so that it stays what it was.
async fn with_deadline<P: Provisioner>(
    cx: &Context<P>,
    claim: &Arc<NodeClaim>,
) -> Result<Arc<NodeClaim>, Error> {
    let grace = claim
        .spec
        .termination_grace_period
        .as_ref()
        .and_then(|grace| grace.get());
    let deleted = claim.metadata.deletion_timestamp.as_ref();
    let (Some(grace), Some(deleted), None) = (grace, deleted, deadline(claim)) else {
        return Ok(Arc::clone(claim));
    };
    let end = deleted.0.saturating_add(grace).unwrap_or(Timestamp::MAX);
    let patch = json!({ "metadata": { "annotations": { labels::TERMINATION_TIMESTAMP: end.to_string() } } });
    let written = cluster::merge_patch(&cx.claims(), &Precondition::of(&**claim), patch).await?;
    cx.cluster.with(|state| state.update_claim(written.clone()));
    Ok(Arc::new(written))
}

/// Deletes the node object (its finalizer holds it) and keeps new pods away from it.
async fn begin<P: Provisioner>(
    cx: &Context<P>,
    claim: &NodeClaim,
    node: &Arc<Node>,
) -> Result<Arc<Node>, Error> {
    let mut node = Arc::clone(node);
    if let Some(patch) = leaving(&node, deadline(claim)) {
        let written = cluster::merge_patch(&cx.nodes(), &Precondition::of(&*node), patch).await?;
        cx.cluster.with(|state| state.update_node(written.clone()));
        node = Arc::new(written);
    }
    if node.metadata.deletion_timestamp.is_none() {
        let precondition = Preconditions {
            uid: node.uid(),
            resource_version: None,
        };
        let params = DeleteParams {
            preconditions: Some(precondition),
            ..DeleteParams::default()
        };
        match cx.nodes().delete(&node.name_any(), &params).await {
            Ok(response) => {
                if let Some(written) = response.left() {
                    cx.cluster.with(|state| state.update_node(written.clone()));
                    node = Arc::new(written);
                }
            }
            Err(error) if cluster::is_gone(&error) || cluster::is_conflict(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(node)
}

/// The patch that marks a node as leaving, if it is not marked yet.
fn leaving(node: &Node, end: Option<Timestamp>) -> Option<Value> {
    let disrupted = labels::disrupted_taint();
    let own = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.clone())
        .unwrap_or_default();
    let mut patch = json!({});
    if !own.iter().any(|taint| taints::same(taint, &disrupted)) {
        patch["spec"]["taints"] = json!(taints::merge(&own, &[disrupted]));
    }
    if node.labels().get(labels::EXCLUDE_BALANCERS).is_none() {
        patch["metadata"]["labels"][labels::EXCLUDE_BALANCERS] = json!(EXCLUDED);
    }
    if let Some(end) = end.filter(|_| !node.annotations().contains_key(labels::TERMINATION_TIMESTAMP)) {
        patch["metadata"]["annotations"][labels::TERMINATION_TIMESTAMP] = json!(end.to_string());
    }
    patch
        .as_object()
        .is_some_and(|patch| !patch.is_empty())
        .then_some(patch)
}

/// Drains the nodes; what to do meanwhile, or none when they are empty.
async fn wait_for_pods<P: Provisioner>(
    cx: &Context<P>,
    evictions: &Evictions,
    claim: &Arc<NodeClaim>,
    nodes: &[Arc<Node>],
) -> Result<Option<Action>, Error> {
    let now = cx.now();
    let drained =
        find(claim.conditions(), conditions::DRAINED).is_some_and(|drained| drained.status == "True");
    if nodes.is_empty() || drained || is_lost(cx, claim, nodes).await? {
        return Ok(None);
    }
    let pods: Vec<Arc<Pod>> = cx.cluster.with(|state| {
        nodes
            .iter()
            .flat_map(|node| state.pods_on(&node.name_any()))
            .collect()
    });
    let end = deadline(claim);
    let step = drain(&pods, end, now);
    let why = disruption_reason(claim);
    for pod in &step.evict {
        evictions.add(pod, &why);
    }
    for (pod, grace) in &step.delete {
        force(cx, pod, *grace).await?;
    }
    if let Some(end) = end.filter(|_| !step.is_done()) {
        let message = format!("All pods will be deleted by {end}");
        nodes.iter().for_each(|node| {
            cx.announce(
                &**node,
                EventType::Warning,
                "TerminationGracePeriodExpiring",
                message.clone(),
            );
        });
    }
    let least = deleted_at(claim, now)
        .saturating_add(cx.config.drain_at_least)
        .unwrap_or(now);
    if step.is_done() && now >= least {
        set(cx, claim, &ConditionValue::is_true(conditions::DRAINED)).await?;
        // The status was written: go on with what it is now.
        return Ok(Some(Action::RequeueAfter(Duration::ZERO)));
    }
    set(
        cx,
        claim,
        &ConditionValue::unknown(conditions::DRAINED, "Draining", "Draining"),
    )
    .await?;
    Ok(Some(Action::RequeueAfter(next_look(&step, least, now))))
}

fn deleted_at(claim: &NodeClaim, now: Timestamp) -> Timestamp {
    claim
        .metadata
        .deletion_timestamp
        .as_ref()
        .map_or(now, |time| time.0)
}

/// Pods that go wake the drain; time does so here.
fn next_look(step: &Drain, least: Timestamp, now: Timestamp) -> Duration {
    const LONGEST: Duration = Duration::from_secs(10);
    let until = |at: Timestamp| Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO);
    let due = if step.is_done() {
        Some(until(least))
    } else {
        step.next.map(until)
    };
    due.unwrap_or(LONGEST).clamp(Duration::from_millis(1), LONGEST)
}

/// Why the pods of a claim are evicted, in a word.
fn disruption_reason(claim: &NodeClaim) -> String {
    disrupted_for(claim).unwrap_or("Forceful Termination").to_owned()
}

/// The reason of a voluntary disruption.
fn disrupted_for(claim: &NodeClaim) -> Option<&str> {
    find(claim.conditions(), conditions::DISRUPTION_REASON)
        .filter(|reason| reason.status == "True")
        .map(|found| found.reason.as_str())
}

/// Whether the instance has gone by itself: then nobody is left who could end the pods.
async fn is_lost<P: Provisioner>(
    cx: &Context<P>,
    claim: &NodeClaim,
    nodes: &[Arc<Node>],
) -> Result<bool, Error> {
    let Some(id) = claim.provider_id() else {
        return Ok(true);
    };
    if nodes.iter().any(|node| is_node_ready(node)) {
        return Ok(false);
    }
    Ok(cx.provisioner.get(&ProviderId(id.to_owned())).await?.is_none())
}

async fn force<P: Provisioner>(cx: &Context<P>, pod: &Pod, grace: u32) -> Result<(), Error> {
    let api: Api<Pod> = Api::namespaced(cx.runtime.client.clone(), &pod.namespace().unwrap_or_default());
    let precondition = Preconditions {
        uid: pod.uid(),
        resource_version: None,
    };
    let params = DeleteParams {
        grace_period_seconds: Some(grace),
        preconditions: Some(precondition),
        ..DeleteParams::default()
    };
    match api.delete(&pod.name_any(), &params).await {
        Err(error) if !cluster::is_gone(&error) && !cluster::is_conflict(&error) => Err(error.into()),
        _ => Ok(()),
    }
}

/// Waits until no volume is attached to the nodes any more, or the grace period is over.
async fn wait_for_volumes<P: Provisioner>(
    cx: &Context<P>,
    claim: &Arc<NodeClaim>,
    nodes: &[Arc<Node>],
) -> Result<Option<Action>, Error> {
    let detached = find(claim.conditions(), conditions::VOLUMES_DETACHED);
    if nodes.is_empty() || detached.is_some_and(|detached| detached.status != "Unknown") {
        return Ok(None);
    }
    let api: Api<VolumeAttachment> = Api::all(cx.runtime.client.clone());
    let attached = match api.list(&ListParams::default()).await {
        Ok(list) => list.items,
        Err(error) if cluster::is_gone(&error) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let ours = |attachment: &VolumeAttachment| {
        nodes
            .iter()
            .any(|node| node.name_any() == attachment.spec.node_name)
    };
    let waiting = attached.iter().filter(|attachment| ours(attachment)).count();
    let late = deadline(claim).is_some_and(|end| cx.now() >= end);
    let value = match (waiting, late) {
        (0, _) => ConditionValue::is_true(conditions::VOLUMES_DETACHED),
        (_, true) => {
            let reason = "TerminationGracePeriodElapsed";
            ConditionValue::is_false(conditions::VOLUMES_DETACHED, reason, reason)
        }
        _ => {
            let reason = "AwaitingVolumeDetachment";
            let message = format!("Awaiting deletion of {waiting} VolumeAttachments bound to node");
            nodes
                .iter()
                .for_each(|node| cx.announce(&**node, EventType::Normal, reason, message.clone()));
            ConditionValue::unknown(conditions::VOLUMES_DETACHED, reason, reason)
        }
    };
    let waits = value.status.is_none();
    set(cx, claim, &value).await?;
    // Either the status has changed, or time has to pass.
    Ok(Some(Action::RequeueAfter(if waits {
        cx.config.termination_recheck
    } else {
        Duration::ZERO
    })))
}

/// Returns the instance; what to do meanwhile, or none when it is gone.
async fn give_back<P: Provisioner>(cx: &Context<P>, claim: &Arc<NodeClaim>) -> Result<Option<Action>, Error> {
    let id = match claim.provider_id() {
        Some(id) => Some(ProviderId(id.to_owned())),
        // It may have been bought without having been written down.
        None => unrecorded(cx, claim).await?,
    };
    let Some(id) = id else { return Ok(None) };
    if cx.provisioner.terminate(&id).await? == Termination::Gone {
        return Ok(None);
    }
    set(
        cx,
        claim,
        &ConditionValue::is_true(conditions::INSTANCE_TERMINATING),
    )
    .await?;
    Ok(Some(Action::RequeueAfter(cx.config.termination_recheck)))
}

async fn unrecorded<P: Provisioner>(cx: &Context<P>, claim: &NodeClaim) -> Result<Option<ProviderId>, Error> {
    let name = claim.metadata.name.as_deref();
    let instances = cx.provisioner.list().await?;
    Ok(instances
        .into_iter()
        .find(|instance| instance.claim.as_deref() == name)
        .map(|instance| instance.id))
}

/// Sets a condition of the claim, if that changes anything.
async fn set<P: Provisioner>(
    cx: &Context<P>,
    claim: &Arc<NodeClaim>,
    value: &ConditionValue<'_>,
) -> Result<(), Error> {
    let mut status = lifecycle::initial(claim, cx.now());
    set_condition(&mut status.conditions, value, claim.metadata.generation, cx.now());
    write_status(cx, claim, &status).await
}

/// Lets an object go; says whether it was held until now.
pub(super) async fn drop_finalizer<K>(api: &Api<K>, object: &K) -> Result<bool, Error>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let mut finalizers = object.finalizers().to_vec();
    finalizers.retain(|finalizer| finalizer != labels::TERMINATION_FINALIZER);
    if finalizers.len() == object.finalizers().len() {
        return Ok(false);
    }
    let patch = json!({ "metadata": { "finalizers": finalizers } });
    match cluster::merge_patch(api, &Precondition::of(object), patch).await {
        Ok(_) => Ok(true),
        Err(error) if cluster::is_gone(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
