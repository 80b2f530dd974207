//! Workloads with whatever pods can ask for.

use serde_json::{Value, json};

use super::{Dice, FAMILIES, NAMESPACES, TEAMS, ZONES};
use crate::checker::Given;

const KEYS: [&str; 4] = [
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/zone",
    "kubernetes.io/hostname",
    "karpenter.sh/capacity-type",
];
const APPS: [&str; 4] = ["a", "b", "c", "d"];

/// Adds the pods of one workload; some are on nodes already.
pub(super) fn workload(dice: &mut Dice, number: u64, replicas: u64, given: &mut Given) {
    let labels = json!({ "app": dice.pick(&APPS), "workload": format!("w{number}") });
    let namespace = *dice.pick(&["default", "default", "other"]);
    let spec = spec(dice, &labels);
    let bound = !given.nodes.is_empty() && dice.percent(20);
    for replica in 0..replicas {
        let mut pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": format!("w{number}-{replica}"), "namespace": namespace, "uid": format!("{number}-{replica}"), "labels": labels },
            "spec": spec,
        });
        if bound && dice.percent(50) {
            pod["spec"]["nodeName"] = dice.pick(&given.nodes)["metadata"]["name"].clone();
        }
        given.pods.push(pod);
    }
}

fn spec(dice: &mut Dice, labels: &Value) -> Value {
    let cpu = *dice.pick(&["50m", "100m", "250m", "500m", "1", "1500m", "3"]);
    let memory = *dice.pick(&["64Mi", "256Mi", "1Gi", "2Gi", "6Gi"]);
    let mut container =
        json!({ "name": "main", "resources": { "requests": { "cpu": cpu, "memory": memory } } });
    if dice.percent(4) {
        container["resources"]["limits"] = json!({ "nvidia.com/gpu": "1" });
    }
    if dice.percent(6) {
        container["ports"] = json!([{ "containerPort": 80, "hostPort": dice.pick(&[8080, 9100]) }]);
    }
    let mut spec = json!({ "containers": [container] });
    if dice.percent(8) {
        spec["initContainers"] = json!([{ "name": "init", "resources": { "requests": { "cpu": "2" } } }]);
        if dice.percent(50) {
            spec["initContainers"][0]["restartPolicy"] = json!("Always");
        }
    }
    if dice.percent(5) {
        spec["overhead"] = json!({ "cpu": "100m" });
    }
    if dice.percent(20) {
        spec["nodeSelector"] = selector(dice);
    }
    if dice.percent(30) {
        let toleration = match dice.between(0, 2) {
            0 => json!({ "operator": "Exists" }),
            1 => json!({ "key": "example.com/taint", "operator": "Exists" }),
            _ => {
                json!({ "key": "example.com/taint", "operator": "Equal", "value": "x", "effect": "NoSchedule" })
            }
        };
        spec["tolerations"] = json!([toleration]);
    }
    let mut affinity = json!({});
    if dice.percent(15) {
        affinity["nodeAffinity"] = node_affinity(dice);
    }
    if dice.percent(12) {
        affinity["podAffinity"] = pod_affinity(dice, labels);
    }
    if dice.percent(15) {
        affinity["podAntiAffinity"] = pod_affinity(dice, labels);
    }
    if affinity != json!({}) {
        spec["affinity"] = affinity;
    }
    if dice.percent(30) {
        let count = dice.between(1, 2);
        let spreads: Vec<Value> = (0..count).map(|_| spread(dice, labels)).collect();
        // Two of one key and kind are refused by an API server.
        let same = spreads.len() == 2 && spreads[0]["topologyKey"] == spreads[1]["topologyKey"];
        spec["topologySpreadConstraints"] = Value::Array(if same { spreads[..1].to_vec() } else { spreads });
    }
    spec
}

fn selector(dice: &mut Dice) -> Value {
    match dice.between(0, 5) {
        0 => json!({ "topology.kubernetes.io/zone": dice.pick(&ZONES) }),
        1 => json!({ "karpenter.sh/capacity-type": dice.pick(&["on-demand", "spot"]) }),
        2 => json!({ "kubernetes.io/arch": dice.pick(&["amd64", "arm64"]) }),
        3 => json!({ "example.com/team": dice.pick(&TEAMS) }),
        4 => json!({ "pool-label": dice.pick(&["one", "two"]) }),
        _ => json!({ "kubernetes.io/os": dice.pick(&["linux", "windows"]) }),
    }
}

fn expression(dice: &mut Dice) -> Value {
    let (key, values) = match dice.between(0, 4) {
        0 => ("topology.kubernetes.io/zone", json!(dice.some(&ZONES))),
        1 => ("karpenter.k8s.aws/instance-family", json!(dice.some(&FAMILIES))),
        2 => ("example.com/team", json!(dice.some(&TEAMS))),
        3 => ("special", json!(["optional"])),
        _ => {
            let operator = dice.pick(&["Gt", "Lt"]);
            return json!({ "key": "karpenter.k8s.aws/instance-cpu", "operator": operator, "values": [dice.pick(&["2", "8", "30"])] });
        }
    };
    match *dice.pick(&["In", "In", "NotIn", "Exists", "DoesNotExist"]) {
        operator @ ("Exists" | "DoesNotExist") if key == "example.com/team" || key == "special" => {
            json!({ "key": key, "operator": operator })
        }
        "NotIn" => json!({ "key": key, "operator": "NotIn", "values": values }),
        _ => json!({ "key": key, "operator": "In", "values": values }),
    }
}

fn node_affinity(dice: &mut Dice) -> Value {
    let mut affinity = json!({});
    if dice.percent(70) {
        let terms: Vec<Value> = (0..dice.between(1, 3))
            .map(|_| {
                let count = dice.between(1, 2);
                let expressions: Vec<Value> = (0..count).map(|_| expression(dice)).collect();
                json!({ "matchExpressions": expressions })
            })
            .collect();
        affinity["requiredDuringSchedulingIgnoredDuringExecution"] = json!({ "nodeSelectorTerms": terms });
    }
    if dice.percent(40) {
        let preferred = json!([{ "weight": dice.between(1, 100), "preference": { "matchExpressions": [expression(dice)] } }]);
        affinity["preferredDuringSchedulingIgnoredDuringExecution"] = preferred;
    }
    affinity
}

fn who(dice: &mut Dice, labels: &Value) -> Value {
    if dice.percent(60) {
        json!({ "matchLabels": { "workload": labels["workload"] } })
    } else if dice.percent(60) {
        json!({ "matchExpressions": [{ "key": "app", "operator": "In", "values": dice.some(&APPS) }] })
    } else {
        json!({ "matchLabels": { "app": labels["app"] } })
    }
}

fn pod_affinity(dice: &mut Dice, labels: &Value) -> Value {
    let mut term = json!({ "topologyKey": dice.pick(&KEYS), "labelSelector": who(dice, labels) });
    if dice.percent(15) {
        term["namespaces"] = json!(dice.some(&NAMESPACES));
    }
    if dice.percent(10) {
        term["namespaceSelector"] = json!({ "matchLabels": { "tier": dice.pick(&NAMESPACES) } });
    }
    if dice.percent(70) {
        json!({ "requiredDuringSchedulingIgnoredDuringExecution": [term] })
    } else {
        json!({ "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": dice.between(1, 100), "podAffinityTerm": term }] })
    }
}

fn spread(dice: &mut Dice, labels: &Value) -> Value {
    let mut spread = json!({
        "maxSkew": dice.between(1, 3),
        "topologyKey": dice.pick(&KEYS),
        "whenUnsatisfiable": dice.pick(&["DoNotSchedule", "DoNotSchedule", "ScheduleAnyway"]),
        "labelSelector": who(dice, labels),
    });
    if dice.percent(10) && spread["whenUnsatisfiable"] == "DoNotSchedule" {
        spread["minDomains"] = json!(dice.between(1, 4));
    }
    if dice.percent(10) {
        spread["nodeTaintsPolicy"] = json!("Honor");
    }
    if dice.percent(10) {
        spread["nodeAffinityPolicy"] = json!("Ignore");
    }
    if dice.percent(10) {
        spread["matchLabelKeys"] = json!(["app"]);
    }
    spread
}
