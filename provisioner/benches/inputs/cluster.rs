//! A large cluster, to ask which of its nodes can go.

use serde_json::{Value, json};

use super::workloads::Dice;

/// Equal nodes over four zones.
pub(super) fn nodes(count: usize, it: &Value) -> Vec<Value> {
    let zones = ["test-zone-a", "test-zone-b", "test-zone-c", "test-zone-d"];
    let node = |index: usize| {
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
    };
    (0..count).map(node).collect()
}

/// Pods on them, a fifth of which spreads over zones.
pub(super) fn pods(nodes: usize, count: usize) -> Vec<Value> {
    let mut dice = Dice::new();
    let pod = |index: usize| {
        let app = dice.pick(&["a", "b", "c", "d", "e"]);
        let mut pod = json!({
            "metadata": { "name": format!("pod-{index}"), "namespace": "default", "uid": format!("{index:08}"), "labels": { "app": app } },
            "spec": { "nodeName": format!("node-{:04}", index % nodes), "containers": [{ "name": "a", "resources": { "requests": dice.requests() } }] },
        });
        if index.is_multiple_of(5) {
            pod["spec"]["topologySpreadConstraints"] = json!([{
                "maxSkew": 5,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": { "matchLabels": { "app": app } },
            }]);
        }
        pod
    };
    (0..count).map(pod).collect()
}
