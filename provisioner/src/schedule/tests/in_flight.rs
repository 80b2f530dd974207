//! §8.4 Nodes in flight and there, without binding.

use super::{cases::*, *};

#[test]
fn cases_hold() {
    run(cases());
}

/// A claim without a node that was made for a pod of so much cpu that asks for `patch`.
fn claimed(name: &str, cpu: &str, patch: serde_json::Value) -> ClusterNode {
    let plan = solve(world(), &[pod("first", cpu, patch)]);
    let mut claim = plan.new[0].to_claim(&node_pool("default", json!({})));
    claim.metadata.name = Some(name.to_owned());
    ClusterNode::of_claim(&claim, Some(&crate::testing::catalog()))
}

fn uninitialized(name: &str, instance_type: &str) -> ClusterNode {
    changed(node(name, instance_type, vec![]), |node| node.initialized = false)
}

fn running_daemon(name: &str, set: &str) -> Arc<PodFacts> {
    facts(&plain(name, json!({})), |pod| {
        pod.owner = Some(PodOwner {
            kind: "DaemonSet".into(),
            name: set.to_owned(),
        });
    })
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = room();
    cases.extend(daemons());
    cases.extend(unowned());
    cases
}

fn room() -> Vec<Case> {
    let web = |name: &str, key: &str| app(name, "web", spread(key, "web"));
    let in_zone = |zone: &str, pods| {
        changed(node(&format!("in-{zone}"), "medium", pods), |node| {
            node.initialized = false;
            node.requirements.set(Requirement::one_of(labels::ZONE, [zone]));
        })
    };
    let port = json!({ "containers": [{ "name": "c", "ports": [{ "containerPort": 80, "hostPort": 80 }], "resources": { "requests": { "cpu": "100m" } } }] });
    vec![
        case(
            "no second node if in-flight fits",
            nodes([uninitialized("n", "small")]),
            [plain("p", json!({}))],
            &["n: p"],
        ),
        case(
            "no second node if in-flight fits",
            nodes([claimed("c", "1", json!({}))]),
            [plain("p", json!({}))],
            &["c: p"],
        ),
        case(
            "no second node if in-flight fits (#2011 with selectors)",
            nodes([claimed("c", "1", selector(labels::ZONE, "b"))]),
            [plain("p", selector(labels::ZONE, "b"))],
            &["c: p"],
        ),
        case(
            "second node when not fitting, incompatible, or in-flight terminating",
            nodes([uninitialized("n", "small")]),
            [pod("p", "3", json!({}))],
            &["medium/a: p"],
        ),
        case(
            "second node when not fitting, incompatible, or in-flight terminating",
            nodes([uninitialized("n", "small")]),
            [plain("p", selector(labels::ZONE, "b"))],
            &["small/b: p"],
        ),
        case(
            "second node when not fitting, incompatible, or in-flight terminating",
            nodes([changed(uninitialized("n", "small"), |node| node.deleting = true)]),
            [plain("p", json!({}))],
            &["small/a: p"],
        ),
        case(
            "zonal & hostname spread counts in-flight",
            nodes([
                in_zone("a", vec![app("x", "web", json!({}))]),
                in_zone("b", vec![]),
            ]),
            [web("p", labels::ZONE), web("q", labels::ZONE)],
            &["in-b: p", "small/c: q"],
        ),
        case(
            "zonal & hostname spread counts in-flight",
            nodes([
                in_zone("a", vec![app("x", "web", json!({}))]),
                in_zone("b", vec![]),
            ]),
            [web("p", labels::HOSTNAME), web("q", labels::HOSTNAME)],
            &["in-b: p", "small/a: q"],
        ),
        case(
            "pack in-flight before new",
            nodes([uninitialized("n", "large")]),
            several(4, |name| plain(name, json!({}))),
            &["n: p0 p1 p2 p3"],
        ),
        case(
            "initialised before uninitialised",
            nodes([uninitialized("a", "large"), node("b", "small", vec![])]),
            [plain("p", json!({}))],
            &["b: p"],
        ),
        case(
            "same host port → different nodes",
            nodes([uninitialized("n", "large")]),
            [plain("p", port.clone()), plain("q", port)],
            &["n: p", "small/a: q"],
        ),
        case(
            "kubelet zeroing extended resources",
            nodes([changed(uninitialized("n", "large"), |node| {
                node.allocatable
                    .set("vendor.com/a", scaler_api::Quantity::from_units(1))
            })]),
            [plain(
                "p",
                json!({ "containers": [{ "name": "c", "resources": { "limits": { "vendor.com/a": "1" } } }] }),
            )],
            &["n: p"],
        ),
        case(
            "self affinity without binding",
            nodes([uninitialized("n", "large")]),
            several(2, |name| {
                app(
                    name,
                    "db",
                    json!({ "affinity": { "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [
                    { "topologyKey": labels::HOSTNAME, "labelSelector": { "matchLabels": { "app": "db" } } },
                ] } } }),
                )
            }),
            &["n: p0 p1"],
        ),
    ]
}

fn daemons() -> Vec<Case> {
    let agent = |patch| vec![plain("agent", patch)];
    let with = |node: ClusterNode, daemons: Vec<Arc<PodFacts>>| World {
        daemons,
        ..nodes([node])
    };
    let holding = |pods| changed(node("n", "small", pods), |node| node.initialized = false);
    let ready_only = affinity("karpenter.sh/initialized", "In", &["true"]);
    vec![
        case(
            "remaining daemonset resources tracked",
            with(holding(vec![]), agent(json!({}))),
            [plain("p", json!({}))],
            &["medium/a: p"],
        ),
        case(
            "remaining daemonset resources tracked",
            with(
                holding(vec![running_daemon("agent-x", "agent")]),
                agent(json!({})),
            ),
            [pod("p", "900m", json!({}))],
            &["n: p"],
        ),
        case(
            "unexpected daemonset pod",
            with(
                holding(vec![running_daemon("other-x", "other")]),
                agent(selector("team", "x")),
            ),
            [pod("p", "900m", json!({}))],
            &["n: p"],
        ),
        case(
            "unexpected daemonset pod",
            with(
                holding(vec![running_daemon("other-x", "other")]),
                agent(json!({})),
            ),
            [pod("p", "900m", json!({}))],
            &["n: p"],
        ),
        case(
            "daemonset with affinity on registered/initialized",
            World {
                daemons: agent(ready_only),
                ..world()
            },
            [plain("p", json!({}))],
            &["medium/a: p"],
        ),
        case(
            "daemon overhead only when strictly compatible",
            with(node("n", "small", vec![]), agent(selector(labels::ZONE, "b"))),
            [plain("p", json!({}))],
            &["n: p"],
        ),
        case(
            "daemon overhead only when strictly compatible",
            with(node("n", "small", vec![]), agent(selector(labels::ZONE, "a"))),
            [plain("p", json!({}))],
            &["medium/a: p"],
        ),
        case(
            "daemon overhead only when strictly compatible",
            with(
                node("n", "small", vec![]),
                agent(affinity(labels::INSTANCE_TYPE, "NotIn", &["small"])),
            ),
            [plain("p", json!({}))],
            &["n: p"],
        ),
    ]
}

fn unowned() -> Vec<Case> {
    let alone = |instance_type: &str| {
        changed(node("n", instance_type, vec![]), |node| {
            node.claim = None;
            node.pool = None;
            node.requirements.remove(labels::NODEPOOL);
        })
    };
    vec![
        case(
            "unowned nodes used",
            nodes([alone("small")]),
            [plain("p", json!({}))],
            &["n: p"],
        ),
        case(
            "several pods to one unowned node",
            nodes([alone("medium")]),
            several(3, |name| plain(name, json!({}))),
            &["n: p0 p1 p2"],
        ),
        case(
            "pod incompatible with node but fine with pool",
            nodes([alone("small")]),
            [plain("p", selector(labels::NODEPOOL, "default"))],
            &["small/a: p"],
        ),
        case(
            "pod incompatible with node but fine with pool",
            nodes([changed(alone("small"), |node| {
                node.taints = vec![taint("t", "NoSchedule")]
            })]),
            [plain("p", json!({}))],
            &["small/a: p"],
        ),
    ]
}

/// `§8.4` taints: which of a node's taints count, by phase.
#[test]
fn taints_count_by_phase() {
    use k8s_openapi::api::core::v1::Node;
    let claim: crate::karpenter::NodeClaim = {
        let plan = solve(world(), &[plain("first", json!({}))]);
        let mut claim = plan.new[0].to_claim(&node_pool("default", json!({})));
        claim.metadata.name = Some("c".into());
        claim.spec.startup_taints = vec![taint("startup", "NoSchedule")];
        claim
    };
    let node = |initialized: bool, key: &str| {
        let node: Node = serde_json::from_value(json!({
            "metadata": { "name": "n", "labels": { labels::NODEPOOL: "default", "karpenter.sh/initialized": initialized.to_string() } },
            "spec": { "taints": [{ "key": key, "effect": "NoSchedule" }] },
            "status": { "allocatable": { "cpu": "4", "memory": "8Gi", "pods": "10" }, "capacity": { "cpu": "4", "memory": "8Gi", "pods": "10" } },
        }))
        .unwrap();
        ClusterNode::of_node(&node, Some(&claim), vec![])
    };
    let taken = |node: ClusterNode| solve(nodes([node]), &[plain("p", json!({}))]).new.is_empty();
    let table = [
        (
            "ephemeral not-ready ignored while uninitialised",
            false,
            "node.kubernetes.io/not-ready",
            true,
        ),
        (
            "ephemeral not-ready ignored while uninitialised",
            false,
            "node.kubernetes.io/unreachable",
            true,
        ),
        ("startup taints respected per phase", false, "startup", true),
        ("startup taints respected per phase", true, "startup", false),
        ("real taints respected per phase", false, "real", false),
        ("real taints respected per phase", true, "real", false),
    ];
    for (title, initialized, key, expected) in table {
        assert_eq!(
            taken(node(initialized, key)),
            expected,
            "{title}: {key}, initialised {initialized}"
        );
    }
}
