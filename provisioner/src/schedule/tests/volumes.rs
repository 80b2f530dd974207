//! §8.5 Volumes: what the caller found out about them.

use super::{cases::*, *};

#[test]
fn cases_hold() {
    run(cases());
}

fn attaching(name: &str, volumes: &[&str]) -> Arc<PodFacts> {
    facts(&pod(name, "100m", json!({})), |pod| {
        let volumes = volumes.iter().map(|volume| (*volume).to_owned()).collect();
        pod.attachments.insert("csi".to_owned(), volumes);
    })
}

fn limited(name: &str, limit: u32, pods: Vec<Arc<PodFacts>>) -> ClusterNode {
    changed(node(name, "large", pods), |node| {
        node.volume_limits.insert("csi".to_owned(), limit);
    })
}

/// A pod that may be where one of these alternatives says.
fn bound(name: &str, patch: serde_json::Value, alternatives: &[Requirements]) -> Arc<PodFacts> {
    facts(&plain(name, patch), |pod| {
        pod.volumes = VolumeNeeds::Resolved(alternatives.to_vec())
    })
}

pub(super) fn cases() -> Vec<Case> {
    let zones = |values: &[&str]| -> Requirements {
        [Requirement::one_of(labels::ZONE, values.iter().copied())]
            .into_iter()
            .collect()
    };
    let unread = json!({ "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "data" } }] });
    vec![
        case(
            "CSI limits → more nodes",
            nodes([limited("n", 3, vec![attaching("x", &["v0"])])]),
            [attaching("p", &["v1", "v2"]), attaching("q", &["v3"])],
            &["n: p", "small/a: q"],
        ),
        case(
            "CSI limits → more nodes",
            nodes([limited("n", 4, vec![attaching("x", &["v0"])])]),
            [attaching("p", &["v1", "v2"]), attaching("q", &["v3"])],
            &["n: p q"],
        ),
        case(
            "shared PVC → one node",
            nodes([limited("n", 1, vec![])]),
            several(5, |name| attaching(name, &["v"])),
            &["n: p0 p1 p2 p3 p4"],
        ),
        case(
            "NFS fine",
            nodes([limited("n", 0, vec![])]),
            [bound("p", json!({}), &[Requirements::new()])],
            &["n: p"],
        ),
        case(
            "multi-zone PV and allowedTopologies",
            world(),
            [bound("p", json!({}), &[zones(&["b", "c"])])],
            &["small/b: p"],
        ),
        case(
            "alternatives pruned",
            world(),
            [bound(
                "p",
                selector(labels::ZONE, "c"),
                &[zones(&["b"]), zones(&["c"])],
            )],
            &["small/c: p"],
        ),
        case(
            "multi-zone PV and allowedTopologies",
            world(),
            [bound(
                "p",
                selector(labels::ZONE, "a"),
                &[zones(&["b"]), zones(&["c"])],
            )],
            &["- p: incompatible volume requirements"],
        ),
        case(
            "zone from bound PV",
            world(),
            [bound("p", json!({}), &[zones(&["c"])])],
            &["small/c: p"],
        ),
        case(
            "zone from bound PV",
            nodes([node("n", "large", vec![])]),
            [bound("p", json!({}), &[zones(&["c"])])],
            &["small/c: p"],
        ),
        case(
            "zone from bound PV",
            nodes([node("n", "large", vec![])]),
            [bound("p", json!({}), &[zones(&["c"]), zones(&["a"])])],
            &["n: p"],
        ),
        case(
            "bad pod doesn't block others",
            world(),
            [plain("p", unread), plain("q", json!({}))],
            &[
                "- p: persistent volume claims were not looked up (claims=data)",
                "small/a: q",
            ],
        ),
    ]
}
