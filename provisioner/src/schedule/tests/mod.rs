//! Tests of the solver. Those whose module has `cases` follow Karpenter's checklist of cases, each citing its title;
//! [`checklist`] counts them (209 titles, 352 cases) and lists the 15 titles without a case, each with its reason: they
//! are the controller's (batching, metrics, binding, hashes), the caller's, who leaves pools out that may not buy.
#![allow(
    clippy::too_many_lines,
    clippy::needless_pass_by_value,
    reason = "tables are long, and `json!` at the call reads best without a borrow"
)]

mod affinity;
mod cases;
mod checklist;
mod constraints;
mod in_flight;
mod instance_selection;
mod instance_types;
mod preferences;
mod price;
mod provisioning;
mod reserved;
mod rules;
mod sessions;
mod spreads;
mod topology;
mod volumes;

use serde_json::json;

use super::*;
use crate::{
    CapacityType, Requirement, Requirements,
    karpenter::labels,
    testing::{labelled, node, node_pool, pod, pool, resources, world},
};

fn solve(world: World, pods: &[Arc<PodFacts>]) -> Plan {
    Prepared::new(world).solve(pods, &Overlay::default(), Budget::default())
}

fn types(plan: &Plan) -> Vec<&str> {
    plan.new
        .iter()
        .map(|node| node.choice.instance_type.as_str())
        .collect()
}

fn reason(plan: &Plan) -> String {
    assert_eq!(plan.unschedulable.len(), 1, "{plan:#?}");
    plan.unschedulable[0].1.to_string()
}

fn selector(key: &str, value: &str) -> serde_json::Value {
    json!({ "nodeSelector": { key: value } })
}

fn affinity(key: &str, operator: &str, values: &[&str]) -> serde_json::Value {
    required(&[(key, operator, values)])
}

/// Required node affinity with one term for each expression.
fn required(terms: &[(&str, &str, &[&str])]) -> serde_json::Value {
    let terms: Vec<_> = terms
        .iter()
        .map(|(key, operator, values)| {
            json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] })
        })
        .collect();
    json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms } } } })
}

fn spread(key: &str, app: &str) -> serde_json::Value {
    json!({ "topologySpreadConstraints": [{
        "topologyKey": key, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": { "matchLabels": { "app": app } },
    }] })
}

fn app(name: &str, app: &str, patch: serde_json::Value) -> Arc<PodFacts> {
    labelled(name, "500m", json!({ "app": app }), patch)
}

/// Planned nodes' value of a label, by node.
fn domains(plan: &Plan, key: &str) -> Vec<String> {
    let of = |node: &PlannedNode| {
        node.requirements
            .get(key)
            .and_then(|r| r.single())
            .unwrap_or("?")
            .to_owned()
    };
    plan.new.iter().map(of).collect()
}

#[test]
fn a_small_pod_gets_the_smallest_type() {
    let plan = solve(world(), &[pod("p", "1", json!({}))]);
    assert_eq!(types(&plan), ["small"]);
    assert!((plan.price_per_hour - 0.1).abs() < 1e-9);
    assert_eq!(
        plan.new[0].options.len(),
        4,
        "larger types stay open for the launch"
    );
    assert_eq!(
        plan.new[0].options[0].instance_type.name, "small",
        "cheapest first"
    );
    assert_eq!(plan.new[0].choice.capacity_type, CapacityType::OnDemand);
}

#[test]
fn many_small_pods_share_a_node_until_the_largest_type_is_full() {
    let pods: Vec<_> = (0..20)
        .map(|i| pod(&format!("p{i:02}"), "1", json!({})))
        .collect();
    let plan = solve(world(), &pods);
    assert_eq!(types(&plan), ["huge", "large"], "15 fit on 15.9 cpu, 5 remain");
    assert_eq!(plan.new[0].requests.get("cpu").to_string(), "15");
}

#[test]
fn a_pod_that_is_too_big_is_told_so() {
    let plan = solve(world(), &[pod("p", "100", json!({}))]);
    let reason = reason(&plan);
    assert!(
        reason.starts_with("no instance type has enough resources, requirements="),
        "{reason}"
    );
    assert!(
        reason.ends_with(r#"resources={"cpu":"100","pods":"1"} (NodePool="default")"#),
        "{reason}"
    );
    let typo = solve(world(), &[pod("p", "1M", json!({}))]);
    assert!(typo.unschedulable[0].1.to_string().contains("m vs M typo?"));
}

#[test]
fn selectors_and_affinity_follow_the_operators() {
    let cases: &[(serde_json::Value, bool)] = &[
        (json!({}), true),
        (selector(labels::ZONE, "b"), true),
        (selector("failure-domain.beta.kubernetes.io/zone", "b"), true),
        (selector(labels::ZONE, "unknown"), false),
        (selector("team", "a"), false),
        (selector(labels::CAPACITY_TYPE, "spot"), false),
        (selector(labels::HOSTNAME, "x"), false),
        (affinity(labels::ZONE, "In", &["b", "unknown"]), true),
        (affinity(labels::ZONE, "NotIn", &["a", "b", "c"]), false),
        (affinity(labels::ZONE, "NotIn", &["a"]), true),
        (affinity(labels::ZONE, "Exists", &[]), true),
        (affinity(labels::ZONE, "DoesNotExist", &[]), false),
        (affinity("team", "In", &["a"]), false),
        (affinity("team", "NotIn", &["a"]), true),
        (affinity("team", "Exists", &[]), false),
        (affinity("team", "DoesNotExist", &[]), true),
        (
            required(&[("team", "In", &["a"]), (labels::ZONE, "In", &["c"])]),
            true,
        ),
        (affinity("karpenter.sh/custom", "NotIn", &["a"]), false),
    ];
    for (patch, placed) in cases {
        let plan = solve(world(), &[pod("p", "1", patch.clone())]);
        assert_eq!(plan.is_complete(), *placed, "{patch}: {:?}", plan.unschedulable);
    }
}

#[test]
fn a_zone_that_was_asked_for_is_the_zone_that_is_bought() {
    let plan = solve(world(), &[pod("p", "1", selector(labels::ZONE, "b"))]);
    assert_eq!(plan.new[0].choice.zone, "b");
    let plan = solve(
        world(),
        &[
            pod("p", "1", selector(labels::ZONE, "b")),
            pod("q", "1", selector(labels::ZONE, "c")),
        ],
    );
    assert_eq!(
        plan.new.len(),
        2,
        "pods that exclude each other get different nodes"
    );
}

#[test]
fn reasons_name_every_pool() {
    let mut world = world();
    world.pools.push(pool("gpu", json!({ "template": { "spec": { "taints": [{ "key": "gpu", "value": "yes", "effect": "NoSchedule" }] } } })));
    let plan = solve(world, &[pod("p", "1", selector("zone", "a"))]);
    assert_eq!(
        reason(&plan),
        "did not tolerate taint (taint=gpu=yes:NoSchedule) (NodePool=\"gpu\"); incompatible requirements, label \"zone\" \
         does not have known values (typo of \"topology.kubernetes.io/zone\"?) (NodePool=\"default\")"
    );
}

#[test]
fn preferences_bend_and_requirements_do_not() {
    let preferred = |values: &[&str]| {
        json!({ "affinity": { "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [
            { "weight": 1, "preference": { "matchExpressions": [{ "key": labels::ZONE, "operator": "In", "values": values }] } },
        ] } } })
    };
    assert_eq!(
        solve(world(), &[pod("p", "1", preferred(&["c"]))]).new[0]
            .choice
            .zone,
        "c"
    );
    assert!(solve(world(), &[pod("p", "1", preferred(&["nowhere"]))]).is_complete());
}

#[test]
fn preferred_taints_are_tolerated_as_the_last_resort() {
    let tainted =
        json!({ "template": { "spec": { "taints": [{ "key": "soft", "effect": "PreferNoSchedule" }] } } });
    let mut world = world();
    world.pools = vec![pool("default", tainted)];
    assert!(solve(world, &[pod("p", "1", json!({}))]).is_complete());
}

#[test]
fn heavier_pools_come_first_and_ties_go_to_the_later_name() {
    let mut world = world();
    world.pools.push(pool("heavy", json!({ "weight": 10 })));
    assert_eq!(
        solve(world.clone(), &[pod("p", "1", json!({}))]).new[0].pool,
        "heavy"
    );
    world.pools.pop();
    world.pools.push(pool("zzz", json!({})));
    assert_eq!(solve(world, &[pod("p", "1", json!({}))]).new[0].pool, "zzz");
}

#[test]
fn the_next_pool_takes_what_the_first_cannot_and_says_why() {
    let mut world = world();
    let arm = json!({ "weight": 10, "template": { "spec": { "requirements": [{ "key": labels::ARCH, "operator": "In", "values": ["arm64"] }] } } });
    world.pools.push(pool("arm", arm));
    let plan = solve(world, &[pod("p", "1", json!({}))]);
    assert_eq!(plan.new[0].pool, "default");
    assert_eq!(
        plan.new[0].passed_over,
        [("arm".to_owned(), Refusal::NothingToBuy)]
    );
}

#[test]
fn limits_bind_on_capacity_of_what_is_there_and_what_is_planned() {
    let limited = |limits: serde_json::Value| World {
        pools: vec![pool("default", json!({ "limits": limits }))],
        nodes: vec![node("n", "medium", vec![pod("x", "3900m", json!({}))])],
        ..World::default()
    };
    let one = [pod("p", "1", json!({}))];
    assert_eq!(
        reason(&solve(limited(json!({ "cpu": 4 })), &one)),
        "all available instance types exceed limits for nodepool (NodePool=\"default\")"
    );
    assert_eq!(types(&solve(limited(json!({ "cpu": "6" })), &one)), ["small"]);
    assert_eq!(
        solve(limited(json!({ "cpu": 6 })), &one).new[0].options.len(),
        1,
        "only what the limit allows stays open"
    );
    assert_eq!(
        reason(&solve(limited(json!({ "nodes": 1 })), &one)),
        "node limits have been exhausted for nodepool (NodePool=\"default\")"
    );
    let two = [pod("p", "1900m", json!({})), pod("q", "1900m", json!({}))];
    let plan = solve(limited(json!({ "cpu": 6 })), &two);
    assert_eq!((plan.new.len(), plan.unschedulable.len()), (1, 1));
    assert!(solve(limited(json!({ "cpu": 0 })), &one).new.is_empty());
}

#[test]
fn nodes_that_are_there_come_first_the_initialised_ones_before_the_others() {
    let mut world = world();
    world.nodes = vec![node("a", "medium", vec![]), node("b", "medium", vec![])];
    world.nodes[0].initialized = false;
    let plan = solve(
        world,
        &[
            pod("p", "3", json!({})),
            pod("q", "3", json!({})),
            pod("r", "3", json!({})),
        ],
    );
    assert_eq!(
        plan.existing
            .iter()
            .map(|(name, pods)| (name.as_str(), pods.len()))
            .collect::<Vec<_>>(),
        [("b", 1), ("a", 1)]
    );
    assert_eq!(plan.new.len(), 1);
    assert_eq!(
        plan.place_of(&PodKey::new("default", "p")),
        Some(Place::Node("b"))
    );
}

#[test]
fn nodes_that_go_or_do_not_match_take_nothing() {
    let mut world = world();
    world.nodes = vec![node("going", "huge", vec![]), node("tainted", "huge", vec![])];
    world.nodes[0].deleting = true;
    world.nodes[1].taints = vec![labels::disrupted_taint()];
    assert!(
        solve(world.clone(), &[pod("p", "1", json!({}))])
            .existing
            .is_empty()
    );
    world.nodes = vec![node("n", "huge", vec![])];
    assert!(
        solve(world.clone(), &[pod("p", "1", selector(labels::ZONE, "b"))])
            .existing
            .is_empty()
    );
    assert!(
        !solve(world, &[pod("p", "1", selector(labels::ZONE, "a"))])
            .existing
            .is_empty()
    );
}

#[test]
fn daemons_take_their_share_of_new_and_old_nodes() {
    let mut world = world();
    world.daemons = vec![pod("agent", "1", json!({}))];
    assert_eq!(
        types(&solve(world.clone(), &[pod("p", "1", json!({}))])),
        ["medium"]
    );
    let plan = solve(world.clone(), &[pod("p", "1", json!({}))]);
    assert_eq!(
        plan.new[0].requests.get("cpu").to_string(),
        "2",
        "daemons are part of what the claim asks for"
    );
    world.nodes = vec![node("n", "small", vec![])];
    assert!(
        solve(world.clone(), &[pod("p", "1", json!({}))])
            .existing
            .is_empty(),
        "the daemon is still to come"
    );
    world.daemons = vec![pod("agent", "1", selector("team", "other"))];
    assert_eq!(
        solve(world, &[pod("p", "1", json!({}))]).existing.len(),
        1,
        "a daemon for other nodes takes nothing"
    );
}

#[test]
fn a_daemon_that_runs_already_is_not_counted_twice() {
    let mut world = world();
    world.daemons = vec![pod("agent", "1", json!({}))];
    let mut running = (*pod("agent-x", "1", json!({}))).clone();
    running.owner = Some(PodOwner {
        kind: "DaemonSet".into(),
        name: "agent".into(),
    });
    world.nodes = vec![node("n", "small", vec![Arc::new(running)])];
    assert_eq!(solve(world, &[pod("p", "900m", json!({}))]).existing.len(), 1);
}

#[test]
fn unavailable_offerings_are_not_planned_with() {
    let mut catalog = (*crate::testing::catalog()).clone();
    let mut small = (*catalog.instance_types[0]).clone();
    small
        .offerings
        .iter_mut()
        .for_each(|offering| offering.available = false);
    catalog.instance_types[0] = Arc::new(small);
    let pool = Pool::new(&node_pool("default", json!({})), Arc::new(catalog)).unwrap();
    let plan = solve(
        World {
            pools: vec![pool],
            ..World::default()
        },
        &[pod("p", "1", json!({}))],
    );
    assert_eq!(types(&plan), ["medium"]);
}

#[test]
fn ports_of_the_host_are_not_shared() {
    let port = json!({ "containers": [{ "name": "c", "ports": [{ "containerPort": 80, "hostPort": 80 }], "resources": { "requests": { "cpu": "100m" } } }] });
    let plan = solve(world(), &[pod("p", "100m", port.clone()), pod("q", "100m", port)]);
    assert_eq!(plan.new.len(), 2);
}

#[test]
fn volumes_that_were_not_looked_up_are_reported_not_misplaced() {
    let claim = json!({ "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "data" } }] });
    let facts = pod("p", "1", claim);
    assert_eq!(
        reason(&solve(world(), &[Arc::clone(&facts)])),
        "persistent volume claims were not looked up (claims=data)"
    );
    let resolved = Arc::new(
        (*facts)
            .clone()
            .with_volumes(vec![pinned(labels::ZONE, "nowhere"), pinned(labels::ZONE, "c")]),
    );
    assert_eq!(solve(world(), &[resolved]).new[0].choice.zone, "c");
}

#[test]
fn min_values_keep_options_open_or_refuse() {
    let wants = |count: i32| {
        json!({ "template": { "spec": { "requirements": [
        { "key": labels::INSTANCE_TYPE, "operator": "Exists", "minValues": count },
        { "key": labels::CAPACITY_TYPE, "operator": "In", "values": ["on-demand"] },
    ] } } })
    };
    let world = |count| World {
        pools: vec![pool("default", wants(count))],
        ..World::default()
    };
    let three = [
        pod("p", "3", json!({})),
        pod("q", "3", json!({})),
        pod("r", "3", json!({})),
    ];
    assert_eq!(
        solve(world(2), &three).new.len(),
        2,
        "two pods leave two types, a third would leave one"
    );
    let plan = solve(world(4), &[pod("p", "3", json!({}))]);
    assert!(
        reason(&plan).starts_with("minValues requirement is not met"),
        "{}",
        reason(&plan)
    );
    let relaxed = World {
        min_values: MinValuesPolicy::BestEffort,
        ..world(4)
    };
    assert!(solve(relaxed, &[pod("p", "3", json!({}))]).new[0].min_values_relaxed);
}

#[test]
fn an_overlay_takes_nodes_away_without_touching_the_snapshot() {
    let mut world = world();
    let moving = pod("x", "1", json!({}));
    world.nodes = vec![
        node("a", "small", vec![Arc::clone(&moving)]),
        node("b", "medium", vec![]),
        node("c", "medium", vec![]),
    ];
    world.nodes[1].takes_moved_pods = false;
    world.nodes[2].initialized = false;
    let prepared = Prepared::new(world);
    let pods = [moving];
    let plan = prepared.solve(&pods, &Overlay::consolidating(["a"]), Budget::default());
    assert!(
        plan.existing.is_empty() && plan.new.len() == 1,
        "neither destination takes moved pods"
    );
    let plan = prepared.solve(&pods, &Overlay::without(["a"]), Budget::default());
    assert_eq!(plan.existing[0].0, "b", "a node that must go may use them");
    assert_eq!(
        prepared.solve(&pods, &Overlay::consolidating(["a"]), Budget::default()),
        prepared.solve(&pods, &Overlay::consolidating(["a"]), Budget::default())
    );
}

#[test]
fn removed_nodes_count_neither_against_limits_nor_in_spreads() {
    let moving = app("x", "web", spread(labels::ZONE, "web"));
    let world = World {
        pools: vec![pool("default", json!({ "limits": { "cpu": 4 } }))],
        nodes: vec![node("a", "medium", vec![Arc::clone(&moving)])],
        ..World::default()
    };
    let plan = Prepared::new(world).solve(&[moving], &Overlay::consolidating(["a"]), Budget::default());
    assert_eq!(types(&plan), ["small"]);
    assert_eq!(domains(&plan, labels::ZONE), ["a"]);
}

#[test]
fn a_claim_on_its_way_keeps_the_place_of_its_pods() {
    let first = solve(world(), &[pod("p", "1500m", json!({}))]);
    let mut claim = first.new[0].to_claim(&node_pool("default", json!({})));
    claim.metadata.name = Some("default-abcde".into());
    let mut world = world();
    world.nodes = vec![ClusterNode::of_claim(&claim, Some(&world.pools[0].catalog))];
    let again = solve(world.clone(), &[pod("p", "1500m", json!({}))]);
    assert_eq!(again.existing[0].0, "default-abcde");
    let more = solve(
        world.clone(),
        &[pod("p", "1500m", json!({})), pod("q", "100m", json!({}))],
    );
    assert_eq!(more.new.len(), 1, "nothing but what was asked for is sure to fit");
    let choosy = solve(world.clone(), &[pod("p", "1", selector(labels::ZONE, "b"))]);
    assert!(choosy.existing.is_empty(), "it may still come up in another zone");
    assert_eq!(
        world.nodes[0].capacity.get("cpu").to_string(),
        "16",
        "limits count the largest that it may be"
    );
}

#[test]
fn a_claim_says_what_karpenters_would() {
    let template = json!({ "template": { "metadata": { "labels": { "team": "a" } }, "spec": {
        "taints": [{ "key": "t", "effect": "NoSchedule" }], "terminationGracePeriod": "1h",
        "requirements": [
            { "key": labels::CAPACITY_TYPE, "operator": "NotIn", "values": ["spot"] },
            { "key": "rack", "operator": "In", "values": ["r2", "r1"] },
        ],
    } } });
    let world = World {
        pools: vec![pool("default", template.clone())],
        ..World::default()
    };
    let tolerant = json!({ "tolerations": [{ "operator": "Exists" }] });
    let plan = solve(world, &[pod("p", "1", tolerant)]);
    let claim = plan.new[0].to_claim(&node_pool("default", template));
    assert_eq!(claim.metadata.generate_name.as_deref(), Some("default-"));
    let label = |key: &str| claim.label(key).unwrap_or("-").to_owned();
    assert_eq!(
        [label(labels::NODEPOOL), label("team"), label("rack")],
        ["default", "a", "r1"]
    );
    assert_eq!(label("karpenter.k8s.aws/ec2nodeclass"), "default");
    let owner = &claim.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!(
        (owner.kind.as_str(), owner.block_owner_deletion),
        ("NodePool", Some(true))
    );
    let requirements = Requirements::from_specs(&claim.spec.requirements).unwrap();
    assert_eq!(
        requirements.get(labels::CAPACITY_TYPE).unwrap().single(),
        Some("on-demand")
    );
    assert_eq!(requirements.get(labels::INSTANCE_TYPE).unwrap().values().len(), 4);
    assert!(!requirements.has(labels::HOSTNAME));
    assert_eq!(
        claim.spec.resources.requests,
        resources(&[("cpu", "1"), ("pods", "1")])
    );
    assert_eq!(
        claim.metadata.annotations.as_ref().unwrap()[labels::NODEPOOL_HASH_VERSION],
        "v3"
    );
}

#[test]
fn the_order_of_the_input_does_not_matter() {
    let mut pods: Vec<_> = (0..30)
        .map(|i| app(&format!("p{i:02}"), "web", spread(labels::ZONE, "web")))
        .collect();
    let plan = solve(world(), &pods);
    pods.reverse();
    assert_eq!(solve(world(), &pods), plan);
}

#[test]
fn a_budget_ends_the_work_and_says_so() {
    let pods: Vec<_> = (0..3).map(|i| pod(&format!("p{i}"), "1", json!({}))).collect();
    let plan = Prepared::new(world()).solve(&pods, &Overlay::default(), Budget::attempts(2));
    assert_eq!(
        plan.unschedulable,
        [(PodKey::new("default", "p2"), Reason::NotTried)]
    );
}
