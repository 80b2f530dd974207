//! Plans for random worlds, held against an independent checker.
//!
//! `PLANS_WORLDS` says how many worlds (500), `PLANS_SEED` with which one to begin (0). A world that fails is made
//! smaller and printed; of several rules that are broken, the one that `PLANS_RULE` names.
#![allow(clippy::unwrap_used, reason = "this is a test")]

mod checker;
mod random;

use std::{collections::BTreeMap, fmt::Write as _};

use provisioner::{
    offline::{Collector, Document, Report, Role},
    schedule::{Budget, Overlay, Prepared},
};
use serde_json::{Value, json};

use self::checker::{Findings, Given, check};

/// Rules that plans are known to break, and why; `PLANS_STRICT` makes them count.
const NOT_YET: &[(&str, &str)] = &[
    // Seeds 100, 103: a pod that asks for In [a] and In [b] (or NotIn [a]) of one label is read as one that asks for its
    // absence, and so lands where the label is missing.
    ("labels", "contradictory requirements are taken for DoesNotExist"),
    ("options", "the same, seen from the options of a planned node"),
    // Seed 356: pods on a planned node count for a spread while its capacity type is open; it commits to one that the
    // spreading pods' own node affinity leaves out, and the domain has fewer than was thought.
    (
        "spread",
        "a node counts in a domain before it is clear that it does",
    ),
    // Seed 7: the first pod is valid when it is placed, and no more when later ones, that it counts but that do not
    // spread, join its domain.
    (
        "spread-as-it-stands",
        "spreads hold in the order of placing, not over the whole plan",
    ),
];

fn documents(values: &[Value]) -> Vec<Document> {
    let numbered = values.iter().enumerate();
    numbered
        .map(|(index, object)| Document {
            file: "world".to_owned(),
            number: index + 1,
            object: object.clone(),
        })
        .collect()
}

/// A plan in the form of `autoscaler plan -o json`, with the labels that planned nodes settle on.
fn plan(given: &Given) -> Value {
    let mut inputs = Collector::default();
    for (role, values) in [
        (Role::Pods, &given.pods),
        (Role::NodePools, &given.node_pools),
        (Role::InstanceTypes, &given.instance_types),
        (Role::Nodes, &given.nodes),
        (Role::DaemonSets, &given.daemon_sets),
        (Role::Namespaces, &given.namespaces),
    ] {
        inputs.add(role, documents(values));
    }
    let inputs = inputs.build().unwrap();
    let prepared = Prepared::new(inputs.world);
    let plan = prepared.solve(&inputs.pods, &Overlay::default(), Budget::default());
    let report = Report::of(&plan, prepared.world(), 0.0, 0.0);
    let mut value = serde_json::to_value(report).unwrap();
    for (node, planned) in value["nodes"].as_array_mut().unwrap().iter_mut().zip(&plan.new) {
        let mut labels = planned.requirements.single_values();
        labels.remove("kubernetes.io/hostname");
        node["labels"] = json!(labels);
    }
    value
}

fn findings(given: &Given) -> Findings {
    check(given, &plan(given))
}

/// Leaves out whatever can be left out while `rule` is still broken.
fn shrink(mut given: Given, rule: &str) -> Given {
    let fails = |given: &Given| {
        findings(given)
            .violations
            .iter()
            .any(|violation| violation.rule == rule)
    };
    let parts: [fn(&mut Given) -> &mut Vec<Value>; 5] = [
        |given| &mut given.pods,
        |given| &mut given.nodes,
        |given| &mut given.daemon_sets,
        |given| &mut given.node_pools,
        |given| &mut given.instance_types,
    ];
    for part in parts {
        let mut size = part(&mut given).len().div_ceil(2);
        while size > 0 {
            let mut at = 0;
            while at < part(&mut given).len() {
                let mut smaller = given.clone();
                let list = part(&mut smaller);
                list.drain(at..(at + size).min(list.len()));
                if fails(&smaller) {
                    given = smaller;
                } else {
                    at += size;
                }
            }
            size /= 2;
        }
    }
    given
}

fn printed(given: &Given) -> String {
    let mut text = String::new();
    let parts = [
        ("pods", &given.pods),
        ("nodes", &given.nodes),
        ("daemon sets", &given.daemon_sets),
        ("pools", &given.node_pools),
        ("types", &given.instance_types),
    ];
    for (name, values) in parts {
        for value in values {
            writeln!(text, "{name}: {value}").unwrap();
        }
    }
    text
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn an_independent_checker_finds_nothing_wrong_with_plans_for_random_worlds() {
    let (first, count) = (number("PLANS_SEED", 0), number("PLANS_WORLDS", 500));
    let strict = std::env::var_os("PLANS_STRICT").is_some();
    let mut failing: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for seed in first..first + count {
        let found = findings(&random::world(seed));
        let counts = |rule: &str| strict || NOT_YET.iter().all(|(known, _)| *known != rule);
        for violation in found.violations.iter().filter(|violation| counts(violation.rule)) {
            let seeds = failing.entry(violation.rule).or_default();
            if seeds.last() != Some(&seed) {
                seeds.push(seed);
            }
        }
    }
    let chosen = std::env::var("PLANS_RULE").ok();
    let chosen = failing
        .iter()
        .find(|(rule, _)| chosen.as_ref().is_none_or(|chosen| chosen == *rule));
    let Some((rule, seeds)) = chosen else {
        return;
    };
    let small = shrink(random::world(seeds[0]), rule);
    let plan = plan(&small);
    let violations = check(&small, &plan).violations;
    let all: Vec<String> = failing
        .iter()
        .map(|(rule, seeds)| {
            format!(
                "{rule}: {} worlds, seeds {:?}",
                seeds.len(),
                &seeds[..seeds.len().min(8)]
            )
        })
        .collect();
    panic!(
        "{}\n\nseed {}: {violations:#?}\n\nmade smaller:\n{}\nplan: {plan}",
        all.join("\n"),
        seeds[0],
        printed(&small)
    );
}
