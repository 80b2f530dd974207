//! Volumes, owners with default spreads, and reservations.

use serde_json::{Value, json};

use super::{Dice, NAMESPACES, ZONES};
use crate::checker::Given;

const CLAIMS: u64 = 5;

/// Gives some worlds storage, some default spreads, and some reservations.
pub(super) fn surround(dice: &mut Dice, given: &mut Given) {
    if dice.percent(25) {
        storage(dice, given);
    }
    if dice.percent(15) {
        default_spreads(dice, given);
    }
    if dice.percent(15) {
        reservations(dice, given);
    }
}

fn zone_terms(dice: &mut Dice) -> Vec<Value> {
    let zones: Vec<&str> = dice.some(&ZONES).into_iter().copied().collect();
    let term = |zone: &&str| json!({ "matchExpressions": [{ "key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone] }] });
    zones.iter().map(term).collect()
}

fn storage(dice: &mut Dice, given: &mut Given) {
    let around = &mut given.surroundings;
    let late = "WaitForFirstConsumer";
    around.push(json!({ "kind": "StorageClass", "metadata": { "name": "late" }, "provisioner": "csi-a", "volumeBindingMode": late }));
    around.push(json!({ "kind": "StorageClass", "metadata": { "name": "now" }, "provisioner": "csi-a", "volumeBindingMode": "Immediate" }));
    let terms = [
        json!({ "matchLabelExpressions": [{ "key": "topology.kubernetes.io/zone", "values": dice.some(&ZONES) }] }),
    ];
    around.push(json!({ "kind": "StorageClass", "metadata": { "name": "zonal" }, "provisioner": "csi-b", "volumeBindingMode": late, "allowedTopologies": terms }));
    for namespace in NAMESPACES {
        for number in 0..CLAIMS {
            let (name, volume) = (format!("claim-{number}"), format!("{namespace}-{number}"));
            let mut claim = json!({ "kind": "PersistentVolumeClaim", "metadata": { "name": name, "namespace": namespace }, "spec": {} });
            if dice.percent(50) {
                claim["spec"]["storageClassName"] = json!(dice.pick(&["late", "late", "zonal", "now"]));
            } else {
                claim["spec"]["volumeName"] = json!(volume);
                claim["metadata"]["annotations"] = json!({ "pv.kubernetes.io/bind-completed": "yes" });
                let mut spec =
                    json!({ "nodeAffinity": { "required": { "nodeSelectorTerms": zone_terms(dice) } } });
                if dice.percent(80) {
                    spec["csi"] = json!({ "driver": dice.pick(&["csi-a", "csi-b"]), "volumeHandle": volume });
                } else {
                    spec["nfs"] = json!({ "server": "s", "path": "/" });
                }
                around.push(
                    json!({ "kind": "PersistentVolume", "metadata": { "name": volume }, "spec": spec }),
                );
            }
            if dice.percent(5) {
                claim["status"] = json!({ "phase": "Lost" });
            }
            around.push(claim);
        }
    }
    for node in &given.nodes {
        let name = &node["metadata"]["name"];
        let driver = |dice: &mut Dice, driver: &str| json!({ "name": driver, "nodeID": name, "allocatable": { "count": dice.between(0, 3) } });
        let drivers = [driver(dice, "csi-a"), driver(dice, "csi-b")];
        around
            .push(json!({ "kind": "CSINode", "metadata": { "name": name }, "spec": { "drivers": drivers } }));
    }
    for pod in &mut given.pods {
        if dice.percent(30) {
            let claims: Vec<u64> = (0..dice.between(1, 2))
                .map(|_| dice.between(0, CLAIMS - 1))
                .collect();
            let volumes: Vec<Value> = claims
                .iter()
                .enumerate()
                .map(|(at, claim)| json!({ "name": format!("v{at}"), "persistentVolumeClaim": { "claimName": format!("claim-{claim}") } }))
                .collect();
            pod["spec"]["volumes"] = json!(volumes);
        } else if dice.percent(15) {
            let spec = json!({ "storageClassName": dice.pick(&["late", "zonal"]) });
            pod["spec"]["volumes"] =
                json!([{ "name": "scratch", "ephemeral": { "volumeClaimTemplate": { "spec": spec } } }]);
        }
    }
}

fn default_spreads(dice: &mut Dice, given: &mut Given) {
    let keys = ["topology.kubernetes.io/zone", "kubernetes.io/hostname"];
    let constraint = |dice: &mut Dice, key: &str| {
        let when = *dice.pick(&["DoNotSchedule", "ScheduleAnyway"]);
        json!({ "maxSkew": dice.between(1, 3), "topologyKey": key, "whenUnsatisfiable": when })
    };
    let constraints: Vec<Value> = dice
        .some(&keys)
        .into_iter()
        .copied()
        .collect::<Vec<_>>()
        .into_iter()
        .map(|key| constraint(dice, key))
        .collect();
    let plugin = json!({ "name": "PodTopologySpread", "args": { "defaultConstraints": constraints } });
    given
        .surroundings
        .push(json!({ "kind": "KubeSchedulerConfiguration", "profiles": [{ "pluginConfig": [plugin] }] }));
    for namespace in NAMESPACES {
        let app = dice.pick(&["a", "b", "c"]);
        given.surroundings.push(json!({ "kind": "Service", "metadata": { "name": "s", "namespace": namespace }, "spec": { "selector": { "app": app } } }));
    }
    for number in 0..4 {
        let name = format!("w{number}");
        for namespace in NAMESPACES {
            let selector = json!({ "matchLabels": { "workload": name } });
            given.surroundings.push(json!({ "kind": "ReplicaSet", "metadata": { "name": name, "namespace": namespace }, "spec": { "selector": selector } }));
        }
    }
    for pod in &mut given.pods {
        let name = pod["metadata"]["labels"]["workload"].clone();
        pod["metadata"]["ownerReferences"] = json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": name, "controller": true }]);
    }
}

fn reservations(dice: &mut Dice, given: &mut Given) {
    let count = dice.between(0, 3);
    for it in &mut given.instance_types {
        let requirement = |key: &str, value: Value| json!({ "key": key, "operator": "In", "values": value });
        for one in it["requirements"].as_array_mut().unwrap() {
            if one["key"] == "karpenter.sh/capacity-type" {
                *one = requirement(
                    "karpenter.sh/capacity-type",
                    json!(["on-demand", "spot", "reserved"]),
                );
            }
        }
        if dice.percent(30) {
            let offering = it["offerings"][0].clone();
            let Some(price) = offering["price"].as_f64() else {
                continue;
            };
            let zone = offering["requirements"][1]["values"][0].clone();
            let id = format!("r-{}", zone.as_str().unwrap());
            it["offerings"].as_array_mut().unwrap().push(json!({
                "price": price / 10_000.0,
                "available": true,
                "reservationCapacity": count,
                "requirements": [
                    requirement("karpenter.sh/capacity-type", json!(["reserved"])),
                    requirement("topology.kubernetes.io/zone", json!([zone])),
                    requirement("karpenter.k8s.aws/capacity-reservation-id", json!([id])),
                ],
            }));
        }
    }
}
