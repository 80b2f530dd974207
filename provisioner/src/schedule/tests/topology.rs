//! Spread, affinity and anti-affinity.

use super::*;

fn pod_affinity(kind: &str, key: &str, app: &str) -> serde_json::Value {
    json!({ "affinity": { kind: { "requiredDuringSchedulingIgnoredDuringExecution": [
        { "topologyKey": key, "labelSelector": { "matchLabels": { "app": app } } },
    ] } } })
}

#[test]
fn spread_over_zones_balances_and_never_breaks_the_skew() {
    let pods: Vec<_> = (0..6)
        .map(|i| app(&format!("p{i}"), "web", spread(labels::ZONE, "web")))
        .collect();
    let plan = solve(world(), &pods);
    let mut zones = domains(&plan, labels::ZONE);
    zones.sort();
    assert_eq!(zones, ["a", "b", "c"], "pods of one zone share a node");
    assert!(plan.new.iter().all(|node| node.pods.len() == 2));
}

#[test]
fn spread_over_zones_counts_pods_that_run() {
    let mut world = world();
    world.nodes = vec![node("n", "small", vec![app("x", "web", json!({}))])];
    let plan = solve(
        world,
        &[
            app("p", "web", spread(labels::ZONE, "web")),
            app("q", "web", spread(labels::ZONE, "web")),
        ],
    );
    assert_eq!(domains(&plan, labels::ZONE), ["b", "c"]);
}

#[test]
fn spread_over_hosts_opens_nodes() {
    let pods: Vec<_> = (0..3)
        .map(|i| app(&format!("p{i}"), "web", spread(labels::HOSTNAME, "web")))
        .collect();
    assert_eq!(solve(world(), &pods).new.len(), 3);
}

#[test]
fn a_spread_that_cannot_be_met_is_explained() {
    let mut world = world();
    let only_a = json!({ "template": { "spec": { "requirements": [{ "key": labels::ZONE, "operator": "In", "values": ["a"] }] } } });
    world.pools = vec![pool("default", only_a)];
    let mut elsewhere = node("n", "small", vec![]);
    elsewhere
        .requirements
        .set(Requirement::one_of(labels::ZONE, ["b"]));
    elsewhere.taints = vec![labels::disrupted_taint()];
    world.nodes = vec![elsewhere];
    let pods = [
        app("p", "web", spread(labels::ZONE, "web")),
        app("q", "web", spread(labels::ZONE, "web")),
    ];
    let plan = solve(world, &pods);
    assert_eq!(
        reason(&plan),
        "unsatisfiable topology constraint for topology spread, key=topology.kubernetes.io/zone (counts = a:1, b:0, \
         podDomains = topology.kubernetes.io/zone Exists, nodeDomains = topology.kubernetes.io/zone In [a] (NodePool=\"default\")"
    );
}

#[test]
fn schedule_anyway_is_given_up() {
    let mut patch = spread(labels::HOSTNAME, "web");
    patch["topologySpreadConstraints"][0]["whenUnsatisfiable"] = json!("ScheduleAnyway");
    let limited = World {
        pools: vec![pool("default", json!({ "limits": { "nodes": 1 } }))],
        ..World::default()
    };
    let plan = solve(limited, &[app("p", "web", patch.clone()), app("q", "web", patch)]);
    assert!(plan.is_complete());
    assert_eq!(plan.new.len(), 1);
}

#[test]
fn anti_affinity_over_hosts_separates_and_works_both_ways() {
    let alone = |name: &str| {
        app(
            name,
            "db",
            pod_affinity("podAntiAffinity", labels::HOSTNAME, "db"),
        )
    };
    assert_eq!(solve(world(), &[alone("p"), alone("q")]).new.len(), 2);
    let mut world = world();
    world.nodes = vec![node("n", "huge", vec![alone("x")])];
    let plan = solve(world, &[app("plain", "db", json!({}))]);
    assert!(plan.existing.is_empty(), "a pod that others keep away stays away");
    assert_eq!(plan.new.len(), 1);
}

#[test]
fn anti_affinity_over_an_undecided_zone_blocks_all_of_them() {
    let away = app(
        "a-keeper",
        "other",
        pod_affinity("podAntiAffinity", labels::ZONE, "web"),
    );
    let plan = solve(
        world(),
        &[away, labelled("web", "100m", json!({ "app": "web" }), json!({}))],
    );
    assert!(reason(&plan).contains("pod anti-affinity"), "{}", reason(&plan));
}

#[test]
fn affinity_goes_where_its_target_is() {
    let near = pod_affinity("podAffinity", labels::ZONE, "db");
    let db = labelled("db", "1", json!({ "app": "db" }), selector(labels::ZONE, "b"));
    let plan = solve(world(), &[app("web", "web", near.clone()), db]);
    assert!(plan.is_complete(), "{:?}", plan.unschedulable);
    assert_eq!(plan.new.len(), 1);
    assert_eq!(plan.new[0].choice.zone, "b");
    let plan = solve(world(), &[app("web", "web", near)]);
    assert!(reason(&plan).contains("pod affinity"), "no target anywhere");
}

#[test]
fn affinity_to_oneself_starts_somewhere_and_stays() {
    let pods: Vec<_> = (0..3)
        .map(|i| {
            app(
                &format!("p{i}"),
                "db",
                pod_affinity("podAffinity", labels::HOSTNAME, "db"),
            )
        })
        .collect();
    let plan = solve(world(), &pods);
    assert_eq!(plan.new.len(), 1);
}
