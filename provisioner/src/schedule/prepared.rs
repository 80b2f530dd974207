//! One snapshot, made ready once, for any number of questions.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use scaler_api::Quantity;

use super::{ClusterNode, HostPort, PodFacts, Refusal, World, relax};
use crate::{AllowUndefined, InstanceType, Requirements, ResourceList, karpenter::labels, resources, taints};

/// A [`World`] made ready: what each pool can buy with what daemons take of it, and what is left on each node. It is
/// immutable; questions are asked with an [`Overlay`](super::Overlay).
#[derive(Clone, Debug)]
pub struct Prepared {
    pub(super) world: World,
    pub(super) templates: Vec<Template>,
    /// Nodes that may take pods, in the order in which they are tried.
    pub(super) node_order: Vec<usize>,
    /// What is left on each node.
    pub(super) remaining: Vec<ResourceList>,
    /// Pods that keep others away, with their node.
    pub(super) keeping_away: Vec<(usize, Arc<PodFacts>)>,
    /// Whether a pool has a `PreferNoSchedule` taint, so that tolerating it is worth a try.
    pub(super) has_preferred_taint: bool,
    names: BTreeMap<String, usize>,
}

/// What can be bought for a pool.
#[derive(Clone, Debug)]
pub(super) struct Template {
    /// Index of the pool in the world.
    pub pool: usize,
    pub requirements: Requirements,
    pub types: Vec<TemplateType>,
    /// What may still be bought, all nodes that are there counted.
    pub left: Option<ResourceList>,
}

/// An instance type for a pool.
#[derive(Clone, Debug)]
pub(super) struct TemplateType {
    pub instance_type: Arc<InstanceType>,
    pub allocatable: ResourceList,
    /// What daemons take of it.
    pub daemons: ResourceList,
    pub daemon_ports: BTreeSet<HostPort>,
}

impl Template {
    /// The domains of a label that types among `options` can be bought in under `requirements`.
    pub(super) fn domains(
        &self,
        options: &[usize],
        key: &str,
        requirements: &Requirements,
    ) -> BTreeSet<String> {
        let mut domains = BTreeSet::new();
        for &option in options {
            let it = &self.types[option].instance_type;
            match key {
                labels::ZONE => domains.extend(it.available_offerings(requirements).map(|o| o.zone.clone())),
                labels::CAPACITY_TYPE => {
                    domains.extend(
                        it.available_offerings(requirements)
                            .map(|o| o.capacity_type.to_string()),
                    );
                }
                _ => domains.extend(
                    it.requirements
                        .get(key)
                        .and_then(|r| r.finite())
                        .into_iter()
                        .flatten()
                        .cloned(),
                ),
            }
        }
        if domains.is_empty() {
            domains.extend(
                requirements
                    .get(key)
                    .and_then(|r| r.finite())
                    .into_iter()
                    .flatten()
                    .cloned(),
            );
        }
        domains.retain(|domain| requirements.allows(key, domain));
        domains
    }
}

impl Prepared {
    /// Makes a world ready.
    #[must_use]
    pub fn new(world: World) -> Self {
        let mut order: Vec<usize> = (0..world.pools.len()).collect();
        order.sort_by_key(|&pool| {
            (
                Reverse(world.pools[pool].weight),
                Reverse(world.pools[pool].name.clone()),
            )
        });
        let templates = order.into_iter().map(|pool| template(&world, pool)).collect();
        let mut node_order: Vec<usize> = (0..world.nodes.len())
            .filter(|&node| !world.nodes[node].deleting)
            .collect();
        node_order.sort_by_key(|&node| (!world.nodes[node].initialized, world.nodes[node].name.clone()));
        let remaining = world
            .nodes
            .iter()
            .map(|node| left_on(node, &world.daemons))
            .collect();
        let keeping_away = world
            .nodes
            .iter()
            .enumerate()
            .flat_map(|(index, node)| node.pods.iter().map(move |pod| (index, pod)))
            .filter(|(_, pod)| pod.is_active() && !pod.anti_affinity.is_empty())
            .map(|(index, pod)| (index, Arc::clone(pod)))
            .collect();
        let pool_taints = world.pools.iter().flat_map(|pool| &pool.taints);
        let has_preferred_taint = pool_taints
            .into_iter()
            .any(|taint| taint.effect == "PreferNoSchedule");
        let names = world
            .nodes
            .iter()
            .enumerate()
            .map(|(index, node)| (node.name.clone(), index))
            .collect();
        Self {
            templates,
            node_order,
            remaining,
            keeping_away,
            has_preferred_taint,
            names,
            world,
        }
    }

    /// The world that it was made of.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// A node by name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&ClusterNode> {
        self.names.get(name).map(|&index| &self.world.nodes[index])
    }

    /// What is left for pods on a node, what daemons will still take being left out.
    #[must_use]
    pub fn remaining(&self, name: &str) -> Option<&ResourceList> {
        self.names.get(name).map(|&index| &self.remaining[index])
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

    pub(super) fn index_of(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }
}

fn template(world: &World, index: usize) -> Template {
    let pool = &world.pools[index];
    let types = pool
        .catalog
        .instance_types
        .iter()
        .filter(|it| it.requirements.intersects(&pool.requirements).is_ok())
        .filter(|it| it.available_offerings(&pool.requirements).next().is_some())
        .map(|it| template_type(world, index, it))
        .collect();
    let left = pool.limits.as_ref().map(|limits| {
        let mut used = ResourceList::default();
        for node in world
            .nodes
            .iter()
            .filter(|node| !node.deleting && node.pool.as_ref() == Some(&pool.name))
        {
            used.add(&used_of(&node.capacity));
        }
        limits
            .0
            .keys()
            .map(|name| (name.clone(), limits.get(name) - used.get(name)))
            .collect()
    });
    Template {
        pool: index,
        requirements: pool.requirements.clone(),
        types,
        left,
    }
}

/// What a node of this capacity takes of its pool's limits.
pub(super) fn used_of(capacity: &ResourceList) -> ResourceList {
    capacity.clone().with(resources::NODES, Quantity::from_units(1))
}

fn template_type(world: &World, pool: usize, it: &Arc<InstanceType>) -> TemplateType {
    let pool = &world.pools[pool];
    let mut node = pool.requirements.intersection(&it.requirements);
    for label in [labels::REGISTERED, labels::INITIALIZED] {
        node.add(crate::Requirement::one_of(label, ["true"]));
    }
    let (mut daemons, mut daemon_ports) = (ResourceList::default(), BTreeSet::new());
    for daemon in &world.daemons {
        if runs(daemon, &node, &pool.taints, AllowUndefined::WellKnown) {
            daemons.add(&daemon.requests);
            daemon_ports.extend(daemon.host_ports.iter().cloned());
        }
    }
    TemplateType {
        instance_type: Arc::clone(it),
        allocatable: it.allocatable(),
        daemons,
        daemon_ports,
    }
}

/// Whether a daemon will run on a node.
fn runs(
    daemon: &PodFacts,
    node: &Requirements,
    node_taints: &[k8s_openapi::api::core::v1::Taint],
    allow: AllowUndefined,
) -> bool {
    let mut tolerations = daemon.tolerations.clone();
    tolerations.push(taints::tolerates_preferred());
    taints::tolerates_all(&tolerations, node_taints).is_ok()
        && relax::alternatives(daemon)
            .iter()
            .any(|asked| node.compatible(asked, allow).is_ok())
}

/// What is left of a node: allocatable less its pods, less what daemons that are not there yet will take.
fn left_on(node: &ClusterNode, daemons: &[Arc<PodFacts>]) -> ResourceList {
    let mut left = node.allocatable.clone();
    let mut present = ResourceList::default();
    for pod in node.pods.iter().filter(|pod| !pod.is_terminal) {
        left = left.difference(&pod.requests);
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

/// The pool cannot buy at all, and why.
pub(super) fn unbuyable(template: &Template) -> Option<Refusal> {
    template.types.is_empty().then_some(Refusal::NothingToBuy)
}
