//! The pods of a world that are placed already, sorted so that questions about many of them are short.

use std::{collections::BTreeMap, sync::Arc};

use super::{PodFacts, PodKey, map::Map};

/// The pods of a world.
#[derive(Clone, Debug, Default)]
pub(super) struct WorldPods {
    /// Those that differ in namespace or labels.
    pub label_sets: Vec<LabelSet>,
    /// Those that keep others away.
    pub keeping_away: Vec<KeepingAway>,
    /// By rank of the node and position there.
    of_node: Vec<Vec<WorldPod>>,
    places: Map<PodKey, (usize, usize)>,
}

/// Pods with the same namespace and labels.
#[derive(Clone, Debug)]
pub(super) struct LabelSet {
    pub namespace: String,
    pub labels: BTreeMap<String, String>,
    /// How many of them count, by rank of the node.
    pub on: Vec<(usize, u32)>,
}

/// One pod.
#[derive(Clone, Copy, Debug)]
pub(super) struct WorldPod {
    pub label_set: usize,
    /// Whether it is neither done nor going.
    pub counts: bool,
    /// Its entry of [`WorldPods::keeping_away`].
    pub keeping_away: Option<usize>,
}

/// Pods with the same required anti-affinity, and where they are.
#[derive(Clone, Debug)]
pub(super) struct KeepingAway {
    pub pod: Arc<PodFacts>,
    pub on: Vec<usize>,
}

impl WorldPods {
    pub(super) fn new(world: &super::World, ranks: &[usize]) -> Self {
        let mut pods = Self::default();
        let mut sets: Map<(&str, &BTreeMap<String, String>), usize> = Map::default();
        let mut keepers: Map<(usize, String), usize> = Map::default();
        for (rank, &node) in ranks.iter().enumerate() {
            let on_node = &world.nodes[node].pods;
            let mut here = Vec::with_capacity(on_node.len());
            for (position, facts) in on_node.iter().enumerate() {
                let next = pods.label_sets.len();
                let set = *sets.entry((&facts.key.namespace, &facts.labels)).or_insert(next);
                if set == next {
                    pods.label_sets.push(LabelSet {
                        namespace: facts.key.namespace.clone(),
                        labels: facts.labels.clone(),
                        on: Vec::new(),
                    });
                }
                let counts = facts.is_active();
                let mut keeping_away = None;
                if counts {
                    match pods.label_sets[set].on.last_mut() {
                        Some((last, number)) if *last == rank => *number += 1,
                        _ => pods.label_sets[set].on.push((rank, 1)),
                    }
                    if !facts.anti_affinity.is_empty() {
                        let next = pods.keeping_away.len();
                        let terms = format!("{:?}", facts.anti_affinity);
                        let entry = *keepers.entry((set, terms)).or_insert(next);
                        if entry == next {
                            pods.keeping_away.push(KeepingAway {
                                pod: Arc::clone(facts),
                                on: Vec::new(),
                            });
                        }
                        pods.keeping_away[entry].on.push(rank);
                        keeping_away = Some(entry);
                    }
                }
                pods.places.insert(facts.key.clone(), (rank, position));
                here.push(WorldPod {
                    label_set: set,
                    counts,
                    keeping_away,
                });
            }
            pods.of_node.push(here);
        }
        pods
    }

    /// The pods on a node.
    pub(super) fn on(&self, rank: usize) -> &[WorldPod] {
        &self.of_node[rank]
    }

    /// Where a pod is, if it is anywhere: the node's rank, and the position there.
    pub(super) fn place_of(&self, key: &PodKey) -> Option<(usize, usize)> {
        self.places.get(key).copied()
    }
}
