//! Fixtures of this crate's tests.
#![allow(
    clippy::needless_pass_by_value,
    reason = "`json!` at the call reads best without a borrow"
)]

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    CapacityType, Catalog, InstanceType, Offering, Requirement, Requirements, ResourceList,
    karpenter::{NodePool, labels},
    schedule::{ClusterNode, PodFacts, Pool, World},
};

/// A type with 10 pods per cpu, sold in the zones `a`, `b` and `c`, spot at half the price.
pub(crate) fn instance_type(name: &str, cpu: i64, memory_gib: i64, price: f64) -> Arc<InstanceType> {
    let zones = ["a", "b", "c"];
    let offering = |zone: &str, capacity_type, price| Offering {
        zone: zone.to_owned(),
        capacity_type,
        price,
        available: true,
        reservation_id: None,
        reservation_capacity: None,
        unavailable_since: None,
    };
    let mut requirements = Requirements::new();
    requirements.add(Requirement::one_of(labels::INSTANCE_TYPE, [name]));
    requirements.add(Requirement::one_of(labels::ARCH, ["amd64"]));
    requirements.add(Requirement::one_of(labels::OS, ["linux"]));
    requirements.add(Requirement::one_of(labels::ZONE, zones));
    requirements.add(Requirement::one_of(labels::CAPACITY_TYPE, ["on-demand", "spot"]));
    Arc::new(InstanceType {
        name: name.to_owned(),
        requirements,
        capacity: resources(&[
            ("cpu", &cpu.to_string()),
            ("memory", &format!("{memory_gib}Gi")),
            ("pods", &(cpu * 10).to_string()),
        ]),
        overhead: resources(&[("cpu", "100m"), ("memory", "100Mi")]),
        offerings: zones
            .iter()
            .flat_map(|zone| {
                [
                    offering(zone, CapacityType::OnDemand, price),
                    offering(zone, CapacityType::Spot, price / 2.0),
                ]
            })
            .collect(),
    })
}

/// `small` 2, `medium` 4, `large` 8, `huge` 16 cpu; 4 GiB a cpu; 0.05 a cpu and hour.
pub(crate) fn catalog() -> Arc<Catalog> {
    let sizes = [("small", 2), ("medium", 4), ("large", 8), ("huge", 16)];
    let instance_types = sizes
        .iter()
        .map(|&(name, cpu)| instance_type(name, cpu, cpu * 4, 0.05 * f64::from(cpu as u32)))
        .collect();
    Arc::new(Catalog {
        version: 1,
        instance_types,
    })
}

pub(crate) fn resources(amounts: &[(&str, &str)]) -> ResourceList {
    ResourceList::parse(amounts.iter().copied()).unwrap()
}

/// A pool named `name` whose spec has `patch` merged in; on-demand only.
pub(crate) fn node_pool(name: &str, patch: Value) -> NodePool {
    let mut pool = json!({
        "metadata": { "name": name, "uid": format!("uid-{name}") },
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "spec": { "template": { "spec": {
            "requirements": [{ "key": labels::CAPACITY_TYPE, "operator": "In", "values": ["on-demand"] }],
            "nodeClassRef": { "group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default" },
        } } },
    });
    merge(&mut pool["spec"], patch);
    serde_json::from_value(pool).unwrap()
}

pub(crate) fn merge(base: &mut Value, patch: Value) {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => {
            patch
                .into_iter()
                .for_each(|(key, value)| merge(base.entry(key).or_insert(Value::Null), value));
        }
        (base, patch) => *base = patch,
    }
}

pub(crate) fn pool(name: &str, patch: Value) -> Pool {
    Pool::new(&node_pool(name, patch), catalog()).unwrap()
}

/// A world with pool `default` and nothing else.
pub(crate) fn world() -> World {
    World {
        pools: vec![pool("default", json!({}))],
        ..World::default()
    }
}

/// A pod of namespace `default` that asks for cpu; its spec has `patch` merged in.
pub(crate) fn pod(name: &str, cpu: &str, patch: Value) -> Arc<PodFacts> {
    labelled(name, cpu, json!({}), patch)
}

/// As [`pod`], with labels.
pub(crate) fn labelled(name: &str, cpu: &str, pod_labels: Value, patch: Value) -> Arc<PodFacts> {
    let mut pod = json!({
        "metadata": { "name": name, "namespace": "default", "uid": name, "labels": pod_labels },
        "spec": { "containers": [{ "name": "c", "resources": { "requests": { "cpu": cpu } } }] },
    });
    merge(&mut pod["spec"], patch);
    Arc::new(PodFacts::of(&serde_json::from_value(pod).unwrap()))
}

/// An initialised node of pool `default` in zone `a`.
pub(crate) fn node(name: &str, instance_type: &str, pods: Vec<Arc<PodFacts>>) -> ClusterNode {
    let it = catalog()
        .instance_types
        .iter()
        .find(|it| it.name == instance_type)
        .cloned()
        .unwrap();
    let node_labels: std::collections::BTreeMap<String, String> = [
        (labels::HOSTNAME, name),
        (labels::NODEPOOL, "default"),
        (labels::ZONE, "a"),
        (labels::INSTANCE_TYPE, instance_type),
        (labels::CAPACITY_TYPE, "on-demand"),
        (labels::ARCH, "amd64"),
        (labels::OS, "linux"),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect();
    ClusterNode {
        name: name.to_owned(),
        claim: Some(format!("claim-{name}")),
        pool: Some("default".to_owned()),
        requirements: Requirements::from_labels(&node_labels),
        initialized: true,
        capacity: it.capacity.clone(),
        allocatable: it.allocatable(),
        pods,
        takes_moved_pods: true,
        ..ClusterNode::default()
    }
}
