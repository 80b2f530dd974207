//! Can this node go? For every node of a large cluster, on one snapshot.

use std::path::Path;

use provisioner::{
    offline::{Collector, Report, Role, default_pool},
    schedule::{Budget, Overlay, Prepared},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{generate, row};
use crate::checker::{self, Given};

const NODES: usize = 1000;
const PODS: usize = 15_000;
/// Of so many questions the answer to one is held against the checker.
const CHECKED: usize = 50;
/// What Karpenter needs for one question, in seconds.
const KARPENTER: f64 = 0.9;

/// A cluster with room left on most nodes.
fn cluster(types: &[Value]) -> Given {
    let mut dice = generate::Dice::new();
    let zones = ["test-zone-a", "test-zone-b", "test-zone-c", "test-zone-d"];
    let it = types
        .iter()
        .find(|it| it["name"] == "s-16x-amd64-linux" || it["name"] == "m-16x-amd64-linux");
    let it = it.cloned().unwrap_or_default();
    let nodes = (0..NODES).map(|index| {
        json!({
            "kind": "Node",
            "metadata": { "name": format!("node-{index:04}"), "labels": {
                "karpenter.sh/nodepool": "default",
                "karpenter.sh/capacity-type": "on-demand",
                "karpenter.sh/initialized": "true",
                "karpenter.sh/registered": "true",
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/os": "linux",
                "node.kubernetes.io/instance-type": it["name"],
                "topology.kubernetes.io/zone": zones[index % zones.len()],
            } },
            "status": { "capacity": it["capacity"], "allocatable": it["allocatable"] },
        })
    });
    let nodes: Vec<Value> = nodes.collect();
    let pods = (0..PODS).map(|index| {
        let mut pod = json!({
            "metadata": { "name": format!("pod-{index}"), "namespace": "default", "uid": format!("{index:08}"), "labels": { "app": dice.pick(&["a", "b", "c", "d", "e"]) } },
            "spec": { "nodeName": format!("node-{:04}", index % NODES), "containers": [{ "name": "a", "resources": { "requests": dice.requests() } }] },
        });
        // A fifth spreads over zones.
        if index % 5 == 0 {
            pod["spec"]["topologySpreadConstraints"] = json!([{
                "maxSkew": 5,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": { "matchLabels": { "app": pod["metadata"]["labels"]["app"] } },
            }]);
        }
        pod
    });
    Given {
        pods: pods.collect(),
        nodes,
        node_pools: serde_json::to_value(default_pool()).into_iter().collect(),
        instance_types: types.to_vec(),
        ..Given::default()
    }
}

/// Asks for every node.
pub(super) fn measure(inputs: &Path, catalog: &str) -> anyhow::Result<Value> {
    let types = generate::file(&inputs.join(format!("{catalog}-instance-types.json.gz")))?;
    let types: Vec<Value> = types.into_iter().map(|document| document.object).collect();
    let given = cluster(&types);
    let mut collector = Collector::default();
    for (role, objects) in [
        (Role::Pods, &given.pods),
        (Role::Nodes, &given.nodes),
        (Role::InstanceTypes, &given.instance_types),
    ] {
        collector.add(role, generate::documents("made", objects.iter().cloned()));
    }
    let inputs = collector.build().map_err(|problems| {
        anyhow::anyhow!(
            "{}",
            problems.first().map(ToString::to_string).unwrap_or_default()
        )
    })?;
    let start = Instant::now();
    let prepared = Prepared::new(inputs.world);
    let preparing = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let answers: Vec<_> = prepared
        .world()
        .nodes
        .iter()
        .map(|node| {
            let overlay = Overlay::consolidating([node.name.as_str()]);
            prepared.solve(&node.pods, &overlay, Budget::default())
        })
        .collect();
    let seconds = start.elapsed().as_secs_f64();
    let may_go = answers
        .iter()
        .filter(|plan| plan.new.is_empty() && plan.is_complete())
        .count();
    let peak = row::megabytes("VmHWM")?;
    let mut violations = Vec::new();
    for (index, plan) in answers.iter().enumerate().step_by(CHECKED) {
        let mut after = given.clone();
        let name = after.nodes.remove(index)["metadata"]["name"].clone();
        for pod in after
            .pods
            .iter_mut()
            .filter(|pod| pod["spec"]["nodeName"] == name)
        {
            pod["spec"]["nodeName"] = Value::Null;
        }
        let report = Report::of(plan, prepared.world(), 0.0);
        let found = checker::check(&after, &serde_json::to_value(report)?).violations;
        violations.extend(
            found
                .into_iter()
                .map(|violation| format!("{}: {}", violation.rule, violation.message)),
        );
    }
    Ok(json!({
        "workload": "what-if",
        "nodes": NODES,
        "pods": PODS,
        "questions": answers.len(),
        "mayGo": may_go,
        "prepareSeconds": preparing,
        "seconds": seconds,
        "peakMegabytes": peak,
        "violations": violations,
    }))
}

/// The answer in words.
pub(super) fn words(said: &Value) -> String {
    let number = |name: &str| said[name].as_f64().unwrap_or(f64::NAN);
    let (seconds, questions) = (number("seconds"), number("questions"));
    format!(
        "{questions:.0} questions on {} nodes with {} pods in {seconds:.2} s ({:.2} s to prepare), {:.0} times as fast as Karpenter; {} may go; {} violations",
        said["nodes"],
        said["pods"],
        number("prepareSeconds"),
        KARPENTER * questions / seconds,
        said["mayGo"],
        said["violations"].as_array().map_or(0, Vec::len),
    )
}
