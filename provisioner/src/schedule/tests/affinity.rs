//! §8.7 Topology: pod affinity, anti-affinity and taints.

use super::{cases::*, *};

#[test]
fn cases_hold() {
    run(cases());
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = together();
    cases.extend(apart());
    cases.extend(taints());
    cases
}

fn term(key: &str, app: &str) -> serde_json::Value {
    json!({ "topologyKey": key, "labelSelector": { "matchLabels": { "app": app } } })
}

/// Required `podAffinity` or `podAntiAffinity`.
fn must(kind: &str, term: serde_json::Value) -> serde_json::Value {
    json!({ "affinity": { kind: { "requiredDuringSchedulingIgnoredDuringExecution": [term] } } })
}

fn should(kind: &str, term: serde_json::Value) -> serde_json::Value {
    json!({ "affinity": { kind: { "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 50, "podAffinityTerm": term }] } } })
}

fn near(key: &str, app: &str) -> serde_json::Value {
    must("podAffinity", term(key, app))
}

fn away(key: &str, app: &str) -> serde_json::Value {
    must("podAntiAffinity", term(key, app))
}

/// A node in a zone that is full, with a pod of this label.
fn holding(name: &str, zone: &str, label: &str, patch: serde_json::Value) -> ClusterNode {
    changed(
        node(name, "small", vec![app(&format!("on-{name}"), label, patch)]),
        |node| {
            node.requirements.set(Requirement::one_of(labels::ZONE, [zone]));
            node.taints = vec![taint("full", "NoSchedule")];
        },
    )
}

fn together() -> Vec<Case> {
    let (host, zone) = (labels::HOSTNAME, labels::ZONE);
    let in_zone = |name: &str, label: &str, of: &str| app(name, label, selector(zone, of));
    let db = |patch: serde_json::Value| several(2, |name| app(name, "db", patch.clone()));
    let arm = || {
        selling(json!({}), |it| {
            if it.name == "medium" {
                it.requirements.set(Requirement::one_of(labels::ARCH, ["arm64"]));
            }
        })
    };
    let elsewhere = |patch: serde_json::Value| {
        let mut term = term(zone, "db");
        crate::testing::merge(&mut term, patch);
        let target = facts(&in_zone("t", "db", "b"), |pod| pod.key.namespace = "far".into());
        let mut world = world();
        world
            .namespaces
            .insert("far".into(), [("team".to_owned(), "x".to_owned())].into());
        world.namespaces.insert("default".into(), Default::default());
        (world, [app("p", "web", must("podAffinity", term)), target])
    };
    let (by_list, for_list) = elsewhere(json!({ "namespaces": ["far"] }));
    let (by_selector, for_selector) =
        elsewhere(json!({ "namespaceSelector": { "matchLabels": { "team": "x" } } }));
    let (by_any, for_any) = elsewhere(json!({ "namespaceSelector": {} }));
    let (by_none, for_none) = elsewhere(json!({}));
    vec![
        case(
            "affinity: empty terms",
            world(),
            [plain(
                "p",
                json!({ "affinity": { "podAffinity": {}, "podAntiAffinity": {} } }),
            )],
            &["small/a: p"],
        ),
        case(
            "affinity: hostname",
            nodes([
                node("alone", "large", vec![]),
                node("with-db", "large", vec![app("x", "db", json!({}))]),
            ]),
            [app("p", "web", near(host, "db")), plain("q", json!({}))],
            &["with-db: p", "alone: q"],
        ),
        case(
            "affinity: arch",
            arm(),
            [
                app("p", "db", selector(labels::ARCH, "arm64")),
                app("q", "web", near(labels::ARCH, "db")),
            ],
            &["medium/a: p q"],
        ),
        case(
            "affinity: self hostname / first empty domain only / constrained zones",
            world(),
            db(near(host, "db")),
            &["small/a: p0 p1"],
        ),
        case(
            "affinity: self hostname / first empty domain only / constrained zones",
            requiring(&[(labels::INSTANCE_TYPE, "In", &["small"])]),
            several(4, |name| app(name, "db", near(host, "db"))),
            &[
                "small/a: p0 p1 p2",
                "- p3: pod affinity, key=kubernetes.io/hostname",
            ],
        ),
        case(
            "affinity: self hostname / first empty domain only / constrained zones",
            nodes([holding("n", "a", "db", json!({}))]),
            several(2, |name| {
                app(name, "db", both(near(zone, "db"), selector(zone, "b")))
            }),
            &["small/b: p0 p1"],
        ),
        case(
            "affinity: self zone",
            world(),
            several(2, |name| {
                labelled(name, "10", json!({ "app": "db" }), near(zone, "db"))
            }),
            &["huge/a: p0", "huge/a: p1"],
        ),
        case(
            "affinity: incompatible selectors allow two nodes",
            world(),
            [
                app("p", "db", both(near(zone, "db"), selector(zone, "b"))),
                app("q", "db", both(near(zone, "db"), selector(zone, "c"))),
            ],
            &["small/b: p", "small/c: q"],
        ),
        case(
            "affinity: preferred violations allowed",
            world(),
            [app("p", "web", should("podAffinity", term(host, "nobody")))],
            &["small/a: p"],
        ),
        case(
            "affinity: dependent chains",
            world(),
            [
                app("p", "web", near(host, "api")),
                app("q", "api", near(host, "db")),
                app("r", "db", json!({})),
            ],
            &["small/a: p q r"],
        ),
        case(
            "affinity: unsatisfiable chain fails",
            world(),
            [
                app("p", "db", selector(zone, "b")),
                app("q", "web", both(near(zone, "db"), selector(zone, "c"))),
            ],
            &["small/b: p", "- q: pod affinity, key=topology.kubernetes.io/zone"],
        ),
        case(
            "affinity: non-existent target fails",
            world(),
            [app("p", "web", near(host, "nobody"))],
            &["- p: unsatisfiable topology constraint for pod affinity"],
        ),
        case(
            "affinity: namespace list / selector / none",
            by_list,
            for_list,
            &["small/b: p t"],
        ),
        case(
            "affinity: namespace list / selector / none",
            by_selector,
            for_selector,
            &["small/b: p t"],
        ),
        case(
            "affinity: namespace list / selector / none",
            by_any,
            for_any,
            &["small/b: p t"],
        ),
        case(
            "affinity: namespace list / selector / none",
            by_none,
            for_none,
            &["- p: pod affinity", "small/b: t"],
        ),
        case(
            "PREFERENCE_POLICY=Ignore",
            World {
                preferences: PreferencePolicy::Ignore,
                ..nodes([node("n", "large", vec![])])
            },
            [
                app("p", "web", should("podAntiAffinity", term(host, "web"))),
                app("q", "web", should("podAntiAffinity", term(host, "web"))),
                plain("r", preferring(&[(1, zone, "In", &["c"])])),
                app(
                    "s",
                    "web",
                    json!({ "topologySpreadConstraints": [{ "topologyKey": host, "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": { "matchLabels": { "app": "web" } } }] }),
                ),
            ],
            &["n: p q r s"],
        ),
        case(
            "PREFERENCE_POLICY=Ignore",
            nodes([node("n", "large", vec![])]),
            [plain("r", preferring(&[(1, zone, "In", &["c"])]))],
            &["small/c: r"],
        ),
    ]
}

fn apart() -> Vec<Case> {
    let (host, zone) = (labels::HOSTNAME, labels::ZONE);
    let arm = selling(json!({}), |it| {
        if it.name == "medium" {
            it.requirements.set(Requirement::one_of(labels::ARCH, ["arm64"]));
        }
    });
    let pinned_db = |name: &str, of: &str, patch| {
        labelled(name, "1", json!({ "app": "db" }), both(selector(zone, of), patch))
    };
    vec![
        case(
            "anti-affinity: hostname simple",
            world(),
            several(2, |name| app(name, "db", away(host, "db"))),
            &["small/a: p0", "small/a: p1"],
        ),
        case(
            "anti-affinity: zone",
            world(),
            [
                pinned_db("p", "a", json!({})),
                pinned_db("q", "b", json!({})),
                pinned_db("r", "c", json!({})),
                app("s", "web", away(zone, "db")),
            ],
            &[
                "small/a: p",
                "small/b: q",
                "small/c: r",
                "- s: pod anti-affinity, key=topology.kubernetes.io/zone",
            ],
        ),
        case(
            "anti-affinity: zone",
            world(),
            [
                pinned_db("p", "a", json!({})),
                pinned_db("q", "b", json!({})),
                app("s", "web", away(zone, "db")),
            ],
            &["small/a: p", "small/b: q", "small/c: s"],
        ),
        case(
            "anti-affinity: other schedules first",
            world(),
            [
                labelled("p", "2", json!({ "app": "db" }), selector(zone, "b")),
                app(
                    "q",
                    "web",
                    both(away(zone, "db"), affinity(zone, "In", &["b", "c"])),
                ),
            ],
            &["medium/b: p", "small/c: q"],
        ),
        case(
            "anti-affinity: arch",
            arm,
            [
                labelled("p", "1", json!({ "app": "db" }), selector(labels::ARCH, "arm64")),
                app("q", "web", away(labels::ARCH, "db")),
            ],
            &["medium/a: p", "small/a: q"],
        ),
        case(
            "anti-affinity: inverse",
            world(),
            [
                pinned_db("p", "a", away(zone, "web")),
                pinned_db("q", "b", away(zone, "web")),
                pinned_db("r", "c", away(zone, "web")),
                app("s", "web", json!({})),
            ],
            &["small/a: p", "small/b: q", "small/c: r", "- s: pod anti-affinity"],
        ),
        case(
            "anti-affinity: inverse with existing",
            nodes([
                holding("n", "a", "db", away(zone, "web")),
                holding("m", "b", "db", away(zone, "web")),
            ]),
            [app("p", "web", json!({}))],
            &["small/c: p"],
        ),
        case(
            "anti-affinity: Schrödinger",
            world(),
            [
                labelled("p", "1", json!({ "app": "db" }), away(zone, "web")),
                app("q", "web", json!({})),
            ],
            &[
                "small/a: p",
                "- q: pod anti-affinity, key=topology.kubernetes.io/zone",
            ],
        ),
        case(
            "anti-affinity: preferred inverse",
            nodes([
                holding("n", "a", "db", should("podAntiAffinity", term(zone, "web"))),
                holding("m", "b", "db", should("podAntiAffinity", term(zone, "web"))),
            ]),
            [app("p", "web", json!({}))],
            &["small/a: p"],
        ),
        case(
            "anti-affinity: preferred inverse",
            requiring(&[(zone, "In", &["a"])]),
            several(2, |name| {
                labelled(
                    name,
                    "1",
                    json!({ "app": "web" }),
                    should("podAntiAffinity", term(zone, "web")),
                )
            }),
            &["medium/a: p0 p1"],
        ),
    ]
}

fn taints() -> Vec<Case> {
    let spec = |spec: serde_json::Value| one_pool(json!({ "template": { "spec": spec } }));
    let tainted = || spec(json!({ "taints": [{ "key": "t", "value": "x", "effect": "NoSchedule" }] }));
    let tolerating = |toleration: serde_json::Value| [plain("p", json!({ "tolerations": [toleration] }))];
    vec![
        case(
            "taints: pool taints applied",
            tainted(),
            [plain("p", json!({}))],
            &["- p: did not tolerate taint (taint=t=x:NoSchedule)"],
        ),
        case(
            "taints: tolerations",
            tainted(),
            tolerating(json!({ "key": "t", "operator": "Equal", "value": "x", "effect": "NoSchedule" })),
            &["small/a: p"],
        ),
        case(
            "taints: tolerations",
            tainted(),
            tolerating(json!({ "key": "t", "operator": "Exists" })),
            &["small/a: p"],
        ),
        case(
            "taints: tolerations",
            tainted(),
            tolerating(json!({ "key": "t", "operator": "Equal", "value": "y" })),
            &["- p: did not tolerate taint"],
        ),
        case(
            "taints: tolerations",
            tainted(),
            tolerating(json!({ "key": "t", "operator": "Exists", "effect": "NoExecute" })),
            &["- p: did not tolerate taint"],
        ),
        case(
            "taints: startup taints don't need toleration",
            spec(json!({ "startupTaints": [{ "key": "t", "effect": "NoSchedule" }] })),
            [plain("p", json!({}))],
            &["small/a: p"],
        ),
        case(
            "taints: OpExists generates no taint",
            world(),
            tolerating(json!({ "operator": "Exists" })),
            &["small/a: p"],
        ),
    ]
}
