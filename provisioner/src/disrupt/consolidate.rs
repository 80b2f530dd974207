//! Consolidation: fewer or cheaper nodes for the same pods.

use std::collections::BTreeMap;

use super::{
    BudgetBook, Candidate, Cluster, Command, Method, Outcome, Refused, RefusedKind, Urgency,
    candidate::{refuse_candidate, unconsolidatable},
    candidates,
    methods::{describe, facts_by_node, holds_any, pods_to_place},
};
use crate::{
    CapacityType, InstanceType, Requirement, Requirements,
    karpenter::{ConsolidationPolicy, DisruptionReason, labels},
    schedule::{Budget, InstanceTypeOption, OfferingChoice, Overlay, PlannedNode},
};

/// Up to this many candidates every prefix is tried; beyond, prefixes grow by halves.
const EVERY_PREFIX: usize = 24;
/// A spot node is only replaced by another spot node if so many cheaper types are left for the launch to choose from.
const MIN_SPOT_TYPES: usize = 15;
/// A move of a `Balanced` pool must bring this share of savings for its share of disruption.
const BALANCED_RATIO: f64 = 0.5;

/// What one set of candidates would bring.
#[derive(Clone, Debug)]
struct Move {
    replacements: Vec<PlannedNode>,
    savings: f64,
}

/// Deletes or replaces several nodes or one: whatever saves most among the sets that are tried. Where none of them will
/// do, every candidate is asked alone, in turn by pool, so that each has its reason.
#[must_use]
pub fn consolidate(cluster: &Cluster<'_>) -> Outcome {
    let (all, mut refused) = candidates(cluster, Urgency::Graceful);
    let ready = ready_for_consolidation(cluster, all, &mut refused);
    let mut simulations = cluster.settings.max_simulations;
    if let Some((set, found)) = best_set(cluster, &ready, &mut simulations) {
        let method = if set.len() > 1 {
            Method::MultiNodeConsolidation
        } else {
            Method::SingleNodeConsolidation
        };
        return Outcome {
            command: Some(command(method, set, found)),
            refused,
        };
    }
    for candidate in interleaved(&ready) {
        if simulations == 0 {
            refused.push(refuse_candidate(
                candidate,
                RefusedKind::Waiting,
                "the decision's budget ended before its turn",
            ));
            continue;
        }
        simulations -= 1;
        match evaluate(cluster, std::slice::from_ref(candidate)) {
            Ok(found) => {
                let command = command(Method::SingleNodeConsolidation, vec![candidate.clone()], found);
                return Outcome {
                    command: Some(command),
                    refused,
                };
            }
            Err((kind, text)) => refused.push(refuse_candidate(candidate, kind, text)),
        }
    }
    Outcome {
        command: None,
        refused,
    }
}

/// Candidates with pods that policy, time and budgets leave, best ratio of price to disruption first.
fn ready_for_consolidation(
    cluster: &Cluster<'_>,
    all: Vec<Candidate>,
    refused: &mut Vec<Refused>,
) -> Vec<Candidate> {
    let facts = facts_by_node(cluster);
    let mut book = BudgetBook::new(cluster, DisruptionReason::Underutilized);
    let mut ready: Vec<Candidate> = all
        .into_iter()
        .filter(|candidate| !candidate.is_empty())
        .collect();
    ready.sort_by(|a, b| b.ratio().total_cmp(&a.ratio()).then_with(|| a.node.cmp(&b.node)));
    ready.retain(|candidate| {
        let policy = &cluster.pools[&candidate.pool];
        let refusal = unconsolidatable(cluster, facts[candidate.node.as_str()], policy).or_else(|| {
            let text = if policy.policy == ConsolidationPolicy::WhenEmpty {
                format!(
                    "NodePool {:?} has consolidation policy WhenEmpty, but node is not empty",
                    candidate.pool
                )
            } else if candidate.price.is_none() {
                format!(
                    "Instance Type not found (InstanceType={})",
                    candidate.instance_type
                )
            } else if !book.take(&candidate.pool) {
                return Some(refuse_candidate(candidate, RefusedKind::Blocked, book.refusal()));
            } else {
                return None;
            };
            Some(refuse_candidate(candidate, RefusedKind::Unconsolidatable, text))
        });
        let stays = refusal.is_some();
        refused.extend(refusal);
        !stays
    });
    ready
}

/// The set that saves most among the prefixes of the order and the set that grows one by one as long as that pays.
fn best_set(
    cluster: &Cluster<'_>,
    ready: &[Candidate],
    simulations: &mut usize,
) -> Option<(Vec<Candidate>, Move)> {
    let mut evaluate = |set: &[Candidate]| {
        *simulations = simulations.checked_sub(1)?;
        evaluate(cluster, set).ok()
    };
    let mut grown: Option<(Vec<Candidate>, Move)> = None;
    for candidate in ready {
        let mut set = grown.as_ref().map(|(set, _)| set.clone()).unwrap_or_default();
        set.push(candidate.clone());
        if let Some(found) = evaluate(&set).filter(|found| saves_more(found, grown.as_ref())) {
            grown = Some((set, found));
        }
    }
    let mut best = grown;
    for length in prefixes(ready.len()) {
        if let Some(found) = evaluate(&ready[..length]).filter(|found| saves_more(found, best.as_ref())) {
            best = Some((ready[..length].to_vec(), found));
        }
    }
    best
}

fn saves_more(found: &Move, so_far: Option<&(Vec<Candidate>, Move)>) -> bool {
    // A hundredth of a cent and less is noise of addition.
    so_far.is_none_or(|(_, so_far)| found.savings > so_far.savings + 1e-6)
}

fn prefixes(length: usize) -> Vec<usize> {
    if length <= EVERY_PREFIX {
        return (2..=length).rev().collect();
    }
    let halves = std::iter::successors(Some(length), |n| (*n > EVERY_PREFIX).then_some(n / 2));
    halves.chain((2..=EVERY_PREFIX).rev()).collect()
}

/// In turn from each pool, so that a big pool does not starve the others.
fn interleaved(ready: &[Candidate]) -> Vec<&Candidate> {
    let mut by_pool: BTreeMap<&str, Vec<&Candidate>> = BTreeMap::new();
    for candidate in ready {
        by_pool.entry(&candidate.pool).or_default().push(candidate);
    }
    let longest = by_pool.values().map(Vec::len).max().unwrap_or(0);
    (0..longest)
        .flat_map(|turn| by_pool.values().filter_map(move |pool| pool.get(turn).copied()))
        .collect()
}

fn command(method: Method, candidates: Vec<Candidate>, found: Move) -> Command {
    let why = match found.replacements.first() {
        None => "their pods fit elsewhere".to_owned(),
        Some(node) => format!(
            "a {} in {} is cheaper",
            node.choice.instance_type, node.choice.zone
        ),
    };
    let text = describe(&candidates, found.replacements.len(), &why);
    Command {
        method,
        reason: DisruptionReason::Underutilized,
        text: format!("{text} (savings: ${:.2})", found.savings),
        candidates,
        replacements: found.replacements,
        savings_per_hour: found.savings,
    }
}

/// What it would bring if these nodes went.
fn evaluate(cluster: &Cluster<'_>, set: &[Candidate]) -> Result<Move, (RefusedKind, String)> {
    let pods = pods_to_place(cluster, set);
    let overlay = Overlay::consolidating(set.iter().map(|candidate| candidate.node.as_str()));
    let plan = cluster.prepared.solve(&pods, &overlay, Budget::default());
    let moved: Vec<_> = set
        .iter()
        .flat_map(|candidate| candidate.pods.iter().cloned())
        .collect();
    if let Some((key, reason)) = plan
        .unschedulable
        .iter()
        .find(|(key, _)| moved.iter().any(|pod| pod.key == *key))
    {
        return Err((
            RefusedKind::Unconsolidatable,
            format!("pod {key} would not find a place: {reason}"),
        ));
    }
    let mut new: Vec<PlannedNode> = plan
        .new
        .into_iter()
        .filter(|node| holds_any(&node.pods, &moved))
        .collect();
    let price: f64 = set.iter().filter_map(|candidate| candidate.price).sum();
    if new.len() > 1 {
        let text = format!("Can't remove without creating {} candidates", new.len());
        return Err((RefusedKind::Unconsolidatable, text));
    }
    let mut savings = price;
    let replacements = match new.pop() {
        None => Vec::new(),
        Some(node) => {
            let cheaper =
                cheaper(cluster, set, node, price).map_err(|text| (RefusedKind::Unconsolidatable, text))?;
            savings -= cheaper.price();
            vec![cheaper]
        }
    };
    approved(cluster, set, savings)?;
    Ok(Move {
        replacements,
        savings,
    })
}

/// The replacement, with only those types left that are cheaper whatever offering the launch gets.
fn cheaper(
    cluster: &Cluster<'_>,
    set: &[Candidate],
    mut node: PlannedNode,
    price: f64,
) -> Result<PlannedNode, String> {
    let capacity_types = node.requirements.get(labels::CAPACITY_TYPE).cloned();
    let allows = |word: &str| {
        capacity_types
            .as_ref()
            .is_none_or(|requirement| requirement.has(word))
    };
    let all_spot = set
        .iter()
        .all(|candidate| candidate.capacity_type == Some(CapacityType::Spot));
    if all_spot && allows("spot") && !cluster.settings.spot_to_spot {
        return Err(
            "SpotToSpotConsolidation is disabled, can't replace a spot node with a spot node".to_owned(),
        );
    }
    if allows("spot") && (all_spot || allows("on-demand")) && sells_spot(&node) {
        // A spot launch that fails must not end in a dearer on-demand one.
        node.requirements
            .add(Requirement::one_of(labels::CAPACITY_TYPE, ["spot"]));
    }
    let limit = if set.len() > 1 {
        price.min(same_type_limit(set, &node))
    } else {
        price
    };
    node.options
        .retain(|option| worst_price(&option.instance_type, &node.requirements).is_some_and(|p| p < limit));
    if all_spot && set.len() == 1 && node.options.len() < MIN_SPOT_TYPES && sells_spot(&node) {
        return Err(format!(
            "SpotToSpotConsolidation requires 15 cheaper instance type options than the current candidate to consolidate, got {}",
            node.options.len()
        ));
    }
    reprice(&mut node).ok_or_else(|| "Can't replace with a cheaper node".to_owned())?;
    Ok(node)
}

fn sells_spot(node: &PlannedNode) -> bool {
    let spot = node.requirements.intersection(
        &[Requirement::one_of(labels::CAPACITY_TYPE, ["spot"])]
            .into_iter()
            .collect(),
    );
    node.options
        .iter()
        .any(|option| option.instance_type.available_offerings(&spot).next().is_some())
}

/// Several nodes must not become one of a type that is among them already: one could just as well stay. Then only types
/// cheaper than the cheapest such node count.
fn same_type_limit(set: &[Candidate], node: &PlannedNode) -> f64 {
    let offered = |candidate: &&Candidate| {
        node.options
            .iter()
            .any(|option| option.instance_type.name == candidate.instance_type)
    };
    set.iter()
        .filter(offered)
        .filter_map(|candidate| candidate.price)
        .fold(f64::INFINITY, f64::min)
}

/// What the launch may cost at most: the dearest offering of the capacity type that is tried first.
#[must_use]
pub fn worst_price(it: &InstanceType, requirements: &Requirements) -> Option<f64> {
    [CapacityType::Reserved, CapacityType::Spot, CapacityType::OnDemand]
        .into_iter()
        .find_map(|capacity_type| {
            let offerings = it
                .available_offerings(requirements)
                .filter(|o| o.capacity_type == capacity_type);
            offerings.map(|offering| offering.price).max_by(f64::total_cmp)
        })
}

/// Prices and choice after the requirements or options were narrowed.
fn reprice(node: &mut PlannedNode) -> Option<()> {
    let mut choices: Vec<(OfferingChoice, InstanceTypeOption)> = Vec::new();
    for option in &node.options {
        let offerings = option.instance_type.available_offerings(&node.requirements);
        let cheapest = offerings.min_by(|a, b| a.price.total_cmp(&b.price).then_with(|| a.zone.cmp(&b.zone)));
        choices.extend(cheapest.map(|offering| {
            let choice = OfferingChoice {
                instance_type: option.instance_type.name.clone(),
                zone: offering.zone.clone(),
                capacity_type: offering.capacity_type,
                price: offering.price,
            };
            (
                choice,
                InstanceTypeOption {
                    price: offering.price,
                    ..option.clone()
                },
            )
        }));
    }
    choices.sort_by(|(a, _), (b, _)| {
        a.price
            .total_cmp(&b.price)
            .then_with(|| a.instance_type.cmp(&b.instance_type))
    });
    node.choice = choices.first()?.0.clone();
    node.options = choices.into_iter().map(|(_, option)| option).collect();
    Some(())
}

/// Whether a move is worth its disruption to every `Balanced` pool that it touches.
fn approved(cluster: &Cluster<'_>, set: &[Candidate], savings: f64) -> Result<(), (RefusedKind, String)> {
    let total: f64 = set.iter().filter_map(|candidate| candidate.price).sum();
    let mut pools: Vec<&str> = set.iter().map(|candidate| candidate.pool.as_str()).collect();
    pools.sort_unstable();
    pools.dedup();
    for pool in pools
        .into_iter()
        .filter(|pool| cluster.pools[*pool].policy == ConsolidationPolicy::Balanced)
    {
        let (pool_price, pool_cost) = totals(cluster, pool);
        let of_pool = || set.iter().filter(|candidate| candidate.pool == pool);
        let price: f64 = of_pool().filter_map(|candidate| candidate.price).sum();
        let cost: f64 = of_pool().map(|candidate| candidate.cost).sum();
        if pool_price <= 0.0 || pool_cost <= 0.0 || total <= 0.0 || cost <= 0.0 {
            continue;
        }
        let score = (savings * (price / total) / pool_price) / (cost / pool_cost);
        if score < BALANCED_RATIO {
            let text = format!(
                "savings do not pay for the disruption (NodePool={pool:?}, score={score:.2}, required={BALANCED_RATIO:.2})"
            );
            return Err((RefusedKind::Rejected, text));
        }
    }
    Ok(())
}

/// Price and disruption cost of all nodes of a pool.
fn totals(cluster: &Cluster<'_>, pool: &str) -> (f64, f64) {
    let world = cluster.prepared.world();
    let catalog = world
        .pools
        .iter()
        .find(|candidate| candidate.name == pool)
        .map(|pool| &pool.catalog);
    let nodes = world
        .nodes
        .iter()
        .filter(|node| node.pool.as_deref() == Some(pool));
    nodes.fold((0.0, 0.0), |(price, cost), node| {
        let it = catalog.and_then(|catalog| {
            catalog
                .instance_types
                .iter()
                .find(|it| node.label(labels::INSTANCE_TYPE) == Some(it.name.as_str()))
        });
        let sold = it.and_then(|it| {
            it.offerings.iter().find(|o| {
                node.label(labels::ZONE) == Some(o.zone.as_str())
                    && node.label(labels::CAPACITY_TYPE) == Some(o.capacity_type.as_str())
            })
        });
        let of_node = super::reschedule(node.pods.iter().map(std::sync::Arc::as_ref));
        (
            price + sold.map_or(0.0, |offering| offering.price),
            cost + of_node,
        )
    })
}

/// Evaluates a set again, for validation.
pub(super) fn revalidate(cluster: &Cluster<'_>, set: &[Candidate]) -> Result<Vec<PlannedNode>, String> {
    let pods = pods_to_place(cluster, set);
    let overlay = Overlay::consolidating(set.iter().map(|candidate| candidate.node.as_str()));
    let plan = cluster.prepared.solve(&pods, &overlay, Budget::default());
    let moved: Vec<_> = set
        .iter()
        .flat_map(|candidate| candidate.pods.iter().cloned())
        .collect();
    if let Some((key, reason)) = plan
        .unschedulable
        .iter()
        .find(|(key, _)| moved.iter().any(|pod| pod.key == *key))
    {
        return Err(format!("pod {key} would not find a place any more: {reason}"));
    }
    Ok(plan
        .new
        .into_iter()
        .filter(|node| holds_any(&node.pods, &moved))
        .collect())
}
