//! Which machines to take away: pure functions of candidates, budgets and what the solver says.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use provisioner::{
    CapacityType, InstanceType, Requirement, Requirements,
    karpenter::{ConsolidationPolicy, DisruptionReason, labels},
    schedule::{Budget, InstanceTypeOption, Overlay, Place, PlannedNode, PodFacts, PodKey, Prepared},
};

use super::orchestration::Command;

/// Consolidation of several machines at once looks at this many at most.
const MOST_AT_ONCE: usize = 100;

/// A machine that may be taken away.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) claim: String,
    /// Its name in the solver's world.
    pub(super) node: String,
    pub(super) pool: String,
    pub(super) policy: ConsolidationPolicy,
    pub(super) instance_type: String,
    pub(super) capacity_type: Option<CapacityType>,
    /// Per hour, from the catalogue of now.
    pub(super) price: Option<f64>,
    /// The pods that need another place.
    pub(super) pods: Vec<Arc<PodFacts>>,
    /// Whether consolidation may look at it.
    pub(super) consolidatable: bool,
    pub(super) drifted_at: Option<Timestamp>,
}

/// What it costs to move a pod, from -10 to 10; 1 for an ordinary one.
fn eviction_cost(pod: &PodFacts) -> f64 {
    let cost = 1.0 + f64::from(pod.deletion_cost) / 2f64.powi(27) + f64::from(pod.priority) / 2f64.powi(25);
    cost.clamp(-10.0, 10.0)
}

impl Candidate {
    /// What it costs to empty it; 1 if there is nothing to move.
    fn cost(&self) -> f64 {
        1.0 + self.pods.iter().map(|pod| eviction_cost(pod).max(0.0)).sum::<f64>()
    }

    fn is_empty(&self) -> bool {
        self.cost() <= 1.0
    }

    /// Saving per disruption.
    fn worth(&self) -> f64 {
        self.price.unwrap_or(0.0) / self.cost()
    }
}

/// How many machines of each pool may go for a reason; a pool that is not in it has no bound.
pub(super) type Allowed = BTreeMap<String, u32>;

/// The candidates that budgets let go, in their order.
fn within<'a>(candidates: impl Iterator<Item = &'a Candidate>, allowed: &Allowed) -> Vec<&'a Candidate> {
    let mut left = allowed.clone();
    candidates
        .filter(|candidate| match left.get_mut(&candidate.pool) {
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
            None => true,
        })
        .collect()
}

/// Machines without pods.
pub(super) fn emptiness(candidates: &[Candidate], allowed: &Allowed) -> Option<Command> {
    let empty = candidates.iter().filter(|candidate| candidate.consolidatable && candidate.is_empty());
    let gone = within(empty, allowed);
    let saved: f64 = gone.iter().filter_map(|candidate| candidate.price).sum();
    (!gone.is_empty()).then(|| Command {
        reason: DisruptionReason::Empty,
        claims: gone.iter().map(|candidate| candidate.claim.clone()).collect(),
        replacements: Vec::new(),
        why: format!("no pods, saves {saved:.4}/h"),
    })
}

/// What taking machines away would mean.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    /// It can be done: with what is bought instead, and what it saves per hour.
    Possible { replacements: Vec<PlannedNode>, saved: f64 },
    /// It cannot, in words.
    Impossible(String),
}

/// A world to ask questions of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) prepared: &'a Prepared,
    /// Pods that need a place anyhow; they do not veto.
    pub(super) waiting: &'a [Arc<PodFacts>],
}

impl Question<'_> {
    /// Places the pods of `candidates` elsewhere; the planned machines that hold at least one of them.
    fn simulate(&self, candidates: &[&Candidate], overlay: &Overlay) -> Result<Vec<PlannedNode>, String> {
        let mut pods: Vec<Arc<PodFacts>> = self.waiting.to_vec();
        let known: BTreeSet<PodKey> = pods.iter().map(|pod| pod.key.clone()).collect();
        let moved: Vec<_> = candidates.iter().flat_map(|candidate| &candidate.pods).collect();
        pods.extend(moved.iter().filter(|pod| !known.contains(&pod.key)).map(|pod| Arc::clone(pod)));
        let plan = self.prepared.solve(&pods, overlay, Budget::default());
        let moved: BTreeSet<&PodKey> = moved.into_iter().map(|pod| &pod.key).collect();
        if let Some((pod, reason)) = plan.unschedulable.iter().find(|(pod, _)| moved.contains(pod)) {
            return Err(format!("Not all pods would schedule, {pod} => {reason}"));
        }
        let needed: BTreeSet<usize> = moved
            .iter()
            .filter_map(|pod| match plan.place_of(pod) {
                Some(Place::New(index)) => Some(index),
                _ => None,
            })
            .collect();
        Ok(plan.new.into_iter().enumerate().filter(|(index, _)| needed.contains(index)).map(|(_, node)| node).collect())
    }

    /// Whether it pays to take `candidates` away.
    pub(super) fn consolidate(&self, candidates: &[&Candidate]) -> Outcome {
        let nodes = candidates.iter().map(|candidate| candidate.node.as_str());
        let new = match self.simulate(candidates, &Overlay::consolidating(nodes)) {
            Ok(new) => new,
            Err(why) => return Outcome::Impossible(why),
        };
        let price: f64 = candidates.iter().filter_map(|candidate| candidate.price).sum();
        match <[PlannedNode; 1]>::try_from(new) {
            Err(new) if new.is_empty() => Outcome::Possible { replacements: new, saved: price },
            Err(new) => Outcome::Impossible(format!("Can't remove without creating {} candidates", new.len())),
            Ok([node]) => match cheaper(candidates, node, price) {
                Ok(node) => {
                    let saved = price - node.price();
                    Outcome::Possible { replacements: vec![node], saved }
                }
                Err(why) => Outcome::Impossible(why),
            },
        }
    }
}

/// What a type costs at worst if it is bought under `requirements`: by the first way of buying that is open.
fn worst_price(instance_type: &InstanceType, requirements: &Requirements) -> Option<f64> {
    let offerings: Vec<_> = instance_type.available_offerings(requirements).collect();
    [CapacityType::Reserved, CapacityType::Spot, CapacityType::OnDemand].into_iter().find_map(|capacity_type| {
        let prices = offerings.iter().filter(|offering| offering.capacity_type == capacity_type);
        prices.map(|offering| offering.price).max_by(f64::total_cmp)
    })
}

/// The planned machine with only those types that are cheaper for certain.
fn cheaper(candidates: &[&Candidate], mut node: PlannedNode, price: f64) -> Result<PlannedNode, String> {
    let offers_spot = |option: &InstanceTypeOption, node: &PlannedNode| {
        option.instance_type.available_offerings(&node.requirements).any(|offering| offering.capacity_type == CapacityType::Spot)
    };
    let spot = node.options.iter().any(|option| offers_spot(option, &node));
    if spot && candidates.iter().all(|candidate| candidate.capacity_type == Some(CapacityType::Spot)) {
        return Err("SpotToSpotConsolidation is disabled, can't replace a spot node with a spot node".to_owned());
    }
    let requirements = node.requirements.clone();
    node.options.retain(|option| worst_price(&option.instance_type, &requirements).is_some_and(|worst| worst < price));
    if candidates.len() > 1 {
        drop_same_types(candidates, &mut node);
    }
    if node.options.is_empty() {
        return Err("Can't replace with a cheaper node".to_owned());
    }
    // A launch of spot that fails must not buy on demand at more than was paid before.
    let ways = |capacity_type: CapacityType| requirements.allows(labels::CAPACITY_TYPE, capacity_type.as_str());
    if spot && ways(CapacityType::Spot) && ways(CapacityType::OnDemand) {
        node.requirements.add(Requirement::one_of(labels::CAPACITY_TYPE, [CapacityType::Spot.as_str()]));
        let requirements = node.requirements.clone();
        node.options.retain(|option| option.instance_type.available_offerings(&requirements).next().is_some());
    }
    commit(&mut node).ok_or_else(|| "Can't replace with a cheaper node".to_owned())?;
    Ok(node)
}

/// Several machines are not replaced by one of a type that is among them, unless something cheaper than all such remains.
fn drop_same_types(candidates: &[&Candidate], node: &mut PlannedNode) {
    let going: BTreeMap<&str, f64> = candidates
        .iter()
        .filter_map(|candidate| Some((candidate.instance_type.as_str(), candidate.price?)))
        .fold(BTreeMap::new(), |mut going, (name, price)| {
            let known = going.entry(name).or_insert(price);
            *known = known.min(price);
            going
        });
    let same = node.options.iter().filter_map(|option| going.get(option.instance_type.name.as_str()));
    let Some(cheapest) = same.copied().min_by(f64::total_cmp) else { return };
    let requirements = node.requirements.clone();
    node.options.retain(|option| worst_price(&option.instance_type, &requirements).is_some_and(|worst| worst < cheapest));
}

/// Lets the planned machine commit to the cheapest offering of what is left.
fn commit(node: &mut PlannedNode) -> Option<()> {
    let option = node.options.first()?;
    let offerings = option.instance_type.available_offerings(&node.requirements);
    let offering = offerings.min_by(|one, another| one.price.total_cmp(&another.price))?;
    node.choice.instance_type.clone_from(&option.instance_type.name);
    node.choice.zone.clone_from(&offering.zone);
    node.choice.capacity_type = offering.capacity_type;
    node.choice.price = offering.price;
    Some(())
}

/// The candidates that consolidation looks at, the most worthwhile first.
fn worthwhile(candidates: &[Candidate]) -> Vec<&Candidate> {
    let mut sorted: Vec<_> = candidates
        .iter()
        .filter(|candidate| {
            candidate.consolidatable
                && !candidate.is_empty()
                && candidate.price.is_some()
                && candidate.policy != ConsolidationPolicy::WhenEmpty
        })
        .collect();
    sorted.sort_by(|one, another| another.worth().total_cmp(&one.worth()).then_with(|| one.claim.cmp(&another.claim)));
    sorted
}

fn command(candidates: &[&Candidate], replacements: Vec<PlannedNode>, saved: f64) -> Command {
    let moved: usize = candidates.iter().map(|candidate| candidate.pods.len()).sum();
    let what = match replacements.as_slice() {
        [] => format!("{moved} pod(s) fit on other nodes"),
        [node, ..] => {
            format!("{moved} pod(s) fit on a {} at {:.4}/h and on other nodes", node.choice.instance_type, node.price())
        }
    };
    Command {
        reason: DisruptionReason::Underutilized,
        claims: candidates.iter().map(|candidate| candidate.claim.clone()).collect(),
        replacements,
        why: format!("{what}, saves {saved:.4}/h"),
    }
}

/// Several machines at once: the longest run of the most worthwhile ones that can go together, found by bisection.
pub(super) fn several(question: Question<'_>, candidates: &[Candidate], allowed: &Allowed) -> Option<Command> {
    let mut sorted = within(worthwhile(candidates).into_iter(), allowed);
    sorted.truncate(MOST_AT_ONCE);
    let (mut least, mut most) = (2, sorted.len());
    let mut best = None;
    while least <= most {
        let middle = least + (most - least) / 2;
        match question.consolidate(&sorted[..middle]) {
            Outcome::Possible { replacements, saved } => {
                best = Some(command(&sorted[..middle], replacements, saved));
                least = middle + 1;
            }
            Outcome::Impossible(_) => most = middle - 1,
        }
    }
    best
}

/// One machine after the other, pools taking turns. Also says why those that were looked at have to stay.
pub(super) fn single(
    question: Question<'_>,
    candidates: &[Candidate],
    allowed: &Allowed,
) -> (Option<Command>, Vec<(String, String)>) {
    let mut stay = Vec::new();
    for candidate in taking_turns(worthwhile(candidates)) {
        if allowed.get(&candidate.pool) == Some(&0) {
            continue;
        }
        match question.consolidate(&[candidate]) {
            Outcome::Possible { replacements, saved } => {
                return (Some(command(&[candidate], replacements, saved)), stay);
            }
            Outcome::Impossible(why) => stay.push((candidate.claim.clone(), why)),
        }
    }
    (None, stay)
}

fn taking_turns(sorted: Vec<&Candidate>) -> Vec<&Candidate> {
    let mut turn: BTreeMap<&str, usize> = BTreeMap::new();
    let mut numbered: Vec<_> = sorted
        .into_iter()
        .map(|candidate| {
            let turn = turn.entry(candidate.pool.as_str()).or_default();
            *turn += 1;
            (*turn, candidate)
        })
        .collect();
    numbered.sort_by_key(|(turn, _)| *turn);
    numbered.into_iter().map(|(_, candidate)| candidate).collect()
}

/// The drifted machine that is replaced next: empty ones first, then those that drifted first.
pub(super) fn drift(question: Question<'_>, candidates: &[Candidate], allowed: &Allowed) -> Option<Command> {
    let mut drifted: Vec<_> =
        candidates.iter().filter_map(|candidate| Some((!candidate.is_empty(), candidate.drifted_at?, candidate))).collect();
    drifted.sort_by(|one, another| (one.0, one.1, &one.2.claim).cmp(&(another.0, another.1, &another.2.claim)));
    for (_, _, candidate) in drifted {
        if allowed.get(&candidate.pool) == Some(&0) {
            continue;
        }
        if let Ok(replacements) = question.simulate(&[candidate], &Overlay::without([candidate.node.as_str()])) {
            return Some(Command {
                reason: DisruptionReason::Drifted,
                claims: vec![candidate.claim.clone()],
                why: format!("drifted, {} pod(s) move", candidate.pods.len()),
                replacements,
            });
        }
    }
    None
}

/// What is still right of a command some time later.
pub(super) fn still_right(
    question: Question<'_>,
    command: Command,
    candidates: &[Candidate],
    allowed: &Allowed,
) -> Option<Command> {
    let named: Vec<_> = candidates.iter().filter(|candidate| command.claims.contains(&candidate.claim)).cloned().collect();
    if command.reason == DisruptionReason::Empty {
        return emptiness(&named, allowed);
    }
    let refs: Vec<&Candidate> = named.iter().collect();
    let all_there = named.len() == command.claims.len() && named.iter().all(|candidate| candidate.consolidatable);
    if !all_there || within(refs.iter().copied(), allowed).len() != named.len() {
        return None;
    }
    let Outcome::Possible { replacements, .. } = question.consolidate(&refs) else { return None };
    let names = |nodes: &[PlannedNode]| -> BTreeSet<String> {
        nodes.iter().flat_map(|node| &node.options).map(|option| option.instance_type.name.clone()).collect()
    };
    let same = replacements.len() == command.replacements.len();
    (same && names(&command.replacements).is_subset(&names(&replacements))).then_some(command)
}
