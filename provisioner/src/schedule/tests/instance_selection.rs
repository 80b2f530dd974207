//! §8.8 Instance selection.

use super::{cases::*, *};
use crate::testing::instance_type;

#[test]
fn cases_hold() {
    run(cases());
}

/// For each of two architectures, two systems, three zones and two capacity types one type, each cheaper than the one
/// before it, so that everything that is asked for has another cheapest type.
fn assorted(patch: serde_json::Value) -> World {
    let mut catalog = crate::Catalog {
        version: 1,
        instance_types: Vec::new(),
    };
    let mut price = 10.0;
    for arch in ["arm64", "amd64"] {
        for os in ["windows", "linux"] {
            for zone in ["c", "b", "a"] {
                for capacity_type in ["on-demand", "spot"] {
                    price -= 0.1;
                    let mut it =
                        (*instance_type(&format!("{arch}-{os}-{zone}-{capacity_type}"), 4, 16, price))
                            .clone();
                    it.offerings.retain(|offering| {
                        offering.zone == zone && offering.capacity_type.as_str() == capacity_type
                    });
                    it.offerings
                        .iter_mut()
                        .for_each(|offering| offering.price = price);
                    for (key, value) in [
                        (labels::ARCH, arch),
                        (labels::OS, os),
                        (labels::ZONE, zone),
                        (labels::CAPACITY_TYPE, capacity_type),
                    ] {
                        it.requirements.set(Requirement::one_of(key, [value]));
                    }
                    catalog.instance_types.push(Arc::new(it));
                }
            }
        }
    }
    let pool = Pool::new(&node_pool("default", patch), Arc::new(catalog)).unwrap();
    World {
        pools: vec![pool],
        ..World::default()
    }
}

type Asked = &'static [(&'static str, &'static str)];

const CHEAPEST: &[(&str, Asked, &str)] = &[
    ("cheapest for any", &[], "amd64-linux-a-spot/a/spot"),
    (
        "cheapest for arch",
        &[(labels::ARCH, "arm64")],
        "arm64-linux-a-spot/a/spot",
    ),
    (
        "cheapest for arch",
        &[(labels::ARCH, "amd64")],
        "amd64-linux-a-spot/a/spot",
    ),
    (
        "cheapest for os",
        &[(labels::OS, "windows")],
        "amd64-windows-a-spot/a/spot",
    ),
    (
        "cheapest for os",
        &[(labels::OS, "linux")],
        "amd64-linux-a-spot/a/spot",
    ),
    (
        "cheapest for zone",
        &[(labels::ZONE, "b")],
        "amd64-linux-b-spot/b/spot",
    ),
    (
        "cheapest for capacity type",
        &[(labels::CAPACITY_TYPE, "on-demand")],
        "amd64-linux-a-on-demand/a",
    ),
    (
        "cheapest for capacity type",
        &[(labels::CAPACITY_TYPE, "spot")],
        "amd64-linux-a-spot/a/spot",
    ),
    (
        "cheapest for zone+ct",
        &[(labels::CAPACITY_TYPE, "on-demand"), (labels::ZONE, "c")],
        "amd64-linux-c-on-demand/c",
    ),
    (
        "cheapest for zone+ct",
        &[(labels::CAPACITY_TYPE, "spot"), (labels::ZONE, "b")],
        "amd64-linux-b-spot/b/spot",
    ),
    (
        "cheapest for ct+zone+arch+os",
        &[
            (labels::CAPACITY_TYPE, "on-demand"),
            (labels::ZONE, "b"),
            (labels::ARCH, "amd64"),
            (labels::OS, "linux"),
        ],
        "amd64-linux-b-on-demand/b",
    ),
    (
        "cheapest for ct+zone+arch+os",
        &[
            (labels::CAPACITY_TYPE, "spot"),
            (labels::ZONE, "c"),
            (labels::ARCH, "arm64"),
            (labels::OS, "windows"),
        ],
        "arm64-windows-c-spot/c/spot",
    ),
];

pub(super) fn cases() -> Vec<Case> {
    let open = || requirements_patch(&[(labels::CAPACITY_TYPE, "Exists", &[])]);
    let mut cases = Vec::new();
    for (title, asked, found) in CHEAPEST {
        let line = format!("{found}: p");
        let by_pod = asked
            .iter()
            .fold(json!({}), |patch, (key, value)| both(patch, selector(key, value)));
        cases.push(case(title, assorted(open()), [plain("p", by_pod)], &[&line]));
        let values: Vec<[&str; 1]> = asked.iter().map(|(_, value)| [*value]).collect();
        let mut by_pool: Vec<(&str, &str, &[&str])> = asked
            .iter()
            .zip(&values)
            .map(|((key, _), value)| (*key, "In", &value[..]))
            .collect();
        if !asked.iter().any(|(key, _)| *key == labels::CAPACITY_TYPE) {
            by_pool.push((labels::CAPACITY_TYPE, "Exists", &[]));
        }
        cases.push(case(
            title,
            assorted(requirements_patch(&by_pool)),
            [plain("p", json!({}))],
            &[&line],
        ));
    }
    let arm_in = |zone: &str| both(selector(labels::ARCH, "arm"), selector(labels::ZONE, zone));
    let spread_prices = |it: &mut crate::InstanceType| {
        let (small, by_name) = (
            it.name == "small",
            [("medium", 0.04), ("large", 0.08), ("huge", 0.16)],
        );
        let cheap = by_name
            .iter()
            .find(|(name, _)| *name == it.name)
            .map_or(1.0, |(_, price)| *price);
        let dear = if small { 100.0 } else { cheap };
        it.offerings
            .iter_mut()
            .filter(|offering| offering.capacity_type == CapacityType::Spot)
            .for_each(|offering| offering.price = dear);
    };
    cases.extend([
        case(
            "no match cases",
            assorted(open()),
            [plain("p", selector(labels::ARCH, "arm"))],
            &["- p: no instance type"],
        ),
        case(
            "no match cases",
            assorted(open()),
            [plain("p", arm_in("b"))],
            &["- p: no instance type"],
        ),
        case(
            "no match cases",
            assorted(requirements_patch(&[(labels::ARCH, "In", &["arm"])])),
            [plain("p", json!({}))],
            &["- p: nodepool requirements filtered out all available instance types"],
        ),
        case(
            "no match cases",
            assorted(requirements_patch(&[(labels::ARCH, "In", &["arm"])])),
            [plain("p", selector(labels::ZONE, "b"))],
            &["- p: nodepool requirements filtered out all available instance types"],
        ),
        case(
            "enough resources",
            world(),
            [pod("p", "3", json!({}))],
            &["medium/a: p"],
        ),
        case(
            "enough resources",
            world(),
            [pod("p", "3", json!({})), pod("q", "3", json!({}))],
            &["large/a: p q"],
        ),
        case(
            "cheaper OD before spot ordering",
            selling(open(), spread_prices),
            [plain(
                "p",
                both(selector(labels::INSTANCE_TYPE, "small"), json!({})),
            )],
            &["small/a: p"],
        ),
        case(
            "cheaper OD before spot ordering",
            selling(open(), spread_prices),
            [plain("p", json!({}))],
            &["medium/a/spot: p"],
        ),
    ]);
    cases.extend(min_values());
    cases
}

/// A pool with `minValues` over types whose label `karpenter.k8s.aws/instance-cpu` is their number of cpus.
fn keeping(requirements: serde_json::Value) -> World {
    let mut all = requirements;
    if let Some(list) = all.as_array_mut() {
        list.push(json!({ "key": labels::CAPACITY_TYPE, "operator": "In", "values": ["on-demand"] }));
    }
    selling(json!({ "template": { "spec": { "requirements": all } } }), |it| {
        let cpus = it.capacity.get("cpu").to_string();
        it.requirements.set(Requirement::one_of(CPUS, [cpus.as_str()]));
    })
}

const CPUS: &str = "karpenter.k8s.aws/instance-cpu";

fn min_values() -> Vec<Case> {
    let types = labels::INSTANCE_TYPE;
    let one = |operator: &str, values: &[&str], least: i32| json!([{ "key": CPUS, "operator": operator, "values": values, "minValues": least }]);
    let named = |values: &[&str], least: i32| json!([{ "key": types, "operator": "In", "values": values, "minValues": least }]);
    let two = |first: serde_json::Value, second: serde_json::Value| json!([first, second]);
    let p = || [pod("p", "1", json!({}))];
    let missed: &[&str] = &["- p: minValues requirement is not met"];
    let three = || [pod("p", "3", json!({})), pod("q", "3", json!({}))];
    vec![
        case(
            "minValues with In",
            keeping(named(&["small", "medium"], 2)),
            p(),
            &["small/a: p"],
        ),
        case(
            "minValues with In",
            keeping(named(&["medium", "large"], 2)),
            three(),
            &["medium/a: p", "medium/a: q"],
        ),
        case(
            "minValues with In",
            keeping(named(&["medium", "large"], 1)),
            three(),
            &["large/a: p q"],
        ),
        case(
            "minValues with Gt (ok/fail)",
            keeping(one("Gt", &["2"], 3)),
            p(),
            &["medium/a: p"],
        ),
        case(
            "minValues with Gt (ok/fail)",
            keeping(one("Gt", &["4"], 3)),
            p(),
            missed,
        ),
        case(
            "minValues with Lt (ok/fail)",
            keeping(one("Lt", &["16"], 3)),
            p(),
            &["small/a: p"],
        ),
        case(
            "minValues with Lt (ok/fail)",
            keeping(one("Lt", &["8"], 3)),
            p(),
            missed,
        ),
        case(
            "minValues max of In+NotIn",
            keeping(two(
                json!({ "key": types, "operator": "In", "values": ["small", "medium", "large"], "minValues": 1 }),
                json!({ "key": types, "operator": "NotIn", "values": ["large"], "minValues": 2 }),
            )),
            [pod("p", "1", json!({})), pod("q", "1", json!({}))],
            &["small/a: p", "small/a: q"],
        ),
        case(
            "minValues max of Gt+Lt",
            keeping(two(
                json!({ "key": CPUS, "operator": "Gt", "values": ["2"], "minValues": 1 }),
                json!({ "key": CPUS, "operator": "Lt", "values": ["16"], "minValues": 2 }),
            )),
            three(),
            &["medium/a: p", "medium/a: q"],
        ),
        case(
            "minValues fails before truncation",
            keeping(one("Exists", &[], 5)),
            p(),
            missed,
        ),
        case(
            "minValues of several operators",
            keeping(two(
                json!({ "key": types, "operator": "Exists", "minValues": 2 }),
                json!({ "key": CPUS, "operator": "NotIn", "values": ["2"], "minValues": 3 }),
            )),
            p(),
            &["medium/a: p"],
        ),
        case(
            "minValues of several keys",
            keeping(two(
                json!({ "key": types, "operator": "Exists", "minValues": 2 }),
                json!({ "key": CPUS, "operator": "Exists", "minValues": 3 }),
            )),
            three(),
            &["medium/a: p", "medium/a: q"],
        ),
        case(
            "minValues of several keys",
            keeping(two(
                json!({ "key": types, "operator": "Exists", "minValues": 2 }),
                json!({ "key": labels::ARCH, "operator": "Exists", "minValues": 2 }),
            )),
            p(),
            missed,
        ),
    ]
}
