//! §8.7 Topology: spread constraints, given and by default.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{cases::*, *};

#[test]
fn cases_hold() {
    run(cases());
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = zonal();
    cases.extend(other_keys());
    cases.extend(policies());
    cases.extend(defaults());
    cases
}

/// A pod `app: web` of 500m with one spread, patched.
fn web(name: &str, key: &str, patch: serde_json::Value) -> Arc<PodFacts> {
    web_in(name, key, patch, json!({}))
}

fn web_in(name: &str, key: &str, patch: serde_json::Value, spec: serde_json::Value) -> Arc<PodFacts> {
    let mut constraint = spread(key, "web");
    crate::testing::merge(&mut constraint["topologySpreadConstraints"][0], patch);
    app(name, "web", both(spec, constraint))
}

fn webs(count: usize, key: &str, patch: serde_json::Value) -> Vec<Arc<PodFacts>> {
    several(count, |name| web(name, key, patch.clone()))
}

/// A node in a zone with so many pods `app: web`, too small for more.
fn full(name: &str, zone: &str, pods: usize) -> ClusterNode {
    let pods = several(pods, |pod| app(&format!("{name}-{pod}"), "web", json!({})));
    changed(node(name, "small", pods), |node| {
        node.requirements.set(Requirement::one_of(labels::ZONE, [zone]));
        node.taints = vec![taint("full", "NoSchedule")];
    })
}

fn zonal() -> Vec<Case> {
    let zone = labels::ZONE;
    let none = || json!({});
    let only = |zones: &[&str]| requiring(&[(zone, "In", zones)]);
    let expressions = json!({ "labelSelector": { "matchLabels": null, "matchExpressions": [{ "key": "app", "operator": "In", "values": ["web"] }] } });
    let two_pools = World {
        pools: vec![
            pool("b-only", requirements_patch(&[(zone, "In", &["b"])])),
            pool("c-only", requirements_patch(&[(zone, "In", &["c"])])),
        ],
        ..World::default()
    };
    let labelled_b = labelling(zone, "b");
    let seen = |nodes: Vec<ClusterNode>, zones: &[&str]| World { nodes, ..only(zones) };
    let other = |name: &str| {
        changed(full(name, "a", 0), |node| {
            node.pods = vec![app("o", "other", json!({}))]
        })
    };
    let done = |name: &str| {
        changed(full(name, "a", 0), |node| {
            node.pods = vec![facts(&app("o", "web", json!({})), |pod| pod.is_terminal = true)]
        })
    };
    let elsewhere = |name: &str| {
        changed(full(name, "a", 0), |node| {
            node.pods = vec![facts(&app("o", "web", json!({})), |pod| {
                pod.key.namespace = "other".into()
            })]
        })
    };
    vec![
        case(
            "zonal spread: match labels / expressions",
            world(),
            webs(3, zone, none()),
            &["small/a: p0", "small/b: p1", "small/c: p2"],
        ),
        case(
            "zonal spread: match labels / expressions",
            world(),
            webs(3, zone, expressions),
            &["small/a: p0", "small/b: p1", "small/c: p2"],
        ),
        case(
            "zonal spread: pool subset by requirements/labels/both/across pools",
            only(&["b", "c"]),
            webs(2, zone, none()),
            &["small/b: p0", "small/c: p1"],
        ),
        case(
            "zonal spread: pool subset by requirements/labels/both/across pools",
            labelled_b,
            webs(2, zone, none()),
            &["small/b: p0 p1"],
        ),
        case(
            "zonal spread: pool subset by requirements/labels/both/across pools",
            two_pools,
            webs(2, zone, none()),
            &["c-only:small/c: p0", "b-only:small/b: p1"],
        ),
        case(
            "zonal spread: existing pod",
            nodes([full("n", "a", 1)]),
            webs(2, zone, none()),
            &["small/b: p0", "small/c: p1"],
        ),
        case(
            "zonal spread: non-min domain if only one available",
            seen(
                vec![full("n", "a", 3), full("m", "b", 3), full("l", "c", 0)],
                &["a", "b"],
            ),
            webs(1, zone, json!({ "maxSkew": 4 })),
            &["small/a: p0"],
        ),
        case(
            "zonal spread: only min if already skewed",
            nodes([full("n", "a", 3), full("m", "b", 3)]),
            webs(2, zone, none()),
            &["small/c: p0 p1"],
        ),
        case(
            "zonal spread: DoNotSchedule never violated",
            seen(vec![full("n", "a", 1), full("m", "b", 0)], &["a"]),
            webs(1, zone, none()),
            &[
                "- p0: unsatisfiable topology constraint for topology spread, key=topology.kubernetes.io/zone (counts = a:1, b:0",
            ],
        ),
        case(
            "zonal spread: discovered domains",
            seen(vec![full("n", "test-zone", 0)], &["a"]),
            webs(2, zone, none()),
            &["small/a: p0", "- p1: counts = a:1, test-zone:0"],
        ),
        case(
            "zonal spread: only running/labelled pods counted",
            nodes([other("n")]),
            webs(1, zone, none()),
            &["small/a: p0"],
        ),
        case(
            "zonal spread: only running/labelled pods counted",
            nodes([done("n")]),
            webs(1, zone, none()),
            &["small/a: p0"],
        ),
        case(
            "zonal spread: only running/labelled pods counted",
            nodes([elsewhere("n")]),
            webs(1, zone, none()),
            &["small/a: p0"],
        ),
        case(
            "zonal spread: empty selector matches all",
            nodes([other("n")]),
            webs(1, zone, json!({ "labelSelector": { "matchLabels": null } })),
            &["small/b: p0"],
        ),
        case(
            "zonal spread: invalid/nil selector",
            world(),
            webs(2, zone, json!({ "labelSelector": null })),
            &["small/a: p0 p1"],
        ),
        case(
            "zonal spread: interdependent selectors",
            world(),
            [
                web("p", zone, none()),
                app("q", "other", spread(zone, "web")),
                app("r", "other", spread(zone, "web")),
            ],
            &["small/a: p q r"],
        ),
        case(
            "zonal spread: minDomains",
            only(&["a", "b"]),
            webs(3, zone, json!({ "minDomains": 3 })),
            &["small/a: p0", "small/b: p1", "- p2: topology spread"],
        ),
        case(
            "zonal spread: minDomains",
            world(),
            webs(3, zone, json!({ "minDomains": 3 })),
            &["small/a: p0", "small/b: p1", "small/c: p2"],
        ),
        case(
            "zonal spread: minDomains",
            only(&["a", "b"]),
            webs(4, zone, json!({ "minDomains": 2 })),
            &["small/a: p0 p2", "small/b: p1 p3"],
        ),
    ]
}

fn other_keys() -> Vec<Case> {
    let any_capacity = || requiring(&[(labels::CAPACITY_TYPE, "Exists", &[])]);
    let ct = labels::CAPACITY_TYPE;
    let host = labels::HOSTNAME;
    let two = json!({ "topologySpreadConstraints": [
        spread(host, "web")["topologySpreadConstraints"][0], spread(labels::ZONE, "web")["topologySpreadConstraints"][0],
    ] });
    let seen_spot = |pods: usize| World {
        nodes: vec![changed(full("n", "a", pods), |node| {
            node.requirements.set(Requirement::one_of(ct, ["spot"]))
        })],
        ..requiring(&[(ct, "In", &["spot"])])
    };
    let on_demand_seen = |count| {
        let mut world = seen_spot(count);
        world.nodes.push(full("m", "a", 0));
        world
    };
    let racks = requiring(&[("rack", "In", &["r1", "r2"])]);
    let api = |name: &str| app(name, "api", spread(host, "api"));
    let mut arm = selling(json!({}), |it| {
        if it.name == "medium" {
            it.requirements.set(Requirement::one_of(labels::ARCH, ["arm64"]));
        }
    });
    arm.nodes.clear();
    vec![
        case(
            "hostname spread: balance",
            world(),
            webs(3, host, json!({})),
            &["small/a: p0", "small/a: p1", "small/a: p2"],
        ),
        case(
            "hostname spread: up to maxSkew per host",
            world(),
            webs(4, host, json!({ "maxSkew": 2 })),
            &["small/a: p0 p1", "small/a: p2 p3"],
        ),
        case(
            "hostname spread: several deployments",
            world(),
            [
                web("p", host, json!({})),
                web("q", host, json!({})),
                api("r"),
                api("s"),
            ],
            &["small/a: p r", "small/a: q s"],
        ),
        case(
            "hostname spread: varying arch",
            arm.clone(),
            [
                web_in("p", host, json!({}), selector(labels::ARCH, "amd64")),
                web_in("q", host, json!({}), selector(labels::ARCH, "arm64")),
            ],
            &["small/a: p", "medium/a: q"],
        ),
        case(
            "capacity type spread: balance",
            any_capacity(),
            webs(4, ct, json!({})),
            &["small/a: p0 p2", "small/a/spot: p1 p3"],
        ),
        case(
            "capacity type spread: pool constraint",
            requiring(&[(ct, "In", &["spot"])]),
            webs(2, ct, json!({})),
            &["small/a/spot: p0 p1"],
        ),
        case(
            "capacity type spread: DoNotSchedule vs ScheduleAnyway",
            on_demand_seen(1),
            webs(1, ct, json!({})),
            &["- p0: topology spread, key=karpenter.sh/capacity-type"],
        ),
        case(
            "capacity type spread: DoNotSchedule vs ScheduleAnyway",
            on_demand_seen(1),
            webs(1, ct, json!({ "whenUnsatisfiable": "ScheduleAnyway" })),
            &["small/a/spot: p0"],
        ),
        case(
            "capacity type spread: affinity-constrained",
            any_capacity(),
            several(2, |name| {
                web_in(name, ct, json!({}), affinity(ct, "In", &["spot"]))
            }),
            &["small/a/spot: p0 p1"],
        ),
        case(
            "arch spread",
            arm,
            webs(2, labels::ARCH, json!({})),
            &["small/a: p0", "medium/a: p1"],
        ),
        case(
            "combined hostname+zone(+ct) spread",
            world(),
            several(4, |name| app(name, "web", two.clone())),
            &["small/a: p0", "small/b: p1", "small/c: p2", "small/a: p3"],
        ),
        case(
            "spread over custom pool requirement",
            racks,
            webs(2, "rack", json!({})),
            &["small/a: p0", "small/a: p1"],
        ),
    ]
}

fn policies() -> Vec<Case> {
    let zone = labels::ZONE;
    let revision = |name: &str, hash: &str, keys: serde_json::Value| {
        let constraint = both(spread(zone, "web"), json!({}));
        let mut patch = constraint;
        patch["topologySpreadConstraints"][0]["matchLabelKeys"] = keys;
        labelled(
            name,
            "500m",
            json!({ "app": "web", "pod-template-hash": hash }),
            patch,
        )
    };
    let by_hash = || json!(["pod-template-hash"]);
    let tainted = |honor: &str| {
        let mut world = requiring(&[("rack", "In", &["r1"])]);
        world.pools.push(pool(
            "other",
            both(
                requirements_patch(&[("rack", "In", &["r2"])]),
                json!({ "template": { "spec": { "taints": [{ "key": "t", "effect": "NoSchedule" }] } } }),
            ),
        ));
        (world, webs(2, "rack", json!({ "nodeTaintsPolicy": honor })))
    };
    let (ignored, for_ignored) = tainted("Ignore");
    let (honoured, for_honoured) = tainted("Honor");
    let from_nodes = |policy: &str| {
        let world = World {
            nodes: vec![full("n", "b", 0)],
            ..requiring(&[(zone, "In", &["a"])])
        };
        (world, webs(2, zone, json!({ "nodeTaintsPolicy": policy })))
    };
    let (nodes_ignored, for_nodes_ignored) = from_nodes("Ignore");
    let (nodes_honoured, for_nodes_honoured) = from_nodes("Honor");
    let in_ab = |policy: &str| {
        several(2, |name| {
            web_in(
                name,
                zone,
                json!({ "nodeAffinityPolicy": policy }),
                affinity(labels::INSTANCE_TYPE, "In", &["medium"]),
            )
        })
    };
    let existing = || nodes([full("n", "a", 1), full("m", "b", 0), full("l", "c", 1)]);
    // A taint that pods come to tolerate keeps nobody from counting.
    let avoided = one_pool(both(
        requirements_patch(&[]),
        json!({ "template": { "spec": { "taints": [{ "key": "t", "effect": "PreferNoSchedule" }] } } }),
    ));
    // A node that does not say what it is is none that the pods ask for, whatever a pool could buy.
    let unlabelled = changed(full("n", "a", 1), |node| {
        drop(node.requirements.remove(labels::ARCH))
    });
    let limited = |patch: serde_json::Value| several(2, |name| web_in(name, zone, json!({}), patch.clone()));
    vec![
        case(
            "spread with matchLabelKeys",
            world(),
            [
                revision("p", "1", by_hash()),
                revision("q", "1", by_hash()),
                revision("r", "2", by_hash()),
            ],
            &["small/a: p r", "small/b: q"],
        ),
        case(
            "spread with matchLabelKeys (+unknown)",
            world(),
            [
                revision("p", "1", json!(["nobody"])),
                revision("q", "2", json!(["nobody"])),
            ],
            &["small/a: p", "small/b: q"],
        ),
        case(
            "NodeTaintsPolicy ignore/honor from pools",
            ignored,
            for_ignored,
            &[
                "small/a: p0",
                "- p1: topology spread, key=rack (counts = r1:1, r2:0",
            ],
        ),
        case(
            "NodeTaintsPolicy ignore/honor from pools",
            honoured,
            for_honoured,
            &["small/a: p0 p1"],
        ),
        case(
            "NodeTaintsPolicy ignore/honor from nodes",
            nodes_ignored,
            for_nodes_ignored,
            &["small/a: p0", "- p1: counts = a:1, b:0"],
        ),
        case(
            "NodeTaintsPolicy ignore/honor from nodes",
            nodes_honoured,
            for_nodes_honoured,
            &["small/a: p0 p1"],
        ),
        case(
            "NodeTaintsPolicy ignore/honor from pools",
            avoided,
            webs(2, zone, json!({ "nodeTaintsPolicy": "Honor" })),
            &["small/a: p0", "small/b: p1"],
        ),
        case(
            "NodeAffinityPolicy ignore/honor",
            nodes([unlabelled]),
            [web_in(
                "p",
                zone,
                json!({}),
                affinity(labels::ARCH, "In", &["amd64"]),
            )],
            &["small/a: p"],
        ),
        case(
            "NodeAffinityPolicy ignore/honor",
            existing(),
            in_ab("Ignore"),
            &["medium/b: p0 p1"],
        ),
        case(
            "NodeAffinityPolicy ignore/honor",
            existing(),
            in_ab("Honor"),
            &["medium/a: p0", "medium/b: p1"],
        ),
        case(
            "spread limited by selector",
            world(),
            limited(selector(zone, "b")),
            &["small/b: p0 p1"],
        ),
        case(
            "spread limited by requirements",
            world(),
            limited(affinity(zone, "NotIn", &["a"])),
            &["small/b: p0", "small/c: p1"],
        ),
        case(
            "spread limited by required affinity",
            world(),
            limited(affinity(zone, "In", &["b", "c"])),
            &["small/b: p0", "small/c: p1"],
        ),
        case(
            "spread not limited by preferred affinity",
            world(),
            limited(preferring(&[(1, zone, "In", &["b"])])),
            &["small/a: p1", "small/b: p0"],
        ),
        case(
            "PVC + TSC minDomains",
            world(),
            [
                facts(&web("p", zone, json!({ "minDomains": 3 })), |pod| {
                    pod.volumes = VolumeNeeds::Resolved(vec![pinned(zone, "c")])
                }),
                web("q", zone, json!({ "minDomains": 3 })),
            ],
            &["small/c: p", "small/a: q"],
        ),
    ]
}

fn by_default(keys: &[&str], how: serde_json::Value) -> World {
    let constraint = |key: &&str| {
        let constraint = both(
            json!({ "topologyKey": key, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule" }),
            how.clone(),
        );
        serde_json::from_value(constraint).unwrap()
    };
    World {
        default_spreads: keys.iter().map(constraint).collect(),
        workloads: vec![service("app", "web")],
        ..world()
    }
}

fn select(key: &str, value: &str) -> kube::core::Selector {
    let selector = LabelSelector {
        match_labels: Some([(key.to_owned(), value.to_owned())].into()),
        ..LabelSelector::default()
    };
    selector.try_into().unwrap()
}

fn service(key: &str, value: &str) -> Workload {
    Workload {
        namespace: "default".into(),
        owner: None,
        selector: select(key, value),
    }
}

fn defaults() -> Vec<Case> {
    let zone = labels::ZONE;
    let hard = || json!({});
    let plain_webs = |count| several(count, |name| app(name, "web", json!({})));
    let owned = |name: &str, set: &str| {
        let pod = labelled(name, "500m", json!({ "hash": set }), json!({}));
        facts(&pod, |pod| {
            pod.owner = Some(PodOwner {
                kind: "ReplicaSet".into(),
                name: set.into(),
            })
        })
    };
    let sets = |names: &[&str]| {
        names
            .iter()
            .map(|set| Workload {
                namespace: "default".into(),
                owner: Some(PodOwner {
                    kind: "ReplicaSet".into(),
                    name: (*set).into(),
                }),
                selector: select("hash", set),
            })
            .collect::<Vec<_>>()
    };
    let with_nodes = |mut world: World, nodes: Vec<ClusterNode>| {
        world.nodes = nodes;
        world
    };
    let narrow = |mut world: World, zones: &[&str]| {
        world.pools = vec![pool("default", requirements_patch(&[(zone, "In", zones)]))];
        world
    };
    vec![
        case(
            "defaults: injected zonal/hostname",
            by_default(&[zone], hard()),
            plain_webs(3),
            &["small/a: p0", "small/b: p1", "small/c: p2"],
        ),
        case(
            "defaults: injected zonal/hostname",
            by_default(&[labels::HOSTNAME], hard()),
            plain_webs(2),
            &["small/a: p0", "small/a: p1"],
        ),
        case(
            "defaults: not with own TSC",
            by_default(&[zone], hard()),
            webs(2, labels::HOSTNAME, json!({ "maxSkew": 2 })),
            &["small/a: p0 p1"],
        ),
        case(
            "defaults: minDomains carried",
            narrow(by_default(&[zone], json!({ "minDomains": 3 })), &["a"]),
            plain_webs(2),
            &["small/a: p0", "- p1: topology spread"],
        ),
        case(
            "defaults: relax ScheduleAnyway",
            with_nodes(
                narrow(
                    by_default(&[zone], json!({ "whenUnsatisfiable": "ScheduleAnyway" })),
                    &["a"],
                ),
                vec![full("n", "a", 1), full("m", "b", 0)],
            ),
            plain_webs(1),
            &["small/a: p0"],
        ),
        case(
            "defaults: no-op when unset",
            by_default(&[], hard()),
            plain_webs(3),
            &["small/a: p0 p1 p2"],
        ),
        case(
            "defaults: no owner/service",
            by_default(&[zone], hard()),
            several(2, |name| app(name, "lonely", json!({}))),
            &["small/a: p0 p1"],
        ),
        case(
            "defaults: pre-existing counted",
            with_nodes(by_default(&[zone], hard()), vec![full("n", "a", 1)]),
            plain_webs(2),
            &["small/b: p0", "small/c: p1"],
        ),
        case(
            "defaults: per workload & revision",
            World {
                workloads: sets(&["one", "two"]),
                ..by_default(&[zone], hard())
            },
            [owned("p", "one"), owned("q", "one"), owned("r", "two")],
            &["small/a: p r", "small/b: q"],
        ),
        case(
            "defaults: selector from service",
            World {
                workloads: vec![service("app", "web")],
                ..by_default(&[zone], hard())
            },
            plain_webs(2),
            &["small/a: p0", "small/b: p1"],
        ),
    ]
}
