//! §8.1 Constraints and labels.

use super::{cases::*, *};

const UNKNOWN: &str = "does not have known values";

#[test]
fn cases_hold() {
    run(cases());
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = operators();
    cases.extend(known_and_restricted());
    cases.extend(combined());
    cases
}

/// Each operator on a custom label, whether the pool's template or its requirements say it.
fn operators() -> Vec<Case> {
    let table: &[(&'static str, &str, &[&str], bool)] = &[
        ("operator In", "In", &["5", "6"], true),
        ("operator In", "In", &["6"], false),
        ("operator NotIn", "NotIn", &["6"], true),
        ("operator NotIn", "NotIn", &["5"], false),
        ("operator Exists", "Exists", &[], true),
        ("operator DoesNotExist", "DoesNotExist", &[], false),
        ("operator Gt", "Gt", &["4"], true),
        ("operator Gt", "Gt", &["5"], false),
        ("operator Lt", "Lt", &["6"], true),
        ("operator Lt", "Lt", &["5"], false),
        ("operator Gte", "Gte", &["5"], true),
        ("operator Gte", "Gte", &["6"], false),
        ("operator Lte", "Lte", &["5"], true),
        ("operator Lte", "Lte", &["4"], false),
    ];
    let mut cases = Vec::new();
    for (title, operator, values, placed) in table {
        let expected: &[&str] = if *placed {
            &["small/a: p"]
        } else {
            &["- p: incompatible requirements, key rank"]
        };
        for world in [labelling("rank", "5"), requiring(&[("rank", "In", &["5"])])] {
            cases.push(case(
                title,
                world,
                [plain("p", affinity("rank", operator, values))],
                expected,
            ));
        }
    }
    let undefined: &[(&'static str, &str, &[&str], bool)] = &[
        ("undefined key: In ✗", "In", &["x"], false),
        ("undefined key: Exists ✗", "Exists", &[], false),
        ("undefined key: NotIn ✓", "NotIn", &["x"], true),
        ("undefined key: DoesNotExist ✓", "DoesNotExist", &[], true),
        ("operator Exists", "Exists", &[], false),
        ("operator DoesNotExist", "DoesNotExist", &[], true),
    ];
    for (title, operator, values, placed) in undefined {
        let refused = format!("- p: label \"colour\" {UNKNOWN}");
        let expected: &[&str] = if *placed { &["small/a: p"] } else { &[&refused] };
        cases.push(case(
            title,
            world(),
            [plain("p", affinity("colour", operator, values))],
            expected,
        ));
    }
    cases
}

fn known_and_restricted() -> Vec<Case> {
    let only_a = || requiring(&[(labels::ZONE, "In", &["a"])]);
    let mut cases = vec![
        case(
            "unconstrained pod schedules",
            world(),
            [plain("p", json!({}))],
            &["small/a: p"],
        ),
        case(
            "conflicting selector doesn't schedule",
            labelling("team", "x"),
            [plain("p", selector("team", "y"))],
            &["- p: key team, team In [y] not in team In [x]"],
        ),
        case(
            "undefined key doesn't schedule",
            world(),
            [plain("p", selector("team", "y"))],
            &["- p: label \"team\" does not have known values"],
        ),
        case(
            "well-known labels usable without pool declaring them",
            world(),
            [plain(
                "p",
                both(
                    selector(labels::ZONE, "b"),
                    selector(labels::INSTANCE_TYPE, "large"),
                ),
            )],
            &["large/b: p"],
        ),
        case(
            "hostname selector ✗",
            world(),
            [plain("p", selector(labels::HOSTNAME, "x"))],
            &["- p: kubernetes.io/hostname"],
        ),
        case(
            "unknown zone ✗",
            world(),
            [plain("p", selector(labels::ZONE, "nowhere"))],
            &["- p: no instance type"],
        ),
        case(
            "selector outside pool constraints ✗",
            only_a(),
            [plain("p", selector(labels::ZONE, "b"))],
            &[
                "- p: key topology.kubernetes.io/zone, topology.kubernetes.io/zone In [b] not in topology.kubernetes.io/zone In [a]",
            ],
        ),
        case(
            "selector outside pool constraints ✗",
            only_a(),
            [plain("p", selector(labels::ZONE, "a"))],
            &["small/a: p"],
        ),
    ];
    for key in [
        "karpenter.sh/other",
        "kubernetes.io/hostname",
        "x.karpenter.sh/other",
    ] {
        let expected: &[&str] = &["- p: "];
        cases.push(case(
            "restricted labels and domains ✗",
            world(),
            [plain("p", affinity(key, "In", &["x"]))],
            expected,
        ));
    }
    for key in [
        "kubernetes.io/other",
        "sub.kubernetes.io/other",
        "node-restriction.kubernetes.io/other",
        "kops.k8s.io/group",
    ] {
        cases.push(case(
            "kubernetes.io domain, subdomain and well-known list ✓",
            labelling(key, "x"),
            [plain("p", selector(key, "x"))],
            &["small/a: p"],
        ));
    }
    cases
}

fn combined() -> Vec<Case> {
    let required_and = |preferred: &[&str]| {
        both(
            affinity(labels::ZONE, "In", &["b", "c"]),
            preferring(&[(1, labels::ZONE, "In", preferred)]),
        )
    };
    vec![
        case(
            "preferences + requirements combined",
            world(),
            [plain("p", required_and(&["a", "c"]))],
            &["small/c: p"],
        ),
        case(
            "incompatible preference still schedules",
            world(),
            [plain("p", required_and(&["a"]))],
            &["small/b: p"],
        ),
        case(
            "incompatible preference still schedules",
            world(),
            [plain(
                "p",
                preferring(&[(1, labels::ZONE, "NotIn", &["a", "b", "c"])]),
            )],
            &["small/a: p"],
        ),
        case(
            "multidimensional combos",
            world(),
            [plain(
                "p",
                json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [{ "matchExpressions": [
                { "key": labels::ZONE, "operator": "In", "values": ["b", "c"] },
                { "key": labels::ZONE, "operator": "NotIn", "values": ["b"] },
                { "key": labels::INSTANCE_TYPE, "operator": "NotIn", "values": ["small"] },
            ] }] } } } }),
            )],
            &["medium/c: p"],
        ),
        case(
            "multidimensional combos",
            world(),
            [plain(
                "p",
                both(
                    selector(labels::ZONE, "b"),
                    affinity(labels::ZONE, "NotIn", &["b"]),
                ),
            )],
            &["- p: no instance type"],
        ),
        case(
            "Exists never overwrites an existing value",
            requiring(&[("rank", "In", &["5"])]),
            [
                plain("p", affinity("rank", "Exists", &[])),
                plain("q", selector("rank", "5")),
            ],
            &["medium/a: p q"],
        ),
        case(
            "compatible pods share a node",
            requiring(&[("rank", "In", &["1", "2"])]),
            [
                plain("p", affinity("rank", "In", &["1", "2"])),
                plain("q", affinity("rank", "NotIn", &["1"])),
            ],
            &["medium/a: p q"],
        ),
        case(
            "incompatible pods get different nodes",
            requiring(&[("rank", "In", &["1", "2"])]),
            [
                plain("p", selector("rank", "1")),
                plain("q", selector("rank", "2")),
            ],
            &["small/a: p", "small/a: q"],
        ),
    ]
}

#[test]
fn exists_leaves_the_value_that_is_there() {
    let world = requiring(&[("rank", "In", &["5"])]);
    let plan = solve(world, &[plain("p", affinity("rank", "Exists", &[]))]);
    assert_eq!(domains(&plan, "rank"), ["5"]);
}
