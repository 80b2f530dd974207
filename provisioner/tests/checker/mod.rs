//! Holds a plan against everything that it was made of, from scratch: plain JSON in, and nothing of this workspace
//! but the form of its output.
//!
//! A plan is right if it could be carried out as it stands: each pod once, room for all of them and for daemons on every
//! node, taints tolerated, labels that some node of that type, pool and offering can have, spread and affinity over the
//! final placement, prices as they are sold.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "several programs look at different parts of it"
)]

mod labels;
mod money;
mod pods;
mod quantity;
mod room;
mod topology;
mod volumes;
mod world;

use std::collections::BTreeMap;

use serde_json::Value;

use self::world::World;

/// What a plan was made of, as it stands in files.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    /// Pods, to be placed where they name no node.
    pub pods: Vec<Value>,
    /// NodePools.
    pub node_pools: Vec<Value>,
    /// Instance types.
    pub instance_types: Vec<Value>,
    /// Nodes that are there.
    pub nodes: Vec<Value>,
    /// DaemonSets.
    pub daemon_sets: Vec<Value>,
    /// Namespaces.
    pub namespaces: Vec<Value>,
    /// Storage, services and owners of pods, and the scheduler's configuration.
    pub surroundings: Vec<Value>,
}

/// Something that is wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// Which rule it breaks.
    pub rule: &'static str,
    /// What breaks it.
    pub message: String,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// What is wrong.
    pub violations: Vec<Violation>,
    /// Constraints over labels whose value on a planned node the plan does not say.
    pub undecided: usize,
}

impl Findings {
    fn add(&mut self, rule: &'static str, message: impl Into<String>) {
        self.violations.push(Violation {
            rule,
            message: message.into(),
        });
    }
}

/// Everything that is wrong with `plan`, which is in the form of `autoscaler plan -o json`. A planned node may also
/// have `labels`: what it will carry where pool and type leave it open.
pub(crate) fn check(given: &Given, plan: &Value) -> Findings {
    let mut findings = Findings::default();
    let world = World::read(given, plan, &mut findings);
    each_pod_once(&world, plan, &mut findings);
    room::check(&world, &mut findings);
    money::check(&world, plan, &mut findings);
    topology::check(&world, &mut findings);
    volumes::check(&world, given, &mut findings);
    world.needlessly_unschedulable(&mut findings);
    findings.violations.sort();
    findings
}

fn each_pod_once(world: &World, plan: &Value, findings: &mut Findings) {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    let list = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
    for part in ["nodes", "existing"] {
        for node in plan[part].as_array().into_iter().flatten() {
            for pod in node["pods"].as_array().into_iter().flatten() {
                *times.entry(pod.as_str().unwrap_or_default()).or_default() += 1;
            }
        }
    }
    for entry in plan["unschedulable"].as_array().into_iter().flatten() {
        let pod = entry["pod"].as_str().unwrap_or_default();
        *times.entry(pod).or_default() += 1;
        if entry["reason"].as_str().is_none_or(str::is_empty) {
            findings.add("reason", format!("{pod} has no place and no reason"));
        }
    }
    for pod in world
        .pods
        .iter()
        .filter(|pod| pod.node.is_none() && !pod.is_ignored)
    {
        match times.remove(pod.key.as_str()) {
            Some(1) => {}
            Some(count) => findings.add("once", format!("{} is placed {count} times", pod.key)),
            None => findings.add("once", format!("{} is not in the plan", pod.key)),
        }
    }
    for (pod, _) in times {
        findings.add("once", format!("{pod} is in the plan and was not to be placed"));
    }
    for node in list(&plan["nodes"]) {
        if list(&node["pods"]).is_empty() {
            findings.add("empty", format!("{} is bought for nobody", node["name"]));
        }
    }
}
