//! What is bought, and for how much: offerings, options, limits, the bound.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    Findings,
    quantity::{Amounts, add, difference, lacking, one, words},
    room,
    world::{Offering, Pool, Site, Type, World, node_labels},
};

/// Most types that a node may be.
const MOST_OPTIONS: usize = 600;

pub(crate) fn check(world: &World, plan: &Value, findings: &mut Findings) {
    let mut total = 0.0;
    for site in &world.sites {
        if let Some(node) = &site.planned {
            total += node["pricePerHour"].as_f64().unwrap_or(f64::NAN);
            bought(world, site, node, findings);
            options(world, site, node, findings);
        }
    }
    limits(world, findings);
    reservations(world, findings);
    let price = plan["pricePerHour"].as_f64().unwrap_or(f64::NAN);
    let slack = 1e-6 * (1.0 + total.abs());
    let is_close = (price - total).abs() <= slack;
    if !is_close {
        findings.add(
            "price",
            format!("the plan says {price} and its nodes cost {total}"),
        );
    }
    let bound = plan["lowerBoundPerHour"].as_f64().unwrap_or(f64::NAN);
    let is_bound = bound <= price + slack && bound >= 0.0;
    if !is_bound {
        findings.add("bound", format!("the bound is {bound}, the price {price}"));
    }
    let gap = plan["gapPercent"].as_f64().unwrap_or(f64::NAN);
    if gap.is_nan() || gap < 0.0 {
        findings.add("gap", format!("the gap is {gap}"));
    }
}

/// The offering is there, to be had, and at that price.
fn bought(world: &World, site: &Site, node: &Value, findings: &mut Findings) {
    let Some(it) = node["instanceType"]
        .as_str()
        .and_then(|name| world.types.get(name))
    else {
        return;
    };
    let price = node["pricePerHour"].as_f64().unwrap_or(f64::NAN);
    let mut matching = it
        .offerings
        .iter()
        .filter(|offering| site.labels.may(&offering.expressions))
        .peekable();
    if matching.peek().is_none() {
        findings.add(
            "offering",
            format!("{}: {} is not sold like that", site.name, it.name),
        );
        return;
    }
    let mut available = matching.filter(|offering| offering.available).peekable();
    if available.peek().is_none() {
        findings.add(
            "offering",
            format!("{}: {} is not to be had like that", site.name, it.name),
        );
    } else if !available.any(|offering| (offering.price - price).abs() <= 1e-9 * (1.0 + price)) {
        findings.add(
            "price",
            format!("{}: {} does not cost {price} like that", site.name, it.name),
        );
    }
}

/// No reservation is drawn on more often than it can be.
fn reservations(world: &World, findings: &mut Findings) {
    let mut drawn: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for node in world.sites.iter().filter_map(|site| site.planned.as_ref()) {
        let it = node["instanceType"]
            .as_str()
            .and_then(|name| world.types.get(name));
        let price = node["pricePerHour"].as_f64().unwrap_or(f64::NAN);
        let is_it = |offering: &&Offering| {
            let says = |key: &str, value: &Value| {
                let mut of_key = offering
                    .expressions
                    .iter()
                    .filter(|expression| expression.key == key);
                of_key.all(|expression| expression.allows(value.as_str()))
            };
            (offering.price - price).abs() < 1e-9
                && says("topology.kubernetes.io/zone", &node["zone"])
                && says("karpenter.sh/capacity-type", &node["capacityType"])
        };
        let offering = it.and_then(|it| it.offerings.iter().find(is_it));
        if let Some((id, count)) = offering.and_then(|offering| offering.reservation.as_ref()) {
            let (taken, most) = drawn.entry(id).or_insert((0, *count));
            (*taken, *most) = (*taken + 1, (*most).min(*count));
        }
    }
    for (id, (taken, most)) in drawn {
        if taken > most {
            findings.add(
                "reservations",
                format!("{taken} nodes draw on {id}, which has {most}"),
            );
        }
    }
}

/// What else the node may be would do as well.
fn options(world: &World, site: &Site, node: &Value, findings: &mut Findings) {
    let options: Vec<&str> = node["instanceTypeOptions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let chosen = node["instanceType"].as_str().unwrap_or_default();
    if !options.contains(&chosen) {
        findings.add(
            "options",
            format!("{}: {chosen} is not among its options", site.name),
        );
    }
    if options.len() > MOST_OPTIONS || options.iter().collect::<BTreeSet<_>>().len() < options.len() {
        findings.add(
            "options",
            format!(
                "{} has {} options, some twice or too many",
                site.name,
                options.len()
            ),
        );
    }
    let Some(pool) = site.pool.as_ref().and_then(|pool| world.pools.get(pool)) else {
        return;
    };
    let asked = room::asked(world, site);
    let mut kept = Vec::new();
    for option in options {
        match world.types.get(option) {
            None => findings.add("options", format!("{}: there is no type {option}", site.name)),
            Some(it) => {
                kept.push(it);
                if let Some(why) = unsuitable(world, site, pool, it, &asked) {
                    findings.add("options", format!("{} may not be {option}: {why}", site.name));
                }
            }
        }
    }
    for (key, least) in &pool.min_values {
        let values: BTreeSet<&String> = kept
            .iter()
            .flat_map(|it| {
                it.expressions
                    .iter()
                    .filter(|e| e.key == *key && e.operator == "In")
            })
            .flat_map(|e| &e.values)
            .filter(|value| {
                pool.expressions
                    .iter()
                    .all(|e| e.key != *key || e.allows(Some(value)))
            })
            .collect();
        // What a reservation is for is all that its node can be.
        if values.len() < *least && node["capacityType"] != "reserved" {
            findings.add(
                "minValues",
                format!(
                    "{} leaves {} values of {key}, its pool wants {least}",
                    site.name,
                    values.len()
                ),
            );
        }
    }
}

fn unsuitable(world: &World, site: &Site, pool: &Pool, it: &Type, asked: &Amounts) -> Option<String> {
    let mut why = "it is not to be had".to_owned();
    let asks = room::asks(world, site);
    for offering in it.offerings.iter().filter(|offering| offering.available) {
        let Some(labels) = node_labels(pool, it, &offering.expressions, &site.name) else {
            continue;
        };
        let Some(labels) = room::fitting(&labels, &asks) else {
            "no labels suit its pods".clone_into(&mut why);
            continue;
        };
        let mut left = it.allocatable.clone();
        for daemon in world.daemons_on(&labels, &pool.taints) {
            left = difference(&left, &daemon.rules.requests);
        }
        match lacking(asked, &left) {
            Some(name) => why = format!("it lacks {name}"),
            None => return None,
        }
    }
    Some(why)
}

/// What is there and what is planned stay within each pool's limits.
fn limits(world: &World, findings: &mut Findings) {
    let mut used: BTreeMap<&str, Amounts> = BTreeMap::new();
    let mut buying: BTreeSet<&str> = BTreeSet::new();
    for site in world.sites.iter().filter(|site| !site.is_deleting) {
        if let Some(pool) = &site.pool {
            let of_pool = used.entry(pool).or_default();
            add(of_pool, &site.capacity);
            add(of_pool, &Amounts::from([("nodes".to_owned(), one())]));
            if site.planned.is_some() {
                buying.insert(pool);
            }
        }
    }
    for pool in world
        .pools
        .values()
        .filter(|pool| buying.contains(pool.name.as_str()))
    {
        for (name, limit) in &pool.limits {
            let amount = used
                .get(pool.name.as_str())
                .and_then(|used| used.get(name))
                .copied()
                .unwrap_or(0);
            if amount > *limit {
                findings.add(
                    "limits",
                    format!(
                        "{} has {} of {name}, its limit is {}",
                        pool.name,
                        words(amount),
                        words(*limit)
                    ),
                );
            }
        }
    }
}
