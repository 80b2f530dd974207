//! A case of the checklist: a world, pods, and where they must end up.

use super::*;

/// A case of the checklist.
pub(super) struct Case {
    /// As the checklist has it.
    pub title: &'static str,
    world: World,
    pods: Vec<Arc<PodFacts>>,
    overlay: Overlay,
    expected: Vec<String>,
}

/// A case that expects these lines, in any order: `small/a: p q` for a planned node of that type and zone (before it
/// the pool if it is not `default`, after it the capacity type if it is not on-demand), `n: p` for a node that is
/// there, `- p: words` for a pod without a place and words of its reason.
pub(super) fn case(
    title: &'static str,
    world: World,
    pods: impl IntoIterator<Item = Arc<PodFacts>>,
    expected: &[&str],
) -> Case {
    Case {
        title,
        world,
        pods: pods.into_iter().collect(),
        overlay: Overlay::default(),
        expected: expected.iter().map(|line| (*line).to_owned()).collect(),
    }
}

impl Case {
    /// In a world that differs.
    pub(super) fn with(mut self, overlay: Overlay) -> Self {
        self.overlay = overlay;
        self
    }

    fn failure(self) -> Option<String> {
        let plan = Prepared::new(self.world).solve(&self.pods, &self.overlay, Budget::default());
        let mut left = lines(&plan);
        let mut missing = Vec::new();
        for line in &self.expected {
            match left.iter().position(|actual| says(actual, line)) {
                Some(found) => drop(left.remove(found)),
                None => missing.push(line),
            }
        }
        let fails = !left.is_empty() || !missing.is_empty();
        fails.then(|| format!("{}\n  expected {missing:#?}\n  found {left:#?}", self.title))
    }
}

fn says(actual: &str, expected: &str) -> bool {
    match expected.strip_prefix("- ").and_then(|rest| rest.split_once(": ")) {
        Some((pod, words)) => actual.starts_with(&format!("- {pod}: ")) && actual.contains(words),
        None => actual == expected,
    }
}

/// A plan as the lines that [`case`] compares.
pub(super) fn lines(plan: &Plan) -> Vec<String> {
    let names = |pods: &[PodKey]| {
        let mut names: Vec<&str> = pods.iter().map(|key| key.name.as_str()).collect();
        names.sort_unstable();
        names.join(" ")
    };
    let new = plan.new.iter().map(|node| {
        let pool = match node.pool.as_str() {
            "default" => String::new(),
            other => format!("{other}:"),
        };
        let how = match node.choice.capacity_type {
            CapacityType::OnDemand => String::new(),
            other => format!("/{other}"),
        };
        let OfferingChoice {
            instance_type, zone, ..
        } = &node.choice;
        format!("{pool}{instance_type}/{zone}{how}: {}", names(&node.pods))
    });
    let existing = plan.existing.iter();
    let existing = existing.map(|(node, pods)| format!("{node}: {}", names(pods)));
    let stuck = plan.unschedulable.iter();
    let stuck = stuck.map(|(key, reason)| format!("- {}: {reason}", key.name));
    new.chain(existing).chain(stuck).collect()
}

/// Runs cases, all of them before the first failure is reported.
pub(super) fn run(cases: Vec<Case>) {
    let failures: Vec<String> = cases.into_iter().filter_map(Case::failure).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// A world with one pool that has these requirements, on-demand unless they say otherwise.
pub(super) fn requiring(requirements: &[(&str, &str, &[&str])]) -> World {
    one_pool(requirements_patch(requirements))
}

/// The patch of a pool that has these requirements, on-demand unless they say otherwise.
pub(super) fn requirements_patch(requirements: &[(&str, &str, &[&str])]) -> serde_json::Value {
    let mut all: Vec<_> = requirements
        .iter()
        .map(|(key, operator, values)| json!({ "key": key, "operator": operator, "values": values }))
        .collect();
    if !requirements.iter().any(|(key, ..)| *key == labels::CAPACITY_TYPE) {
        all.push(json!({ "key": labels::CAPACITY_TYPE, "operator": "In", "values": ["on-demand"] }));
    }
    json!({ "template": { "spec": { "requirements": all } } })
}

/// A world with one pool, patched.
pub(super) fn one_pool(patch: serde_json::Value) -> World {
    World {
        pools: vec![pool("default", patch)],
        ..World::default()
    }
}

/// A world whose one pool gives its nodes a label.
pub(super) fn labelling(key: &str, value: &str) -> World {
    one_pool(json!({ "template": { "metadata": { "labels": { key: value } } } }))
}

/// A world with pool `default` and these nodes.
pub(super) fn nodes(nodes: impl IntoIterator<Item = ClusterNode>) -> World {
    World {
        nodes: nodes.into_iter().collect(),
        ..world()
    }
}

/// A world with one pool, patched, whose catalogue was changed.
pub(super) fn selling(patch: serde_json::Value, change: impl Fn(&mut crate::InstanceType)) -> World {
    let mut catalog = (*crate::testing::catalog()).clone();
    for instance_type in &mut catalog.instance_types {
        change(Arc::make_mut(instance_type));
    }
    let pool = Pool::new(&node_pool("default", patch), Arc::new(catalog)).unwrap();
    World {
        pools: vec![pool],
        ..World::default()
    }
}

/// A pod of 1 cpu.
pub(super) fn plain(name: &str, patch: serde_json::Value) -> Arc<PodFacts> {
    pod(name, "1", patch)
}

/// So many pods `p0`, `p1`, ...
pub(super) fn several(count: usize, make: impl Fn(&str) -> Arc<PodFacts>) -> Vec<Arc<PodFacts>> {
    (0..count).map(|number| make(&format!("p{number}"))).collect()
}

/// Patches together.
pub(super) fn both(mut one: serde_json::Value, other: serde_json::Value) -> serde_json::Value {
    crate::testing::merge(&mut one, other);
    one
}

/// Preferred node affinity: weight, key, operator, values.
pub(super) fn preferring(terms: &[(i32, &str, &str, &[&str])]) -> serde_json::Value {
    let terms: Vec<_> = terms
        .iter()
        .map(|(weight, key, operator, values)| {
            json!({ "weight": weight, "preference": { "matchExpressions": [{ "key": key, "operator": operator, "values": values }] } })
        })
        .collect();
    json!({ "affinity": { "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": terms } } })
}

/// A taint of a pool or node.
pub(super) fn taint(key: &str, effect: &str) -> k8s_openapi::api::core::v1::Taint {
    k8s_openapi::api::core::v1::Taint {
        key: key.to_owned(),
        effect: effect.to_owned(),
        ..Default::default()
    }
}

/// A node after a change.
pub(super) fn changed(mut node: ClusterNode, change: impl FnOnce(&mut ClusterNode)) -> ClusterNode {
    change(&mut node);
    node
}

/// A pod after a change.
pub(super) fn facts(pod: &Arc<PodFacts>, change: impl FnOnce(&mut PodFacts)) -> Arc<PodFacts> {
    let mut facts = (**pod).clone();
    change(&mut facts);
    Arc::new(facts)
}
