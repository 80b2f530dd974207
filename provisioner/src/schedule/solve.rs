//! First-fit decreasing, in Karpenter's order.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use super::{
    Budget, HostPort, Overlay, Plan, PodFacts, PodKey, Prepared, Reason, Refusal, VolumeNeeds,
    claim::{Candidate, OpenClaim},
    prepared::used_of,
    relax::{Ask, Relaxation},
    topology::{OwnGroups, Site, Topology},
};
use crate::{AllowUndefined, ResourceList, resources, taints};

/// What changes on a node while a plan is made.
#[derive(Clone, Debug)]
struct NodeState {
    left: ResourceList,
    host_ports: BTreeSet<HostPort>,
    pods: Vec<PodKey>,
}

struct Solver<'a> {
    prepared: &'a Prepared,
    overlay: &'a Overlay,
    /// Pods that the overlay moves.
    moved: BTreeSet<&'a PodKey>,
    topology: Topology,
    own: BTreeMap<&'a PodKey, OwnGroups>,
    /// Nodes that got a pod; the others are as prepared.
    nodes: BTreeMap<usize, NodeState>,
    claims: Vec<OpenClaim>,
    /// What each template may still buy.
    left: Vec<Option<ResourceList>>,
}

pub(super) fn solve(prepared: &Prepared, pods: &[Arc<PodFacts>], overlay: &Overlay, budget: Budget) -> Plan {
    let mut solver = Solver::new(prepared, pods, overlay);
    let mut queue: VecDeque<&PodFacts> = in_order(pods).into();
    let mut reasons: BTreeMap<&PodKey, Reason> = BTreeMap::new();
    let mut seen: BTreeMap<&PodKey, usize> = BTreeMap::new();
    let mut attempts = 0;
    while let Some(pod) = queue.pop_front() {
        // A pod that comes round at the same length of the queue has seen no progress since.
        let exhausted = budget.attempts.is_some_and(|most| attempts >= most);
        if exhausted || seen.get(&pod.key) == Some(&(queue.len() + 1)) {
            queue.push_front(pod);
            break;
        }
        attempts += 1;
        match solver.place(pod) {
            Ok(()) => drop(reasons.remove(&pod.key)),
            Err(reason) => {
                seen.insert(&pod.key, queue.len() + 1);
                reasons.insert(&pod.key, reason);
                queue.push_back(pod);
            }
        }
    }
    let unschedulable = queue
        .iter()
        .map(|pod| {
            (
                pod.key.clone(),
                reasons.remove(&pod.key).unwrap_or(Reason::NotTried),
            )
        })
        .collect();
    solver.finish(unschedulable)
}

/// CPU, then memory, greatest first; then age; then uid.
fn in_order(pods: &[Arc<PodFacts>]) -> Vec<&PodFacts> {
    let mut ordered: Vec<&PodFacts> = pods.iter().map(Arc::as_ref).collect();
    let greatness = |pod: &PodFacts, name: &str| Reverse(pod.requests.get(name));
    ordered.sort_by(|a, b| {
        greatness(a, resources::CPU)
            .cmp(&greatness(b, resources::CPU))
            .then_with(|| greatness(a, resources::MEMORY).cmp(&greatness(b, resources::MEMORY)))
            .then_with(|| a.created_at.cmp(&b.created_at))
            .then_with(|| a.uid.cmp(&b.uid))
            .then_with(|| a.key.cmp(&b.key))
    });
    ordered
}

impl<'a> Solver<'a> {
    fn new(prepared: &'a Prepared, pods: &'a [Arc<PodFacts>], overlay: &'a Overlay) -> Self {
        let removed: BTreeSet<usize> = overlay
            .removed
            .iter()
            .filter_map(|name| prepared.index_of(name))
            .collect();
        let placing: BTreeSet<&PodKey> = pods.iter().map(|pod| &pod.key).collect();
        let counted = |node: usize, pod: &PodFacts| !removed.contains(&node) && !placing.contains(&pod.key);
        let (topology, own) = Topology::new(prepared, pods, &counted);
        let on_removed = removed.iter().flat_map(|&node| &prepared.world.nodes[node].pods);
        let moved = if overlay.consolidating {
            on_removed.map(|pod| &pod.key).collect()
        } else {
            BTreeSet::new()
        };
        let mut solver = Self {
            prepared,
            overlay,
            moved,
            topology,
            own: pods.iter().map(|pod| &pod.key).zip(own).collect(),
            nodes: BTreeMap::new(),
            claims: Vec::new(),
            left: prepared
                .templates
                .iter()
                .map(|template| template.left.clone())
                .collect(),
        };
        for node in removed {
            solver.give_back(node);
        }
        solver
    }

    /// A removed node no longer counts against its pool's limits.
    fn give_back(&mut self, node: usize) {
        let node = &self.prepared.world.nodes[node];
        for (template, left) in self.prepared.templates.iter().zip(&mut self.left) {
            let of_pool = node.pool.as_ref() == Some(&self.prepared.world.pools[template.pool].name);
            if let Some(left) = left.as_mut().filter(|_| of_pool && !node.deleting) {
                let used = used_of(&node.capacity);
                left.0
                    .iter_mut()
                    .for_each(|(name, amount)| *amount += used.get(name));
            }
        }
    }

    /// Finds a place, giving up wishes one by one.
    fn place(&mut self, pod: &PodFacts) -> Result<(), Reason> {
        if let Some(problem) = &pod.problem {
            return Err(Reason::Rejected(problem.clone()));
        }
        if let VolumeNeeds::Unresolved(claims) = &pod.volumes {
            let claims = claims.join(", ");
            return Err(Reason::Rejected(format!(
                "persistent volume claims were not looked up (claims={claims})"
            )));
        }
        let own = self.own.get(&pod.key).cloned().unwrap_or_default();
        let mut relaxation = Relaxation::default();
        loop {
            let ask = Ask::of(pod, relaxation);
            let candidate = Candidate {
                pod,
                own: &own,
                relaxation,
                ask: &ask,
            };
            if self.place_existing(&candidate) || self.place_in_flight(&candidate) {
                return Ok(());
            }
            let Err(reason) = self.place_new(&candidate) else {
                return Ok(());
            };
            if !relaxation.step(pod, self.prepared.has_preferred_taint) {
                return Err(reason);
            }
        }
    }

    fn place_existing(&mut self, candidate: &Candidate<'_>) -> bool {
        let moved = self.moved.contains(&candidate.pod.key);
        let prepared = self.prepared;
        for &index in &prepared.node_order {
            let node = &prepared.world.nodes[index];
            if self.overlay.removed.contains(&node.name)
                || (moved && !(node.takes_moved_pods && node.initialized))
            {
                continue;
            }
            if self.fits_node(index, candidate).is_ok() {
                self.put_on(index, candidate);
                return true;
            }
        }
        false
    }

    /// Whether a pod can go to a node that is there.
    fn fits_node(&self, index: usize, candidate: &Candidate<'_>) -> Result<(), Refusal> {
        let node = &self.prepared.world.nodes[index];
        let state = self.nodes.get(&index);
        let left = state.map_or(&self.prepared.remaining[index], |state| &state.left);
        let pod = candidate.pod;
        if !pod.requests.fits(left) {
            return Err(Refusal::Resources(
                pod.requests.exceeds(left).unwrap_or_default().to_owned(),
            ));
        }
        taints::tolerates_all(&candidate.ask.tolerations, &node.taints).map_err(Refusal::Taint)?;
        let taken = |port: &HostPort| match state {
            Some(state) => state.host_ports.iter().any(|other| other.conflicts(port)),
            None => node
                .pods
                .iter()
                .any(|pod| pod.host_ports.iter().any(|other| other.conflicts(port))),
        };
        if pod.host_ports.iter().any(taken) {
            return Err(Refusal::HostPort);
        }
        let mut refusal = Refusal::HostPort;
        for volumes in &candidate.ask.volumes {
            let asked = candidate.ask.requirements.intersection(volumes);
            if let Err(why) = node.requirements.compatible(&asked, AllowUndefined::Nothing) {
                refusal = Refusal::Requirements(why);
                continue;
            }
            if !node.requirements.guarantees(&asked) {
                // A claim on its way may still become something else; waiting for it could misplace the pod.
                continue;
            }
            let site = Site {
                requirements: &node.requirements,
                taints: &node.taints,
                domains: &|_| None,
            };
            let strict = candidate.ask.strict.intersection(volumes);
            match self
                .topology
                .narrow(pod, candidate.own, candidate.relaxation, &strict, &site)
            {
                Ok(narrowed) if node.requirements.guarantees(&narrowed) => return Ok(()),
                Ok(_) => {}
                Err(why) => refusal = Refusal::Topology(why),
            }
        }
        Err(refusal)
    }

    fn put_on(&mut self, index: usize, candidate: &Candidate<'_>) {
        let node = &self.prepared.world.nodes[index];
        let state = self.nodes.entry(index).or_insert_with(|| NodeState {
            left: self.prepared.remaining[index].clone(),
            host_ports: node
                .pods
                .iter()
                .flat_map(|pod| pod.host_ports.iter().cloned())
                .collect(),
            pods: Vec::new(),
        });
        state.left = state.left.difference(&candidate.pod.requests);
        state.host_ports.extend(candidate.pod.host_ports.iter().cloned());
        state.pods.push(candidate.pod.key.clone());
        let site = Site {
            requirements: &node.requirements,
            taints: &node.taints,
            domains: &|_| None,
        };
        self.topology.place(candidate.pod, candidate.own, &site);
    }

    fn place_in_flight(&mut self, candidate: &Candidate<'_>) -> bool {
        let mut order: Vec<usize> = (0..self.claims.len()).collect();
        order.sort_by_key(|&claim| self.claims[claim].pods.len());
        for index in order {
            let claim = &self.claims[index];
            let template = &self.prepared.templates[claim.template];
            let pool = &self.prepared.world.pools[template.pool];
            let strict = super::MinValuesPolicy::Strict;
            if let Ok(added) = claim.try_add(template, &pool.taints, candidate, &self.topology, strict) {
                self.claims[index].add(template, candidate, added, &mut self.topology);
                return true;
            }
        }
        false
    }

    fn place_new(&mut self, candidate: &Candidate<'_>) -> Result<(), Reason> {
        let prepared = self.prepared;
        if prepared.templates.is_empty() {
            return Err(Reason::NoPools);
        }
        let mut refusals = Vec::new();
        for (index, template) in prepared.templates.iter().enumerate() {
            let pool = &prepared.world.pools[template.pool];
            let opened = OpenClaim::open(index, template, self.claims.len() + 1, self.left[index].as_ref());
            let tried = opened.and_then(|claim| {
                let policy = prepared.world.min_values;
                let added = claim.try_add(template, &pool.taints, candidate, &self.topology, policy)?;
                Ok((claim, added))
            });
            match tried {
                Ok((mut claim, added)) => {
                    claim.add(template, candidate, added, &mut self.topology);
                    claim.passed_over = refusals;
                    self.take(template.pool, &claim.greatest_capacity(template));
                    self.claims.push(claim);
                    return Ok(());
                }
                Err(refusal) => refusals.push((pool.name.clone(), refusal)),
            }
        }
        Err(Reason::Pools(refusals))
    }

    /// Takes what a new node may use at most from its pool's limits.
    fn take(&mut self, pool: usize, capacity: &ResourceList) {
        let used = used_of(capacity);
        for (template, left) in self.prepared.templates.iter().zip(&mut self.left) {
            if let Some(left) = left.as_mut().filter(|_| template.pool == pool) {
                left.0
                    .iter_mut()
                    .for_each(|(name, amount)| *amount -= used.get(name));
            }
        }
    }

    fn finish(self, unschedulable: Vec<(PodKey, Reason)>) -> Plan {
        let prepared = self.prepared;
        let mut nodes = self.nodes;
        let existing = prepared
            .node_order
            .iter()
            .filter_map(|index| {
                Some((
                    prepared.world.nodes[*index].name.clone(),
                    nodes.remove(index)?.pods,
                ))
            })
            .collect();
        let finish = |claim: OpenClaim| {
            let template = &prepared.templates[claim.template];
            claim.finish(template, &prepared.world.pools[template.pool].name)
        };
        let new: Vec<_> = self.claims.into_iter().filter_map(finish).collect();
        let price_per_hour = new.iter().map(super::PlannedNode::price).sum();
        Plan {
            existing,
            new,
            unschedulable,
            price_per_hour,
            strategy: "first-fit-decreasing",
        }
    }
}
