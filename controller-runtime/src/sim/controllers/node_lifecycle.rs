//! Nodes that are not well: taints by condition, evictions by taint, and pods of nodes that no longer exist.

use std::{collections::BTreeMap, time::Duration};

use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition, Taint};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
};
use provisioner::taints::tolerates;

use super::{Informers, meta::time, pods, work};
use crate::{
    events::EventType,
    queue::{Action, WorkQueue},
    runtime::Runtime,
    store::{Change, ObjectKey},
};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// The taints that follow from conditions other than `Ready`, and from being cordoned.
const BY_CONDITION: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Pods of a node that is gone stay this long, in case it comes back.
const QUARANTINE: Duration = Duration::from_secs(40);

/// Keeps the taints of nodes.
pub(crate) fn taints(cx: &Runtime, informers: &mut Informers) -> BoxFuture<'static, ()> {
    let queue = WorkQueue::new();
    let stores = informers.stores();
    let (adding, recorder) = (queue.clone(), cx.named("node-controller").recorder);
    informers.nodes.subscribe(move |change| {
        let node = change.object();
        let name = node.name_any();
        let tell = |reason: &str, what: String| {
            recorder.publish(
                &**node,
                EventType::Normal,
                reason,
                format!("Node {name} event: {what}"),
            );
        };
        match change {
            Change::Applied { previous: None, .. } => {
                tell("RegisteredNode", format!("Registered Node {name} in Controller"));
            }
            Change::Applied { .. } => {}
            Change::Deleted(_) => tell("RemovingNode", format!("Removing Node {name} from Controller")),
        }
        adding.add(ObjectKey::cluster(name.clone()));
    });
    let (cx, known) = (cx.named("node-controller"), stores.clone());
    work(stores, queue, move |key| {
        let (cx, node, stores) = (cx.clone(), known.nodes.get(&key), known.clone());
        async move {
            let Some(node) = node else {
                return Ok(Action::Await);
            };
            let Some(wanted) = wanted_taints(&node, cx.clock.now()) else {
                return Ok(Action::Await);
            };
            // A new node has such a taint from the start.
            let before = node
                .spec
                .as_ref()
                .and_then(|spec| spec.taints.clone())
                .unwrap_or_default();
            let fell_ill = wanted.iter().any(is_health) && !before.iter().any(is_health);
            let patch = serde_json::json!({
                "metadata": {"resourceVersion": node.resource_version()},
                "spec": {"taints": if wanted.is_empty() { None } else { Some(&wanted) }},
            });
            let api: Api<Node> = Api::all(cx.client.clone());
            api.patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch))
                .await?;
            if fell_ill {
                let message = format!("Node {} status is now: NodeNotReady", key.name);
                cx.recorder
                    .publish(&*node, EventType::Normal, "NodeNotReady", message);
                for pod in stores
                    .pods
                    .list()
                    .iter()
                    .filter(|pod| pods::node_name(pod) == Some(&key.name))
                {
                    mark_not_ready(&cx, pod).await?;
                }
            }
            Ok(Action::Await)
        }
    })
}

/// Nobody knows whether a pod of a lost node still works: it no longer counts as ready.
async fn mark_not_ready(cx: &Runtime, pod: &Pod) -> kube::Result<()> {
    if !pods::is_ready(pod) {
        return Ok(());
    }
    cx.recorder
        .publish(pod, EventType::Warning, "NodeNotReady", "Node is not ready");
    let mut conditions = pod
        .status
        .clone()
        .unwrap_or_default()
        .conditions
        .unwrap_or_default();
    for ready in conditions
        .iter_mut()
        .filter(|condition| condition.type_ == "Ready")
    {
        ready.status = "False".to_owned();
        ready.last_transition_time = Some(time(cx.clock.now()));
    }
    let api: Api<Pod> = Api::namespaced(cx.client.clone(), &pod.namespace().unwrap_or_default());
    let patch = serde_json::json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": conditions}});
    match api
        .patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&patch))
        .await
    {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        result => result.map(drop),
    }
}

fn is_health(taint: &Taint) -> bool {
    taint.key == NOT_READY || taint.key == UNREACHABLE
}

/// The taints that the node should have, if they are not those that it has.
fn wanted_taints(node: &Node, now: Timestamp) -> Option<Vec<Taint>> {
    let before = node
        .spec
        .as_ref()
        .and_then(|spec| spec.taints.clone())
        .unwrap_or_default();
    let status = |type_: &str| {
        let conditions = node.status.as_ref()?.conditions.as_ref()?;
        conditions
            .iter()
            .find(|condition| condition.type_ == type_)
            .map(|condition| condition.status.as_str())
    };
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    match status("Ready") {
        Some("True") => {}
        Some("Unknown") => wanted.extend([(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]),
        Some(_) => wanted.extend([(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]),
        // A node that nobody has spoken for yet takes no pods.
        None => wanted.push((NOT_READY, "NoSchedule")),
    }
    if node
        .spec
        .as_ref()
        .is_some_and(|spec| spec.unschedulable == Some(true))
    {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    wanted.extend(
        BY_CONDITION
            .iter()
            .filter(|(type_, _)| status(type_) == Some("True"))
            .map(|(_, key)| (*key, "NoSchedule")),
    );
    let ours = |taint: &Taint| {
        is_health(taint)
            || taint.key == UNSCHEDULABLE
            || BY_CONDITION.iter().any(|(_, key)| taint.key == *key)
    };
    let is_wanted = |taint: &Taint| wanted.contains(&(taint.key.as_str(), taint.effect.as_str()));
    let mut after: Vec<Taint> = before
        .iter()
        .filter(|taint| !ours(taint) || is_wanted(taint))
        .cloned()
        .collect();
    for (key, effect) in &wanted {
        if !after
            .iter()
            .any(|taint| taint.key == *key && taint.effect == *effect)
        {
            after.push(Taint {
                key: (*key).to_owned(),
                effect: (*effect).to_owned(),
                time_added: Some(time(now)),
                value: None,
            });
        }
    }
    (after != before).then_some(after)
}

/// Deletes pods that do not tolerate a `NoExecute` taint of their node, or not for longer.
pub(crate) fn evictions(cx: &Runtime, informers: &mut Informers) -> BoxFuture<'static, ()> {
    let queue = WorkQueue::new();
    let stores = informers.stores();
    subscribe_to_taints(informers, &queue);
    let (cx, known) = (cx.named("taint-eviction-controller"), stores.clone());
    // Since when each pod stays in spite of a taint.
    let mut staying: BTreeMap<String, Timestamp> = BTreeMap::new();
    work(stores, queue, move |key| {
        let (cx, now) = (cx.clone(), cx.clock.now());
        let pod = known.pods.get(&key).filter(|pod| !pods::is_terminating(pod));
        let node = pod
            .as_ref()
            .and_then(|pod| known.nodes.get(&ObjectKey::cluster(pods::node_name(pod)?)));
        let due = pod.as_ref().zip(node).and_then(|(pod, node)| {
            let uid = pod.uid().unwrap_or_default();
            let since = staying.get(&uid).copied().unwrap_or(now);
            let due = eviction_time(pod, &no_execute(&node), now, since);
            let waited = match due {
                Some(due) if due > now => {
                    staying.insert(uid, since);
                    false
                }
                _ => staying.remove(&uid).is_some(),
            };
            if waited && due.is_none() {
                let message = format!("Cancelling deletion of Pod {key}");
                cx.recorder
                    .publish(&**pod, EventType::Normal, "TaintManagerEviction", message);
            }
            due
        });
        async move {
            let (Some(pod), Some(due)) = (pod, due) else {
                return Ok(Action::Await);
            };
            if due > now {
                return Ok(Action::RequeueAfter(
                    Duration::try_from(due.duration_since(now)).unwrap_or_default(),
                ));
            }
            let message = format!("Marking for deletion Pod {key}");
            cx.recorder
                .publish(&*pod, EventType::Normal, "TaintManagerEviction", message);
            let why = "Taint manager: deleting due to NoExecute taint";
            disrupt(&cx, &pod, "DeletionByTaintManager", why, None).await?;
            Ok(Action::Await)
        }
    })
}

/// Queues the pods of nodes whose taints change, and pods that come to a node with taints.
fn subscribe_to_taints(informers: &mut Informers, queue: &WorkQueue<ObjectKey>) {
    let stores = informers.stores();
    let (adding, all_pods) = (queue.clone(), stores.pods.clone());
    informers.nodes.subscribe(move |change| {
        let Change::Applied { object, previous } = change else {
            return;
        };
        let before = previous.as_ref().map(|node| no_execute(node)).unwrap_or_default();
        if before != no_execute(object) {
            let name = object.name_any();
            for pod in all_pods
                .list()
                .iter()
                .filter(|pod| pods::node_name(pod) == Some(&name))
            {
                adding.add(ObjectKey::of(&**pod));
            }
        }
    });
    let (adding, nodes) = (queue.clone(), stores.nodes);
    informers.pods.subscribe(move |change| {
        let Change::Applied { object, previous } = change else {
            return;
        };
        let before = previous.as_ref().and_then(|pod| pods::node_name(pod));
        if let Some(name) = pods::node_name(object).filter(|name| before != Some(name))
            && nodes
                .get(&ObjectKey::cluster(name))
                .is_some_and(|node| !no_execute(&node).is_empty())
        {
            adding.add(ObjectKey::of(&**object));
        }
    });
}

fn no_execute(node: &Node) -> Vec<Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone());
    let mut taints = taints.unwrap_or_default();
    taints.retain(|taint| taint.effect == "NoExecute");
    taints
}

/// When a pod has to leave a node with these taints, which it has had to bear `since`; never without one that it does not
/// tolerate for ever.
fn eviction_time(pod: &Pod, taints: &[Taint], now: Timestamp, since: Timestamp) -> Option<Timestamp> {
    let spec = pod.spec.as_ref()?;
    let mut due: Option<Timestamp> = None;
    for taint in taints {
        let tolerations = || {
            spec.tolerations
                .iter()
                .flatten()
                .filter(|toleration| tolerates(toleration, taint))
        };
        if tolerations().next().is_none() {
            return Some(now);
        }
        // The shortest of them counts.
        if let Some(seconds) = tolerations()
            .filter_map(|toleration| toleration.toleration_seconds)
            .min()
        {
            let until = since + SignedDuration::from_secs(seconds.max(0));
            due = Some(due.map_or(until, |due| due.min(until)));
        }
    }
    due
}

/// Deletes the pods of nodes that no longer exist.
pub(crate) fn orphans(cx: &Runtime, informers: &mut Informers) -> BoxFuture<'static, ()> {
    let queue: WorkQueue<ObjectKey> = WorkQueue::new();
    let stores = informers.stores();
    let adding = queue.clone();
    informers.nodes.subscribe(move |change| {
        if let Change::Deleted(node) = change {
            adding.add_after(ObjectKey::cluster(node.name_any()), QUARANTINE);
        }
    });
    let (adding, nodes) = (queue.clone(), stores.nodes.clone());
    informers.pods.subscribe(move |change| {
        let Change::Applied { object, previous } = change else {
            return;
        };
        let before = previous.as_ref().and_then(|pod| pods::node_name(pod));
        if let Some(name) = pods::node_name(object).filter(|name| before != Some(name))
            && nodes.get(&ObjectKey::cluster(name)).is_none()
        {
            adding.add_after(ObjectKey::cluster(name), QUARANTINE);
        }
    });
    let (cx, known) = (cx.named("pod-garbage-collector"), stores.clone());
    work(stores, queue, move |key| {
        let (cx, stores) = (cx.clone(), known.clone());
        async move {
            if stores.nodes.get(&key).is_none() {
                for pod in stores
                    .pods
                    .list()
                    .iter()
                    .filter(|pod| pods::node_name(pod) == Some(&key.name))
                {
                    disrupt(
                        &cx,
                        pod,
                        "DeletionByPodGC",
                        "PodGC: node no longer exists",
                        Some(0),
                    )
                    .await?;
                }
            }
            Ok(Action::Await)
        }
    })
}

/// Notes in the pod why it goes, and deletes it. With a grace of 0 nobody is asked, and so its phase is written for it.
async fn disrupt(
    cx: &Runtime,
    pod: &Pod,
    reason: &str,
    message: &str,
    grace: Option<u32>,
) -> kube::Result<()> {
    const TYPE: &str = "DisruptionTarget";
    let api: Api<Pod> = Api::namespaced(cx.client.clone(), &pod.namespace().unwrap_or_default());
    let condition = PodCondition {
        type_: TYPE.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: Some(time(cx.clock.now())),
        ..PodCondition::default()
    };
    let mut conditions = pod
        .status
        .clone()
        .unwrap_or_default()
        .conditions
        .unwrap_or_default();
    conditions.retain(|condition| condition.type_ != TYPE);
    conditions.push(condition);
    let mut status: BTreeMap<&str, serde_json::Value> = BTreeMap::new();
    status.insert("conditions", serde_json::to_value(conditions).unwrap_or_default());
    if grace == Some(0) && !pods::is_finished(pod) {
        status.insert("phase", "Failed".into());
    }
    let patch = serde_json::json!({
        "metadata": {"uid": pod.uid(), "resourceVersion": pod.resource_version()},
        "status": status,
    });
    let gone = |error: &kube::Error| matches!(error, kube::Error::Api(status) if status.is_not_found());
    match api
        .patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&patch))
        .await
    {
        Err(error) if !gone(&error) => return Err(error),
        _ => {}
    }
    let parameters = DeleteParams {
        grace_period_seconds: grace,
        ..DeleteParams::default()
    };
    match api.delete(&pod.name_any(), &parameters).await {
        Err(error) if !gone(&error) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn keys(node: &Value) -> Option<Vec<String>> {
        let node: Node = serde_json::from_value(node.clone()).unwrap();
        wanted_taints(&node, now()).map(|taints| {
            taints
                .iter()
                .map(|taint| format!("{}:{}", taint.key, taint.effect))
                .collect()
        })
    }

    #[test]
    fn taints_follow_the_conditions_and_leave_others_alone() {
        let node = |ready: &str, spec: Value| json!({"spec": spec, "status": {"conditions": [{"type": "Ready", "status": ready}]}});
        let other = json!({"key": "other", "effect": "NoSchedule"});
        let not_ready = json!({"key": NOT_READY, "effect": "NoSchedule"});
        assert_eq!(keys(&node("True", json!({"taints": [other]}))), None);
        assert_eq!(
            keys(&node("True", json!({"taints": [other, not_ready]}))).unwrap(),
            ["other:NoSchedule"]
        );
        assert_eq!(
            keys(&node("False", json!({"taints": [not_ready]}))).unwrap(),
            [
                format!("{NOT_READY}:NoSchedule"),
                format!("{NOT_READY}:NoExecute")
            ]
        );
        assert_eq!(
            keys(&node(
                "Unknown",
                json!({"taints": [not_ready], "unschedulable": true})
            ))
            .unwrap(),
            [
                format!("{UNREACHABLE}:NoSchedule"),
                format!("{UNREACHABLE}:NoExecute"),
                format!("{UNSCHEDULABLE}:NoSchedule")
            ]
        );
        assert_eq!(
            keys(&json!({"spec": {}})).unwrap(),
            [format!("{NOT_READY}:NoSchedule")]
        );
    }

    #[test]
    fn a_pod_leaves_at_once_later_or_never() {
        let taint = Taint {
            key: "gone".to_owned(),
            effect: "NoExecute".to_owned(),
            ..Taint::default()
        };
        let seconds = |tolerations: Value| {
            let pod = json!({"spec": {"containers": [], "tolerations": tolerations}});
            let pod: Pod = serde_json::from_value(pod).unwrap();
            eviction_time(&pod, std::slice::from_ref(&taint), now(), now())
                .map(|due| due.duration_since(now()).as_secs())
        };
        assert_eq!(seconds(json!([])), Some(0));
        assert_eq!(seconds(json!([{"operator": "Exists"}])), None);
        assert_eq!(
            seconds(json!([{"key": "gone", "operator": "Exists", "tolerationSeconds": 300}])),
            Some(300)
        );
    }
}
