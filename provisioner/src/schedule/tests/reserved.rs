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
    vec![
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
    ]
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
