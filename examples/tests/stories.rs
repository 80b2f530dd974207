//! The bundled stories, from end to end on the embedded cluster, and what they must show.

#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, reason = "a story that does not run fails the test")]

use std::{collections::BTreeSet, sync::Arc};

use examples::{
    bundled::{Bundled, Story},
    input,
    record::Record,
    scenario,
    simulate::{Options, run},
    trigger_types,
    view::View,
};
use serde_json::Value;

fn options(seed: u64) -> Options {
    Options {
        seed,
        speed: None,
        serve: None,
        view: View::Quiet,
        registry: Arc::new(trigger_types::registry()),
    }
}

fn story(name: &str) -> Story {
    Bundled::named(name).unwrap().story().unwrap()
}

fn play(story: Story, seed: u64) -> Record {
    run(story, options(seed), |_| Ok(())).unwrap()
}

/// Replicas that the first workload went through.
fn steps(record: &Record) -> Vec<i64> {
    record.workloads[0]
        .steps
        .iter()
        .map(|(_, replicas)| *replicas)
        .collect()
}

/// Holds a record against what the walk-through observed.
fn assert_backlog_story(record: &Record, initial: i64, peak: i64) {
    let seed = record.seed;
    assert_eq!(
        (record.replicas.initial, record.replicas.last),
        (initial, initial),
        "seed {seed}"
    );
    assert!(record.replicas.peak >= peak, "seed {seed}: {:?}", record.replicas);
    assert!(record.nodes.peak_bought >= 2, "seed {seed}: {:?}", record.nodes);
    assert_eq!(record.nodes.final_bought, 0, "seed {seed}");
    assert!(record.peak_pending_pods > 0, "seed {seed}");
    let messages = record.messages;
    assert_eq!(
        (messages.lost, messages.processed),
        (0, messages.sent),
        "seed {seed}: {messages:?}"
    );
    assert!((950..=965).contains(&messages.sent), "seed {seed}: {messages:?}");
}

#[test]
fn a_backlog_grows_pods_and_nodes_and_everything_goes_back() {
    let record = play(story("sqs-consumer"), 1);
    assert_backlog_story(&record, 1, 50);

    // One pod falls behind; pods are Pending once the two fixed nodes are full; bought nodes take them.
    let first_pending = record.timeline.iter().find(|moment| moment.pending > 0).unwrap();
    assert!(
        (6..=10).contains(&first_pending.desired),
        "about 8 pods fit the fixed nodes: {first_pending:?}"
    );
    assert_eq!(first_pending.nodes, 2);
    let full = record
        .timeline
        .iter()
        .take_while(|moment| moment.nodes == 2)
        .map(|moment| moment.ready)
        .max()
        .unwrap();
    assert!((6..=10).contains(&full), "{full} pods fit the fixed nodes");
    let most = record.timeline.iter().max_by_key(|moment| moment.ready).unwrap();
    assert!(most.ready > 50 && (4..=10).contains(&most.nodes), "{most:?}");

    // Back in controlled steps, not at once.
    let all = steps(&record);
    let after_peak: Vec<_> = all
        .iter()
        .skip_while(|replicas| **replicas < record.replicas.peak)
        .collect();
    assert!(after_peak.len() > 3, "{all:?}");
    assert!(after_peak.windows(2).all(|pair| pair[1] <= pair[0]), "{all:?}");

    // Every step has its reason, and both halves were at work.
    let controllers: BTreeSet<&str> = record
        .decisions
        .iter()
        .map(|decision| decision.controller.as_str())
        .collect();
    for controller in ["horizontal-pod-autoscaler", "provisioning", "disruption"] {
        assert!(controllers.contains(controller), "{controllers:?}");
    }
    assert!(
        record
            .decisions
            .iter()
            .all(|decision| !decision.reason.is_empty())
    );
    assert!(record.cost.total > 0.0);
}

/// The story with every name changed and every size too.
fn renamed() -> Story {
    const NAMES: [(&str, &str); 12] = [
        ("keda-test", "payments"),
        ("sqs-app", "settlement"),
        ("sqs-reader", "settler"),
        ("aws-sqs-queue-scaledobject", "settlement-by-queue"),
        ("keda-aws-credentials", "who-we-are"),
        ("keda-demo-queue.fifo", "settlements.fifo"),
        ("m5.xlarge\", \"m5.2xlarge", "c5.xlarge\", \"c5.2xlarge"),
        ("queueLength: \"2\"", "queueLength: \"4\""),
        ("{cpu: 250m, memory: 64Mi}", "{cpu: 500m, memory: 64Mi}"),
        ("{cpu: 500m, memory: 128Mi}", "{cpu: \"1\", memory: 128Mi}"),
        ("metadata: {name: default}", "metadata: {name: compute}"),
        ("EC2NodeClass, name: default}", "EC2NodeClass, name: compute}"),
    ];
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/sqs-consumer");
    let rename = |text: String| NAMES.iter().fold(text, |text, (from, to)| text.replace(from, to));
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        let text = rename(std::fs::read_to_string(entry.path()).unwrap());
        std::fs::write(copy.path().join(entry.file_name()), text).unwrap();
    }
    let scenario_file = copy.path().join("scenario.yaml");
    let scenario =
        scenario::parse("scenario.yaml", &std::fs::read_to_string(&scenario_file).unwrap()).unwrap();
    let manifests = input::load(copy.path()).unwrap();
    let manifests = manifests
        .into_iter()
        .filter(|manifest| !scenario::is_scenario(manifest))
        .collect();
    Story { scenario, manifests }
}

#[test]
fn nothing_is_made_for_the_demo_renamed_and_rescaled_manifests_give_the_corresponding_result() {
    let record = play(renamed(), 1);
    assert_eq!(record.workloads[0].object, "Deployment payments/settlement");
    assert_backlog_story(&record, 1, 25);
    let types: BTreeSet<&String> = record
        .timeline
        .iter()
        .flat_map(|moment| moment.bought.keys())
        .collect();
    assert!(types.iter().all(|name| name.starts_with("c5.")), "{types:?}");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for name in ["sqs-consumer", "tutorial"] {
        let bytes = |record: Record| {
            serde_json::to_string(&Record {
                wall_seconds: 0.0,
                ..record
            })
            .unwrap()
        };
        let (once, again) = (bytes(play(story(name), 7)), bytes(play(story(name), 7)));
        if once != again {
            let at = once
                .bytes()
                .zip(again.bytes())
                .take_while(|(a, b)| a == b)
                .count();
            let from = at.saturating_sub(200);
            panic!(
                "{name} differs:\n{}\n{}",
                &once[from..at + 200],
                &again[from..at + 200]
            );
        }
    }
}

#[test]
fn ten_other_seeds_reach_the_same_end() {
    for seed in 11..21 {
        assert_backlog_story(&play(story("sqs-consumer"), seed), 1, 50);
    }
}

#[allow(clippy::too_many_lines, reason = "one story from end to end")]
#[test]
fn the_tutorial_goes_by_queue_by_hpa_by_fallback_and_back_to_zero() {
    let record = play(story("tutorial"), 1);
    assert_eq!(steps(&record), [0, 1, 2, 3, 0, 1, 2, 0]);
    assert_autoscaler_of_the_tutorial(&objects(&record, "HorizontalPodAutoscaler"));
    assert_events_of_the_tutorial(&record);
    let found = conditions(&objects(&record, "ScaledObject"));
    let reasons: BTreeSet<_> = found.iter().map(|(_, _, reason)| reason.as_str()).collect();
    for reason in [
        "ScaledObjectReady",
        "ScalerActive",
        "ScalerNotActive",
        "FallbackExists",
        "NoFallbackFound",
    ] {
        assert!(reasons.contains(reason), "{reason}: {reasons:?}");
    }
}

/// Every state of the objects of a kind, in order.
fn objects<'a>(record: &'a Record, kind: &str) -> Vec<&'a Value> {
    let entries = record.objects.iter().filter(|entry| entry.object["kind"] == kind);
    entries.map(|entry| &entry.object).collect()
}

/// Type, status and reason of every condition that the objects had at any time.
fn conditions(objects: &[&Value]) -> BTreeSet<(String, String, String)> {
    let conditions = objects
        .iter()
        .filter_map(|object| object["status"]["conditions"].as_array());
    conditions
        .flatten()
        .map(|condition| {
            let text = |key: &str| condition[key].as_str().unwrap_or_default().to_owned();
            (text("type"), text("status"), text("reason"))
        })
        .collect()
}

fn assert_autoscaler_of_the_tutorial(hpas: &[&Value]) {
    let hpa = hpas[0];
    assert_eq!(hpa["metadata"]["name"], "keda-hpa-aws-sqs-queue-scaledobject");
    assert_eq!(
        hpa["metadata"]["labels"]["app.kubernetes.io/managed-by"],
        "keda-operator"
    );
    assert_eq!(
        hpa["metadata"]["labels"]["scaledobject.keda.sh/name"],
        "aws-sqs-queue-scaledobject"
    );
    assert_eq!(
        (&hpa["spec"]["minReplicas"], &hpa["spec"]["maxReplicas"]),
        (&1.into(), &3.into())
    );
    let metric = &hpa["spec"]["metrics"][0]["external"];
    assert_eq!(metric["metric"]["name"], "s0-aws-sqs-my-sqs-keda");
    assert_eq!(
        metric["metric"]["selector"]["matchLabels"]["scaledobject.keda.sh/name"],
        "aws-sqs-queue-scaledobject"
    );
    assert_eq!(metric["target"]["averageValue"], "5");

    let conditions = conditions(hpas);
    for (kind, status, reason) in [
        ("AbleToScale", "True", "ReadyForNewScale"),
        ("ScalingActive", "True", "ValidMetricFound"),
        ("ScalingActive", "False", "ScalingDisabled"),
        ("ScalingLimited", "False", "DesiredWithinRange"),
    ] {
        assert!(
            conditions.contains(&(kind.into(), status.into(), reason.into())),
            "{kind} {reason}: {conditions:#?}"
        );
    }
}

fn assert_events_of_the_tutorial(record: &Record) {
    let event = |reason: &str, object: &str, message: &str| {
        let found = record
            .events
            .iter()
            .any(|event| event.reason == reason && event.object == object && event.message.contains(message));
        assert!(
            found,
            "{reason} of {object} with {message:?}: {:#?}",
            record.events
        );
    };
    event(
        "SuccessfulRescale",
        "HorizontalPodAutoscaler default/keda-hpa-aws-sqs-queue-scaledobject",
        "New size: 2; reason: external metric s0-aws-sqs-my-sqs-keda(&LabelSelector{MatchLabels:map[string]string{scaledobject.keda.sh/name: aws-sqs-queue-scaledobject,},MatchExpressions:[]LabelSelectorRequirement{},}) above target",
    );
    event(
        "KEDAScaleTargetActivated",
        "ScaledObject default/aws-sqs-queue-scaledobject",
        "from 0 to 1",
    );
    event(
        "KEDAScaleTargetDeactivated",
        "ScaledObject default/aws-sqs-queue-scaledobject",
        "to 0",
    );
    event(
        "ScaledObjectFallbackActivated",
        "ScaledObject default/aws-sqs-queue-scaledobject",
        "",
    );
    event(
        "ScaledObjectFallbackDeactivated",
        "ScaledObject default/aws-sqs-queue-scaledobject",
        "",
    );
    event("ScalingReplicaSet", "Deployment default/web", "to 1");
    event("ScalingReplicaSet", "Deployment default/web", "to 0");
}

#[test]
fn a_night_takes_workloads_and_nodes_to_zero_and_the_morning_brings_them_back() {
    let record = play(story("night-shift"), 1);
    let at = |hours: f64| {
        let t = hours * 3600.0;
        record.timeline.iter().rev().find(|moment| moment.t <= t).unwrap()
    };
    let bought = |hours: f64| at(hours).bought.values().sum::<usize>();
    // 18:30, in the working day: the storefront and the encoders run on bought nodes.
    assert_eq!(at(1.0).ready, 10);
    assert!(bought(1.0) >= 2);
    // 20:30: the schedule has taken the storefront and its nodes; the encoders' pool is still there.
    assert_eq!((at(3.0).desired, at(3.0).ready), (0, 0));
    assert!(
        at(3.0).bought.keys().all(|name| name.starts_with("c5.")),
        "{:?}",
        at(3.0)
    );
    // 23:30: the pool's limit is 0, so the report's pod stays Pending and nothing is bought.
    assert!(at(6.0).pending >= 1);
    assert!(
        at(6.0).bought.keys().all(|name| name.starts_with("c5.")),
        "{:?}",
        at(6.0)
    );
    // 02:00: the batch pool was deleted, and with it its nodes.
    assert_eq!(bought(8.5), 0);
    // 07:45: everything is back.
    assert_eq!((at(14.25).ready, at(14.25).pending), (10, 0));
    assert!(bought(14.25) >= 2);
    let refused = record
        .decisions
        .iter()
        .any(|decision| decision.controller == "provisioning" && decision.reason.contains("limit"));
    assert!(refused, "somebody asks at night why nothing is bought");
}

#[test]
fn a_workload_follows_another_ones_pods() {
    let manifests = "
apiVersion: v1
kind: Node
metadata: {name: one}
status: {allocatable: {cpu: '8', memory: 16Gi, pods: '110'}, capacity: {cpu: '8', memory: 16Gi, pods: '110'}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: leader, namespace: default}
spec:
  replicas: 4
  selector: {matchLabels: {app: leader}}
  template:
    metadata: {labels: {app: leader}}
    spec: {containers: [{name: main, image: leader}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: follower, namespace: default}
spec:
  replicas: 0
  selector: {matchLabels: {app: follower}}
  template:
    metadata: {labels: {app: follower}}
    spec: {containers: [{name: main, image: follower}]}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: follower, namespace: default}
spec:
  scaleTargetRef: {name: follower}
  pollingInterval: 5
  triggers:
  - {type: kubernetes-workload, metadata: {podSelector: app=leader, value: '2'}}
";
    let scenario = "
apiVersion: simulation.autoscaler.dev/v1alpha1
kind: Scenario
metadata: {name: follow}
spec: {duration: 2m}
";
    let story = Story {
        scenario: scenario::parse("scenario.yaml", scenario).unwrap(),
        manifests: input::parse("manifests.yaml", manifests).unwrap(),
    };
    assert_eq!(steps(&play(story, 1)), [0, 1, 2]);
}
