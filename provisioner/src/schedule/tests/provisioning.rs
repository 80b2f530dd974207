//! §8.9 Provisioning suite: what of it the solver decides.

use super::{cases::*, *};

#[test]
fn cases_hold() {
    run(cases());
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = limits();
    cases.extend(daemons());
    cases.extend(pools());
    cases
}

fn limits() -> Vec<Case> {
    let limited = |limits: serde_json::Value| one_pool(json!({ "limits": limits }));
    let gpus = |limit: i32| {
        selling(json!({ "limits": { "nvidia.com/gpu": limit } }), |it| {
            it.capacity
                .set("nvidia.com/gpu", scaler_api::Quantity::from_units(1))
        })
    };
    let gpu = |name: &str| {
        plain(
            name,
            json!({ "containers": [{ "name": "c", "resources": { "limits": { "nvidia.com/gpu": "1" } } }] }),
        )
    };
    let over: &[&str] =
        &["- p: all available instance types exceed limits for nodepool (NodePool=\"default\")"];
    let three = || pod("p", "3", json!({}));
    vec![
        case(
            "no pool → unschedulable",
            World::default(),
            [plain("p", json!({}))],
            &["- p: no dynamic nodepools found"],
        ),
        case(
            "maxPods splits",
            selling(json!({}), |it| {
                it.capacity.set("pods", scaler_api::Quantity::from_units(1))
            }),
            several(2, |name| pod(name, "100m", json!({}))),
            &["small/a: p0", "small/a: p1"],
        ),
        case(
            "limits: exceeded",
            limited(json!({ "cpu": 1 })),
            [plain("p", json!({}))],
            over,
        ),
        case(
            "limits: exceeded",
            limited(json!({ "cpu": 2 })),
            [three()],
            &["- p: no instance type has enough resources"],
        ),
        case(
            "limits: exactly met",
            limited(json!({ "cpu": 4 })),
            [three()],
            &["medium/a: p"],
        ),
        case(
            "limits: partial",
            limited(json!({ "cpu": 4 })),
            [three(), pod("q", "2900m", json!({}))],
            &["medium/a: p", "- q: all available instance types exceed limits"],
        ),
        case(
            "limits: GPU",
            gpus(1),
            [gpu("p"), gpu("q")],
            &["small/a: p", "- q: all available instance types exceed limits"],
        ),
        case(
            "limits: across rounds",
            World {
                nodes: vec![node("n", "medium", vec![three()])],
                ..limited(json!({ "cpu": 5 }))
            },
            [pod("p", "1500m", json!({}))],
            over,
        ),
        case(
            "limits: nodes",
            limited(json!({ "nodes": 1 })),
            several(2, |name| plain(name, selector(labels::INSTANCE_TYPE, "small"))),
            &[
                "small/a: p0",
                "- p1: node limits have been exhausted for nodepool (NodePool=\"default\")",
            ],
        ),
        case(
            "limits: nodes",
            limited(json!({ "nodes": 2 })),
            several(2, |name| plain(name, selector(labels::INSTANCE_TYPE, "small"))),
            &["small/a: p0", "small/a: p1"],
        ),
    ]
}

fn daemons() -> Vec<Case> {
    let zone = labels::ZONE;
    let port = |number: i32| json!({ "containers": [{ "name": "c", "ports": [{ "containerPort": number, "hostPort": number }], "resources": { "requests": { "cpu": "1" } } }] });
    let with = |patch: serde_json::Value| World {
        daemons: vec![plain("agent", patch)],
        ..world()
    };
    let tainted = |kind: &str, patch| World {
        daemons: vec![plain("agent", patch)],
        ..one_pool(json!({ "template": { "spec": { kind: [{ "key": "t", "effect": "NoSchedule" }] } } }))
    };
    let tolerant = || json!({ "tolerations": [{ "operator": "Exists" }] });
    let one = || [plain("p", json!({}))];
    let pod_tolerates = [plain("p", tolerant())];
    let counted: &[&str] = &["medium/a: p"];
    let alone: &[&str] = &["small/a: p"];
    let of_types = |values: &[&str]| affinity(labels::INSTANCE_TYPE, "In", values);
    vec![
        case("daemonsets: overhead", with(json!({})), one(), counted),
        case(
            "daemonsets: host ports",
            with(port(80)),
            [plain("p", port(80))],
            &["- p: checking host port usage, pod hostport conflicts"],
        ),
        case(
            "daemonsets: host ports",
            with(port(81)),
            [plain("p", port(80))],
            counted,
        ),
        case(
            "daemonsets: startup taints",
            tainted("startupTaints", json!({})),
            one(),
            counted,
        ),
        case(
            "daemonsets: too big",
            World {
                daemons: vec![pod("agent", "100", json!({}))],
                ..world()
            },
            one(),
            &["- p: no instance type has enough resources"],
        ),
        case(
            "daemonsets: no tolerations",
            tainted("taints", json!({})),
            pod_tolerates.clone(),
            alone,
        ),
        case(
            "daemonsets: no tolerations",
            tainted("taints", tolerant()),
            pod_tolerates,
            counted,
        ),
        case(
            "daemonsets: bad selector",
            with(selector("nobody", "has")),
            one(),
            alone,
        ),
        case(
            "daemonsets: type filters",
            with(of_types(&["large"])),
            one(),
            alone,
        ),
        case(
            "daemonsets: type filters",
            with(of_types(&["small", "large"])),
            one(),
            counted,
        ),
        case(
            "daemonsets: several terms",
            with(required(&[
                ("nobody", "In", &["x"]),
                (zone, "In", &["a", "b", "c"]),
            ])),
            one(),
            counted,
        ),
        case(
            "daemonsets: preferences",
            with(preferring(&[(1, zone, "In", &["nowhere"])])),
            one(),
            counted,
        ),
    ]
}

fn pools() -> Vec<Case> {
    let weighted = |name: &str, weight: i32, patch| pool(name, both(json!({ "weight": weight }), patch));
    let world_of = |pools: Vec<Pool>| World {
        pools,
        ..World::default()
    };
    let light_and_heavy = || {
        world_of(vec![
            weighted("light", 1, json!({})),
            weighted("heavy", 100, json!({})),
        ])
    };
    let least = |key: &str, count: i32| {
        json!({ "template": { "spec": { "requirements": [
        { "key": key, "operator": "Exists", "minValues": count }, { "key": labels::CAPACITY_TYPE, "operator": "In", "values": ["on-demand"] },
    ] } } })
    };
    let both_keys = json!({ "template": { "spec": { "requirements": [
        { "key": labels::INSTANCE_TYPE, "operator": "Exists", "minValues": 5 }, { "key": labels::ZONE, "operator": "Exists", "minValues": 4 },
        { "key": labels::CAPACITY_TYPE, "operator": "In", "values": ["on-demand"] },
    ] } } });
    let relaxed = |patch: serde_json::Value| World {
        min_values: MinValuesPolicy::BestEffort,
        ..one_pool(patch)
    };
    let one = || [plain("p", json!({}))];
    let missed: &[&str] = &["- p: minValues requirement is not met"];
    let placed: &[&str] = &["small/a: p"];
    let types = labels::INSTANCE_TYPE;
    let strict_first = || {
        vec![
            weighted("choosy", 100, least(types, 5)),
            weighted("plain", 1, json!({})),
        ]
    };
    vec![
        case("weights", light_and_heavy(), one(), &["heavy:small/a: p"]),
        case(
            "explicit pool beats weight",
            light_and_heavy(),
            [plain("p", selector(labels::NODEPOOL, "light"))],
            &["light:small/a: p"],
        ),
        case(
            "MinValuesPolicy Strict for types",
            one_pool(least(types, 5)),
            one(),
            missed,
        ),
        case(
            "MinValuesPolicy Strict for types",
            one_pool(least(types, 4)),
            one(),
            placed,
        ),
        case(
            "MinValuesPolicy Strict for zones",
            one_pool(least(labels::ZONE, 4)),
            one(),
            missed,
        ),
        case(
            "MinValuesPolicy Strict for zones",
            one_pool(least(labels::ZONE, 3)),
            one(),
            placed,
        ),
        case(
            "MinValuesPolicy Strict for both",
            one_pool(both_keys.clone()),
            one(),
            missed,
        ),
        case(
            "MinValuesPolicy BestEffort for types",
            relaxed(least(types, 5)),
            one(),
            placed,
        ),
        case(
            "MinValuesPolicy BestEffort for zones",
            relaxed(least(labels::ZONE, 4)),
            one(),
            placed,
        ),
        case(
            "MinValuesPolicy BestEffort for both",
            relaxed(both_keys),
            one(),
            placed,
        ),
        case(
            "minValues: relax before other pool",
            World {
                min_values: MinValuesPolicy::BestEffort,
                ..world_of(strict_first())
            },
            one(),
            &["choosy:small/a: p"],
        ),
        case(
            "minValues: relax before other pool",
            world_of(strict_first()),
            one(),
            &["plain:small/a: p"],
        ),
    ]
}

/// What a claim is made of: the checklist's titles on NodeClaim content, daemon overhead once, labels and taints.
#[test]
fn a_claim_asks_for_pods_and_daemons_once() {
    let world = World {
        daemons: vec![plain("agent", json!({}))],
        ..world()
    };
    let plan = solve(world, &several(2, |name| plain(name, json!({}))));
    assert_eq!(plan.new.len(), 1);
    assert_eq!(plan.new[0].requests, resources(&[("cpu", "3"), ("pods", "3")]));
}
