use std::time::Duration;

use serde_json::json;

use super::*;
use crate::{
    Requirement,
    karpenter::{Budget as DisruptionBudget, ConsolidationPolicy, labels},
    schedule::{ClusterNode, Pool, World},
    testing::{catalog, labelled, node, node_pool, pod, pool},
};

const NOW: &str = "2026-01-05T12:00:00Z";

/// A world to disrupt: pools, nodes (old, initialised, ready) with pods, and settings to turn.
struct Fleet {
    world: World,
    policies: BTreeMap<String, PoolPolicy>,
    facts: Vec<NodeFacts>,
    pod_budgets: Vec<PodBudget>,
    pending: Vec<Arc<PodFacts>>,
    settings: Settings,
}

fn timestamp(text: &str) -> Timestamp {
    text.parse().unwrap()
}

impl Fleet {
    fn new(nodes: Vec<ClusterNode>) -> Self {
        let policy = PoolPolicy {
            policy: ConsolidationPolicy::WhenEmptyOrUnderutilized,
            consolidate_after: Some(Duration::ZERO),
            budgets: vec![DisruptionBudget {
                nodes: "100%".into(),
                ..DisruptionBudget::default()
            }],
            is_static: false,
        };
        let facts = nodes
            .iter()
            .map(|node| NodeFacts {
                node: node.name.clone(),
                claim: node.claim.clone().unwrap(),
                pool: node.pool.clone(),
                has_node: true,
                initialized_at: Some(timestamp("2026-01-05T11:00:00Z")),
                is_ready: true,
                created_at: Some(timestamp("2026-01-05T10:59:00Z")),
                ..NodeFacts::default()
            })
            .collect();
        Self {
            world: World {
                pools: vec![pool("default", json!({}))],
                nodes,
                ..World::default()
            },
            policies: BTreeMap::from([("default".to_owned(), policy)]),
            facts,
            pod_budgets: Vec::new(),
            pending: Vec::new(),
            settings: Settings::default(),
        }
    }

    fn policy(&mut self) -> &mut PoolPolicy {
        self.policies.get_mut("default").unwrap()
    }

    fn ask<T>(&self, question: impl Fn(&Cluster<'_>) -> T) -> T {
        let mut world = self.world.clone();
        mark_destinations(&mut world.nodes, &self.facts, &self.policies, timestamp(NOW));
        question(&Cluster {
            prepared: &Prepared::new(world),
            pools: &self.policies,
            nodes: &self.facts,
            pod_budgets: &self.pod_budgets,
            pending: &self.pending,
            leaving: &BTreeSet::new(),
            settings: self.settings,
            now: timestamp(NOW),
        })
    }

    fn refusal(&self, method: fn(&Cluster<'_>) -> Outcome) -> String {
        let outcome = self.ask(method);
        assert_eq!(outcome.command, None);
        outcome
            .refused
            .first()
            .map(|refused| refused.text.clone())
            .unwrap_or_default()
    }
}

fn going(outcome: &Outcome) -> Vec<&str> {
    let candidates = outcome.command.iter().flat_map(|command| &command.candidates);
    candidates.map(|candidate| candidate.node.as_str()).collect()
}

fn with_pod(name: &str, instance_type: &str, cpu: &str) -> ClusterNode {
    node(
        name,
        instance_type,
        vec![pod(&format!("pod-{name}"), cpu, json!({}))],
    )
}

#[test]
fn empty_nodes_go_all_at_once_and_daemons_do_not_hold_them() {
    let mut daemon = (*pod("agent", "100m", json!({}))).clone();
    daemon.owner = Some(crate::schedule::PodOwner {
        kind: "DaemonSet".into(),
        name: "agent".into(),
    });
    let fleet = Fleet::new(vec![
        node("a", "small", vec![Arc::new(daemon)]),
        node("b", "large", vec![]),
        with_pod("c", "small", "1"),
    ]);
    let outcome = fleet.ask(decide);
    assert_eq!(going(&outcome), ["b", "a"], "the dearest first");
    let command = outcome.command.unwrap();
    assert_eq!(
        (command.method, command.reason),
        (Method::Emptiness, DisruptionReason::Empty)
    );
    assert!((command.savings_per_hour - 0.5).abs() < 1e-9);
    assert_eq!(
        command.text,
        "delete 2 (b/large/on-demand, a/small/on-demand): has no pods"
    );
}

#[test]
fn what_keeps_a_node_is_said_in_karpenters_words() {
    type Change = fn(&mut Fleet);
    let annotated = |value: &str| {
        let mut pod = (*pod("p", "1", json!({}))).clone();
        pod.do_not_disrupt = Some(value.to_owned());
        pod.started_at = Some(timestamp("2026-01-05T11:30:00Z"));
        Arc::new(pod)
    };
    let cases: &[(Change, &str)] = &[
        (
            |f| f.facts[0].is_nominated = true,
            "Node is nominated for a pending pod",
        ),
        (
            |f| f.facts[0].is_deleting = true,
            "Node is deleting or marked for deletion",
        ),
        (|f| f.facts[0].initialized_at = None, "Node isn't initialized"),
        (
            |f| f.facts[0].has_node = false,
            "NodeClaim does not have an associated node",
        ),
        (|f| f.facts[0].is_queued = true, "Node is already being disrupted"),
        (
            |f| f.facts[0].do_not_disrupt = true,
            "Disruption is blocked through the \"karpenter.sh/do-not-disrupt\" annotation",
        ),
        (
            |f| f.facts[0].pool = None,
            "Node doesn't have required label (label=karpenter.sh/nodepool)",
        ),
        (
            |f| f.facts[0].pool = Some("gone".into()),
            "NodePool not found (NodePool=gone)",
        ),
        (
            |f| f.policy().consolidate_after = None,
            "NodePool \"default\" has consolidation disabled",
        ),
        (
            |f| f.policy().consolidate_after = Some(Duration::from_secs(7200)),
            "consolidateAfter has not passed yet, it does at 2026-01-05T13:00:00Z",
        ),
        (
            |f| f.policy().budgets[0].nodes = "0".into(),
            "No allowed disruptions for disruption reason Empty due to blocking budget",
        ),
    ];
    for (change, text) in cases {
        let mut fleet = Fleet::new(vec![node("a", "small", vec![])]);
        change(&mut fleet);
        assert_eq!(fleet.refusal(decide), *text);
    }
    for (value, kept) in [
        ("true", true),
        ("1h", true),
        ("29m", false),
        ("soon", false),
        ("false", false),
    ] {
        let mut fleet = Fleet::new(vec![
            node("a", "small", vec![annotated(value)]),
            with_pod("b", "huge", "1"),
        ]);
        fleet.facts[1].do_not_disrupt = true;
        let text = fleet
            .ask(decide)
            .refused
            .iter()
            .map(|refused| refused.text.clone())
            .collect::<Vec<_>>()
            .join("|");
        let blocked = text.contains("Pod has \"karpenter.sh/do-not-disrupt\" annotation (Pod=default/p)");
        assert_eq!(blocked, kept, "{value}: {text}");
    }
}

#[test]
fn the_quiet_time_runs_from_the_last_pod_event() {
    let mut fleet = Fleet::new(vec![node("a", "small", vec![])]);
    fleet.policy().consolidate_after = Some(Duration::from_secs(600));
    assert_eq!(going(&fleet.ask(emptiness)), ["a"]);
    fleet.facts[0].last_pod_event = Some(timestamp("2026-01-05T11:55:00Z"));
    assert!(fleet.ask(emptiness).command.is_none());
}

#[test]
fn pod_disruption_budgets_hold_a_node() {
    let web = labelled("web", "1", json!({ "app": "web" }), json!({}));
    let budget = |name: &str, allowed: i32| PodBudget {
        key: PodKey::new("default", name),
        selector: Some([("app".to_owned(), "web".to_owned())].into_iter().collect()),
        disruptions_allowed: allowed,
        is_fully_blocking: false,
    };
    let mut fleet = Fleet::new(vec![
        node("a", "small", vec![web]),
        node("b", "huge", vec![pod("x", "1", json!({}))]),
    ]);
    fleet.facts[1].do_not_disrupt = true;
    assert_eq!(going(&fleet.ask(consolidate)), ["a"]);
    fleet.pod_budgets = vec![budget("web", 0)];
    assert_eq!(
        fleet.refusal(consolidate),
        "Pdb prevents pod evictions (PodDisruptionBudget=default/web)"
    );
    fleet.pod_budgets = vec![budget("web", 1)];
    assert_eq!(going(&fleet.ask(consolidate)), ["a"]);
    fleet.pod_budgets = vec![budget("web", 1), budget("all", 1)];
    assert!(fleet.refusal(consolidate).starts_with("Pod has multiple PDBs"));
}

#[test]
fn budgets_bound_how_many_go_at_once() {
    let nodes = ["a", "b", "c", "d"]
        .map(|name| node(name, "small", vec![]))
        .to_vec();
    let mut fleet = Fleet::new(nodes);
    fleet.policy().budgets[0].nodes = "50%".into();
    assert_eq!(going(&fleet.ask(emptiness)), ["a", "b"]);
    fleet.facts[3].is_deleting = true;
    assert_eq!(
        going(&fleet.ask(emptiness)),
        ["a"],
        "a node that goes already counts"
    );
}

#[test]
fn a_node_whose_pods_fit_elsewhere_goes() {
    let fleet = Fleet::new(vec![with_pod("a", "small", "1"), with_pod("b", "large", "800m")]);
    let command = fleet.ask(decide).command.unwrap();
    assert_eq!(command.method, Method::SingleNodeConsolidation);
    assert_eq!(
        command.candidates[0].node, "b",
        "the dearest for the same disruption"
    );
    assert!(command.replacements.is_empty());
    assert_eq!(
        command.text,
        "delete 1 (b/large/on-demand): their pods fit elsewhere (savings: $0.40)"
    );
}

#[test]
fn the_last_pod_on_a_bought_node_moves_to_one_that_is_paid_for_anyway() {
    let mut fixed = node("fixed", "small", vec![]);
    (fixed.pool, fixed.claim) = (None, Some(String::new()));
    let mut fleet = Fleet::new(vec![with_pod("bought", "small", "250m"), fixed]);
    fleet.facts.truncate(1);
    assert_eq!(going(&fleet.ask(decide)), ["bought"]);
}

#[test]
fn nodes_that_may_not_receive_do_not_receive() {
    let mut fleet = Fleet::new(vec![with_pod("a", "small", "1"), with_pod("b", "small", "900m")]);
    fleet.world.nodes[1].initialized = false;
    fleet.facts[1].initialized_at = None;
    assert!(fleet.ask(consolidate).command.is_none());
    let mut fleet = Fleet::new(vec![with_pod("a", "small", "1"), with_pod("b", "small", "900m")]);
    fleet.policy().consolidate_after = Some(Duration::from_secs(600));
    fleet.facts[1].last_pod_event = Some(timestamp("2026-01-05T11:59:00Z"));
    assert!(fleet.ask(consolidate).command.is_none());
}

#[test]
fn a_node_is_replaced_by_a_cheaper_one_only() {
    let fleet = Fleet::new(vec![with_pod("a", "large", "1")]);
    let command = fleet.ask(decide).command.unwrap();
    assert_eq!(command.replacements[0].choice.instance_type, "small");
    let options: Vec<&str> = command.replacements[0]
        .options
        .iter()
        .map(|o| o.instance_type.name.as_str())
        .collect();
    assert_eq!(
        options,
        ["small", "medium"],
        "nothing that could cost as much as what goes"
    );
    assert!((command.savings_per_hour - 0.3).abs() < 1e-9);
    let fleet = Fleet::new(vec![with_pod("a", "small", "1")]);
    assert_eq!(fleet.refusal(decide), "Can't replace with a cheaper node");
}

#[test]
fn several_nodes_become_one_cheaper_node() {
    let nodes = ["a", "b", "c"]
        .map(|name| with_pod(name, "medium", "2500m"))
        .to_vec();
    let command = Fleet::new(nodes).ask(decide).command.unwrap();
    assert_eq!(command.method, Method::MultiNodeConsolidation);
    assert_eq!((command.candidates.len(), command.replacements.len()), (3, 1));
    assert_eq!(command.replacements[0].choice.instance_type, "large");
    assert!(
        (command.savings_per_hour - 0.2).abs() < 1e-9,
        "three at 0.2 for one at 0.4"
    );
}

#[test]
fn several_nodes_go_together_if_their_pods_fit_on_the_others() {
    let nodes = vec![
        with_pod("a", "small", "500m"),
        with_pod("b", "small", "500m"),
        with_pod("c", "small", "500m"),
        with_pod("d", "huge", "12"),
    ];
    let command = Fleet::new(nodes).ask(decide).command.unwrap();
    let names: Vec<&str> = command
        .candidates
        .iter()
        .map(|candidate| candidate.node.as_str())
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert!(command.replacements.is_empty());
}

#[test]
fn when_empty_leaves_nodes_with_pods_alone() {
    let mut fleet = Fleet::new(vec![with_pod("a", "small", "1"), with_pod("b", "large", "1")]);
    fleet.policy().policy = ConsolidationPolicy::WhenEmpty;
    assert_eq!(
        fleet.refusal(decide),
        "NodePool \"default\" has consolidation policy WhenEmpty, but node is not empty"
    );
}

#[test]
fn balanced_asks_that_a_move_pays_for_its_disruption() {
    let many = |count: usize| -> Vec<_> {
        (0..count)
            .map(|i| pod(&format!("p{i}"), "100m", json!({})))
            .collect()
    };
    let mut fleet = Fleet::new(vec![node("a", "small", many(9)), with_pod("b", "huge", "10")]);
    fleet.facts[1].do_not_disrupt = true;
    assert_eq!(going(&fleet.ask(consolidate)), ["a"]);
    fleet.policy().policy = ConsolidationPolicy::Balanced;
    let outcome = fleet.ask(consolidate);
    assert!(outcome.command.is_none());
    assert!(
        outcome
            .refused
            .iter()
            .any(|refused| refused.kind == RefusedKind::Rejected),
        "{:?}",
        outcome.refused
    );
}

#[test]
fn spot_is_not_replaced_by_spot_unless_asked_for() {
    let both = json!({ "template": { "spec": { "requirements": [] } } });
    let mut spot = with_pod("a", "large", "1");
    spot.requirements
        .set(Requirement::one_of(labels::CAPACITY_TYPE, ["spot"]));
    let mut fleet = Fleet::new(vec![spot]);
    fleet.world.pools = vec![Pool::new(&node_pool("default", both.clone()), catalog()).unwrap()];
    assert_eq!(
        fleet.refusal(decide),
        "SpotToSpotConsolidation is disabled, can't replace a spot node with a spot node"
    );
    fleet.settings.spot_to_spot = true;
    assert!(
        fleet
            .refusal(decide)
            .starts_with("SpotToSpotConsolidation requires 15 cheaper")
    );
    let mut fleet = Fleet::new(vec![with_pod("a", "large", "1")]);
    fleet.world.pools = vec![Pool::new(&node_pool("default", both), catalog()).unwrap()];
    let command = fleet.ask(decide).command.unwrap();
    let capacity_type = command.replacements[0]
        .requirements
        .get(labels::CAPACITY_TYPE)
        .unwrap();
    assert_eq!(
        capacity_type.single(),
        Some("spot"),
        "a failed spot launch must not end on demand"
    );
}

#[test]
fn drift_replaces_the_oldest_first_and_passes_over_what_would_strand_pods() {
    let stuck = pod(
        "stuck",
        "1",
        json!({ "nodeSelector": { labels::INSTANCE_TYPE: "vanished" } }),
    );
    let mut fleet = Fleet::new(vec![
        node("a", "small", vec![stuck]),
        with_pod("b", "small", "1500m"),
        with_pod("c", "small", "1500m"),
    ]);
    for (index, since) in [(0, "09:00:00"), (1, "10:30:00"), (2, "10:00:00")] {
        fleet.facts[index].drifted = Some((timestamp(&format!("2026-01-05T{since}Z")), "AMIDrift".into()));
    }
    let outcome = fleet.ask(drift);
    assert_eq!(going(&outcome), ["c"]);
    let command = outcome.command.unwrap();
    assert_eq!(command.replacements.len(), 1);
    assert!(!command.is_validated());
    assert!(
        outcome.refused[0]
            .text
            .starts_with("pod default/stuck would not find a place"),
        "{:?}",
        outcome.refused
    );
    fleet.policy().budgets[0] = DisruptionBudget {
        nodes: "0".into(),
        reasons: Some(vec![DisruptionReason::Drifted]),
        ..DisruptionBudget::default()
    };
    assert!(fleet.ask(drift).command.is_none());
}

#[test]
fn a_grace_period_lets_drift_pass_pods_that_ask_to_be_left_alone() {
    let mut protected = (*pod("p", "1", json!({}))).clone();
    protected.do_not_disrupt = Some("true".into());
    let mut fleet = Fleet::new(vec![node("a", "small", vec![Arc::new(protected)])]);
    fleet.facts[0].drifted = Some((timestamp(NOW), "NodePoolDrifted".into()));
    assert!(fleet.ask(drift).command.is_none());
    fleet.facts[0].has_grace_period = true;
    assert_eq!(going(&fleet.ask(drift)), ["a"]);
}

#[test]
fn a_command_is_checked_again_before_it_is_carried_out() {
    let mut fleet = Fleet::new(vec![node("a", "small", vec![]), node("b", "small", vec![])]);
    let command = fleet.ask(decide).command.unwrap();
    assert_eq!(
        fleet.ask(|cluster| still_valid(&command, cluster)).unwrap(),
        command
    );
    fleet.world.nodes[0].pods = vec![pod("p", "1", json!({}))];
    let kept = fleet.ask(|cluster| still_valid(&command, cluster)).unwrap();
    assert_eq!(kept.candidates.len(), 1, "emptiness keeps what is still empty");
    fleet.facts[1].is_nominated = true;
    let lost = fleet.ask(|cluster| still_valid(&command, cluster)).unwrap_err();
    assert!(lost.contains("nominated"), "{lost}");
}

#[test]
fn consolidation_that_no_longer_holds_is_given_up() {
    let mut fleet = Fleet::new(vec![with_pod("a", "small", "1"), with_pod("b", "large", "800m")]);
    let command = fleet.ask(decide).command.unwrap();
    fleet.pending = vec![pod("new", "900m", json!({}))];
    fleet.world.nodes[0].pods.push(pod("came", "800m", json!({})));
    let lost = fleet.ask(|cluster| still_valid(&command, cluster)).unwrap_err();
    assert_eq!(lost, "1 new nodes are needed now instead of 0");
}

#[test]
fn pending_pods_take_room_but_veto_nothing() {
    let mut fleet = Fleet::new(vec![with_pod("a", "small", "1"), with_pod("b", "large", "800m")]);
    fleet.pending = vec![pod("impossible", "100", json!({}))];
    assert_eq!(going(&fleet.ask(decide)), ["b"]);
}
