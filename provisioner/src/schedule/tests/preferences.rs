//! §8.2 Preferences.

use super::{cases::*, *};

#[test]
fn cases_hold() {
    run(cases());
}

fn tainted(effect: &str) -> World {
    one_pool(json!({ "template": { "spec": { "taints": [{ "key": "t", "effect": effect }] } } }))
}

pub(super) fn cases() -> Vec<Case> {
    let zone = labels::ZONE;
    let mut soft_and_hard = world();
    soft_and_hard.pools = vec![
        pool(
            "tainted",
            json!({ "weight": 10, "template": { "spec": { "taints": [{ "key": "t", "effect": "PreferNoSchedule" }] } } }),
        ),
        pool("plain", requirements_patch(&[(zone, "In", &["b"])])),
    ];
    let on_volume = |zones: &[&str]| zones.iter().map(|name| pinned(zone, name)).collect::<Vec<_>>();
    vec![
        case(
            "final required term never relaxed",
            world(),
            [plain("p", required(&[(zone, "In", &["nowhere"])]))],
            &["- p: no instance type"],
        ),
        case(
            "final required term never relaxed",
            world(),
            [plain(
                "p",
                required(&[(zone, "In", &["nowhere"]), (zone, "In", &["neither"])]),
            )],
            &["- p: no instance type"],
        ),
        case(
            "several OR terms relaxed in order",
            world(),
            [plain(
                "p",
                required(&[
                    (zone, "In", &["nowhere"]),
                    (zone, "In", &["c"]),
                    (zone, "In", &["b"]),
                ]),
            )],
            &["small/c: p"],
        ),
        case(
            "all preferred terms relaxable",
            world(),
            [plain(
                "p",
                preferring(&[
                    (3, zone, "In", &["x"]),
                    (2, zone, "In", &["y"]),
                    (1, labels::ARCH, "In", &["arm64"]),
                ]),
            )],
            &["small/a: p"],
        ),
        case(
            "lighter weights win when heavier fails",
            world(),
            [plain(
                "p",
                preferring(&[
                    (1, zone, "In", &["b"]),
                    (2, zone, "In", &["c"]),
                    (100, zone, "In", &["x"]),
                ]),
            )],
            &["small/c: p"],
        ),
        case(
            "conflicting preferences don't block",
            world(),
            [plain(
                "p",
                preferring(&[(1, zone, "In", &["b"]), (1, zone, "NotIn", &["b"])]),
            )],
            &["small/b: p"],
        ),
        case(
            "PreferNoSchedule tolerated only after affinity relaxation",
            tainted("PreferNoSchedule"),
            [plain("p", json!({}))],
            &["small/a: p"],
        ),
        case(
            "PreferNoSchedule tolerated only after affinity relaxation",
            soft_and_hard,
            [plain("p", preferring(&[(1, zone, "In", &["c"])]))],
            &["plain:small/b: p"],
        ),
        case(
            "PreferNoSchedule tolerated only after affinity relaxation",
            tainted("NoSchedule"),
            [plain("p", json!({}))],
            &["- p: did not tolerate taint (taint=t:NoSchedule)"],
        ),
        case(
            "volume zone selector never relaxed",
            world(),
            [facts(
                &plain("p", preferring(&[(1, zone, "In", &["a"])])),
                |pod| pod.volumes = VolumeNeeds::Resolved(on_volume(&["b"])),
            )],
            &["small/b: p"],
        ),
        case(
            "volume zone selector never relaxed",
            world(),
            [facts(&plain("p", json!({})), |pod| {
                pod.volumes = VolumeNeeds::Resolved(on_volume(&["nowhere"]))
            })],
            &["- p: "],
        ),
    ]
}
