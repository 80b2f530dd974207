//! §8.6 Nodes that go, reserved offerings and the rest.

use super::{cases::*, *};

#[test]
fn cases_hold() {
    run(cases());
}

pub(super) fn cases() -> Vec<Case> {
    let dynamic = json!({ "resourceClaims": [{ "name": "gpu", "resourceClaimName": "gpu" }] });
    let going = |pods| changed(node("n", "large", pods), |node| node.deleting = true);
    let moved = plain("p", json!({}));
    let mut cases = counted();
    cases.extend([
        case(
            "pods of deleting node rescheduled when active",
            nodes([going(vec![Arc::clone(&moved)])]),
            [moved.clone()],
            &["small/a: p"],
        ),
        case(
            "pods of deleting node rescheduled when active",
            nodes([
                node("n", "large", vec![moved.clone()]),
                node("m", "small", vec![]),
            ]),
            [moved],
            &["m: p"],
        )
        .with(Overlay::without(["n"])),
        case(
            "requirement-filter error text",
            requiring(&[(labels::INSTANCE_TYPE, "In", &["gigantic"])]),
            [plain("p", json!({}))],
            &["- p: nodepool requirements filtered out all available instance types (NodePool=\"default\")"],
        ),
        case(
            "DRA ignore flag",
            world(),
            [plain("p", dynamic)],
            &[
                "- p: pod has Dynamic Resource Allocation requirements that are not yet supported by Karpenter",
            ],
        ),
    ]);
    cases
}

/// A pool that sells what others do, and of some types in some zones reserved instances: type, zone, reservation, how many
/// there are.
fn reserving(name: &str, weight: i32, reservations: &[(&str, &str, &str, u32)]) -> Pool {
    let requirement =
        json!({ "key": labels::CAPACITY_TYPE, "operator": "In", "values": ["reserved", "on-demand"] });
    let patch = json!({ "weight": weight, "template": { "spec": { "requirements": [requirement] } } });
    let mut pool = pool(name, patch);
    let catalog = Arc::make_mut(&mut pool.catalog);
    for it in &mut catalog.instance_types {
        let it = Arc::make_mut(it);
        let all = ["on-demand", "spot", "reserved"];
        it.requirements
            .set(Requirement::one_of(labels::CAPACITY_TYPE, all));
        for (_, zone, id, count) in reservations.iter().filter(|(of, ..)| *of == it.name) {
            let mut offering = it.offerings[0].clone();
            offering.zone = (*zone).to_owned();
            offering.capacity_type = CapacityType::Reserved;
            offering.price /= 1000.0;
            offering.reservation_id = Some((*id).to_owned());
            offering.reservation_capacity = Some(*count);
            it.offerings.push(offering);
        }
    }
    pool
}

fn counted() -> Vec<Case> {
    let of = |pools: Vec<Pool>| World {
        pools,
        ..World::default()
    };
    let one = |reservations: &[(&str, &str, &str, u32)]| of(vec![reserving("default", 1, reservations)]);
    let big = |name: &str, patch: serde_json::Value| pod(name, "1500m", patch);
    let plain = |name: &str| big(name, json!({}));
    let taken = "one or more instance types with compatible reserved offerings are available, but could not be reserved";
    let stuck = |name: &str| format!("- {name}: {taken}");
    let in_zone = |name: &str, zone: &str| big(name, selector(labels::ZONE, zone));
    let on_type = |name: &str, it: &str| big(name, selector(labels::INSTANCE_TYPE, it));
    let a_or_b = |name: &str| {
        big(
            name,
            required(&[(labels::ZONE, "In", &["a"]), (labels::ZONE, "In", &["b"])]),
        )
    };
    let two_pools = |heavy: &[(&str, &str, &str, u32)], light: &[(&str, &str, &str, u32)]| {
        of(vec![reserving("heavy", 2, heavy), reserving("light", 1, light)])
    };
    let in_pool = |name: &str, pool: &str| big(name, selector(labels::NODEPOOL, pool));
    vec![
        case(
            "reserved: no OD/spot fallback",
            one(&[("small", "a", "r", 1)]),
            [plain("p"), plain("q")],
            &["small/a/reserved: p", &stuck("q")],
        ),
        case(
            "reserved: no OD/spot fallback",
            one(&[("small", "a", "r", 1)]),
            [plain("p"), in_zone("q", "b")],
            &["small/a/reserved: p", "small/b: q"],
        ),
        // To join the first it would have to leave what is reserved.
        case(
            "reserved: no OD/spot fallback",
            one(&[("small", "a", "r", 2)]),
            [plain("p"), plain("q")],
            &["small/a/reserved: p", "small/a/reserved: q"],
        ),
        case(
            "reserved: no OD/spot fallback",
            changed_world(one(&[("small", "a", "r", 1)]), |world| {
                world.nodes.push(node("n", "small", vec![]))
            }),
            [on_type("p", "small"), on_type("q", "small")],
            &["small/a/reserved: p", "small/a: q"],
        )
        .with(Overlay::consolidating(["n"])),
        case(
            "reserved: counts across pools and reservations",
            two_pools(&[("small", "a", "r", 1)], &[("small", "a", "r", 1)]),
            [in_pool("p", "heavy"), in_pool("q", "light")],
            &["heavy:small/a/reserved: p", &stuck("q")],
        ),
        case(
            "reserved: counts across pools and reservations",
            two_pools(&[("small", "a", "r", 1)], &[("small", "a", "s", 1)]),
            [in_pool("p", "heavy"), in_pool("q", "light")],
            &["heavy:small/a/reserved: p", "light:small/a/reserved: q"],
        ),
        // Whatever a node may still draw on is kept for it.
        case(
            "reserved: counts across pools and reservations",
            one(&[("small", "a", "r", 1), ("small", "b", "s", 1)]),
            [plain("p"), in_zone("q", "b")],
            &["small/a/reserved: p", &stuck("q")],
        ),
        // With a second pod the first node can no longer be small, and gives back what it held.
        case(
            "reserved: counts across pools and reservations",
            one(&[("small", "a", "r", 1), ("medium", "a", "s", 1)]),
            [
                plain("p"),
                pod("q", "1400m", json!({})),
                pod("r", "1300m", selector(labels::INSTANCE_TYPE, "small")),
            ],
            &["medium/a/reserved: p q", "small/a/reserved: r"],
        ),
        case(
            "reserved: counts across pools and reservations",
            one(&[("small", "a", "r", 0)]),
            [on_type("p", "medium"), on_type("q", "small")],
            &["medium/a: p", &stuck("q")],
        ),
        case(
            "reserved: no lower-weight fallback",
            two_pools(&[("small", "a", "r", 1)], &[]),
            [plain("p"), plain("q")],
            &["heavy:small/a/reserved: p", &stuck("q")],
        ),
        case(
            "reserved: no relaxation",
            one(&[("small", "a", "r", 1)]),
            [a_or_b("p"), a_or_b("q")],
            &["small/a/reserved: p", &stuck("q")],
        ),
    ]
}

fn changed_world(mut world: World, change: impl FnOnce(&mut World)) -> World {
    change(&mut world);
    world
}

/// Which pods of a node that goes need another place.
#[test]
fn pods_need_another_place_by_owner_and_state() {
    let table = [
        (
            "pods of deleting node rescheduled when active",
            "ReplicaSet",
            false,
            false,
            true,
        ),
        ("not if inactive", "ReplicaSet", true, false, false),
        ("not if DaemonSet", "DaemonSet", false, false, false),
        ("not if inactive ReplicaSet", "ReplicaSet", false, true, false),
        ("yes if inactive StatefulSet", "StatefulSet", false, true, true),
    ];
    for (title, kind, is_terminal, is_terminating, expected) in table {
        let facts = PodFacts {
            owner: Some(PodOwner {
                kind: kind.into(),
                name: "o".into(),
            }),
            is_terminal,
            is_terminating,
            ..PodFacts::default()
        };
        assert_eq!(facts.is_reschedulable(), expected, "{title}");
    }
}
