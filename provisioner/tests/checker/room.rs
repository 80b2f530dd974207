//! Room, taints, labels and ports of each node by itself.

use std::rc::Rc;

use super::{
    Findings,
    labels::{Expression, Labels},
    pods::{HostPort, Rules, tolerates},
    quantity::{Amounts, add, lacking, words},
    world::{Site, World},
};

pub(crate) fn check(world: &World, findings: &mut Findings) {
    for site in world.sites.iter().filter(|site| !site.new.is_empty()) {
        if site.is_deleting {
            findings.add("deleting", format!("{} is going and takes pods", site.name));
        }
        resources(world, site, findings);
        for &pod in &site.new {
            let pod = &world.pods[pod];
            if !tolerates(&pod.rules.tolerations, &site.taints) {
                findings.add("taints", format!("{} does not tolerate {}", pod.key, site.name));
            }
        }
        if fitting(&site.labels, &asks(world, site)).is_none() {
            let pods: Vec<&str> = site
                .new
                .iter()
                .map(|&pod| world.pods[pod].key.as_str())
                .take(5)
                .collect();
            findings.add(
                "labels",
                format!(
                    "no labels of {} suit all of its pods, such as {}",
                    site.name,
                    pods.join(", ")
                ),
            );
        }
        ports(world, site, findings);
    }
}

fn resources(world: &World, site: &Site, findings: &mut Findings) {
    let asked = asked(world, site);
    if let Some(name) = lacking(&asked, &site.left) {
        let there = site.left.get(name).copied().unwrap_or(0);
        let message = format!(
            "{} has {} of {name} left, its pods ask for {}",
            site.name,
            words(there),
            words(asked[name])
        );
        findings.add("resources", message);
    }
}

/// What the new pods ask for together.
pub(crate) fn asked(world: &World, site: &Site) -> Amounts {
    let mut asked = Amounts::new();
    for &pod in &site.new {
        add(&mut asked, &world.pods[pod].rules.requests);
    }
    asked
}

/// What the new pods ask of labels, each kind once.
pub(crate) fn asks<'a>(world: &'a World, site: &Site) -> Vec<&'a Rules> {
    let mut seen: Vec<&Rc<Rules>> = Vec::new();
    for &pod in &site.new {
        let rules = &world.pods[pod].rules;
        let is_new = !seen
            .iter()
            .any(|other| other.selector == rules.selector && other.terms == rules.terms);
        if is_new && !(rules.selector.is_empty() && rules.terms.is_empty()) {
            seen.push(rules);
        }
    }
    seen.into_iter().map(Rc::as_ref).collect()
}

/// Labels that suit all of them: one alternative of each is chosen.
pub(crate) fn fitting(labels: &Labels, asks: &[&Rules]) -> Option<Labels> {
    let Some((first, rest)) = asks.split_first() else {
        return Some(labels.clone());
    };
    let none: Vec<Vec<Expression>> = vec![Vec::new()];
    let terms = if first.terms.is_empty() {
        &none
    } else {
        &first.terms
    };
    let narrowed = labels.narrowed(&first.selector)?;
    terms
        .iter()
        .find_map(|term| fitting(&narrowed.narrowed(term)?, rest))
}

fn ports(world: &World, site: &Site, findings: &mut Findings) {
    let mut taken: Vec<HostPort> = site.ports.clone();
    for &pod in &site.new {
        let pod = &world.pods[pod];
        for port in &pod.rules.host_ports {
            if taken.iter().any(|other| other.conflicts(port)) {
                findings.add(
                    "ports",
                    format!("{} finds port {} of {} taken", pod.key, port.port, site.name),
                );
            }
        }
        taken.extend(pod.rules.host_ports.clone());
    }
}
