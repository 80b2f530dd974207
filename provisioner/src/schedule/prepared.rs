//! One snapshot, made ready once, for any number of questions.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use super::{
    ClusterNode, PodFacts, World,
    amounts::{Amounts, Resources},
    bits::Bits,
    groups::{BaseGroup, Group, Kind},
    keys::KeyIndex,
    map::Map,
    pods::WorldPods,
    reserved::Reservations,
    template::{Template, runs},
};
use crate::{AllowUndefined, Requirements, ResourceList};

/// A [`World`] made ready: what each pool can buy with what daemons take of it, and what is left on each node. It is
/// immutable; questions are asked with an [`Overlay`](super::Overlay).
#[derive(Clone, Debug)]
pub struct Prepared {
    pub(super) world: World,
    /// By weight of the pool, heaviest first.
    pub(super) templates: Vec<Template>,
    pub(super) resources: Resources,
    /// Nodes in the order in which they are tried; those that take no pods at the end.
    pub(super) ranks: Vec<usize>,
    /// How many of `ranks` take pods.
    pub(super) open: usize,
    /// By rank: what is left.
    pub(super) left: Vec<Amounts>,
    pub(super) pods: WorldPods,
    pub(super) reservations: Reservations,
    /// The groups that each entry of [`WorldPods::keeping_away`] makes, as indexes of `inverse`.
    pub(super) inverse_of: Vec<Vec<usize>>,
    /// Groups that pods of the world keep others away with.
    pub(super) inverse: Vec<Arc<BaseGroup>>,
    pub(super) inverse_ids: BTreeMap<String, usize>,
    /// Sets of taints that nodes have, with the ranks of those.
    pub(super) tainted: Vec<(Vec<k8s_openapi::api::core::v1::Taint>, Bits)>,
    /// Whether a pool has a `PreferNoSchedule` taint, so that tolerating it is worth a try.
    pub(super) has_preferred_taint: bool,
    remaining: Vec<ResourceList>,
    names: BTreeMap<String, usize>,
    memo: Arc<Memo>,
}

/// What questions worked out that holds for every question.
#[derive(Debug, Default)]
struct Memo {
    keys: RwLock<BTreeMap<String, Arc<KeyIndex>>>,
    groups: RwLock<Map<String, Arc<BaseGroup>>>,
    welcoming: RwLock<Map<Requirements, Arc<Bits>>>,
    keeping_away: RwLock<Map<NamespaceAndLabels, Arc<[usize]>>>,
}

type NamespaceAndLabels = (String, BTreeMap<String, String>);

impl Prepared {
    /// Makes a world ready.
    #[must_use]
    pub fn new(world: World) -> Self {
        let mut resources = Resources::default();
        let of_pools = world.pools.iter().flat_map(|pool| &pool.catalog.instance_types);
        of_pools.for_each(|it| resources.note(&it.capacity));
        world
            .daemons
            .iter()
            .for_each(|daemon| resources.note(&daemon.requests));
        let remaining: Vec<ResourceList> = world
            .nodes
            .iter()
            .map(|node| left_on(node, &world.daemons))
            .collect();
        remaining.iter().for_each(|left| resources.note(left));
        let templates: Vec<Template> = by_weight(&world)
            .into_iter()
            .map(|pool| Template::new(&world, pool, &resources))
            .collect();
        let mut ranks: Vec<usize> = (0..world.nodes.len()).collect();
        ranks.sort_by(|&a, &b| {
            let (a, b) = (&world.nodes[a], &world.nodes[b]);
            (a.deleting, !a.initialized, &a.name).cmp(&(b.deleting, !b.initialized, &b.name))
        });
        let mut names = BTreeMap::new();
        for (rank, &node) in ranks.iter().enumerate() {
            names.insert(world.nodes[node].name.clone(), rank);
        }
        let pools_taints = || world.pools.iter().flat_map(|pool| &pool.taints);
        let mut prepared = Self {
            open: world.nodes.iter().filter(|node| !node.deleting).count(),
            left: ranks
                .iter()
                .map(|&node| resources.amounts(&remaining[node]))
                .collect(),
            pods: WorldPods::new(&world, &ranks),
            reservations: Reservations::new(&templates),
            inverse_of: Vec::new(),
            inverse: Vec::new(),
            inverse_ids: BTreeMap::new(),
            tainted: tainted(&world, &ranks),
            has_preferred_taint: pools_taints().any(|taint| taint.effect == "PreferNoSchedule"),
            memo: Arc::default(),
            world,
            templates,
            resources,
            ranks,
            remaining,
            names,
        };
        prepared.count_inverse();
        prepared
    }

    /// The world that it was made of.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// A node by name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&ClusterNode> {
        self.names
            .get(name)
            .map(|&rank| &self.world.nodes[self.ranks[rank]])
    }

    /// What is left for pods on a node, what daemons will still take being left out.
    #[must_use]
    pub fn remaining(&self, name: &str) -> Option<&ResourceList> {
        self.names
            .get(name)
            .map(|&rank| &self.remaining[self.ranks[rank]])
    }

    /// The price at which the cheapest instance type could be bought for a pool now, per hour.
    #[must_use]
    pub fn cheapest(&self, pool: &str) -> Option<f64> {
        let template = self
            .templates
            .iter()
            .find(|template| self.world.pools[template.pool].name == pool)?;
        let prices = template
            .types
            .iter()
            .flat_map(|option| option.instance_type.available_offerings(&template.requirements))
            .map(|offering| offering.price);
        prices.min_by(f64::total_cmp)
    }

    pub(super) fn rank_of(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    pub(super) fn node_at(&self, rank: usize) -> &ClusterNode {
        &self.world.nodes[self.ranks[rank]]
    }

    /// The domains of a label.
    pub(super) fn key(&self, key: &str) -> Arc<KeyIndex> {
        remembered(
            &self.memo.keys,
            |keys| keys.get(key).cloned(),
            || {
                let made = Arc::new(KeyIndex::new(&self.world, &self.ranks, &self.templates, key));
                (key.to_owned(), made)
            },
        )
    }

    /// A group of pods that a selector means, with the world's pods counted.
    pub(super) fn group(&self, id: &str, make: impl FnOnce() -> Group) -> Arc<BaseGroup> {
        remembered(
            &self.memo.groups,
            |groups| groups.get(id).cloned(),
            || {
                let group = make();
                let index = self.key(&group.key);
                (id.to_owned(), Arc::new(BaseGroup::counted(self, group, index)))
            },
        )
    }

    /// Ranks of the nodes whose labels satisfy requirements for sure.
    pub(super) fn welcoming(&self, asked: &Requirements) -> Arc<Bits> {
        remembered(
            &self.memo.welcoming,
            |known| known.get(asked).cloned(),
            || {
                let welcomes = |rank: &usize| {
                    let node = &self.node_at(*rank).requirements;
                    node.compatible(asked, AllowUndefined::Nothing).is_ok() && node.guarantees(asked)
                };
                (asked.clone(), Arc::new((0..self.open).filter(welcomes).collect()))
            },
        )
    }

    /// Which of `inverse` keep away pods of a namespace with these labels.
    pub(super) fn keeping_away(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Arc<[usize]> {
        if self.inverse.is_empty() {
            return Arc::default();
        }
        let id = (namespace.to_owned(), labels.clone());
        remembered(
            &self.memo.keeping_away,
            |known| known.get(&id).cloned(),
            || {
                let all = self.inverse.iter().enumerate();
                let meant = all.filter(|(_, base)| base.group.selects(namespace, labels));
                (id.clone(), meant.map(|(index, _)| index).collect())
            },
        )
    }

    /// Makes the groups of pods that keep others away, and counts those pods.
    fn count_inverse(&mut self) {
        let mut counted: Vec<BaseGroup> = Vec::new();
        for keeper in &self.pods.keeping_away {
            let mut made = Vec::new();
            for term in &keeper.pod.anti_affinity {
                let group = Group::of_term(Kind::Inverse, term, &self.world.namespaces);
                let id = group.id();
                let next = counted.len();
                let index = *self.inverse_ids.entry(id).or_insert(next);
                if index == next {
                    let key = self.key(&group.key);
                    counted.push(BaseGroup::empty(self, group, key));
                }
                let base = &mut counted[index];
                for &rank in &keeper.on {
                    for domain in base.index.of_node[rank].iter() {
                        base.counts[domain] += 1;
                    }
                }
                made.push(index);
            }
            self.inverse_of.push(made);
        }
        self.inverse = counted.into_iter().map(Arc::new).collect();
    }
}

/// What is known, or what is made and then known.
fn remembered<M, K, V: Clone>(
    memo: &RwLock<M>,
    find: impl Fn(&M) -> Option<V>,
    make: impl FnOnce() -> (K, V),
) -> V
where
    M: Extend<(K, V)>,
{
    let known = find(&memo.read().unwrap_or_else(PoisonError::into_inner));
    known.unwrap_or_else(|| {
        let (key, made) = make();
        let mut known = memo.write().unwrap_or_else(PoisonError::into_inner);
        known.extend([(key, made.clone())]);
        made
    })
}

/// Pools in the order in which they are tried.
fn by_weight(world: &World) -> Vec<usize> {
    let mut order: Vec<usize> = (0..world.pools.len()).collect();
    order.sort_by_key(|&pool| {
        let pool = &world.pools[pool];
        (Reverse(pool.weight), Reverse(pool.name.as_str()))
    });
    order
}

fn tainted(world: &World, ranks: &[usize]) -> Vec<(Vec<k8s_openapi::api::core::v1::Taint>, Bits)> {
    let mut sets: Vec<(Vec<k8s_openapi::api::core::v1::Taint>, Bits)> = Vec::new();
    for (rank, &node) in ranks.iter().enumerate() {
        let taints = &world.nodes[node].taints;
        match sets.iter_mut().find(|(known, _)| known == taints) {
            Some((_, nodes)) => nodes.insert(rank),
            None => sets.push((taints.clone(), Bits::only(rank))),
        }
    }
    sets
}

/// What is left of a node: allocatable less its pods, less what daemons that are not there yet will take.
fn left_on(node: &ClusterNode, daemons: &[Arc<PodFacts>]) -> ResourceList {
    let mut left = node.allocatable.clone();
    let mut present = ResourceList::default();
    for pod in node.pods.iter().filter(|pod| !pod.is_terminal) {
        left.subtract(&pod.requests);
        if pod.is_daemon() {
            present.add(&pod.requests);
        }
    }
    if node.daemons_counted {
        return left;
    }
    let mut expected = ResourceList::default();
    for daemon in daemons {
        if runs(daemon, &node.requirements, &node.taints, AllowUndefined::Nothing) {
            expected.add(&daemon.requests);
        }
    }
    left.difference(&expected.saturating_sub(&present))
}
