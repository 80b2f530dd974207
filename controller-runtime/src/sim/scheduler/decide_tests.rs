use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

fn node(name: &str, cpu: &str, more: &Value) -> Value {
    let mut node = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {},
        "status": {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "10"}},
    });
    json_patch::merge(&mut node, more);
    node
}

fn pod(name: &str, cpu: &str, more: &Value) -> Value {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "main", "resources": {"requests": {"cpu": cpu, "memory": "100Mi"}}}]},
    });
    json_patch::merge(&mut pod, more);
    pod
}

fn info(pod: &Value) -> Arc<PodInfo> {
    Arc::new(PodInfo::new(Arc::new(
        serde_json::from_value(pod.clone()).unwrap(),
    )))
}

fn snapshot(nodes: &[Value], placed: &[(&str, Value)]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for node in nodes {
        snapshot.set_node(Arc::new(serde_json::from_value(node.clone()).unwrap()));
    }
    for (node, pod) in placed {
        snapshot.place(info(pod), node);
    }
    snapshot
}

fn try_place(pod: &Value, snapshot: &Snapshot) -> Result<String, String> {
    place(&info(pod), &[], snapshot, &[], 0, 7)
        .map(|(node, _)| node)
        .map_err(|refused| refused.message)
}

fn zone(zone: &str) -> Value {
    json!({"metadata": {"labels": {"zone": zone}}})
}

#[test]
fn the_message_counts_reasons_as_the_real_scheduler_does() {
    let none = json!({});
    let tainted = json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
    let nodes = [
        node("a", "1", &none),
        node("b", "4", &tainted),
        node("c", "4", &tainted),
    ];
    let snapshot = snapshot(&nodes, &[("a", pod("other", "800m", &none))]);
    assert_eq!(
        try_place(&pod("p", "500m", &none), &snapshot).unwrap_err(),
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). no new claims to deallocate, \
         preemption: 0/3 nodes are available: 1 No preemption victims found for incoming pod, \
         2 Preemption is not helpful for scheduling."
    );
    assert_eq!(
        try_place(&pod("p", "2", &none), &snapshot).unwrap_err(),
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). no new claims to deallocate, \
         preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    );
    assert_eq!(
        try_place(&pod("p", "1", &none), &Snapshot::default()).unwrap_err(),
        "no nodes available to schedule pods"
    );
}

/// A node, what a pod on it has, and what another pod has that is refused there.
type Case = (Value, Option<Value>, Value, &'static str);

fn assert_refused(cases: Vec<Case>) {
    for (node_more, placed, pod_more, reason) in cases {
        let placed: Vec<_> = placed
            .iter()
            .map(|more| ("a", pod("other", "100m", more)))
            .collect();
        let snapshot = snapshot(&[node("a", "4", &node_more)], &placed);
        let refused = try_place(&pod("p", "100m", &pod_more), &snapshot).unwrap_err();
        let start = format!("0/1 nodes are available: 1 {reason}. ");
        assert!(refused.starts_with(&start), "{reason}: {refused}");
    }
}

fn by_hostname(kind: &str, app: &str) -> Value {
    json!({"spec": {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": app}}}]}}}})
}

#[test]
fn the_filters_that_look_at_the_node_refuse_with_their_reasons() {
    let cordoned = json!({"spec": {"unschedulable": true}});
    let by_name = json!({"spec": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["z"]}]}]}}}}});
    let by_label = json!({"spec": {"nodeSelector": {"disk": "ssd"}}});
    let none = json!({});
    let tolerated = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
    let world = snapshot(&[node("a", "4", &cordoned)], &[]);
    assert!(try_place(&pod("p", "1", &tolerated), &world).is_ok());
    assert_refused(vec![
        (cordoned, None, none.clone(), "node(s) were unschedulable"),
        (
            none.clone(),
            None,
            json!({"spec": {"nodeName": "z"}}),
            "node(s) didn't match the requested node name",
        ),
        (
            none.clone(),
            None,
            by_label,
            "node(s) didn't match Pod's node affinity/selector",
        ),
        (
            none,
            None,
            by_name,
            "node(s) didn't satisfy plugin(s) [NodeAffinity]",
        ),
    ]);
}

#[test]
fn the_filters_that_look_at_other_pods_refuse_with_their_reasons() {
    let port =
        json!({"spec": {"containers": [{"name": "main", "ports": [{"containerPort": 80, "hostPort": 80}]}]}});
    let full = json!({"status": {"allocatable": {"pods": "1"}}});
    let spread = |key: &str| {
        json!({"spec": {"topologySpreadConstraints": [{"maxSkew": 1, "minDomains": 2, "topologyKey": key,
            "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]}})
    };
    let (near, far) = (
        |app| by_hostname("podAffinity", app),
        |app| by_hostname("podAntiAffinity", app),
    );
    let none = || json!({});
    let other = || Some(json!({}));
    let skew = "node(s) didn't match pod topology spread constraints";
    let unlabelled = "node(s) didn't match pod topology spread constraints (missing required label)";
    assert_refused(vec![
        (
            none(),
            Some(port.clone()),
            port,
            "node(s) didn't have free ports for the requested pod ports",
        ),
        (full, other(), none(), "Too many pods"),
        (none(), other(), spread("kubernetes.io/hostname"), skew),
        (none(), None, spread("zone"), unlabelled),
        (
            none(),
            other(),
            near("db"),
            "node(s) didn't match pod affinity rules",
        ),
        (
            none(),
            other(),
            far("web"),
            "node(s) didn't match pod anti-affinity rules",
        ),
        (
            none(),
            Some(far("web")),
            none(),
            "node(s) didn't satisfy existing pods anti-affinity rules",
        ),
    ]);
    let world = snapshot(&[node("a", "4", &none())], &[]);
    assert!(
        try_place(&pod("p", "1", &near("web")), &world).is_ok(),
        "the first of its kind"
    );
}

#[test]
fn init_containers_and_sidecars_count_as_the_greatest_step() {
    let more = json!({"spec": {"initContainers": [
        {"name": "sidecar", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}},
        {"name": "init", "resources": {"requests": {"cpu": "3"}}},
    ]}});
    let none = json!({});
    let refused = try_place(
        &pod("p", "1", &more),
        &snapshot(&[node("a", "3900m", &none)], &[]),
    );
    assert!(refused.is_err());
    assert!(try_place(&pod("p", "1", &more), &snapshot(&[node("a", "4", &none)], &[])).is_ok());
}

#[test]
fn pods_go_to_the_emptier_node_and_to_the_better_balanced_one() {
    let none = json!({});
    let nodes = [node("a", "4", &none), node("b", "4", &none)];
    let world = snapshot(&nodes, &[("a", pod("x", "2", &none))]);
    assert_eq!(try_place(&pod("p", "1", &none), &world).unwrap(), "b");
}

#[test]
fn preferences_outweigh_emptiness() {
    let none = json!({});
    let soft = json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}});
    let nodes = [node("a", "4", &none), node("b", "4", &soft)];
    let world = snapshot(&nodes, &[("a", pod("x", "3", &none))]);
    assert_eq!(try_place(&pod("p", "500m", &none), &world).unwrap(), "a");
}

#[test]
fn the_pods_of_a_workload_are_spread_by_default() {
    let none = json!({});
    let nodes = [node("a", "4", &none), node("b", "4", &none)];
    let other = json!({"metadata": {"labels": {"app": "other"}}});
    // b is fuller but has none of the workload's pods.
    let world = snapshot(
        &nodes,
        &[("a", pod("x", "100m", &none)), ("b", pod("y", "1", &other))],
    );
    let workload: LabelSelector = serde_json::from_value(json!({"matchLabels": {"app": "web"}})).unwrap();
    let placed = |workload: &[LabelSelector]| {
        place(&info(&pod("p", "100m", &none)), workload, &world, &[], 0, 7)
            .unwrap()
            .0
    };
    assert_eq!(placed(&[]), "a");
    assert_eq!(placed(&[workload]), "b");
}

#[test]
fn hard_spreading_over_zones_keeps_the_skew() {
    let nodes = [node("a", "4", &zone("1")), node("b", "4", &zone("2"))];
    let none = json!({});
    let spread = json!({"spec": {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]}});
    let world = snapshot(&nodes, &[("a", pod("x", "100m", &none))]);
    assert_eq!(try_place(&pod("p", "100m", &spread), &world).unwrap(), "b");
}

#[test]
fn ties_are_broken_by_the_seed_and_not_always_alike() {
    let none = json!({});
    let nodes = [node("a", "4", &none), node("b", "4", &none)];
    let world = snapshot(&nodes, &[]);
    let placed = |name: &str, seed: u64| {
        place(&info(&pod(name, "1", &none)), &[], &world, &[], 0, seed)
            .unwrap()
            .0
    };
    let names: Vec<String> = (0..20).map(|index| format!("p{index}")).collect();
    let once: Vec<_> = names.iter().map(|name| placed(name, 1)).collect();
    assert_eq!(once, names.iter().map(|name| placed(name, 1)).collect::<Vec<_>>());
    assert!(once.contains(&"a".to_owned()) && once.contains(&"b".to_owned()));
    assert_ne!(once, names.iter().map(|name| placed(name, 2)).collect::<Vec<_>>());
}

/// Who would have to go for `pod`, and from where.
fn victims(pod: &Value, snapshot: &Snapshot) -> Option<(String, Vec<String>)> {
    let refused = place(&info(pod), &[], snapshot, &[], 0, 7).unwrap_err();
    let preemption = refused.preemption?;
    let names = preemption.victims.iter().map(|victim| victim.key.name.clone());
    Some((preemption.node, names.collect()))
}

#[test]
fn room_is_made_where_it_costs_least() {
    let of = |priority: i32| json!({"spec": {"priority": priority}});
    let none = json!({});
    let nodes = [node("a", "2", &none), node("b", "2", &none)];
    let incoming = pod("incoming", "1", &of(100));
    for (placed, expected) in [
        // One that matters less.
        (
            vec![
                ("a", pod("a1", "1500m", &of(50))),
                ("b", pod("b1", "1500m", &of(10))),
            ],
            Some(("b", vec!["b1"])),
        ),
        // Fewer.
        (
            vec![
                ("a", pod("a1", "1", &none)),
                ("a", pod("a2", "800m", &none)),
                ("b", pod("b1", "600m", &none)),
                ("b", pod("b2", "600m", &none)),
                ("b", pod("b3", "600m", &none)),
            ],
            Some(("a", vec!["a2"])),
        ),
        // Nobody who matters as much.
        (
            vec![
                ("a", pod("a1", "1500m", &of(100))),
                ("b", pod("b1", "1500m", &of(200))),
            ],
            None,
        ),
        // Nobody more than has to.
        (
            vec![
                ("a", pod("a1", "1500m", &of(100))),
                ("b", pod("b1", "500m", &of(1))),
                ("b", pod("b2", "500m", &of(2))),
                ("b", pod("b3", "500m", &of(3))),
                ("b", pod("b4", "500m", &of(4))),
            ],
            Some(("b", vec!["b2", "b1"])),
        ),
    ] {
        let names: Vec<_> = placed
            .iter()
            .map(|(_, pod)| pod["metadata"]["name"].clone())
            .collect();
        let found = victims(&incoming, &snapshot(&nodes, &placed));
        let expected = expected.map(|(node, names): (&str, Vec<&str>)| {
            (
                node.to_owned(),
                names.into_iter().map(str::to_owned).collect::<Vec<_>>(),
            )
        });
        assert_eq!(found, expected, "{names:?}");
    }
}

#[test]
fn room_that_is_being_made_is_not_for_others() {
    let none = json!({});
    let mut snapshot = snapshot(&[node("a", "1", &none)], &[]);
    let important = info(&pod("important", "800m", &json!({"spec": {"priority": 100}})));
    snapshot.nominate(&important, Some("a"));
    assert!(try_place(&pod("lesser", "800m", &none), &snapshot).is_err());
    let more = json!({"spec": {"priority": 101}});
    assert_eq!(
        try_place(&pod("more", "800m", &more), &snapshot).as_deref(),
        Ok("a")
    );
    snapshot.forget_nomination("important");
    assert_eq!(
        try_place(&pod("lesser", "800m", &none), &snapshot).as_deref(),
        Ok("a")
    );
}
