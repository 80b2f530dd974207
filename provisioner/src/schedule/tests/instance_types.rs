//! §8.3 Instance compatibility and bin packing.

use super::{cases::*, *};
use crate::testing::instance_type;

#[test]
fn cases_hold() {
    run(cases());
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = compatibility();
    cases.extend(packing());
    cases.extend(requests());
    cases
}

/// One of the types has arm64, another windows, another a device.
fn mixed() -> World {
    selling(json!({}), |it| {
        let family = Requirement::one_of("karpenter.k8s.aws/instance-family", [it.name.as_str()]);
        it.requirements.set(family);
        match it.name.as_str() {
            "small" => it
                .requirements
                .set(Requirement::one_of("karpenter.k8s.aws/instance-gpu-name", ["t4"])),
            "medium" => it.requirements.set(Requirement::one_of(labels::ARCH, ["arm64"])),
            "large" => it.requirements.set(Requirement::one_of(labels::OS, ["windows"])),
            _ => {}
        }
        let device = match it.name.as_str() {
            "large" => "vendor.com/a",
            "huge" => "vendor.com/b",
            _ => return,
        };
        it.capacity.set(device, scaler_api::Quantity::from_units(2));
    })
}

fn asking(amounts: &[(&str, &str)]) -> serde_json::Value {
    let requests: serde_json::Map<_, _> = amounts
        .iter()
        .map(|(name, amount)| ((*name).to_owned(), json!(amount)))
        .collect();
    json!({ "containers": [{ "name": "c", "resources": { "requests": requests, "limits": requests } }] })
}

fn compatibility() -> Vec<Case> {
    let split = |key: &str, one: &str, other: &str| {
        [plain("p", selector(key, one)), plain("q", selector(key, other))]
    };
    vec![
        case(
            "too-big pod fails",
            world(),
            [pod("p", "17", json!({}))],
            &["- p: no instance type has enough resources"],
        ),
        case(
            "arch/os/zone/type selectors split nodes",
            mixed(),
            split(labels::ARCH, "amd64", "arm64"),
            &["small/a: p", "medium/a: q"],
        ),
        case(
            "arch/os/zone/type selectors split nodes",
            mixed(),
            split(labels::OS, "linux", "windows"),
            &["small/a: p", "large/a: q"],
        ),
        case(
            "arch/os/zone/type selectors split nodes",
            world(),
            split(labels::ZONE, "b", "c"),
            &["small/b: p", "small/c: q"],
        ),
        case(
            "arch/os/zone/type selectors split nodes",
            world(),
            split(labels::INSTANCE_TYPE, "small", "large"),
            &["small/a: p", "large/a: q"],
        ),
        case(
            "resources split over different types",
            mixed(),
            [
                plain("p", asking(&[("vendor.com/a", "1")])),
                plain("q", asking(&[("vendor.com/b", "1")])),
            ],
            &["large/a: p", "huge/a: q"],
        ),
        case(
            "a pod needing two resources found on no single type fails",
            mixed(),
            [plain(
                "p",
                asking(&[("vendor.com/a", "1"), ("vendor.com/b", "1")]),
            )],
            &["- p: no instance type has enough resources"],
        ),
        case(
            "provider labels filter",
            mixed(),
            [plain(
                "p",
                affinity("karpenter.k8s.aws/instance-family", "In", &["huge"]),
            )],
            &["huge/a: p"],
        ),
        case(
            "optional labels",
            mixed(),
            [plain(
                "p",
                affinity("karpenter.k8s.aws/instance-gpu-name", "DoesNotExist", &[]),
            )],
            &["medium/a: p"],
        ),
    ]
}

fn packing() -> Vec<Case> {
    let only_small = || requiring(&[(labels::INSTANCE_TYPE, "In", &["small"])]);
    let at_limit = node(
        "n",
        "small",
        several(20, |name| pod(&format!("x{name}"), "1m", json!({}))),
    );
    vec![
        case(
            "smallest type for small pod",
            world(),
            [pod("p", "100m", json!({}))],
            &["small/a: p"],
        ),
        case(
            "many small pods on one smallest type",
            world(),
            several(5, |name| pod(name, "10m", json!({}))),
            &["small/a: p0 p1 p2 p3 p4"],
        ),
        case(
            "big+small together",
            world(),
            [pod("big", "3", json!({})), pod("little", "100m", json!({}))],
            &["medium/a: big little"],
        ),
        case(
            "new node at capacity",
            only_small(),
            several(3, |name| pod(name, "900m", json!({}))),
            &["small/a: p0 p1", "small/a: p2"],
        ),
        case(
            "new node at pod limit",
            nodes([at_limit]),
            [pod("p", "1m", json!({}))],
            &["small/a: p"],
        ),
        case(
            "zero-quantity requests",
            world(),
            [plain("p", asking(&[("cpu", "0"), ("vendor.com/none", "0")]))],
            &["small/a: p"],
        ),
        case(
            "valid types kept regardless of price",
            world(),
            [pod("p", "3", selector(labels::INSTANCE_TYPE, "huge"))],
            &["huge/a: p"],
        ),
    ]
}

fn requests() -> Vec<Case> {
    let of = |cpu: &str| json!({ "name": "c", "resources": { "requests": { "cpu": cpu } } });
    let init = |cpu: &str| json!([{ "name": "i", "resources": { "requests": { "cpu": cpu } } }]);
    let sidecar = |cpu: &str| json!({ "name": "s", "restartPolicy": "Always", "resources": { "requests": { "cpu": cpu } } });
    let limits = json!({ "containers": [{ "name": "c", "resources": { "limits": { "cpu": "3" } } }] });
    vec![
        case(
            "RuntimeClass overhead",
            world(),
            [plain("p", json!({ "overhead": { "cpu": "1" } }))],
            &["medium/a: p"],
        ),
        case(
            "initContainer max rule",
            world(),
            [plain("p", json!({ "initContainers": init("3") }))],
            &["medium/a: p"],
        ),
        case(
            "initContainer max rule",
            world(),
            [plain("p", json!({ "initContainers": init("900m") }))],
            &["small/a: p"],
        ),
        case(
            "sidecars before/after init",
            world(),
            [plain("p", json!({ "initContainers": [sidecar("2"), of("3")] }))],
            &["large/a: p"],
        ),
        case(
            "sidecars before/after init",
            world(),
            [plain("p", json!({ "initContainers": [of("3"), sidecar("2")] }))],
            &["medium/a: p"],
        ),
        case(
            "pod-level resources",
            world(),
            [plain("p", json!({ "resources": { "requests": { "cpu": "7" } } }))],
            &["large/a: p"],
        ),
        case(
            "limits-only pods",
            world(),
            [plain("p", limits)],
            &["medium/a: p"],
        ),
    ]
}

#[test]
fn a_node_is_full_at_the_types_number_of_pods() {
    let plan = solve(
        requiring(&[(labels::INSTANCE_TYPE, "In", &["small"])]),
        &several(25, |name| pod(name, "1m", json!({}))),
    );
    let mut sizes: Vec<usize> = plan.new.iter().map(|node| node.pods.len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [5, 20], "20 pods on 2 cpu");
}

#[test]
fn dear_types_stay_open_where_they_are_valid() {
    let mut dear = (*crate::testing::catalog()).clone();
    dear.instance_types.push(instance_type("golden", 2, 8, 1000.0));
    let pool = Pool::new(&node_pool("default", json!({})), Arc::new(dear)).unwrap();
    let world = World {
        pools: vec![pool],
        ..World::default()
    };
    let plan = solve(world, &[pod("p", "1", json!({}))]);
    let names: Vec<&str> = plan.new[0]
        .options
        .iter()
        .map(|option| option.instance_type.name.as_str())
        .collect();
    assert_eq!(names, ["small", "medium", "large", "huge", "golden"]);
}
