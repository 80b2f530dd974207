//! Which pods go first when a ReplicaSet shrinks.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt as _;

use crate::sim::controllers::pods;

/// The annotation that lowers or raises what the deletion of a pod costs; default 0.
pub(crate) const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The `count` pods of `candidates` that go first. `related` are the pods of every ReplicaSet with the same owner: of
/// pods that share a node with many of them, one goes earlier.
pub(crate) fn first_to_go(
    mut candidates: Vec<Arc<Pod>>,
    related: &[Arc<Pod>],
    count: usize,
    now: Timestamp,
) -> Vec<Arc<Pod>> {
    if count < candidates.len() {
        let mut by_node: BTreeMap<&str, usize> = BTreeMap::new();
        for node in related.iter().filter(|pod| pods::is_active(pod)).filter_map(|pod| pods::node_name(pod)) {
            *by_node.entry(node).or_default() += 1;
        }
        let co_located =
            |pod: &Pod| pods::node_name(pod).and_then(|node| by_node.get(node)).copied().unwrap_or_default();
        candidates.sort_by(|a, b| compare(a, b, co_located(a), co_located(b), now));
        candidates.truncate(count);
    }
    candidates
}

/// Less is earlier to go.
///
/// Ages are compared by their binary logarithm, and among pods of about the same age chance (the UID) decides. The real
/// rule asks chance before it looks at restarts, unless the ages are equal to the second, which is no order at all
/// between three pods; asked last, chance gives the same answers wherever the real rule's answer is not chance.
fn compare(a: &Pod, b: &Pod, co_located_a: usize, co_located_b: usize, now: Timestamp) -> Ordering {
    pods::node_name(a)
        .is_some()
        .cmp(&pods::node_name(b).is_some())
        .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
        .then_with(|| pods::is_ready(a).cmp(&pods::is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| co_located_b.cmp(&co_located_a))
        .then_with(|| age(pods::ready_since(a), now).cmp(&age(pods::ready_since(b), now)))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| age(created(a), now).cmp(&age(created(b), now)))
        .then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
}

fn phase_rank(pod: &Pod) -> u8 {
    match pods::phase(pod) {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    }
}

fn deletion_cost(pod: &Pod) -> i32 {
    pod.annotations().get(DELETION_COST).and_then(|cost| cost.parse().ok()).unwrap_or_default()
}

fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

/// The most restarts of a container, and of a sidecar.
fn restarts(pod: &Pod) -> (i32, i32) {
    let most = |statuses: Option<&Vec<ContainerStatus>>| {
        statuses.into_iter().flatten().map(|container| container.restart_count).max().unwrap_or_default()
    };
    pod.status.as_ref().map_or((0, 0), |status| {
        (most(status.container_statuses.as_ref()), most(status.init_container_statuses.as_ref()))
    })
}

/// The magnitude of an age; no time at all is youngest.
fn age(since: Option<Timestamp>, now: Timestamp) -> Option<i64> {
    let age = now.as_nanosecond() - since?.as_nanosecond();
    Some(if age > 0 { i64::from(age.ilog2()) } else { -1 })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T01:00:00Z".parse().unwrap()
    }

    fn pod(name: &str, node: Option<&str>, phase: &str, ready_seconds_ago: Option<i64>, more: &Value) -> Arc<Pod> {
        let at = |seconds: i64| (now() - jiff::SignedDuration::from_secs(seconds)).to_string();
        let ready = ready_seconds_ago.map_or_else(
            || json!([{"type": "Ready", "status": "False"}]),
            |seconds| json!([{"type": "Ready", "status": "True", "lastTransitionTime": at(seconds)}]),
        );
        let mut pod = json!({
            "metadata": {"name": name, "uid": name, "creationTimestamp": at(3000)},
            "spec": {"containers": [], "nodeName": node},
            "status": {"phase": phase, "conditions": ready},
        });
        json_patch::merge(&mut pod, more);
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn order(pods: Vec<Arc<Pod>>) -> Vec<String> {
        let count = pods.len();
        let mut order = first_to_go(pods.clone(), &pods, count - 1, now());
        order.extend(pods.into_iter().filter(|pod| !order.contains(pod)).collect::<Vec<_>>());
        order.iter().map(|pod| pod.name_any()).collect()
    }

    #[test]
    fn each_rule_decides_where_those_before_it_are_equal() {
        let none = json!({});
        let cost = |cost: &str| json!({"metadata": {"annotations": {DELETION_COST: cost}}});
        let restarted = json!({"status": {"containerStatuses": [
            {"name": "main", "image": "", "imageID": "", "ready": true, "restartCount": 3}]}});
        let old = json!({"metadata": {"creationTimestamp": "2025-12-01T00:00:00Z"}});
        let cases: Vec<(&str, Vec<Arc<Pod>>)> = vec![
            ("unassigned", vec![pod("b", Some("n"), "Pending", None, &none), pod("a", None, "Pending", None, &none)]),
            ("pending", vec![pod("b", Some("n"), "Running", None, &none), pod("a", Some("n"), "Pending", None, &none)]),
            ("unknown", vec![pod("b", Some("n"), "Running", None, &none), pod("a", Some("n"), "Unknown", None, &none)]),
            ("not ready", vec![pod("b", Some("n"), "Running", Some(5), &none), pod("a", Some("n"), "Running", None, &none)]),
            ("cost", vec![pod("b", Some("n"), "Running", Some(5), &none), pod("a", Some("n"), "Running", Some(5), &cost("-1"))]),
            ("co-located", vec![
                pod("c", Some("m"), "Running", Some(5), &none),
                pod("a", Some("n"), "Running", Some(5), &none),
                pod("b", Some("n"), "Running", Some(5), &none),
            ]),
            ("ready later", vec![pod("b", Some("n"), "Running", Some(900), &none), pod("a", Some("n"), "Running", Some(5), &none)]),
            ("restarts", vec![pod("b", Some("n"), "Running", Some(5), &none), pod("a", Some("n"), "Running", Some(5), &restarted)]),
            ("newer", vec![pod("b", Some("n"), "Running", Some(5), &old), pod("a", Some("n"), "Running", Some(5), &none)]),
        ];
        for (rule, pods) in cases {
            let order = order(pods);
            assert!(order.is_sorted(), "{rule}: {order:?}");
        }
    }

    #[test]
    fn of_pods_of_about_the_same_age_the_uid_decides() {
        let none = json!({});
        let (a, b) = (pod("a", Some("n"), "Running", Some(7), &none), pod("b", Some("n"), "Running", Some(6), &none));
        assert_eq!(order(vec![b, a]), ["a", "b"]);
    }

    #[test]
    fn a_pod_on_a_crowded_node_of_the_same_deployment_goes_first() {
        let none = json!({});
        let own = vec![pod("a", Some("m"), "Running", Some(5), &none), pod("b", Some("n"), "Running", Some(5), &none)];
        let mut related = own.clone();
        related.push(pod("other", Some("n"), "Running", Some(5), &none));
        let gone = first_to_go(own, &related, 1, now());
        assert_eq!(gone[0].name_any(), "b");
    }
}
