//! Why an empty node of a pool does not take a pod, worked out in words only for pods that are left over.

use std::collections::BTreeMap;

use super::{
    Refusal, TopologyRefusal, TypeTests, TypesRefusal, bits::Bits, claims::Claim, finish::missing_values,
    groups::Kind, solve::Solver, states::StateId, template::Template, wishes::Wishes,
};
use crate::{AllowUndefined, Requirement, Requirements, ResourceList, taints};

/// Why an empty node of a template does not take a class at a step.
pub(super) fn refusal(solver: &mut Solver<'_>, index: usize, class: usize, step: usize) -> Refusal {
    let prepared = solver.prepared;
    let template = &prepared.templates[index];
    if template.types.is_empty() {
        return Refusal::NothingToBuy;
    }
    if solver.limits[index]
        .as_ref()
        .is_some_and(super::template::Limits::is_out_of_nodes)
    {
        return Refusal::NodeLimit;
    }
    let Some(empty) = solver.opened(index) else {
        return Refusal::Limits;
    };
    let ask = &solver.asks.all[solver.classes.all[class].steps[step].ask];
    let pool = &prepared.world.pools[template.pool];
    if let Err(taint) = taints::tolerates_all(&ask.tolerations, &pool.taints) {
        return Refusal::Taint(taint);
    }
    let mut last = Refusal::NothingToBuy;
    for number in ask.alternatives.clone() {
        last = of_alternative(solver, &empty, number, class, step);
    }
    last
}

fn of_alternative(
    solver: &mut Solver<'_>,
    empty: &Claim,
    number: usize,
    class: usize,
    step: usize,
) -> Refusal {
    let prepared = solver.prepared;
    let template = &prepared.templates[empty.template];
    let alternative = solver.asks.alternatives[number].clone();
    let offered = &template.requirements;
    if let Err(why) = offered.compatible(&alternative.wanted, AllowUndefined::WellKnown) {
        return Refusal::Requirements(why);
    }
    let both = offered.intersection(&alternative.wanted);
    if let Err(why) = both.compatible(&alternative.volumes, AllowUndefined::WellKnown) {
        return Refusal::Volumes(why);
    }
    let requirements = both.intersection(&alternative.volumes);
    let state = solver.states.of(empty.template, template, requirements);
    let (state, refused) = narrowed(solver, state, &empty.options, number, class, step);
    if let Some(group) = refused {
        return Refusal::Topology(of_group(
            solver,
            group,
            state,
            &empty.options,
            &alternative.strict,
        ));
    }
    let requirements = solver.states.get(state).requirements.clone();
    let requests = &solver.classes.all[class].facts.requests;
    match types_left(template, &empty.options, requirements, requests) {
        Err(why) => Refusal::Types(Box::new(why)),
        Ok(mut options) => {
            let ports = &solver.classes.all[class].facts.host_ports;
            template.drop_port_conflicts(ports, &mut options);
            if options.is_empty() {
                return Refusal::HostPort;
            }
            let held = solver.ledger.hold(
                &prepared.reservations,
                &prepared.templates,
                solver.states.get(state),
                &options,
                &empty.reserved,
            );
            if held.is_err() {
                return Refusal::Reserved;
            }
            let missing = missing_values(prepared, &solver.topology, &mut solver.states, state, &options);
            Refusal::MinValues(missing)
        }
    }
}

/// The state after the groups of a class have narrowed it, and the first group that leaves nothing.
fn narrowed(
    solver: &mut Solver<'_>,
    mut state: StateId,
    options: &Bits,
    number: usize,
    class: usize,
    step: usize,
) -> (StateId, Option<usize>) {
    let templates = &solver.prepared.templates;
    let of_class = &solver.classes.all[class];
    let groups = &of_class.steps[step].groups;
    for last in 1..=groups.len() {
        let alternative = &mut solver.asks.alternatives[number];
        let wishes = match Wishes::of(&solver.topology, &groups[..last], of_class.label_set, alternative) {
            Ok(wishes) => wishes,
            Err(group) => return (state, Some(group)),
        };
        let impossible = !wishes.new_host
            || wishes.keys.iter().any(|wish| {
                let key = &solver.topology.keys[wish.key];
                let domains = solver.states.domains(state, templates, wish.key, key, options);
                wish.choose(domains, &solver.topology).is_empty()
            });
        if impossible {
            return (state, Some(groups[last - 1]));
        }
        if last == groups.len() {
            for wish in &wishes.keys {
                let key = &solver.topology.keys[wish.key];
                let domains = solver.states.domains(state, templates, wish.key, key, options);
                let chosen = wish.choose(domains, &solver.topology);
                if !chosen.is_empty() {
                    state = solver.states.narrow(state, templates, wish.key, key, chosen);
                }
            }
        }
    }
    (state, None)
}

fn of_group(
    solver: &mut Solver<'_>,
    group: usize,
    state: StateId,
    options: &Bits,
    strict: &Requirements,
) -> TopologyRefusal {
    let counted = &solver.topology.groups[group];
    let base = &counted.base;
    let key = &base.group.key;
    let mut counts = BTreeMap::new();
    let node_domains = if let Some(index) = counted.key {
        let of_key = &solver.topology.keys[index];
        let known = (0..of_key.len()).filter(|&domain| counted.knows(domain));
        counts.extend(known.map(|domain| (of_key.name(domain).to_owned(), counted.in_domain(domain))));
        let domains = solver
            .states
            .domains(state, &solver.prepared.templates, index, of_key, options);
        let names = domains.iter().map(|domain| of_key.name(domain));
        Requirement::one_of(key, names).to_string()
    } else {
        let nodes = (0..base.index.len()).filter(|&domain| counted.in_domain(domain) > 0);
        counts.extend(nodes.map(|domain| (base.index.name(domain).to_owned(), counted.in_domain(domain))));
        let claims = counted
            .hosts
            .of_claim
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0);
        counts
            .extend(claims.map(|(claim, count)| (format!("hostname-placeholder-{:04}", claim + 1), *count)));
        let new = format!("hostname-placeholder-{:04}", solver.claims.all.len() + 1);
        Requirement::one_of(key, [new.as_str()]).to_string()
    };
    let of_pod = strict.get(key);
    TopologyRefusal {
        kind: Kind::words(base.group.kind),
        key: key.clone(),
        counts,
        pod_domains: of_pod.map_or_else(|| format!("{key} Exists"), ToString::to_string),
        node_domains,
    }
}

/// The types that meet the requirements, are big enough and can be bought; otherwise which of the tests failed.
fn types_left(
    template: &Template,
    options: &Bits,
    requirements: Requirements,
    requests: &ResourceList,
) -> Result<Bits, TypesRefusal> {
    let meeting = template.meeting(&requirements);
    let sold = template.sold_in(&template.allowed_cells(&requirements));
    let mut tests = TypeTests::default();
    let mut left = Bits::new();
    for option in options.iter() {
        let it = &template.types[option];
        let fits = requests.sum(&it.daemons).fits(&it.allocatable);
        let outcome = [meeting.has(option), fits, sold.has(option)];
        tests.note(outcome);
        if outcome == [true; 3] {
            left.insert(option);
        }
    }
    if left.is_empty() {
        return Err(TypesRefusal {
            tests,
            requirements,
            resources: requests.clone(),
        });
    }
    Ok(left)
}
