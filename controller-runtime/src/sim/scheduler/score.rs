//! Which of the nodes that a pod can go to is the best.

use k8s_openapi::{api::core::v1::PodSpec, apimachinery::pkg::apis::meta::v1::LabelSelector};
use provisioner::taints::tolerates;

use super::{
    inter_pod::InterPod,
    node_affinity,
    snapshot::{NodeInfo, PodInfo, Snapshot},
    spread,
};

/// The sum of the default scores with their weights for each of `nodes`.
pub(crate) fn scores(
    pod: &PodInfo,
    workload: &[LabelSelector],
    nodes: &[&NodeInfo],
    inter_pod: &InterPod,
    snapshot: &Snapshot,
) -> Vec<i64> {
    let default = PodSpec::default();
    let spec = pod.spec().unwrap_or(&default);
    let mut total = vec![0; nodes.len()];
    let mut add = |weight: i64, scores: Option<Vec<i64>>| {
        for (sum, score) in total.iter_mut().zip(scores.into_iter().flatten()) {
            *sum += weight * score;
        }
    };
    let intolerable: Vec<i64> = nodes
        .iter()
        .map(|node| intolerable_preferences(spec, node))
        .collect();
    add(3, Some(normalise(&intolerable, true)));
    if node_affinity::preferred_terms(spec).next().is_some() {
        let preferred: Vec<i64> = nodes
            .iter()
            .map(|node| node_affinity::preference(spec, &node.node))
            .collect();
        add(2, Some(normalise(&preferred, false)));
    }
    add(2, spread::scores(pod, workload, nodes, snapshot));
    add(2, inter_pod.scores(nodes));
    add(
        1,
        Some(nodes.iter().map(|node| least_allocated(pod, node)).collect()),
    );
    let best_effort = ["cpu", "memory"]
        .iter()
        .all(|name| pod.requests.get(name).is_zero());
    add(
        1,
        (!best_effort).then(|| nodes.iter().map(|node| balanced(pod, node)).collect()),
    );
    total
}

fn intolerable_preferences(spec: &PodSpec, node: &NodeInfo) -> i64 {
    let taints = node
        .node
        .spec
        .iter()
        .flat_map(|spec| spec.taints.iter().flatten());
    let mut tolerations = spec.tolerations.iter().flatten();
    let count = taints
        .filter(|taint| taint.effect == "PreferNoSchedule")
        .filter(|taint| !tolerations.clone().any(|toleration| tolerates(toleration, taint)))
        .count();
    let _exhausted = tolerations.next();
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// To 0..=100 by the greatest.
fn normalise(raw: &[i64], reverse: bool) -> Vec<i64> {
    let most = raw.iter().copied().max().unwrap_or_default();
    let scale = |score: i64| match (most, reverse) {
        (0, true) => 100,
        (0, false) => 0,
        (most, true) => 100 - 100 * score / most,
        (most, false) => 100 * score / most,
    };
    raw.iter().map(|score| scale(*score)).collect()
}

/// CPU and memory: what would be used, and what there is.
fn use_of(pod: &PodInfo, node: &NodeInfo) -> [(i64, i64); 2] {
    let all = [
        node.allocatable.get("cpu").milli_value(),
        node.allocatable.get("memory").value(),
    ];
    std::array::from_fn(|index| {
        (
            node.scored_requested[index] + pod.scored_requests[index],
            all[index],
        )
    })
}

fn least_allocated(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let scores = use_of(pod, node)
        .map(|(used, all)| (all > 0).then(|| if used > all { 0 } else { (all - used) * 100 / all }));
    let counted = scores.iter().flatten().count();
    let sum: i64 = scores.iter().flatten().sum();
    i64::try_from(counted)
        .ok()
        .filter(|count| *count > 0)
        .map_or(0, |count| sum / count)
}

fn balanced(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let all = [
        node.allocatable.get("cpu").milli_value(),
        node.allocatable.get("memory").value(),
    ];
    let used = [
        node.requested.get("cpu").milli_value() + pod.requests.get("cpu").milli_value(),
        node.requested.get("memory").value() + pod.requests.get("memory").value(),
    ];
    let fraction = |index: usize| (all[index] > 0).then(|| (used[index] as f64 / all[index] as f64).min(1.0));
    let deviation = match (fraction(0), fraction(1)) {
        (Some(cpu), Some(memory)) => ((cpu - memory) / 2.0).abs(),
        _ => 0.0,
    };
    // Between 50 and 100.
    ((1.0 - deviation) * 100.0) as i64
}
