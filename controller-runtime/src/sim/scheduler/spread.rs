//! Pods that are to be spread over zones, nodes and other domains.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{PodSpec, TopologySpreadConstraint},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::ResourceExt as _;

use super::{
    filter, node_affinity,
    snapshot::{NodeInfo, PodInfo, Snapshot},
};
use crate::sim::controllers::{
    meta::{selects, selects_all},
    pods,
};

const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// A constraint of a pod.
#[derive(Debug)]
struct Constraint {
    max_skew: i32,
    key: String,
    selectors: Vec<LabelSelector>,
    min_domains: usize,
    honour_affinity: bool,
    honour_taints: bool,
}

impl Constraint {
    fn new(constraint: &TopologySpreadConstraint, pod: &PodInfo) -> Self {
        let mut selectors = vec![constraint.label_selector.clone().unwrap_or_default()];
        let keyed: BTreeMap<String, String> = constraint
            .match_label_keys
            .iter()
            .flatten()
            .filter_map(|key| Some((key.clone(), pod.pod.labels().get(key)?.clone())))
            .collect();
        if !keyed.is_empty() {
            selectors.push(LabelSelector {
                match_labels: Some(keyed),
                match_expressions: None,
            });
        }
        Self {
            max_skew: constraint.max_skew,
            key: constraint.topology_key.clone(),
            selectors,
            min_domains: usize::try_from(constraint.min_domains.unwrap_or(1)).unwrap_or(1),
            honour_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honour_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
        }
    }

    fn by_default(key: &str, max_skew: i32, selectors: &[LabelSelector]) -> Self {
        Self {
            max_skew,
            key: key.to_owned(),
            selectors: selectors.to_vec(),
            min_domains: 1,
            honour_affinity: true,
            honour_taints: false,
        }
    }

    fn selects(&self, pod: &PodInfo) -> bool {
        self.selectors
            .iter()
            .all(|selector| selects(selector, pod.pod.metadata.labels.as_ref()))
    }

    /// The pods on a node that count; those that are going do not.
    fn count(&self, node: &NodeInfo, namespace: &str) -> usize {
        if self.selectors.iter().all(selects_all) {
            return 0;
        }
        let here = |other: &&std::sync::Arc<PodInfo>| {
            other.key.namespace == namespace && !pods::is_terminating(&other.pod) && self.selects(other)
        };
        node.pods.values().filter(here).count()
    }

    fn includes(&self, spec: &PodSpec, node: &NodeInfo) -> bool {
        (!self.honour_affinity || node_affinity::allows(spec, &node.node))
            && (!self.honour_taints || filter::untolerated(spec, &node.node).is_none())
    }
}

fn constraints(pod: &PodInfo, action: &str) -> Vec<Constraint> {
    let all = pod
        .spec()
        .into_iter()
        .flat_map(|spec| spec.topology_spread_constraints.iter().flatten());
    all.filter(|constraint| constraint.when_unsatisfiable == action)
        .map(|one| Constraint::new(one, pod))
        .collect()
}

/// The hard constraints of a pod and how many pods each domain has.
#[derive(Debug)]
pub(crate) struct Hard {
    constraints: Vec<(Constraint, BTreeMap<String, usize>)>,
}

/// Why a node is refused.
pub(crate) enum Refusal {
    MissingLabel,
    Skew,
}

impl Hard {
    pub(crate) fn new(pod: &PodInfo, snapshot: &Snapshot) -> Self {
        let default = PodSpec::default();
        let spec = pod.spec().unwrap_or(&default);
        let mut constraints: Vec<_> = constraints(pod, "DoNotSchedule")
            .into_iter()
            .map(|constraint| (constraint, BTreeMap::new()))
            .collect();
        if constraints.is_empty() {
            return Self { constraints };
        }
        for node in snapshot.nodes.values() {
            if !constraints
                .iter()
                .all(|(constraint, _)| node.label(&constraint.key).is_some())
            {
                continue;
            }
            for (constraint, counts) in &mut constraints {
                if constraint.includes(spec, node) {
                    let value = node.label(&constraint.key).unwrap_or_default().to_owned();
                    *counts.entry(value).or_default() += constraint.count(node, &pod.key.namespace);
                }
            }
        }
        Self { constraints }
    }

    pub(crate) fn check(&self, pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
        for (constraint, counts) in &self.constraints {
            let Some(value) = node.label(&constraint.key) else {
                return Err(Refusal::MissingLabel);
            };
            let least = if counts.len() < constraint.min_domains {
                0
            } else {
                counts.values().copied().min().unwrap_or_default()
            };
            let here = counts.get(value).copied().unwrap_or_default() + usize::from(constraint.selects(pod));
            let allowed = least + usize::try_from(constraint.max_skew).unwrap_or_default();
            if here > allowed {
                return Err(Refusal::Skew);
            }
        }
        Ok(())
    }
}

/// The soft constraints of a pod, or the cluster's defaults for a pod of a workload or service (`workload` selects its
/// like), as 0 to 100 for each of `nodes`.
pub(crate) fn scores(
    pod: &PodInfo,
    workload: &[LabelSelector],
    nodes: &[&NodeInfo],
    snapshot: &Snapshot,
) -> Option<Vec<i64>> {
    let default = PodSpec::default();
    let spec = pod.spec().unwrap_or(&default);
    let own = spec
        .topology_spread_constraints
        .as_ref()
        .is_some_and(|constraints| !constraints.is_empty());
    let constraints = if own {
        constraints(pod, "ScheduleAnyway")
    } else if workload.iter().all(selects_all) {
        return None;
    } else {
        vec![
            Constraint::by_default(HOSTNAME, 3, workload),
            Constraint::by_default(ZONE, 5, workload),
        ]
    };
    if constraints.is_empty() {
        return None;
    }
    // The defaults also serve nodes without a zone.
    let complete = |node: &NodeInfo| !own || constraints.iter().all(|one| node.label(&one.key).is_some());
    let mut raw = vec![Some(0.0_f64); nodes.len()];
    for (score, node) in raw.iter_mut().zip(nodes) {
        if !complete(node) {
            *score = None;
        }
    }
    for constraint in &constraints {
        let counts = domain_counts(
            constraint,
            pod,
            spec,
            nodes.iter().filter(|node| complete(node)),
            snapshot,
            &complete,
        );
        let domains = if constraint.key == HOSTNAME {
            raw.iter().flatten().count()
        } else {
            counts.len()
        };
        let weight = ((domains + 2) as f64).ln();
        for (score, node) in raw.iter_mut().zip(nodes) {
            if let (Some(score), Some(value)) = (score, node.label(&constraint.key)) {
                let count = if constraint.key == HOSTNAME {
                    constraint.count(node, &pod.key.namespace)
                } else {
                    counts.get(value).copied().unwrap_or_default()
                };
                *score += count as f64 * weight + f64::from(constraint.max_skew - 1);
            }
        }
    }
    Some(normalise(&raw))
}

/// Pods by domain; nodes without the label form a domain of their own.
fn domain_counts<'a>(
    constraint: &Constraint,
    pod: &PodInfo,
    spec: &PodSpec,
    candidates: impl Iterator<Item = &'a &'a NodeInfo>,
    snapshot: &Snapshot,
    complete: &dyn Fn(&NodeInfo) -> bool,
) -> BTreeMap<String, usize> {
    let value = |node: &NodeInfo| node.label(&constraint.key).unwrap_or_default().to_owned();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    if constraint.key == HOSTNAME {
        return counts;
    }
    counts.extend(candidates.map(|node| (value(node), 0)));
    for node in snapshot
        .nodes
        .values()
        .filter(|node| complete(node) && constraint.includes(spec, node))
    {
        if let Some(count) = counts.get_mut(&value(node)) {
            *count += constraint.count(node, &pod.key.namespace);
        }
    }
    counts
}

/// Fewer pods are better; nodes out of the question get 0.
fn normalise(raw: &[Option<f64>]) -> Vec<i64> {
    // Scores are small and not negative.
    let rounded: Vec<Option<i64>> = raw
        .iter()
        .map(|score| score.map(|score| score.round() as i64))
        .collect();
    let low = rounded.iter().flatten().copied().min().unwrap_or_default();
    let high = rounded.iter().flatten().copied().max().unwrap_or_default();
    rounded
        .into_iter()
        .map(|score| match score {
            None => 0,
            Some(_) if high == 0 => 100,
            Some(score) => 100 * (high + low - score) / high,
        })
        .collect()
}
