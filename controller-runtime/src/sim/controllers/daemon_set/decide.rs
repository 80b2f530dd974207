//! Where a DaemonSet's pods are to be, and what it reports.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetStatus},
    core::v1::{Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Toleration},
};
use kube::ResourceExt as _;
use provisioner::taints::tolerates;

use super::update::{Update, age, excess, max_surge};
use crate::sim::{
    api::TEMPLATE_GENERATION,
    controllers::{meta::controller_reference, pods},
    scheduler::node_affinity,
};

/// The label that tells the pods of one template from those of another.
pub(super) const HASH_LABEL: &str = "controller-revision-hash";

/// The label that counts templates, from an annotation of the set.
const GENERATION_LABEL: &str = "pod-template-generation";

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Vec<Pod>,
    pub(super) delete: Vec<Arc<Pod>>,
}

pub(super) fn spec(set: &DaemonSet) -> DaemonSetSpec {
    set.spec.clone().unwrap_or_default()
}

/// The pod for a node: bound to it by its name, and tolerating what happens to nodes.
pub(super) fn pod_for(set: &DaemonSet, hash: &str, node: &str) -> Pod {
    let prefix = format!("{}-", set.name_any());
    let namespace = set.namespace().unwrap_or_default();
    let mut pod = pods::from_template(
        &spec(set).template,
        &namespace,
        &prefix,
        controller_reference(set),
    );
    pod.labels_mut().insert(HASH_LABEL.to_owned(), hash.to_owned());
    if let Some(generation) = set.annotations().get(TEMPLATE_GENERATION) {
        pod.labels_mut()
            .insert(GENERATION_LABEL.to_owned(), generation.clone());
    }
    let pod_spec = pod.spec.get_or_insert_default();
    let required = NodeSelector {
        node_selector_terms: vec![NodeSelectorTerm {
            match_fields: Some(vec![NodeSelectorRequirement {
                key: "metadata.name".to_owned(),
                operator: "In".to_owned(),
                values: Some(vec![node.to_owned()]),
            }]),
            match_expressions: None,
        }],
    };
    let affinity = pod_spec
        .affinity
        .get_or_insert_default()
        .node_affinity
        .get_or_insert_default();
    affinity.required_during_scheduling_ignored_during_execution = Some(required);
    tolerate_illness(pod_spec);
    pod
}

fn tolerate_illness(pod: &mut PodSpec) {
    let all = [
        ("node.kubernetes.io/not-ready", "NoExecute"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/memory-pressure", "NoSchedule"),
        ("node.kubernetes.io/pid-pressure", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ];
    let network =
        (pod.host_network == Some(true)).then_some(("node.kubernetes.io/network-unavailable", "NoSchedule"));
    let tolerations = pod.tolerations.get_or_insert_default();
    for (key, effect) in all.into_iter().chain(network) {
        let toleration = Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
}

/// Whether a pod is to run on the node, and whether one that does may stay.
fn wanted_on(set: &DaemonSet, node: &Node) -> (bool, bool) {
    let mut pod = spec(set).template.spec.unwrap_or_default();
    if pod
        .node_name
        .as_deref()
        .is_some_and(|name| name != node.name_any())
        || !node_affinity::allows(&pod, node)
    {
        return (false, false);
    }
    tolerate_illness(&mut pod);
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let mut untolerated = taints.filter(|taint| {
        !pod.tolerations
            .iter()
            .flatten()
            .any(|toleration| tolerates(toleration, taint))
    });
    let keeps_away = |effect: &str| effect == "NoSchedule" || effect == "NoExecute";
    let all: Vec<_> = untolerated.by_ref().collect();
    (
        !all.iter().any(|taint| keeps_away(&taint.effect)),
        !all.iter().any(|taint| taint.effect == "NoExecute"),
    )
}

/// The pods by the node that they are on or are meant for.
fn by_node(pods: &[Arc<Pod>]) -> BTreeMap<String, Vec<Arc<Pod>>> {
    let mut nodes: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
    for pod in pods {
        let named = || {
            pod.spec
                .as_ref()
                .and_then(node_affinity::named_nodes)
                .and_then(|names| names.into_iter().next())
        };
        if let Some(node) = pods::node_name(pod).map(str::to_owned).or_else(named) {
            nodes.entry(node).or_default().push(Arc::clone(pod));
        }
    }
    nodes
}

/// Compares the pods with the nodes.
pub(super) fn plan(
    set: &DaemonSet,
    hash: &str,
    nodes: &[Arc<Node>],
    pods: &[Arc<Pod>],
    now: Timestamp,
) -> Plan {
    let on = by_node(pods);
    let mut plan = Plan::default();
    for node in nodes {
        let name = node.name_any();
        let here = on.get(&name).map(Vec::as_slice).unwrap_or_default();
        let (runs, stays) = wanted_on(set, node);
        let (finished, alive): (Vec<_>, Vec<_>) = here
            .iter()
            .filter(|pod| !pods::is_terminating(pod))
            .cloned()
            .partition(|pod| pods::is_finished(pod));
        let going = here.iter().any(|pod| pods::is_terminating(pod));
        if stays && !runs {
            continue;
        }
        if !stays {
            plan.delete.extend(alive);
            continue;
        }
        if alive.is_empty() && finished.is_empty() && !going {
            plan.create.push(pod_for(set, hash, &name));
        }
        plan.delete.extend(finished);
        plan.delete.extend(excess(set, hash, alive, now));
    }
    // Pods that wait for a node that is gone.
    for (name, pods) in &on {
        if !nodes.iter().any(|node| node.name_any() == *name) {
            plan.delete.extend(
                pods.iter()
                    .filter(|pod| pods::node_name(pod).is_none() && !pods::is_terminating(pod))
                    .cloned(),
            );
        }
    }
    if plan.create.is_empty() && plan.delete.is_empty() {
        let wanted: Vec<&str> = nodes
            .iter()
            .filter(|node| wanted_on(set, node).0)
            .filter_map(|node| node.metadata.name.as_deref())
            .collect();
        let update = Update {
            set,
            hash,
            wanted,
            on: &on,
            now,
        };
        match max_surge(set, update.wanted.len()) {
            None => {}
            Some(0) => plan.delete = update.replace(),
            Some(most) => update.surge(most, &mut plan),
        }
    }
    plan
}

/// The status.
pub(super) fn status(
    set: &DaemonSet,
    hash: &str,
    nodes: &[Arc<Node>],
    pods: &[Arc<Pod>],
    now: Timestamp,
) -> DaemonSetStatus {
    let on = by_node(pods);
    let min_ready = spec(set).min_ready_seconds.unwrap_or_default();
    let mut status = DaemonSetStatus {
        observed_generation: set.metadata.generation,
        collision_count: set.status.as_ref().and_then(|status| status.collision_count),
        ..DaemonSetStatus::default()
    };
    let (mut updated, mut available) = (0, 0);
    for node in nodes {
        let here = on.get(&node.name_any());
        if !wanted_on(set, node).0 {
            status.number_misscheduled += i32::from(here.is_some());
            continue;
        }
        status.desired_number_scheduled += 1;
        let oldest = here.into_iter().flatten().min_by_key(|pod| age(pod));
        let Some(pod) = oldest else { continue };
        status.current_number_scheduled += 1;
        updated += i32::from(pod.labels().get(HASH_LABEL).is_some_and(|found| found == hash));
        if pods::is_ready(pod) {
            status.number_ready += 1;
            available += i32::from(pods::is_available(pod, min_ready, now));
        }
    }
    let some = |number: i32| (number > 0).then_some(number);
    status.updated_number_scheduled = some(updated);
    status.number_available = some(available);
    status.number_unavailable = some(status.desired_number_scheduled - available);
    status
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn set(template: &Value) -> DaemonSet {
        serde_json::from_value(json!({
            "metadata": {"name": "agent", "namespace": "kube-system", "uid": "u", "generation": 1},
            "spec": {"selector": {"matchLabels": {"app": "agent"}},
                     "template": {"metadata": {"labels": {"app": "agent"}}, "spec": template}},
        }))
        .unwrap()
    }

    fn node(name: &str, spec: &Value) -> Arc<Node> {
        Arc::new(
            serde_json::from_value(
                json!({"metadata": {"name": name, "labels": {"os": "linux"}}, "spec": spec}),
            )
            .unwrap(),
        )
    }

    fn taint(key: &str, effect: &str) -> Value {
        json!({"taints": [{"key": key, "effect": effect}]})
    }

    /// The image stands for the hash.
    fn hash(set: &DaemonSet) -> String {
        let template = spec(set).template.spec.unwrap();
        let container = template.containers.into_iter().next();
        container
            .and_then(|container| container.image)
            .unwrap_or_default()
    }

    fn running(set: &DaemonSet, node: &str) -> Arc<Pod> {
        let mut pod = pod_for(set, &hash(set), node);
        pod.metadata.name = Some(format!("agent-{node}"));
        pod.spec.as_mut().unwrap().node_name = Some(node.to_owned());
        pod.status = serde_json::from_value(
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}),
        )
        .unwrap();
        Arc::new(pod)
    }

    #[test]
    fn a_pod_for_every_node_that_it_can_be_on() {
        let set = set(&json!({"containers": [], "nodeSelector": {"os": "linux"}}));
        let nodes = [
            node("a", &json!({})),
            node("b", &taint("node.kubernetes.io/not-ready", "NoExecute")),
            node("c", &taint("special", "NoSchedule")),
            node(
                "d",
                &json!({"unschedulable": true, "taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]}),
            ),
        ];
        let plan = plan(&set, &hash(&set), &nodes, &[], now());
        let names: Vec<_> = plan
            .create
            .iter()
            .map(|pod| {
                node_affinity::named_nodes(pod.spec.as_ref().unwrap())
                    .unwrap()
                    .pop_first()
                    .unwrap()
            })
            .collect();
        assert_eq!(names, ["a", "b", "d"]);
        let status = status(
            &set,
            &hash(&set),
            &nodes,
            &[running(&set, "a"), running(&set, "c")],
            now(),
        );
        assert_eq!(
            (
                status.desired_number_scheduled,
                status.current_number_scheduled,
                status.number_ready,
                status.number_misscheduled
            ),
            (3, 1, 1, 1)
        );
    }

    #[test]
    fn a_pod_stays_with_a_taint_that_came_later_unless_it_evicts() {
        let set = set(&json!({"containers": []}));
        let pods = [running(&set, "a"), running(&set, "b")];
        let nodes = [
            node("a", &taint("special", "NoSchedule")),
            node("b", &taint("special", "NoExecute")),
        ];
        let plan = plan(&set, &hash(&set), &nodes, &pods, now());
        let deleted: Vec<_> = plan.delete.iter().map(|pod| pod.name_any()).collect();
        assert_eq!((plan.create.len(), deleted), (0, vec!["agent-b".to_owned()]));
    }

    #[test]
    fn an_update_replaces_one_pod_at_a_time() {
        let old = set(&json!({"containers": [{"name": "main", "image": "one"}]}));
        let new = set(&json!({"containers": [{"name": "main", "image": "two"}]}));
        let nodes = [node("a", &json!({})), node("b", &json!({}))];
        let pods = [running(&old, "a"), running(&old, "b")];
        assert_eq!(plan(&new, &hash(&new), &nodes, &pods, now()).delete.len(), 1);
        let halfway = [running(&new, "a"), running(&old, "b")];
        assert_eq!(
            plan(&new, &hash(&new), &nodes, &halfway, now()).delete[0].name_any(),
            "agent-b"
        );
    }

    #[test]
    fn a_surge_keeps_the_old_pod_until_the_new_one_is_available() {
        let rolling = json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
        let with = |image: &str| {
            let mut set = set(&json!({"containers": [{"name": "main", "image": image}]}));
            set.spec.as_mut().unwrap().update_strategy = serde_json::from_value(rolling.clone()).unwrap();
            set
        };
        let (old, new) = (with("one"), with("two"));
        let nodes = [node("a", &json!({})), node("b", &json!({}))];
        let pods = [running(&old, "a"), running(&old, "b")];
        let first = plan(&new, &hash(&new), &nodes, &pods, now());
        assert_eq!((first.create.len(), first.delete.len()), (1, 0));
        let mut fresh = (*running(&new, "a")).clone();
        fresh.metadata.name = Some("fresh".to_owned());
        let mut pods = pods.to_vec();
        pods.push(Arc::new(fresh.clone()));
        let then = plan(&new, &hash(&new), &nodes, &pods, now());
        let gone: Vec<_> = then.delete.iter().map(|pod| pod.name_any()).collect();
        assert_eq!((then.create.len(), gone), (0, vec!["agent-a".to_owned()]));
        fresh.status = None;
        pods[2] = Arc::new(fresh);
        let waits = plan(&new, &hash(&new), &nodes, &pods, now());
        assert_eq!((waits.create.len(), waits.delete.len()), (0, 0));
    }
}
