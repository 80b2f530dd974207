//! Pods that want to be near other pods, or far from them.

use std::collections::BTreeMap;

use super::snapshot::{NodeInfo, PodInfo, Snapshot};

type Domain = (String, String);

/// What the filter and the score of one pod need to know of all nodes.
#[derive(Debug, Default)]
pub(crate) struct InterPod {
    /// Where pods live that do not want this one.
    unwelcome: BTreeMap<Domain, usize>,
    /// Pods that each required term matches, by domain.
    near: Vec<BTreeMap<String, usize>>,
    /// The same of the required anti-affinity terms.
    far: Vec<BTreeMap<String, usize>>,
    /// A pod that matches its own affinity may be the first of its kind.
    may_be_first: bool,
    /// Preferences of this pod and of those that run, by domain.
    scores: BTreeMap<Domain, i64>,
}

/// Why a node is refused.
pub(crate) enum Refusal {
    Affinity,
    AntiAffinity,
    Existing,
}

/// An existing pod's required affinity counts as a preference of this weight.
const HARD_AFFINITY_WEIGHT: i64 = 1;

impl InterPod {
    pub(crate) fn new(pod: &PodInfo, snapshot: &Snapshot) -> Self {
        let mut state = Self {
            near: vec![BTreeMap::new(); pod.affinity.len()],
            far: vec![BTreeMap::new(); pod.anti_affinity.len()],
            may_be_first: pod
                .affinity
                .iter()
                .all(|term| term.matches(&pod.pod, &snapshot.namespaces)),
            ..Self::default()
        };
        for node in snapshot.nodes.values() {
            for other in node.pods.values() {
                state.count(pod, other, node, snapshot);
            }
        }
        state
    }

    fn count(&mut self, pod: &PodInfo, other: &PodInfo, node: &NodeInfo, snapshot: &Snapshot) {
        let namespaces = &snapshot.namespaces;
        for term in &other.anti_affinity {
            if let Some(value) = node.label(&term.topology_key)
                && term.matches(&pod.pod, namespaces)
            {
                *self
                    .unwelcome
                    .entry((term.topology_key.clone(), value.to_owned()))
                    .or_default() += 1;
            }
        }
        for (term, counts) in pod
            .affinity
            .iter()
            .zip(&mut self.near)
            .chain(pod.anti_affinity.iter().zip(&mut self.far))
        {
            if let Some(value) = node.label(&term.topology_key)
                && term.matches(&other.pod, namespaces)
            {
                *counts.entry(value.to_owned()).or_default() += 1;
            }
        }
        let mut score = |key: &str, weight: i64| {
            if let Some(value) = node.label(key) {
                *self.scores.entry((key.to_owned(), value.to_owned())).or_default() += weight;
            }
        };
        for (weight, term) in pod
            .preferred
            .iter()
            .filter(|(_, term)| term.matches(&other.pod, namespaces))
        {
            score(&term.topology_key, *weight);
        }
        for (weight, term) in other
            .preferred
            .iter()
            .filter(|(_, term)| term.matches(&pod.pod, namespaces))
        {
            score(&term.topology_key, *weight);
        }
        for term in other
            .affinity
            .iter()
            .filter(|term| term.matches(&pod.pod, namespaces))
        {
            score(&term.topology_key, HARD_AFFINITY_WEIGHT);
        }
    }

    pub(crate) fn check(&self, pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
        let counted = |key: &str, counts: &BTreeMap<String, usize>| {
            node.label(key)
                .and_then(|value| counts.get(value))
                .is_some_and(|count| *count > 0)
        };
        let labelled = pod
            .affinity
            .iter()
            .all(|term| node.label(&term.topology_key).is_some());
        let near = pod
            .affinity
            .iter()
            .zip(&self.near)
            .all(|(term, counts)| counted(&term.topology_key, counts));
        let first = self.may_be_first && self.near.iter().all(BTreeMap::is_empty);
        if !labelled || !(near || first) {
            return Err(Refusal::Affinity);
        }
        if pod
            .anti_affinity
            .iter()
            .zip(&self.far)
            .any(|(term, counts)| counted(&term.topology_key, counts))
        {
            return Err(Refusal::AntiAffinity);
        }
        if self
            .unwelcome
            .keys()
            .any(|(key, value)| node.label(key) == Some(value))
        {
            return Err(Refusal::Existing);
        }
        Ok(())
    }

    /// The preferences for each of `nodes` as 0 to 100, or none if there are none.
    pub(crate) fn scores(&self, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
        if self.scores.is_empty() {
            return None;
        }
        let raw: Vec<i64> = nodes
            .iter()
            .map(|node| {
                let of = self
                    .scores
                    .iter()
                    .filter(|((key, value), _)| node.label(key) == Some(value));
                of.map(|(_, score)| *score).sum()
            })
            .collect();
        let (low, high) = (raw.iter().copied().min()?, raw.iter().copied().max()?);
        let scale = |score: i64| {
            if high > low {
                100 * (score - low) / (high - low)
            } else {
                0
            }
        };
        Some(raw.into_iter().map(scale).collect())
    }
}
