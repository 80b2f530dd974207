//! Rules that other cases obey by chance: each of these fails when the one rule that it is about is switched off.

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{cases::*, *};

#[test]
fn cases_hold() {
    run(cases());
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = places();
    cases.extend(neighbours());
    cases.extend(room());
    cases.extend(order());
    cases.extend(settings());
    cases
}

fn on_small(patch: serde_json::Value) -> serde_json::Value {
    both(
        requirements_patch(&[(labels::INSTANCE_TYPE, "In", &["small"])]),
        patch,
    )
}

fn term(kind: &str, when: &str, key: &str, app: &str) -> serde_json::Value {
    let term = json!({ "topologyKey": key, "labelSelector": { "matchLabels": { "app": app } } });
    let terms = match when {
        "preferredDuringSchedulingIgnoredDuringExecution" => {
            json!([{ "weight": 1, "podAffinityTerm": term }])
        }
        _ => json!([term]),
    };
    json!({ "affinity": { kind: { when: terms } } })
}

fn must(kind: &str, key: &str, app: &str) -> serde_json::Value {
    term(kind, "requiredDuringSchedulingIgnoredDuringExecution", key, app)
}

fn should(kind: &str, key: &str, app: &str) -> serde_json::Value {
    term(kind, "preferredDuringSchedulingIgnoredDuringExecution", key, app)
}

/// A node in a zone that takes no pods and has one of this app.
fn full(name: &str, zone: &str, label: &str) -> ClusterNode {
    changed(
        node(name, "small", vec![app(&format!("on-{name}"), label, json!({}))]),
        |node| {
            node.requirements.set(Requirement::one_of(labels::ZONE, [zone]));
            node.taints = vec![taint("full", "NoSchedule")];
        },
    )
}

/// A pod whose volume is on one host.
fn at_host(pod: &Arc<PodFacts>, host: &str) -> Arc<PodFacts> {
    facts(pod, |pod| {
        pod.volumes = VolumeNeeds::Resolved(vec![pinned(labels::HOSTNAME, host)])
    })
}

fn done(pod: &Arc<PodFacts>) -> Arc<PodFacts> {
    facts(pod, |pod| pod.is_terminal = true)
}

/// What nodes and types do not have, or only may have.
fn places() -> Vec<Case> {
    let maybe = changed(node("n", "small", vec![]), |node| {
        node.requirements
            .set(Requirement::one_of(labels::ZONE, ["a", "b"]));
    });
    let only_b = selling(json!({}), |it| {
        let offerings = it.offerings.iter_mut().filter(|offering| offering.zone != "b");
        offerings.for_each(|offering| offering.available = false);
    });
    let asking = |zone: &str| plain("p", selector(labels::ZONE, zone));
    let unheard_of =
        json!({ "containers": [{ "name": "c", "resources": { "requests": { "vendor.com/none": "1" } } }] });
    vec![
        case(
            "second node when not fitting, incompatible, or in-flight terminating",
            nodes([maybe]),
            [asking("a")],
            &["small/a: p"],
        ),
        case(
            "no match cases",
            only_b.clone(),
            [asking("a")],
            &["- p: no instance type"],
        ),
        case("no match cases", only_b, [asking("b")], &["small/b: p"]),
        case(
            "too-big pod fails",
            world(),
            [pod("p", "1", unheard_of)],
            &["- p: no instance type has enough resources"],
        ),
        // A pod that asks for a label to be other than something gives nobody that label.
        case(
            "undefined key: In ✗",
            world(),
            [
                plain("p", affinity("team", "NotIn", &["a"])),
                pod("q", "500m", affinity("team", "In", &["b"])),
            ],
            &["small/a: p", "- q: label \"team\" does not have known values"],
        ),
        case(
            "restricted labels and domains ✗",
            world(),
            [plain("p", affinity(labels::NODEPOOL, "DoesNotExist", &[]))],
            &["- p: configured to not run on a Karpenter provisioned node"],
        ),
        case(
            "local/hostPath hostname ignored, other types not",
            world(),
            [at_host(&plain("p", json!({})), "x")],
            &["- p: incompatible volume requirements, key kubernetes.io/hostname"],
        ),
    ]
}

/// Pods near and apart.
fn neighbours() -> Vec<Case> {
    let (host, zone) = (labels::HOSTNAME, labels::ZONE);
    let (near, away) = ("podAffinity", "podAntiAffinity");
    let holds = node("n", "medium", vec![app("x", "web", json!({}))]);
    let tenant = |name: &str, tenant: &str| {
        let mut patch = must(away, host, "web");
        let terms = &mut patch["affinity"][away]["requiredDuringSchedulingIgnoredDuringExecution"];
        terms[0]["mismatchLabelKeys"] = json!(["tenant"]);
        labelled(name, "500m", json!({ "app": "web", "tenant": tenant }), patch)
    };
    let soft = |key: &str| {
        let mut patch = spread(key, "web");
        patch["topologySpreadConstraints"][0]["whenUnsatisfiable"] = json!("ScheduleAnyway");
        patch
    };
    let big = |patch: serde_json::Value| labelled("p", "15500m", json!({ "app": "web" }), patch);
    let keeper = changed(node("n", "small", vec![]), |node| {
        node.pods = vec![app("x", "other", must(away, zone, "web"))];
    });
    let maybe = changed(node("n", "small", vec![]), |node| {
        node.requirements.set(Requirement::one_of(zone, ["a", "b"]));
    });
    let nameless = changed(node("n", "large", vec![]), |node| {
        drop(node.requirements.remove(host))
    });
    vec![
        // A pod that is not meant by its own spread may join as many as others may be ahead.
        case(
            "hostname spread: up to maxSkew per host",
            nodes([holds.clone()]),
            [app("p", "other", spread(host, "web"))],
            &["n: p"],
        ),
        case(
            "affinity: self zone",
            world(),
            [
                big(must(near, zone, "web")),
                app("q", "other", must(near, zone, "web")),
            ],
            &["huge/a: p", "small/a: q"],
        ),
        case(
            "affinity: self hostname / first empty domain only / constrained zones",
            nodes([holds, node("m", "medium", vec![])]),
            [at_host(&app("p", "web", must(near, host, "web")), "m")],
            &["m: p"],
        ),
        case(
            "affinity: unsatisfiable chain fails",
            world(),
            [big(json!({})), app("q", "other", must(near, zone, "web"))],
            &["huge/a: p", "- q: pod affinity"],
        ),
        case(
            "anti-affinity: hostname simple",
            world(),
            [tenant("p", "a"), tenant("q", "a"), tenant("r", "b")],
            &["small/a: p q", "small/a: r"],
        ),
        case(
            "anti-affinity: hostname simple",
            nodes([nameless]),
            [app("p", "web", must(away, host, "web"))],
            &["small/a: p"],
        ),
        // What is planned where the pods that spread may not be does not count for them.
        case(
            "NodeAffinityPolicy ignore/honor",
            world(),
            [
                labelled(
                    "x",
                    "2",
                    json!({ "app": "web" }),
                    both(
                        selector(zone, "a"),
                        affinity(labels::INSTANCE_TYPE, "In", &["large"]),
                    ),
                ),
                app(
                    "p",
                    "web",
                    both(
                        spread(zone, "web"),
                        affinity(labels::INSTANCE_TYPE, "In", &["medium"]),
                    ),
                ),
            ],
            &["large/a: x", "medium/a: p"],
        ),
        case(
            "zonal spread: match labels / expressions",
            world(),
            several(2, |name| {
                app(
                    name,
                    "web",
                    spread("failure-domain.beta.kubernetes.io/zone", "web"),
                )
            }),
            &["small/a: p0", "small/b: p1"],
        ),
        case(
            "anti-affinity: inverse with existing",
            nodes([keeper]),
            [app("p", "web", selector(zone, "a"))],
            &["small/a: p"],
        )
        .with(Overlay::without(["n"])),
        case(
            "anti-affinity: Schrödinger",
            nodes([maybe, full("m", "b", "x")]),
            [plain("p", must(away, zone, "x"))],
            &["small/a: p"],
        ),
        case(
            "affinity: preferred violations allowed",
            nodes([full("n", "b", "x")]),
            [plain("p", should(near, zone, "x"))],
            &["small/b: p"],
        ),
        // Preferred affinity is given up before preferred anti-affinity.
        case(
            "conflicting preferences don't block",
            nodes([full("n", "b", "x")]),
            [plain("p", both(should(near, zone, "x"), should(away, zone, "x")))],
            &["small/a: p"],
        ),
        // Preferred anti-affinity is given up before spreads.
        case(
            "conflicting preferences don't block",
            World {
                nodes: vec![full("n", "a", "web"), full("m", "b", "x")],
                ..requiring(&[(zone, "In", &["a", "b"])])
            },
            [app("p", "web", both(soft(zone), should(away, zone, "x")))],
            &["small/b: p"],
        ),
    ]
}

/// Limits, daemons and what is left on nodes.
fn room() -> Vec<Case> {
    let limited = |limits: serde_json::Value, nodes: Vec<ClusterNode>| World {
        nodes,
        ..one_pool(json!({ "limits": limits }))
    };
    let apart = |name: &str| app(name, "web", must("podAntiAffinity", labels::HOSTNAME, "web"));
    let going = changed(node("n", "small", vec![]), |node| node.deleting = true);
    let other = changed(full("n", "a", "x"), |node| node.pool = Some("other".to_owned()));
    let attaching = |name: &str, volume: &str| {
        facts(&pod(name, "100m", json!({})), |pod| {
            pod.attachments
                .insert("csi".to_owned(), [volume.to_owned()].into());
        })
    };
    let small = |change: &dyn Fn(&mut ClusterNode)| changed(node("n", "small", vec![]), |node| change(node));
    let with_daemon = |world: World, patch: serde_json::Value| World {
        daemons: vec![pod("agent", "1", patch)],
        ..world
    };
    let avoided =
        json!({ "template": { "spec": { "taints": [{ "key": "t", "effect": "PreferNoSchedule" }] } } });
    let big = || pod("p", "1500m", json!({ "tolerations": [{ "operator": "Exists" }] }));
    let port = |name: &str, port: serde_json::Value| {
        let resources = json!({ "requests": { "cpu": "100m" } });
        pod(
            name,
            "100m",
            json!({ "containers": [{ "name": "c", "resources": resources, "ports": [port] }] }),
        )
    };
    let sidecar = |name: &str| {
        let ports = json!([{ "containerPort": 80, "hostPort": 80 }]);
        plain(
            name,
            json!({ "initContainers": [{ "name": "s", "restartPolicy": "Always", "ports": ports }] }),
        )
    };
    let of_protocol = |name: &str, protocol: &str| {
        port(
            name,
            json!({ "containerPort": 80, "hostPort": 80, "protocol": protocol }),
        )
    };
    let of_address = |name: &str, address: &str| {
        port(
            name,
            json!({ "containerPort": 80, "hostPort": 80, "hostIP": address }),
        )
    };
    let title = "same host port → different nodes";
    vec![
        case(
            title,
            world(),
            several(2, sidecar),
            &["small/a: p0", "small/a: p1"],
        ),
        case(
            title,
            world(),
            [of_protocol("p", "TCP"), of_protocol("q", "UDP")],
            &["small/a: p q"],
        ),
        case(
            title,
            world(),
            [of_address("p", "10.0.0.1"), of_address("q", "10.0.0.2")],
            &["small/a: p q"],
        ),
        case(
            title,
            world(),
            [of_address("p", "10.0.0.1"), of_address("q", "0.0.0.0")],
            &["small/a: p", "small/a: q"],
        ),
        // A node takes what the greatest of its types would, until it is bought.
        case(
            "limits: partial",
            limited(json!({ "cpu": 20 }), vec![]),
            several(3, apart),
            &[
                "small/a: p0",
                "small/a: p1",
                "- p2: all available instance types exceed limits",
            ],
        ),
        case(
            "limits: across rounds",
            limited(json!({ "cpu": 2 }), vec![going]),
            [plain("p", json!({}))],
            &["small/a: p"],
        ),
        case(
            "limits: across rounds",
            limited(json!({ "cpu": 2 }), vec![other]),
            [plain("p", json!({}))],
            &["small/a: p"],
        ),
        case(
            "CSI limits → more nodes",
            nodes([small(&|node| {
                node.volume_limits.insert("csi".to_owned(), 1);
                node.pods = vec![done(&attaching("x", "v0"))];
            })]),
            [attaching("p", "v1")],
            &["n: p"],
        ),
        case(
            "no second node if in-flight fits",
            nodes([small(&|node| node.pods = vec![done(&big())])]),
            [big()],
            &["n: p"],
        ),
        case(
            "daemonsets: no tolerations",
            with_daemon(one_pool(avoided), json!({})),
            [big()],
            &["medium/a: p"],
        ),
        case(
            "remaining daemonset resources tracked",
            with_daemon(nodes([small(&|node| node.daemons_counted = true)]), json!({})),
            [big()],
            &["n: p"],
        ),
        case(
            "daemon overhead only when strictly compatible",
            with_daemon(
                nodes([small(&|node| drop(node.requirements.remove(labels::ARCH)))]),
                selector(labels::ARCH, "amd64"),
            ),
            [big()],
            &["n: p"],
        ),
    ]
}

/// Who comes first, and where.
fn order() -> Vec<Case> {
    let one_small = || one_pool(on_small(json!({ "limits": { "nodes": 1 } })));
    let asking = |name: &str, cpu: &str, memory: &str| {
        let requests = json!({ "cpu": cpu, "memory": memory });
        pod(
            name,
            cpu,
            json!({ "containers": [{ "name": "c", "resources": { "requests": requests } }] }),
        )
    };
    let made = |name: &str, at: &str, uid: &str| {
        facts(&plain(name, json!({})), |pod| {
            pod.created_at = Some(at.parse().unwrap());
            uid.clone_into(&mut pod.uid);
        })
    };
    let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    let second: &[&str] = &["small/a: q", "- p: node limits have been exhausted"];
    let title = "limits: nodes";
    vec![
        case(
            title,
            one_small(),
            [asking("p", "1", "4Gi"), asking("q", "1500m", "1Gi")],
            second,
        ),
        case(
            title,
            one_small(),
            [asking("p", "1", "1Gi"), asking("q", "1", "4Gi")],
            second,
        ),
        case(
            title,
            one_small(),
            [made("p", late, "a"), made("q", early, "b")],
            second,
        ),
        case(
            title,
            one_small(),
            [made("p", early, "b"), made("q", early, "a")],
            second,
        ),
        // Of planned nodes the one with the fewest pods, not the first.
        case(
            "pack in-flight before new",
            requiring(&[(labels::INSTANCE_TYPE, "In", &["medium"])]),
            [
                pod("p", "2", json!({})),
                pod("q", "1500m", json!({})),
                pod("r", "1400m", json!({})),
                pod("s", "300m", json!({})),
            ],
            &["medium/a: p q", "medium/a: r s"],
        ),
    ]
}

/// The cluster's settings.
fn settings() -> Vec<Case> {
    let zone = labels::ZONE;
    let selects = |namespace: &str, key: &str, value: &str| {
        let selector = LabelSelector {
            match_labels: Some([(key.to_owned(), value.to_owned())].into()),
            match_expressions: None,
        };
        Workload {
            namespace: namespace.to_owned(),
            owner: None,
            selector: selector.try_into().unwrap(),
        }
    };
    let spreading = |workloads: Vec<Workload>, nodes: Vec<ClusterNode>| {
        let constraint = json!({ "maxSkew": 1, "topologyKey": zone, "whenUnsatisfiable": "DoNotSchedule" });
        World {
            default_spreads: vec![serde_json::from_value(constraint).unwrap()],
            workloads,
            nodes,
            ..world()
        }
    };
    let web = |name: &str| labelled(name, "500m", json!({ "app": "web", "tier": "x" }), json!({}));
    vec![
        case(
            "PREFERENCE_POLICY=Ignore",
            World {
                preferences: PreferencePolicy::Ignore,
                ..nodes([full("n", "b", "x")])
            },
            [plain("p", should("podAffinity", zone, "x"))],
            &["small/a: p"],
        ),
        case(
            "defaults: no owner/service",
            spreading(vec![selects("other", "app", "web")], vec![]),
            several(2, web),
            &["small/a: p0 p1"],
        ),
        // Pods are together if all of what selects them selects both.
        case(
            "defaults: selector from service",
            spreading(
                vec![selects("default", "app", "web"), selects("default", "tier", "x")],
                vec![full("n", "a", "web")],
            ),
            several(2, web),
            &["small/a: p0", "small/b: p1"],
        ),
    ]
}

/// A node as the API server has it: cordoned, or with devices that are not there yet.
#[test]
fn nodes_are_read_with_what_keeps_pods_away_and_what_is_still_to_come() {
    let gpu = json!({ "cpu": "4", "memory": "8Gi", "pods": "10", "vendor.com/gpu": "1" });
    let read = |cordoned: bool| -> Node {
        serde_json::from_value(json!({
            "metadata": { "name": "n", "labels": { labels::NODEPOOL: "default" } },
            "spec": { "unschedulable": cordoned },
            "status": { "allocatable": { "cpu": "4", "memory": "8Gi", "pods": "10", "vendor.com/gpu": "0" }, "capacity": gpu },
        }))
        .unwrap()
    };
    let mut claim =
        solve(world(), &[plain("first", json!({}))]).new[0].to_claim(&node_pool("default", json!({})));
    claim.status = Some(
        serde_json::from_value(json!({ "providerID": "x", "capacity": gpu, "allocatable": gpu })).unwrap(),
    );
    let existing = |node: &Node, patch: serde_json::Value| {
        let node = ClusterNode::of_node(node, Some(&claim), vec![]);
        solve(nodes([node]), &[plain("p", patch)]).existing.len()
    };
    assert_eq!(existing(&read(false), json!({})), 1);
    assert_eq!(existing(&read(true), json!({})), 0, "a cordoned node takes none");
    let asks =
        json!({ "containers": [{ "name": "c", "resources": { "limits": { "vendor.com/gpu": "1" } } }] });
    assert_eq!(
        existing(&read(false), asks),
        1,
        "a device that will show up counts"
    );
}

/// What a node and a claim say of themselves before the node is initialised.
#[test]
fn nodes_and_claims_are_read_with_names_labels_and_taints() {
    let mut claim =
        solve(world(), &[plain("first", json!({}))]).new[0].to_claim(&node_pool("default", json!({})));
    claim.metadata.name = Some("c".to_owned());
    claim.metadata.labels = Some([("team".to_owned(), "a".to_owned())].into());
    claim.spec.taints = vec![taint("t", "NoSchedule")];
    let read = |taints: serde_json::Value| -> Node {
        serde_json::from_value(json!({ "metadata": { "name": "n" }, "spec": { "taints": taints } })).unwrap()
    };
    let young = ClusterNode::of_node(&read(json!([])), Some(&claim), vec![]);
    assert_eq!(
        (young.label(labels::HOSTNAME), young.label("team")),
        (Some("n"), Some("a"))
    );
    assert!(!young.deleting);
    let disrupted = read(json!([{ "key": labels::DISRUPTED_TAINT, "effect": "NoSchedule" }]));
    assert!(ClusterNode::of_node(&disrupted, Some(&claim), vec![]).deleting);
    let on_its_way = ClusterNode::of_claim(&claim, None);
    assert_eq!(on_its_way.taints, claim.spec.taints);
    assert!(
        on_its_way.requirements.has(labels::INSTANCE_TYPE),
        "it may be any of these"
    );
    claim.status = Some(serde_json::from_value(json!({ "providerID": "x" })).unwrap());
    let launched = ClusterNode::of_claim(&claim, None);
    assert!(
        !launched.requirements.has(labels::INSTANCE_TYPE),
        "labels are all there is"
    );
    let mirror = PodFacts {
        is_mirror: true,
        ..PodFacts::default()
    };
    assert!(!mirror.is_reschedulable() && PodFacts::default().is_reschedulable());
}

#[test]
fn a_claim_asks_for_what_daemons_take_on_any_of_its_types() {
    let on_small = pod("agent", "500m", affinity(labels::INSTANCE_TYPE, "In", &["small"]));
    let with_daemon = World {
        daemons: vec![on_small],
        ..world()
    };
    let plan = solve(with_daemon, &[plain("p", json!({}))]);
    assert_eq!(plan.new[0].requests.get("cpu").to_string(), "1");
}
