use super::*;

fn at(text: &str) -> Timestamp {
    format!("2026-01-01T{text}Z").parse().unwrap()
}

fn claim(conditions: &[(&str, &str, &str)]) -> NodeClaim {
    let conditions: Vec<_> = conditions
        .iter()
        .map(|(kind, status, time)| {
            json!({"type": kind, "status": status, "reason": kind, "message": "",
                "lastTransitionTime": format!("2026-01-01T{time}Z")})
        })
        .collect();
    let claim = json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
        "metadata": {
            "name": "default-abcde", "uid": "claim-uid", "creationTimestamp": "2026-01-01T12:00:00Z",
            "labels": {"karpenter.sh/nodepool": "default", "team": "a"},
            "annotations": {"karpenter.sh/nodepool-hash": "1"},
        },
        "spec": {
            "requirements": [],
            "taints": [{"key": "dedicated", "value": "a", "effect": "NoSchedule"}],
            "startupTaints": [{"key": "agent", "effect": "NoExecute"}],
            "resources": {"requests": {"cpu": "1", "example.com/gpu": "1"}},
            "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"},
            "expireAfter": "720h",
        },
        "status": {"providerID": "fake:///1", "conditions": conditions},
    });
    serde_json::from_value(claim).unwrap()
}

fn launched() -> NodeClaim {
    claim(&[("Launched", "True", "12:00:01")])
}

fn node() -> Node {
    let node = json!({
        "metadata": {"name": "node-1", "labels": {"kubernetes.io/hostname": "node-1", "team": "b"}},
        "spec": {
            "providerID": "fake:///1",
            "taints": [
                {"key": "karpenter.sh/unregistered", "effect": "NoExecute"},
                {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"},
            ],
        },
        "status": {"allocatable": {"cpu": "2", "example.com/gpu": "0"}},
    });
    serde_json::from_value(node).unwrap()
}

fn step(claim: &NodeClaim, nodes: &[Node], pool: Option<&NodePool>, now: &str) -> Step {
    let nodes: Vec<_> = nodes.iter().cloned().map(Arc::new).collect();
    advance(&Seen {
        claim,
        nodes: &nodes,
        pool,
        pod_event: None,
        now: at(now),
    })
}

fn reason(step: &Step, kind: &str) -> (String, String) {
    let found = find(&step.status.conditions, kind).unwrap();
    (found.status.clone(), found.reason.clone())
}

fn merged(node: &Node, patch: &Value) -> Node {
    let mut value = json!(node);
    for section in ["metadata", "spec"] {
        for (key, part) in patch
            .get(section)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            value[section][key] = part.clone();
        }
    }
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_claim_whose_node_has_not_joined_waits_since_its_creation() {
    let step = step(&launched(), &[], None, "12:05:00");
    assert_eq!(
        reason(&step, "Registered"),
        ("Unknown".into(), "NodeNotFound".into())
    );
    assert_eq!(
        find(&step.status.conditions, "Registered")
            .unwrap()
            .last_transition_time
            .0,
        at("12:00:00")
    );
    assert_eq!(
        reason(&step, "Ready"),
        ("Unknown".into(), "ReconcilingDependents".into())
    );
    assert_eq!(step.node, None);
}

#[test]
fn a_node_that_joins_gets_what_its_claim_says() {
    let step = step(&launched(), &[node()], None, "12:01:00");
    assert_eq!(reason(&step, "Registered"), ("True".into(), "Registered".into()));
    assert_eq!(
        reason(&step, "Initialized"),
        ("Unknown".into(), "NodeNotReady".into())
    );
    assert_eq!(step.status.node_name.as_deref(), Some("node-1"));
    assert!(!step.taint_missing);
    let node = merged(&node(), &step.node.unwrap());
    let keys: Vec<_> = node_taints(&node)
        .iter()
        .map(|taint| taint.key.as_str())
        .collect();
    assert_eq!(keys, ["node.kubernetes.io/not-ready", "dedicated", "agent"]);
    assert_eq!(node.labels()["team"], "a");
    assert_eq!(node.labels()[labels::REGISTERED], "true");
    assert_eq!(node.annotations()[labels::NODEPOOL_HASH], "1");
    assert_eq!(node.finalizers(), [labels::TERMINATION_FINALIZER]);
    assert_eq!(node.owner_references()[0].uid, "claim-uid");
}

#[test]
fn a_node_that_asks_for_it_keeps_its_own_taints() {
    let mut own = node();
    own.labels_mut()
        .insert(labels::DO_NOT_SYNC_TAINTS.to_owned(), "true".to_owned());
    let node = merged(
        &own,
        &step(&launched(), &[own.clone()], None, "12:01:00").node.unwrap(),
    );
    let keys: Vec<_> = node_taints(&node)
        .iter()
        .map(|taint| taint.key.as_str())
        .collect();
    assert_eq!(keys, ["node.kubernetes.io/not-ready"]);
}

#[test]
fn a_missing_unregistered_taint_is_noticed_once() {
    let mut bare = node();
    bare.spec.as_mut().unwrap().taints = None;
    let first = step(&launched(), &[bare.clone()], None, "12:01:00");
    assert!(first.taint_missing);
    let joined = merged(&bare, &first.node.unwrap());
    assert!(!step(&launched(), &[joined], None, "12:01:00").taint_missing);
}

#[test]
fn two_nodes_of_one_instance_are_a_mistake() {
    let mut other = node();
    other.metadata.name = Some("node-2".to_owned());
    let step = step(&launched(), &[node(), other], None, "12:01:00");
    assert_eq!(
        reason(&step, "Registered"),
        ("False".into(), "MultipleNodesFound".into())
    );
    assert_eq!(step.node, None);
}

#[test]
fn initialisation_waits_for_one_thing_after_the_other() {
    let claim = claim(&[
        ("Launched", "True", "12:00:01"),
        ("Registered", "True", "12:01:00"),
    ]);
    let mut node = node();
    let taint = |key: &str, effect: &str| Taint {
        key: key.into(),
        effect: effect.into(),
        ..Taint::default()
    };
    let expect = |node: &Node, expected: &str| {
        let step = step(&claim, std::slice::from_ref(node), None, "12:02:00");
        assert_eq!(
            reason(&step, "Initialized"),
            ("Unknown".to_owned(), expected.to_owned())
        );
        assert_eq!(step.node, None);
    };
    expect(&node, "NodeNotReady");
    let status = node.status.as_mut().unwrap();
    status.conditions = serde_json::from_value(json!([{"type": "Ready", "status": "True"}])).unwrap();
    let taints = node.spec.as_mut().unwrap().taints.as_mut().unwrap();
    *taints = vec![
        taint("agent", "NoExecute"),
        taint("node.kubernetes.io/not-ready", "NoSchedule"),
    ];
    expect(&node, "StartupTaintsExist");
    node.spec.as_mut().unwrap().taints.as_mut().unwrap().remove(0);
    expect(&node, "KnownEphemeralTaintsExist");
    node.spec.as_mut().unwrap().taints = None;
    expect(&node, "ResourceNotRegistered");
    let allocatable = json!({"cpu": "2", "example.com/gpu": "1"});
    node.status.as_mut().unwrap().allocatable = serde_json::from_value(allocatable).unwrap();
    let done = step(&claim, &[node], None, "12:02:00");
    assert_eq!(
        reason(&done, "Initialized"),
        ("True".into(), "Initialized".into())
    );
    assert_eq!(reason(&done, "Ready"), ("True".into(), "Ready".into()));
    assert_eq!(
        done.node.unwrap()["metadata"]["labels"][labels::INITIALIZED],
        "true"
    );
}

fn pool(consolidate_after: &str) -> NodePool {
    let pool = json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "default"},
        "spec": {
            "disruption": {"consolidateAfter": consolidate_after},
            "template": {"spec": {
                "requirements": [],
                "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"},
            }},
        },
    });
    serde_json::from_value(pool).unwrap()
}

#[test]
fn a_node_is_consolidatable_some_time_after_its_last_pod_event() {
    let mut claim = claim(&[
        ("Launched", "True", "12:00:01"),
        ("Registered", "True", "12:01:00"),
        ("Initialized", "True", "12:02:00"),
    ]);
    let consolidatable = |claim: &NodeClaim, after: &str, now: &str| {
        let step = step(claim, &[], Some(&pool(after)), now);
        (
            is_true(&step.status.conditions, conditions::CONSOLIDATABLE),
            step.next,
        )
    };
    assert_eq!(consolidatable(&claim, "0s", "12:02:00"), (true, None));
    assert_eq!(
        consolidatable(&claim, "30s", "12:02:10"),
        (false, Some(at("12:02:30")))
    );
    assert_eq!(consolidatable(&claim, "30s", "12:02:30"), (true, None));
    assert_eq!(consolidatable(&claim, "Never", "13:00:00"), (false, None));
    claim.status.as_mut().unwrap().last_pod_event_time = Some(Time(at("12:10:00")));
    assert_eq!(
        consolidatable(&claim, "30s", "12:10:20"),
        (false, Some(at("12:10:30")))
    );
}

#[test]
fn pod_events_are_written_every_ten_seconds_at_most() {
    let mut claim = launched();
    let noted = |claim: &NodeClaim, event: &str| {
        let seen = Seen {
            claim,
            nodes: &[],
            pool: None,
            pod_event: Some(at(event)),
            now: at("12:30:00"),
        };
        advance(&seen).status.last_pod_event_time.map(|time| time.0)
    };
    assert_eq!(noted(&claim, "12:10:00"), Some(at("12:10:00")));
    claim.status.as_mut().unwrap().last_pod_event_time = Some(Time(at("12:10:00")));
    assert_eq!(noted(&claim, "12:10:09"), Some(at("12:10:00")));
    assert_eq!(noted(&claim, "12:10:10"), Some(at("12:10:10")));
}

#[test]
fn a_status_computed_twice_is_the_same() {
    let mut claim = launched();
    claim.status = Some(step(&claim, &[node()], Some(&pool("0s")), "12:01:00").status);
    let again = step(&claim, &[node()], Some(&pool("0s")), "12:09:00");
    assert_eq!(Some(again.status), claim.status);
}

#[test]
fn a_claim_ends_by_age_or_when_it_is_stuck() {
    let ends = |claim: &NodeClaim| {
        end(
            claim,
            Duration::from_secs(300),
            Duration::from_secs(900),
            at("12:00:00"),
        )
        .unwrap()
    };
    assert_eq!(ends(&claim(&[])), (at("12:05:00"), End::LaunchTimeout));
    assert_eq!(
        ends(&claim(&[("Launched", "Unknown", "12:00:30")])),
        (at("12:05:30"), End::LaunchTimeout)
    );
    assert_eq!(ends(&launched()), (at("12:15:00"), End::RegistrationTimeout));
    let joined = claim(&[
        ("Launched", "True", "12:00:01"),
        ("Registered", "True", "12:01:00"),
    ]);
    assert_eq!(
        ends(&joined),
        ("2026-01-31T12:00:00Z".parse().unwrap(), End::Expired)
    );
}
