//! First-fit decreasing, in Karpenter's order.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
};

use super::{
    Budget, Overlay, PodFacts, Prepared, Reason, Refusal,
    asks::Asks,
    bits::Bits,
    claims::{Claim, Claims},
    classes::Classes,
    cost::Costs,
    existing::NodeState,
    planned::Choice,
    reserved::Ledger,
    states::States,
    template::Limits,
    topology::Topology,
    wishes::Wishes,
};
use crate::resources;

/// One question on its way to an answer.
#[derive(Clone, Debug)]
pub(super) struct Solver<'a> {
    pub(super) prepared: &'a Prepared,
    /// Ranks of nodes that take no pods, and of those that take none that are moved to save money.
    pub(super) closed: Bits,
    pub(super) closed_to_moved: Bits,
    pods: Vec<&'a PodFacts>,
    class_of: Vec<usize>,
    pub(super) is_moved: Bits,
    pub(super) classes: Classes<'a>,
    pub(super) asks: Asks<'a>,
    pub(super) topology: Topology<'a>,
    pub(super) states: States,
    /// By rank: nodes that got a pod; the others are as prepared.
    pub(super) nodes: BTreeMap<usize, NodeState>,
    pub(super) claims: Claims,
    /// By template: what it may still buy, the state of an empty node, and what that may be.
    pub(super) limits: Vec<Option<Limits>>,
    pub(super) empty: Vec<Claim>,
    pub(super) ledger: Ledger,
    /// Whether the last new node was refused for want of reserved capacity.
    pub(super) is_out_of_reserved: bool,
    /// Pods without a place, next first.
    pub(super) order: VecDeque<usize>,
    pub(super) choice: Choice,
    pub(super) costs: Costs,
    /// How many wishes were given up for the pods that have a place.
    pub(super) given_up: usize,
    /// Work done, and where it has to end, in units of [`Budget::price_units`].
    pub(super) work: u64,
    pub(super) most_work: u64,
    /// How many pods were tried, those that came round again counted again.
    attempts: u64,
    /// By pod: how long the queue was when it found no place.
    pub(super) seen: Vec<Option<usize>>,
    /// The places that were found, in order.
    pub(super) log: Vec<Placement>,
    /// Where the last pod went.
    pub(super) last: Option<Target>,
}

/// Where a pod is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The node of this rank.
    Node(usize),
    /// The planned node of this index.
    Claim(usize),
}

/// A place that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    pub pod: usize,
    /// How many wishes it gave up.
    pub step: usize,
    pub target: Target,
}

/// A pod without a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stuck {
    pub pod: usize,
    pub was_tried: bool,
}

impl<'a> Solver<'a> {
    pub(super) fn new(prepared: &'a Prepared, pods: Vec<&'a PodFacts>, overlay: &'a Overlay) -> Self {
        let removed: Bits = overlay
            .removed
            .iter()
            .filter_map(|name| prepared.rank_of(name))
            .collect();
        let mut uncounted: Vec<(usize, usize)> = removed
            .iter()
            .flat_map(|rank| (0..prepared.pods.on(rank).len()).map(move |position| (rank, position)))
            .collect();
        let mut is_moved = Bits::new();
        for (index, pod) in pods.iter().enumerate() {
            if let Some((rank, position)) = prepared.pods.place_of(&pod.key) {
                if !removed.has(rank) {
                    uncounted.push((rank, position));
                } else if overlay.consolidating {
                    is_moved.insert(index);
                }
            }
        }
        let takes_none = |rank: &usize| {
            let node = prepared.node_at(*rank);
            !(node.takes_moved_pods && node.initialized)
        };
        let closed_to_moved = if is_moved.is_empty() {
            Bits::new()
        } else {
            (0..prepared.open).filter(takes_none).collect()
        };
        let mut solver = Self {
            topology: Topology::new(prepared, uncounted),
            asks: Asks::new(prepared),
            classes: Classes::default(),
            states: States::default(),
            class_of: Vec::with_capacity(pods.len()),
            seen: vec![None; pods.len()],
            log: Vec::new(),
            last: None,
            pods,
            nodes: BTreeMap::new(),
            claims: Claims::default(),
            limits: prepared
                .templates
                .iter()
                .map(|template| template.limits.clone())
                .collect(),
            empty: Vec::new(),
            ledger: prepared.reservations.ledger(overlay.removed.is_empty()),
            is_out_of_reserved: false,
            order: VecDeque::new(),
            choice: Choice::FewestPods,
            costs: Costs::new(&prepared.templates, prepared.resources.len()),
            given_up: 0,
            work: 0,
            most_work: u64::MAX,
            attempts: 0,
            closed: removed,
            closed_to_moved,
            is_moved,
            prepared,
        };
        solver.give_back();
        solver.sort_into_classes(0);
        solver.note_domains(0);
        solver.open_empty();
        solver.order = solver.sorted(0).into();
        solver
    }

    /// Takes in pods that came later, at the end of the queue. Whether they change nothing that was worked out for the
    /// others; if they do, `self` is of no use any more.
    pub(super) fn take_in(&mut self, pods: &[&'a PodFacts]) -> bool {
        let extent = |topology: &Topology<'_>| {
            let domains: usize = topology.keys.iter().map(|key| key.len()).sum();
            (topology.groups.len(), topology.keys.len(), domains)
        };
        let before = extent(&self.topology);
        let (first_pod, first_class) = (self.pods.len(), self.classes.all.len());
        if pods
            .iter()
            .any(|pod| self.prepared.pods.place_of(&pod.key).is_some())
        {
            return false;
        }
        self.pods.extend_from_slice(pods);
        self.seen.resize(self.pods.len(), None);
        self.sort_into_classes(first_pod);
        if extent(&self.topology) != before {
            return false;
        }
        self.topology.settle(before.0);
        self.note_domains(first_class);
        let joined = self.sorted(first_pod);
        self.order.extend(joined);
        extent(&self.topology) == before
    }

    /// Removed nodes no longer count against their pools' limits.
    fn give_back(&mut self) {
        for rank in self.closed.iter() {
            let node = self.prepared.node_at(rank);
            for (template, limits) in self.prepared.templates.iter().zip(&mut self.limits) {
                let of_pool = node.pool.as_ref() == Some(&self.prepared.world.pools[template.pool].name);
                if let Some(limits) = limits.as_mut().filter(|_| of_pool && !node.deleting) {
                    limits.give_back(&node.capacity);
                }
            }
        }
    }

    fn sort_into_classes(&mut self, first_pod: usize) {
        for &pod in &self.pods[first_pod..] {
            let class = self.classes.of(pod, &self.prepared.resources, &mut self.topology);
            self.class_of.push(class);
        }
    }

    /// Numbers the domains that pods name, after all groups were made.
    fn note_domains(&mut self, first_class: usize) {
        if first_class == 0 {
            for template in &self.prepared.templates {
                for requirement in template.requirements.iter().filter(|r| r.min_values.is_some()) {
                    self.topology.key(requirement.key());
                }
            }
            self.topology.settle(0);
        }
        for class in &self.classes.all[first_class..] {
            let facts = class.facts;
            let volumes = match &facts.volumes {
                super::VolumeNeeds::Resolved(alternatives) => alternatives.as_slice(),
                _ => &[],
            };
            let preferred = facts.preferred_terms.iter().map(|term| &term.value);
            let all = facts.required_terms.iter().chain(preferred).chain(volumes);
            for requirements in std::iter::once(&facts.selector).chain(all) {
                self.topology
                    .keys
                    .iter_mut()
                    .for_each(|key| key.note(requirements));
            }
        }
    }

    /// An empty node of each template.
    fn open_empty(&mut self) {
        for (index, template) in self.prepared.templates.iter().enumerate() {
            let state = self.states.of(index, template, template.requirements.clone());
            let options = Bits::below(template.types.len());
            self.empty
                .push(Claim::new(index, state, options, self.prepared.resources.len()));
        }
    }

    /// The pods from one on: CPU, then memory, greatest first; then age; then uid.
    fn sorted(&self, first_pod: usize) -> Vec<usize> {
        let greatness = |pod: &PodFacts, name: &str| Reverse(pod.requests.get(name).nanos());
        let mut keyed: Vec<_> = self
            .pods
            .iter()
            .enumerate()
            .skip(first_pod)
            .map(|(index, pod)| {
                let size = (greatness(pod, resources::CPU), greatness(pod, resources::MEMORY));
                (size, pod.created_at, &pod.uid, &pod.key, index)
            })
            .collect();
        keyed.sort_unstable();
        keyed.into_iter().map(|(.., index)| index).collect()
    }

    /// Places pods until all have a place, none makes progress, or the budget ends.
    pub(super) fn run(&mut self, budget: Budget) -> Vec<Stuck> {
        let most = budget.attempts.unwrap_or(u64::MAX);
        self.run_while(|attempts| attempts < most);
        self.settle_reserved();
        self.stuck()
    }

    /// The same until `goes_on` says that it does not, given how many pods were tried. Whether that was all there is to
    /// do; if not, it goes on from there.
    pub(super) fn run_while(&mut self, mut goes_on: impl FnMut(u64) -> bool) -> bool {
        while let Some(pod) = self.order.pop_front() {
            // A pod that comes round at the same length of the queue has seen no progress since.
            let is_through = self.seen[pod] == Some(self.order.len() + 1);
            if is_through || self.work > self.most_work || !goes_on(self.attempts) {
                self.order.push_front(pod);
                return is_through;
            }
            self.attempts += 1;
            if !self.place(pod) {
                self.seen[pod] = Some(self.order.len() + 1);
                self.order.push_back(pod);
            }
        }
        true
    }

    /// The pods without a place.
    pub(super) fn stuck(&self) -> Vec<Stuck> {
        let stuck = |&pod: &usize| Stuck {
            pod,
            was_tried: self.seen[pod].is_some(),
        };
        self.order.iter().map(stuck).collect()
    }

    /// Finds a place, giving up wishes one by one.
    fn place(&mut self, pod: usize) -> bool {
        let class = self.class_of[pod];
        if rejection(self.classes.all[class].facts).is_some() {
            return false;
        }
        let mut step = 0;
        loop {
            if step == self.classes.all[class].steps.len()
                && !self.classes.next_step(
                    class,
                    self.prepared.has_preferred_taint,
                    &mut self.asks,
                    &self.topology,
                )
            {
                return false;
            }
            self.is_out_of_reserved = false;
            let wishes = self.wishes(class, step);
            if !wishes.is_empty()
                && (self.place_existing(pod, class, step, &wishes)
                    || self.place_planned(pod, class, step, &wishes))
            {
                self.given_up += step;
                let found = self.last.take().map(|target| Placement { pod, step, target });
                self.log.extend(found);
                return true;
            }
            // It waits for the next plan; no wish is given up for that.
            if self.is_out_of_reserved {
                return false;
            }
            step += 1;
        }
    }

    /// By alternative of its volumes: its number, and what the groups leave; nothing if they leave nothing.
    pub(super) fn wishes(&mut self, class: usize, step: usize) -> Vec<(usize, Wishes)> {
        let of_class = &self.classes.all[class];
        let step = &of_class.steps[step];
        let mut found = Vec::new();
        for number in self.asks.all[step.ask].alternatives.clone() {
            let alternative = &mut self.asks.alternatives[number];
            if let Ok(wishes) = Wishes::of(&self.topology, &step.groups, of_class.label_set, alternative) {
                found.push((number, wishes));
            }
        }
        found
    }

    /// What the planned nodes cost.
    pub(super) fn price(&mut self) -> f64 {
        let Self {
            claims,
            states,
            costs,
            prepared,
            ..
        } = self;
        let price = |claim: &Claim| {
            let template = &prepared.templates[claim.template];
            let priced = costs.prices.of(claim.state, states.get(claim.state), template);
            priced.cheapest(&claim.options).map_or(0.0, |(price, _)| price)
        };
        claims.all.iter().map(price).sum()
    }

    /// Which pods nodes got, by rank.
    pub(super) fn placed_on_nodes(&self) -> impl Iterator<Item = (usize, &[usize])> {
        self.nodes
            .iter()
            .map(|(rank, node)| (*rank, node.pods.as_slice()))
    }

    pub(super) fn pod(&self, pod: usize) -> &'a PodFacts {
        self.pods[pod]
    }

    pub(super) fn class_of(&self, pod: usize) -> usize {
        self.class_of[pod]
    }
}

/// Why planning does not take a pod at all.
pub(super) fn rejection(pod: &PodFacts) -> Option<Reason> {
    if let Some(problem) = &pod.problem {
        return Some(Reason::Rejected(problem.clone()));
    }
    if let super::VolumeNeeds::Unresolved(claims) = &pod.volumes {
        let claims = claims.join(", ");
        return Some(Reason::Rejected(format!(
            "persistent volume claims were not looked up (claims={claims})"
        )));
    }
    None
}

/// What a pod that was refused is told about a pool.
impl Solver<'_> {
    pub(super) fn reason(&mut self, class: usize) -> Reason {
        if let Some(rejected) = rejection(self.classes.all[class].facts) {
            return rejected;
        }
        if self.prepared.templates.is_empty() {
            return Reason::NoPools;
        }
        let preferred = self.prepared.has_preferred_taint;
        // A pod without a place has given up what it can.
        while self
            .classes
            .next_step(class, preferred, &mut self.asks, &self.topology)
        {}
        let last = self.classes.all[class].steps.len().saturating_sub(1);
        // No wish was given up after the one for which reserved capacity was wanting.
        let waits = (0..last).map(|step| self.refusals(class, step)).find(|refusals| {
            let mut refusals = refusals.iter();
            refusals.any(|(_, refusal)| matches!(refusal, Refusal::Reserved))
        });
        Reason::Pools(waits.unwrap_or_else(|| self.refusals(class, last)))
    }

    /// By pool: why an empty node of it does not take a class after these steps.
    fn refusals(&mut self, class: usize, step: usize) -> Vec<(String, Refusal)> {
        let prepared = self.prepared;
        let templates = prepared.templates.iter().enumerate();
        let refusals = templates.map(|(index, template)| {
            let pool = &prepared.world.pools[template.pool];
            (pool.name.clone(), self.refusal(index, class, step))
        });
        refusals.collect()
    }

    /// Why an empty node of a template does not take a class.
    pub(super) fn refusal(&mut self, template: usize, class: usize, step: usize) -> Refusal {
        super::explain::refusal(self, template, class, step)
    }
}
