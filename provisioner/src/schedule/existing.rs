//! Nodes that are there: the first one, in order, that takes a pod.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    HostPort, Prepared,
    amounts::{self, Amounts},
    solve::{Solver, Target},
    topology::{Site, Topology},
    wishes::Wishes,
};

type Attachments = BTreeMap<String, BTreeSet<String>>;

/// What changes on a node while a plan is made.
#[derive(Clone, Debug)]
pub(super) struct NodeState {
    left: Amounts,
    host_ports: BTreeSet<HostPort>,
    /// Volumes of the pods that were placed on it, by driver.
    attached: Attachments,
    pub pods: Vec<usize>,
}

impl Solver<'_> {
    /// Places a pod on the first node that takes it, if one does.
    pub(super) fn place_existing(
        &mut self,
        pod: usize,
        class: usize,
        step: usize,
        wishes: &[(usize, Wishes)],
    ) -> bool {
        if self.prepared.open == 0 {
            return false;
        }
        let of_class = &self.classes.all[class];
        let of_step = &of_class.steps[step];
        let ask = &self.asks.all[of_step.ask];
        let shape = &mut self.classes.shapes[of_step.shape];
        for (number, wishes) in wishes {
            let mut candidates = self.asks.alternatives[*number].welcoming.as_ref().clone();
            candidates.drop_all(&shape.refused_nodes);
            candidates.drop_all(&self.closed);
            if self.is_moved.has(pod) {
                candidates.drop_all(&self.closed_to_moved);
            }
            if let Some(tolerated) = &ask.tolerated {
                candidates.keep(tolerated);
            }
            candidates.drop_all(&wishes.refused_nodes);
            if let Some(only) = &wishes.only_nodes {
                candidates.keep(only);
            }
            for rank in candidates.iter() {
                let node = self.nodes.get(&rank);
                let left = node.map_or(&self.prepared.left[rank], |node| &node.left);
                let ports = &of_class.facts.host_ports;
                if of_class.is_impossible()
                    || !amounts::fits(&of_class.amounts, left)
                    || (!ports.is_empty() && has_conflict(self.prepared, node, rank, ports))
                {
                    shape.refused_nodes.insert(rank);
                    continue;
                }
                let attachments = &of_class.facts.attachments;
                if !attachments.is_empty() && is_over_limit(self.prepared, node, rank, attachments) {
                    continue;
                }
                if allows_node(&self.topology, wishes, rank) {
                    self.put_on(rank, pod, class);
                    return true;
                }
            }
        }
        false
    }

    pub(super) fn put_on(&mut self, rank: usize, pod: usize, class: usize) {
        let prepared = self.prepared;
        let of_class = &self.classes.all[class];
        let state = self.nodes.entry(rank).or_insert_with(|| NodeState {
            left: prepared.left[rank].clone(),
            host_ports: taken_ports(prepared, rank).cloned().collect(),
            attached: Attachments::new(),
            pods: Vec::new(),
        });
        amounts::subtract(&mut state.left, &of_class.amounts);
        state.host_ports.extend(of_class.facts.host_ports.iter().cloned());
        for (driver, volumes) in &of_class.facts.attachments {
            let attached = state.attached.entry(driver.clone()).or_default();
            attached.extend(volumes.iter().cloned());
        }
        state.pods.push(pod);
        self.last = Some(Target::Node(rank));
        self.topology
            .place(of_class.label_set, &of_class.own, Site::Node(rank), &self.states);
    }
}

fn taken_ports(prepared: &Prepared, rank: usize) -> impl Iterator<Item = &HostPort> {
    prepared.node_at(rank).pods.iter().flat_map(|pod| &pod.host_ports)
}

fn has_conflict(
    prepared: &Prepared,
    node: Option<&NodeState>,
    rank: usize,
    ports: &BTreeSet<HostPort>,
) -> bool {
    let taken = |port: &HostPort| match node {
        Some(node) => node.host_ports.iter().any(|other| other.conflicts(port)),
        None => taken_ports(prepared, rank).any(|other| other.conflicts(port)),
    };
    ports.iter().any(taken)
}

/// Whether a node would have more volumes of a driver than it can, each counted once.
fn is_over_limit(prepared: &Prepared, node: Option<&NodeState>, rank: usize, wanted: &Attachments) -> bool {
    let there = prepared.node_at(rank);
    wanted.iter().any(|(driver, wanted)| {
        let Some(&limit) = there.volume_limits.get(driver) else {
            return false;
        };
        let running = there.pods.iter().filter(|pod| !pod.is_terminal);
        let mut volumes: BTreeSet<&String> = running
            .filter_map(|pod| pod.attachments.get(driver))
            .flatten()
            .collect();
        volumes.extend(
            node.and_then(|node| node.attached.get(driver))
                .into_iter()
                .flatten(),
        );
        volumes.extend(wanted);
        u32::try_from(volumes.len()).unwrap_or(u32::MAX) > limit
    })
}

/// Whether a node that is there is where the groups of a pod leave it to be, wherever it may turn out to be.
fn allows_node(topology: &Topology<'_>, wishes: &Wishes, rank: usize) -> bool {
    if wishes.needs_host && topology.is_nameless(rank) {
        return false;
    }
    wishes.keys.iter().all(|wish| {
        let domains = &topology.keys[wish.key].index.of_node[rank];
        let chosen = wish.choose(domains.clone(), topology);
        !chosen.is_empty() && domains.is_within(&chosen)
    })
}
