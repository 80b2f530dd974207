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
        (Role::Surroundings, &given.surroundings),
    ] {
        inputs.add(role, documents(values));
    }
    let inputs = inputs.build().unwrap();
    let prepared = Prepared::new(inputs.world);
    let budget = Budget::auto(inputs.pods.len());
    let plan = prepared.solve(&inputs.pods, &Overlay::default(), budget);
    let report = Report::of(&plan, prepared.world(), 0.0);
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
    let parts: [fn(&mut Given) -> &mut Vec<Value>; 6] = [
        |given| &mut given.pods,
        |given| &mut given.nodes,
        |given| &mut given.daemon_sets,
        |given| &mut given.node_pools,
        |given| &mut given.instance_types,
        |given| &mut given.surroundings,
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
        ("surroundings", &given.surroundings),
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
    let mut failing: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for seed in first..first + count {
        let found = findings(&random::world(seed));
        for violation in &found.violations {
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

/// Makes a plan wrong.
type Spoil = fn(&mut Value);
/// Makes a world one that a plan does not fit.
type Change<'a> = Box<dyn Fn(&mut Given) + 'a>;

/// Whether the checker objects to a plan by `rule` when something is wrong with it.
fn assert_objects(rule: &str, given: &Given, plan: &Value) {
    let found = check(given, plan).violations;
    assert!(
        found.iter().any(|violation| violation.rule == rule),
        "{rule}: {found:?}"
    );
}

/// A world in which a good plan opens a node, and that plan.
fn good() -> (Given, Value) {
    let requirement = |key: &str, value: &str| json!({ "key": key, "operator": "In", "values": [value] });
    let zone = requirement("topology.kubernetes.io/zone", "a");
    let offering = |price: f64, available: bool, capacity_type: &str| {
        let of = requirement("karpenter.sh/capacity-type", capacity_type);
        json!({ "price": price, "available": available, "requirements": [zone, of] })
    };
    let pod = |name: &str| {
        json!({
            "metadata": { "name": name, "namespace": "default", "labels": { "app": "a" } },
            "spec": {
                "nodeSelector": { "size": "big" },
                "tolerations": [{ "key": "k", "operator": "Exists" }],
                "containers": [{ "name": "a", "resources": { "requests": { "cpu": "1" } } }],
            },
        })
    };
    let given = Given {
        pods: vec![pod("a"), pod("b")],
        node_pools: vec![json!({
            "kind": "NodePool",
            "metadata": { "name": "p" },
            "spec": { "limits": { "cpu": 4 }, "template": { "spec": { "taints": [{ "key": "k", "effect": "NoSchedule" }], "requirements": [] } } },
        })],
        instance_types: vec![json!({
            "name": "m",
            "requirements": [requirement("size", "big"), zone],
            "capacity": { "cpu": "4", "memory": "1Gi", "pods": "4" },
            "allocatable": { "cpu": "3", "memory": "1Gi", "pods": "4" },
            "offerings": [offering(1.0, true, "on-demand"), offering(0.5, false, "spot")],
        })],
        ..Given::default()
    };
    let plan = json!({
        "nodes": [{
            "name": "p-1", "nodePool": "p", "instanceType": "m", "zone": "a", "capacityType": "on-demand",
            "pricePerHour": 1.0, "instanceTypeOptions": ["m"], "pods": ["default/a", "default/b"],
        }],
        "existing": [], "unschedulable": [], "pricePerHour": 1.0, "lowerBoundPerHour": 0.9, "gapPercent": 11.0,
    });
    assert_eq!(check(&given, &plan).violations, Vec::new());
    (given, plan)
}

#[test]
fn the_checker_objects_to_plans_that_are_wrong_in_themselves() {
    let changes: [(&str, Spoil); 11] = [
        ("once", |plan| plan["nodes"][0]["pods"] = json!(["default/a"])),
        ("once", |plan| {
            plan["nodes"][0]["pods"] = json!(["default/a", "default/b", "default/b"])
        }),
        ("once", |plan| {
            plan["nodes"][0]["pods"] = json!(["default/a", "default/b", "default/c"])
        }),
        ("reason", |plan| {
            plan["unschedulable"] = json!([{ "pod": "default/a", "reason": "" }])
        }),
        ("type", |plan| plan["nodes"][0]["instanceType"] = json!("n")),
        ("offering", |plan| {
            plan["nodes"][0]["capacityType"] = json!("spot")
        }),
        ("pool", |plan| plan["nodes"][0]["zone"] = json!("b")),
        ("price", |plan| plan["nodes"][0]["pricePerHour"] = json!(0.5)),
        ("price", |plan| plan["pricePerHour"] = json!(0.5)),
        ("bound", |plan| plan["lowerBoundPerHour"] = json!(1.1)),
        ("nodes", |plan| {
            plan["existing"] = json!([{ "node": "n", "pods": ["default/a"] }])
        }),
    ];
    for (rule, change) in changes {
        let (given, mut plan) = good();
        change(&mut plan);
        assert_objects(rule, &given, &plan);
    }
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn the_checker_objects_to_plans_that_their_world_does_not_allow() {
    let spread = json!([{
        "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": { "matchLabels": { "app": "a" } },
    }]);
    let term = |app: &str, key: &str| {
        let term = json!([{ "topologyKey": key, "labelSelector": { "matchLabels": { "app": app } } }]);
        json!({ "requiredDuringSchedulingIgnoredDuringExecution": term })
    };
    let empty_node = json!({ "metadata": { "name": "n", "labels": { "topology.kubernetes.io/zone": "b", "size": "big" } }, "status": { "allocatable": {} } });
    let daemon = json!({ "spec": { "template": { "spec": { "tolerations": [{ "operator": "Exists" }], "containers": [{ "resources": { "requests": { "cpu": "2" } } }] } } } });
    let port = json!([{ "containerPort": 1, "hostPort": 1 }]);
    let everywhere = |given: &mut Given, path: &str, value: &Value| {
        for pod in &mut given.pods {
            let (parent, name) = path.rsplit_once('/').unwrap();
            pod.pointer_mut(parent).unwrap()[name] = value.clone();
        }
    };
    let changes: Vec<(&str, Change<'_>)> = vec![
        (
            "resources",
            Box::new(|given| everywhere(given, "/spec/containers/0/resources/requests/cpu", &json!("2"))),
        ),
        (
            "resources",
            Box::new(|given| given.daemon_sets.push(daemon.clone())),
        ),
        (
            "taints",
            Box::new(|given| everywhere(given, "/spec/tolerations", &json!([]))),
        ),
        (
            "labels",
            Box::new(|given| everywhere(given, "/spec/nodeSelector", &json!({ "size": "small" }))),
        ),
        (
            "labels",
            Box::new(|given| everywhere(given, "/spec/nodeSelector", &json!({ "other": "x" }))),
        ),
        (
            "ports",
            Box::new(|given| everywhere(given, "/spec/containers/0/ports", &port)),
        ),
        (
            "limits",
            Box::new(|given| given.node_pools[0]["spec"]["limits"] = json!({ "cpu": "3" })),
        ),
        (
            "limits",
            Box::new(|given| given.node_pools[0]["spec"]["limits"] = json!({ "nodes": 0 })),
        ),
        (
            "spread",
            Box::new(|given| {
                given.nodes.push(empty_node.clone());
                everywhere(given, "/spec/topologySpreadConstraints", &spread);
            }),
        ),
        (
            "affinity",
            Box::new(|given| {
                everywhere(
                    given,
                    "/spec/affinity",
                    &json!({ "podAffinity": term("z", "kubernetes.io/hostname") }),
                )
            }),
        ),
        (
            "anti-affinity",
            Box::new(|given| {
                everywhere(
                    given,
                    "/spec/affinity",
                    &json!({ "podAntiAffinity": term("a", "topology.kubernetes.io/zone") }),
                )
            }),
        ),
    ];
    let claimed = |given: &mut Given, limit: u64| {
        let volume = json!([{ "name": "v", "persistentVolumeClaim": { "claimName": "c" } }]);
        everywhere(given, "/spec/volumes", &volume);
        given.surroundings = vec![
            json!({ "kind": "StorageClass", "metadata": { "name": "late" }, "provisioner": "csi", "volumeBindingMode": "WaitForFirstConsumer",
                "allowedTopologies": [{ "matchLabelExpressions": [{ "key": "topology.kubernetes.io/zone", "values": ["a"] }] }] }),
            json!({ "kind": "PersistentVolumeClaim", "metadata": { "name": "c", "namespace": "default" }, "spec": { "storageClassName": "late" } }),
            json!({ "kind": "CSINode", "metadata": { "name": "p-1" }, "spec": { "drivers": [{ "name": "csi", "nodeID": "p-1", "allocatable": { "count": limit } }] } }),
        ];
    };
    let (mut given, plan) = good();
    claimed(&mut given, 1);
    assert_eq!(check(&given, &plan).violations, Vec::new());
    let spread_by_default = json!({ "kind": "KubeSchedulerConfiguration", "profiles": [{ "pluginConfig": [{ "name": "PodTopologySpread",
        "args": { "defaultConstraints": [{ "maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule" }] } }] }] });
    let service = json!({ "kind": "Service", "metadata": { "name": "s", "namespace": "default" }, "spec": { "selector": { "app": "a" } } });
    let more: Vec<(&str, Change<'_>)> = vec![
        ("volumes", Box::new(|given| claimed(given, 0))),
        (
            "volumes",
            Box::new(|given| {
                claimed(given, 1);
                given.surroundings[0]["allowedTopologies"][0]["matchLabelExpressions"][0]["values"] =
                    json!(["b"]);
            }),
        ),
        (
            "volumes",
            Box::new(|given| {
                claimed(given, 1);
                given.surroundings.remove(1);
            }),
        ),
        (
            "spread",
            Box::new(|given| {
                given.nodes.push(empty_node.clone());
                given.surroundings = vec![spread_by_default.clone(), service.clone()];
            }),
        ),
        (
            "reservations",
            Box::new(|given| {
                let offering = &mut given.instance_types[0]["offerings"][0];
                offering["reservationCapacity"] = json!(0);
                let id = json!({ "key": "karpenter.k8s.aws/capacity-reservation-id", "operator": "In", "values": ["r"] });
                offering["requirements"].as_array_mut().unwrap().push(id);
            }),
        ),
    ];
    for (rule, change) in changes.into_iter().chain(more) {
        let (mut given, plan) = good();
        change(&mut given);
        assert_objects(rule, &given, &plan);
    }
}

#[test]
fn the_checker_objects_where_a_pod_is_turned_down_for_nothing() {
    let (mut given, mut plan) = good();
    given.node_pools[0]["spec"]["limits"] = Value::Null;
    // Nobody asks for labels that only types know.
    for pod in &mut given.pods {
        pod["spec"]["nodeSelector"] = json!({});
    }
    plan["nodes"][0]["pods"] = json!(["default/a"]);
    plan["unschedulable"] = json!([{ "pod": "default/b", "reason": "no" }]);
    assert_objects("needless", &given, &plan);
}
