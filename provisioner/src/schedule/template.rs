//! What can be bought for a pool, indexed so that "which types still do" is a matter of a few words of bits.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    HostPort, PodFacts, World,
    amounts::{Amounts, Resources},
    bits::Bits,
    map::Map,
    relax,
};
use crate::{
    AllowUndefined, InstanceType, Offering, Requirement, Requirements, ResourceList, karpenter::labels,
    resources, taints,
};

/// What can be bought for a pool.
#[derive(Clone, Debug)]
pub(super) struct Template {
    /// Index of the pool in the world.
    pub pool: usize,
    /// Of the pool, with a host name that no node has.
    pub requirements: Requirements,
    pub types: Vec<TemplateType>,
    pub limits: Option<Limits>,
    /// By type: what is left for pods beside daemons.
    pub room: Vec<Amounts>,
    /// Types by that, for each resource.
    headroom: Vec<Thresholds>,
    pub cells: Vec<Cell>,
    /// By type: in which cells it is sold, and at which price.
    ways: Vec<Vec<(usize, f64)>>,
    by_key: BTreeMap<String, KeyTypes>,
    /// Types on which a daemon takes ports.
    pub with_ports: Bits,
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

/// What a pool may still buy, and what each type takes of that.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// How many nodes more, in billionths.
    pub nodes: Option<i128>,
    /// By limited resource.
    pub left: Vec<i128>,
    names: Vec<String>,
    /// By limited resource and type.
    capacity: Vec<Vec<i128>>,
    greatest: Vec<i128>,
}

/// A way to buy: zone, capacity type and reservation, and the types that are sold in it now.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub offering: Offering,
    pub types: Bits,
}

/// The types that have at least so much of one resource left for pods, by ascending amounts.
#[derive(Clone, Debug, Default)]
struct Thresholds {
    amounts: Vec<i128>,
    at_least: Vec<Bits>,
}

/// What types say of one label.
#[derive(Clone, Debug, Default)]
struct KeyTypes {
    defined: Vec<(Requirement, Bits)>,
    undefined: Bits,
}

/// The host name of every planned node until it is bought.
pub(super) const PLACEHOLDER: &str = "hostname-placeholder-0001";

impl Template {
    pub(super) fn new(world: &World, pool: usize, resources: &Resources) -> Self {
        let index = pool;
        let pool = &world.pools[index];
        let types: Vec<TemplateType> = pool
            .catalog
            .instance_types
            .iter()
            .filter(|it| it.requirements.intersects(&pool.requirements).is_ok())
            .filter(|it| it.available_offerings(&pool.requirements).next().is_some())
            .map(|it| template_type(world, index, it))
            .collect();
        let room: Vec<Amounts> = types
            .iter()
            .map(|it| match it.daemons.0.is_empty() {
                true => resources.amounts(&it.allocatable),
                false => resources.amounts(&it.allocatable.difference(&it.daemons)),
            })
            .collect();
        let (cells, ways) = cells(&types);
        let mut requirements = pool.requirements.clone();
        requirements.set(Requirement::one_of(labels::HOSTNAME, [PLACEHOLDER]));
        Self {
            pool: index,
            requirements,
            limits: pool
                .limits
                .as_ref()
                .map(|limits| Limits::new(world, index, limits, &types)),
            headroom: (0..resources.len())
                .map(|resource| thresholds(&room, resource))
                .collect(),
            room,
            cells,
            ways,
            by_key: by_key(&types),
            with_ports: (0..types.len())
                .filter(|&t| !types[t].daemon_ports.is_empty())
                .collect(),
            types,
        }
    }

    /// Keeps the types of `options` that have room for `requests` beside their daemons.
    pub(super) fn keep_fitting(&self, requests: &[i128], options: &mut Bits) {
        for (thresholds, asked) in self.headroom.iter().zip(requests) {
            let from = thresholds.amounts.partition_point(|amount| amount < asked);
            match thresholds.at_least.get(from) {
                Some(_) if from == 0 && thresholds.amounts[0] >= 0 => {}
                Some(types) => options.keep(types),
                None => {
                    *options = Bits::new();
                    return;
                }
            }
        }
    }

    /// Drops the types of `options` on which a daemon takes one of `ports`.
    pub(super) fn drop_port_conflicts(&self, ports: &BTreeSet<HostPort>, options: &mut Bits) {
        if ports.is_empty() || !self.with_ports.meets(options) {
            return;
        }
        let taken = |option: &usize| {
            let daemons = &self.types[*option].daemon_ports;
            ports
                .iter()
                .any(|port| daemons.iter().any(|daemon| daemon.conflicts(port)))
        };
        let conflicting: Bits = self.with_ports.both(options).iter().filter(taken).collect();
        options.drop_all(&conflicting);
    }

    /// The types that meet requirements.
    pub(super) fn meeting(&self, requirements: &Requirements) -> Bits {
        let mut meeting = Bits::below(self.types.len());
        for wanted in requirements.iter() {
            let Some(of_key) = self.by_key.get(wanted.key()) else {
                continue;
            };
            let mut possible = of_key.undefined.clone();
            for (offered, types) in &of_key.defined {
                if offered.intersects(wanted) || (offered.allows_absence() && wanted.allows_absence()) {
                    possible.join(types);
                }
            }
            meeting.keep(&possible);
        }
        meeting
    }

    /// The cells that requirements allow.
    pub(super) fn allowed_cells(&self, requirements: &Requirements) -> Bits {
        (0..self.cells.len())
            .filter(|&cell| requirements.allows_offering(&self.cells[cell].offering))
            .collect()
    }

    /// The types that are sold in one of some cells.
    pub(super) fn sold_in(&self, cells: &Bits) -> Bits {
        let mut sold = Bits::new();
        cells.iter().for_each(|cell| sold.join(&self.cells[cell].types));
        sold
    }

    /// What a type costs at least in one of some cells.
    pub(super) fn price_in(&self, option: usize, cells: &Bits) -> Option<f64> {
        let ways = self.ways[option].iter().filter(|(cell, _)| cells.has(*cell));
        ways.map(|(_, price)| *price).min_by(f64::total_cmp)
    }

    /// Values of a label by the types that may have them.
    pub(super) fn values(&self, key: &str) -> BTreeMap<&str, Bits> {
        let mut values: BTreeMap<&str, Bits> = BTreeMap::new();
        for (offered, types) in self.by_key.get(key).iter().flat_map(|of_key| &of_key.defined) {
            for value in offered.finite().into_iter().flatten() {
                values.entry(value).or_default().join(types);
            }
        }
        values
    }
}

impl Limits {
    fn new(world: &World, pool: usize, limits: &ResourceList, types: &[TemplateType]) -> Self {
        let name = &world.pools[pool].name;
        let mut used = ResourceList::default();
        for node in world
            .nodes
            .iter()
            .filter(|node| !node.deleting && node.pool.as_ref() == Some(name))
        {
            used.add(&used_of(&node.capacity));
        }
        let left = |name: &str| (limits.get(name) - used.get(name)).nanos();
        let names: Vec<String> = limits
            .0
            .keys()
            .filter(|name| *name != resources::NODES)
            .cloned()
            .collect();
        let capacity: Vec<Vec<i128>> = names
            .iter()
            .map(|name| {
                types
                    .iter()
                    .map(|it| it.instance_type.capacity.get(name).nanos())
                    .collect()
            })
            .collect();
        Self {
            nodes: limits
                .0
                .contains_key(resources::NODES)
                .then(|| left(resources::NODES)),
            left: names.iter().map(|name| left(name)).collect(),
            greatest: capacity
                .iter()
                .map(|of_types| of_types.iter().copied().max().unwrap_or(0))
                .collect(),
            names,
            capacity,
        }
    }

    /// Whether not even one node more may be bought.
    pub(super) fn is_out_of_nodes(&self) -> bool {
        self.nodes.is_some_and(|nodes| nodes < NODE)
    }

    /// Drops the types that are too big for what is left.
    pub(super) fn keep_affordable(&self, options: &mut Bits) {
        for ((left, greatest), capacity) in self.left.iter().zip(&self.greatest).zip(&self.capacity) {
            if greatest > left {
                let too_big: Bits = options
                    .iter()
                    .filter(|&option| capacity[option] > *left)
                    .collect();
                options.drop_all(&too_big);
            }
        }
    }

    /// Takes what a node that may be any of `options` can use at most.
    pub(super) fn take(&mut self, amounts: &[i128]) {
        for (left, amount) in self.left.iter_mut().zip(amounts) {
            *left -= amount;
        }
        if let Some(nodes) = &mut self.nodes {
            *nodes -= NODE;
        }
    }

    /// A node of this capacity no longer counts.
    pub(super) fn give_back(&mut self, capacity: &ResourceList) {
        for (left, name) in self.left.iter_mut().zip(&self.names) {
            *left += capacity.get(name).nanos();
        }
        if let Some(nodes) = &mut self.nodes {
            *nodes += NODE;
        }
    }

    /// By limited resource, the most that one of `options` has.
    pub(super) fn greatest_of(&self, options: &Bits) -> Vec<i128> {
        self.capacity
            .iter()
            .map(|of_types| options.iter().map(|option| of_types[option]).max().unwrap_or(0))
            .collect()
    }
}

/// One node, in billionths.
const NODE: i128 = 1_000_000_000;

/// What a node of this capacity takes of its pool's limits.
fn used_of(capacity: &ResourceList) -> ResourceList {
    capacity
        .clone()
        .with(resources::NODES, scaler_api::Quantity::from_units(1))
}

fn thresholds(room: &[Amounts], resource: usize) -> Thresholds {
    let mut descending: Vec<(i128, usize)> = room
        .iter()
        .enumerate()
        .map(|(option, room)| (room[resource], option))
        .collect();
    descending.sort_unstable_by(|a, b| b.cmp(a));
    let mut thresholds = Thresholds::default();
    let mut types = Bits::new();
    for (amount, option) in descending {
        types.insert(option);
        if thresholds.amounts.last() == Some(&amount) {
            thresholds.amounts.pop();
            thresholds.at_least.pop();
        }
        thresholds.amounts.push(amount);
        thresholds.at_least.push(types.clone());
    }
    thresholds.amounts.reverse();
    thresholds.at_least.reverse();
    thresholds
}

/// The cells in order; by type, in which of them it is sold at which price.
fn cells(types: &[TemplateType]) -> (Vec<Cell>, Vec<Vec<(usize, f64)>>) {
    let mut met: Map<Way<'_>, usize> = Map::default();
    let mut cells: Vec<Cell> = Vec::new();
    let mut ways: Vec<Vec<(usize, f64)>> = Vec::with_capacity(types.len());
    for (option, it) in types.iter().enumerate() {
        let mut sold = Vec::with_capacity(it.instance_type.offerings.len());
        for offering in it.sold() {
            let cell = *met.entry(way(offering)).or_insert_with(|| {
                cells.push(Cell {
                    offering: offering.clone(),
                    types: Bits::new(),
                });
                cells.len() - 1
            });
            cells[cell].types.insert(option);
            sold.push((cell, offering.price));
        }
        ways.push(sold);
    }
    // They were numbered as they were met.
    let mut order: Vec<(Way<'_>, usize)> = met.into_iter().collect();
    order.sort_unstable();
    let mut numbers = vec![0; cells.len()];
    for (number, (_, cell)) in order.iter().enumerate() {
        numbers[*cell] = number;
    }
    for (cell, _) in ways.iter_mut().flatten() {
        *cell = numbers[*cell];
    }
    let mut numbered: Vec<(usize, Cell)> = numbers.into_iter().zip(cells).collect();
    numbered.sort_unstable_by_key(|(number, _)| *number);
    (numbered.into_iter().map(|(_, cell)| cell).collect(), ways)
}

/// Zone, capacity type and reservation.
type Way<'a> = (&'a str, crate::CapacityType, Option<&'a str>);

/// How an offering is bought.
fn way(offering: &Offering) -> Way<'_> {
    (
        &offering.zone,
        offering.capacity_type,
        offering.reservation_id.as_deref(),
    )
}

impl TemplateType {
    /// What can be bought now.
    fn sold(&self) -> impl Iterator<Item = &Offering> {
        self.instance_type
            .offerings
            .iter()
            .filter(|offering| offering.available)
    }
}

fn by_key(types: &[TemplateType]) -> BTreeMap<String, KeyTypes> {
    // Few requirements on a label begin with the same value.
    type ByFirst<'t> = Map<Option<&'t str>, Vec<(&'t Requirement, Bits)>>;
    let mut seen: BTreeMap<&str, ByFirst<'_>> = BTreeMap::new();
    for (option, it) in types.iter().enumerate() {
        for requirement in it.instance_type.requirements.iter() {
            let first = requirement
                .finite()
                .and_then(|values| values.first())
                .map(String::as_str);
            let of_key = seen.entry(requirement.key()).or_default();
            let alike = of_key.entry(first).or_default();
            match alike.iter_mut().find(|(known, _)| *known == requirement) {
                Some((_, types)) => types.insert(option),
                None => alike.push((requirement, Bits::only(option))),
            }
        }
    }
    let listed = seen.into_iter().map(|(key, of_key)| {
        let mut defined: Vec<(Requirement, Bits)> = of_key
            .into_values()
            .flatten()
            .map(|(requirement, types)| (requirement.clone(), types))
            .collect();
        defined.sort_by_key(|(_, types)| types.first());
        let mut undefined = Bits::below(types.len());
        defined.iter().for_each(|(_, types)| undefined.drop_all(types));
        (key.to_owned(), KeyTypes { defined, undefined })
    });
    listed.collect()
}

fn template_type(world: &World, pool: usize, it: &Arc<InstanceType>) -> TemplateType {
    let (mut daemons, mut daemon_ports) = (ResourceList::default(), BTreeSet::new());
    if !world.daemons.is_empty() {
        let pool = &world.pools[pool];
        let mut node = pool.requirements.intersection(&it.requirements);
        for label in [labels::REGISTERED, labels::INITIALIZED] {
            node.add(Requirement::one_of(label, ["true"]));
        }
        for daemon in &world.daemons {
            if runs(daemon, &node, &pool.taints, AllowUndefined::WellKnown) {
                daemons.add(&daemon.requests);
                daemon_ports.extend(daemon.host_ports.iter().cloned());
            }
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
pub(super) fn runs(
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
