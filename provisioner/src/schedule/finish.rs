//! From planned nodes to a plan: prices, options, and reasons for the pods that are left over.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    InstanceTypeOption, MAX_INSTANCE_TYPES, OfferingChoice, Plan, PlannedNode, PodKey, Prepared, Reason,
    bits::Bits,
    claims::Claim,
    cost::Prices,
    solve::{Solver, Stuck},
    states::{StateId, States},
    template::Template,
    topology::Topology,
};
use crate::{InstanceType, Offering, Requirements, ResourceList, karpenter::labels};

/// What the question came to.
pub(super) fn finish(mut solver: Solver<'_>, stuck: &[Stuck]) -> Plan {
    // What a state costs is known from choosing among plans.
    let mut prices = std::mem::take(&mut solver.costs.prices);
    let mut reasons: BTreeMap<usize, Reason> = BTreeMap::new();
    let unschedulable = stuck
        .iter()
        .map(|stuck| {
            let reason = if stuck.was_tried {
                let class = solver.class_of(stuck.pod);
                reasons
                    .entry(class)
                    .or_insert_with(|| solver.reason(class))
                    .clone()
            } else {
                Reason::NotTried
            };
            (solver.pod(stuck.pod).key.clone(), reason)
        })
        .collect();
    let keys =
        |pods: &[usize]| -> Vec<PodKey> { pods.iter().map(|&pod| solver.pod(pod).key.clone()).collect() };
    let existing = solver
        .placed_on_nodes()
        .map(|(rank, pods)| (solver.prepared.node_at(rank).name.clone(), keys(pods)))
        .collect();
    let new: Vec<PlannedNode> = solver
        .claims
        .all
        .iter()
        .filter_map(|claim| planned(&solver, claim, keys(&claim.pods), &mut prices))
        .collect();
    let price_per_hour = new.iter().map(PlannedNode::price).sum();
    Plan {
        existing,
        new,
        unschedulable,
        price_per_hour,
        strategy: "first-fit-decreasing",
        ..Plan::default()
    }
}

/// The node as it stands in the plan; `None` if nothing can be bought, which planning never lets happen.
fn planned(
    solver: &Solver<'_>,
    claim: &Claim,
    pods: Vec<PodKey>,
    prices: &mut Prices,
) -> Option<PlannedNode> {
    let template = &solver.prepared.templates[claim.template];
    let priced = prices.of(claim.state, solver.states.get(claim.state), template);
    let options: Vec<(f64, usize)> = priced
        .options
        .iter()
        .filter(|(_, option)| claim.options.has(*option))
        .take(MAX_INSTANCE_TYPES)
        .copied()
        .collect();
    let (_, cheapest) = *options.first()?;
    let choice = choose(&template.types[cheapest].instance_type, &priced.requirements)?;
    let mut requests = ResourceList::default();
    for &pod in &claim.pods {
        requests.add(&solver.pod(pod).requests);
    }
    requests.add(&least_daemons(template, &options));
    Some(PlannedNode {
        pool: solver.prepared.world.pools[template.pool].name.clone(),
        requirements: priced.requirements.clone(),
        options: options
            .iter()
            .map(|&(price, option)| InstanceTypeOption {
                instance_type: Arc::clone(&template.types[option].instance_type),
                price,
            })
            .collect(),
        requests,
        pods,
        choice,
        min_values_relaxed: claim.min_values_relaxed,
        passed_over: claim.passed_over.clone(),
    })
}

/// What daemons take whichever of the options it becomes.
fn least_daemons(template: &Template, options: &[(f64, usize)]) -> ResourceList {
    let mut daemons = options.iter().map(|(_, option)| &template.types[*option].daemons);
    let mut least = daemons.next().cloned().unwrap_or_default();
    if !least.is_empty() {
        for other in daemons {
            for (name, amount) in &mut least.0 {
                *amount = (*amount).min(other.get(name));
            }
        }
    }
    least
}

/// The cheapest offering of a type; of equal ones reserved before spot before on-demand, then the first zone.
fn choose(it: &InstanceType, requirements: &Requirements) -> Option<OfferingChoice> {
    let rank = |offering: &&Offering| (offering.capacity_type, offering.zone.clone());
    let offerings = it.available_offerings(requirements);
    let offering =
        offerings.min_by(|a, b| a.price.total_cmp(&b.price).then_with(|| rank(a).cmp(&rank(b))))?;
    Some(OfferingChoice {
        instance_type: it.name.clone(),
        zone: offering.zone.clone(),
        capacity_type: offering.capacity_type,
        price: offering.price,
    })
}

/// Labels of which fewer values are left than the pool wants to keep open.
pub(super) fn missing_values(
    prepared: &Prepared,
    topology: &Topology<'_>,
    states: &mut States,
    id: StateId,
    options: &Bits,
) -> Vec<String> {
    let wanted: Vec<(String, u32)> = states
        .get(id)
        .requirements
        .iter()
        .filter_map(|requirement| Some((requirement.key().to_owned(), requirement.min_values?)))
        .collect();
    let few = |(key, count): &(String, u32)| {
        let values = if key == labels::INSTANCE_TYPE {
            options.len()
        } else {
            let index = topology.keys.iter().position(|known| known.key() == key);
            index.map_or(0, |index| {
                let key = &topology.keys[index];
                states.domains(id, &prepared.templates, index, key, options).len()
            })
        };
        (values as u64) < u64::from(*count)
    };
    wanted.into_iter().filter(few).map(|(key, _)| key).collect()
}
