//! Random worlds: small, and full of constraints that meet.

mod constraints;
mod surroundings;

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use serde_json::{Value, json};

use crate::checker::Given;

/// A seeded source of choices.
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// From `least` to `most`.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.0.next_u64() % (most - least + 1)
    }

    /// In so many of a hundred cases.
    pub(crate) fn percent(&mut self, share: u64) -> bool {
        self.between(1, 100) <= share
    }

    pub(crate) fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        let most = u64::try_from(among.len()).unwrap() - 1;
        &among[usize::try_from(self.between(0, most)).unwrap()]
    }

    /// Some of them, at least one, in their order.
    pub(crate) fn some<'a, T>(&mut self, among: &'a [T]) -> Vec<&'a T> {
        let some: Vec<&T> = among.iter().filter(|_| self.percent(50)).collect();
        if some.is_empty() {
            vec![self.pick(among)]
        } else {
            some
        }
    }
}

pub(crate) const ZONES: [&str; 4] = ["zone-a", "zone-b", "zone-c", "zone-d"];
pub(crate) const TEAMS: [&str; 3] = ["red", "green", "blue"];
pub(crate) const FAMILIES: [&str; 3] = ["c", "m", "r"];
pub(crate) const NAMESPACES: [&str; 2] = ["default", "other"];

/// The world of a seed.
pub(crate) fn world(seed: u64) -> Given {
    let mut dice = Dice::new(seed);
    let zones = usize::try_from(dice.between(1, 4)).unwrap();
    let zones = &ZONES[..zones];
    let types = dice.between(5, 30);
    let instance_types: Vec<Value> = (0..types)
        .map(|number| instance_type(&mut dice, number, zones))
        .collect();
    let pools = dice.between(1, 3);
    let node_pools: Vec<Value> = (0..pools).map(|number| pool(&mut dice, number, zones)).collect();
    let mut given = Given {
        instance_types,
        node_pools,
        ..Given::default()
    };
    for namespace in NAMESPACES {
        given
            .namespaces
            .push(json!({ "metadata": { "name": namespace, "labels": { "tier": namespace } } }));
    }
    for number in 0..dice.between(0, 2) {
        given.daemon_sets.push(daemon_set(&mut dice, number));
    }
    if dice.percent(60) {
        for number in 0..dice.between(1, 5) {
            let node = node(&mut dice, number, &given, zones);
            given.nodes.push(node);
        }
    }
    let wanted = usize::try_from(dice.between(5, 60)).unwrap();
    let mut workload = 0;
    while given.pods.len() < wanted {
        let replicas = dice.between(1, 12);
        constraints::workload(&mut dice, workload, replicas, &mut given);
        workload += 1;
    }
    surroundings::surround(&mut dice, &mut given);
    given
}

#[allow(clippy::needless_pass_by_value, reason = "callers make them on the spot")]
fn requirement(key: &str, operator: &str, values: Value) -> Value {
    json!({ "key": key, "operator": operator, "values": values })
}

#[allow(clippy::cast_precision_loss, reason = "small numbers")]
fn instance_type(dice: &mut Dice, number: u64, zones: &[&str]) -> Value {
    let cpu = *dice.pick(&[1_u64, 2, 4, 8, 16, 32, 64]);
    let ratio = *dice.pick(&[2_u64, 4, 8]);
    let pods = *dice.pick(&[5_u64, 10, 29, 58, 110]);
    let memory = cpu * ratio;
    let name = format!("type-{number}");
    let arch = *dice.pick(&["amd64", "amd64", "arm64"]);
    let systems = if dice.percent(15) {
        json!(["linux", "windows"])
    } else {
        json!(["linux"])
    };
    let base = (cpu as f64 * 0.04 + memory as f64 * 0.005) * (0.8 + dice.between(0, 40) as f64 / 100.0);
    let mut offerings = Vec::new();
    for zone in zones {
        for (capacity_type, share) in [
            ("on-demand", 1.0),
            ("spot", 0.3 + dice.between(0, 40) as f64 / 100.0),
        ] {
            if dice.percent(90) {
                offerings.push(json!({
                    "price": base * share,
                    "available": dice.percent(85),
                    "requirements": [
                        requirement("karpenter.sh/capacity-type", "In", json!([capacity_type])),
                        requirement("topology.kubernetes.io/zone", "In", json!([zone])),
                    ],
                }));
            }
        }
    }
    let mut requirements = vec![
        requirement("node.kubernetes.io/instance-type", "In", json!([name])),
        requirement("kubernetes.io/arch", "In", json!([arch])),
        requirement("kubernetes.io/os", "In", systems),
        requirement("topology.kubernetes.io/zone", "In", json!(zones)),
        requirement("karpenter.sh/capacity-type", "In", json!(["on-demand", "spot"])),
        requirement(
            "karpenter.k8s.aws/instance-family",
            "In",
            json!([dice.pick(&FAMILIES)]),
        ),
        requirement("karpenter.k8s.aws/instance-cpu", "In", json!([cpu.to_string()])),
    ];
    let special = if dice.percent(20) {
        requirement("special", "In", json!(["optional"]))
    } else {
        requirement("special", "DoesNotExist", json!([]))
    };
    requirements.push(special);
    let mut capacity =
        json!({ "cpu": cpu.to_string(), "memory": format!("{memory}Gi"), "pods": pods.to_string() });
    let mut allocatable = json!({
        "cpu": format!("{}m", cpu * 1000 - 100),
        "memory": format!("{}Mi", memory * 1024 - 200),
        "pods": pods.to_string(),
    });
    if dice.percent(10) {
        capacity["nvidia.com/gpu"] = json!("2");
        allocatable["nvidia.com/gpu"] = json!("2");
    }
    json!({ "name": name, "requirements": requirements, "capacity": capacity, "allocatable": allocatable, "offerings": offerings })
}

fn pool(dice: &mut Dice, number: u64, zones: &[&str]) -> Value {
    let mut requirements = Vec::new();
    if dice.percent(30) {
        requirements.push(requirement(
            "karpenter.sh/capacity-type",
            "In",
            json!(dice.some(&["on-demand", "spot"])),
        ));
    }
    if dice.percent(25) {
        let operator = if dice.percent(70) { "In" } else { "NotIn" };
        requirements.push(requirement(
            "topology.kubernetes.io/zone",
            operator,
            json!(dice.some(zones)),
        ));
    }
    if dice.percent(25) {
        requirements.push(requirement(
            "kubernetes.io/arch",
            "In",
            json!([dice.pick(&["amd64", "arm64"])]),
        ));
    }
    if dice.percent(20) {
        requirements.push(requirement(
            "karpenter.k8s.aws/instance-cpu",
            dice.pick::<&str>(&["Gt", "Lt"]),
            json!([dice.pick(&["2", "8", "16"])]),
        ));
    }
    if dice.percent(40) {
        let operator = *dice.pick(&["In", "In", "Exists", "NotIn"]);
        let values = if operator == "Exists" {
            json!([])
        } else {
            json!(dice.some(&TEAMS))
        };
        requirements.push(requirement("example.com/team", operator, values));
    }
    if dice.percent(12) {
        let mut family = requirement("karpenter.k8s.aws/instance-family", "Exists", json!([]));
        family["minValues"] = json!(dice.between(1, 3));
        requirements.push(family);
    }
    let mut spec = json!({ "requirements": requirements, "nodeClassRef": { "group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default" } });
    if dice.percent(30) {
        spec["taints"] = json!([{ "key": "example.com/taint", "value": dice.pick(&["x", "y"]), "effect": dice.pick(&["NoSchedule", "NoExecute", "PreferNoSchedule"]) }]);
    }
    if dice.percent(15) {
        spec["startupTaints"] = json!([{ "key": "example.com/starting", "effect": "NoSchedule" }]);
    }
    let mut pool = json!({
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": { "name": format!("pool-{number}") },
        "spec": { "template": { "metadata": { "labels": { "pool-label": dice.pick(&["one", "two"]) } }, "spec": spec } },
    });
    if dice.percent(50) {
        pool["spec"]["weight"] = json!(dice.between(1, 100));
    }
    if dice.percent(25) {
        pool["spec"]["limits"] = if dice.percent(60) {
            json!({ "cpu": dice.between(4, 100) })
        } else {
            json!({ "nodes": dice.between(1, 6), "memory": "200Gi" })
        };
    }
    pool
}

fn daemon_set(dice: &mut Dice, number: u64) -> Value {
    let mut spec = json!({ "containers": [{ "name": "d", "resources": { "requests": { "cpu": dice.pick(&["50m", "200m"]), "memory": "64Mi" } } }] });
    if dice.percent(40) {
        spec["nodeSelector"] = match dice.between(0, 2) {
            0 => json!({ "kubernetes.io/arch": "amd64" }),
            1 => json!({ "topology.kubernetes.io/zone": "zone-a" }),
            _ => json!({ "example.com/team": "red" }),
        };
    }
    if dice.percent(60) {
        spec["tolerations"] = json!([{ "operator": "Exists" }]);
    }
    if dice.percent(20) {
        spec["containers"][0]["ports"] = json!([{ "containerPort": 9100, "hostPort": 9100 }]);
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": format!("daemon-{number}"), "namespace": "default" },
        "spec": {
            "selector": { "matchLabels": { "d": "d" } },
            "template": { "metadata": { "labels": { "d": "d" } }, "spec": spec },
        },
    })
}

fn node(dice: &mut Dice, number: u64, given: &Given, zones: &[&str]) -> Value {
    let it = dice.pick(&given.instance_types).clone();
    let name = format!("node-{number}");
    let of_type = |key: &str| {
        let all = it["requirements"].as_array().unwrap();
        all.iter()
            .find(|r| r["key"] == key)
            .map(|r| r["values"][0].clone())
            .unwrap()
    };
    let mut labels = json!({
        "topology.kubernetes.io/zone": dice.pick(zones),
        "karpenter.sh/capacity-type": dice.pick(&["on-demand", "spot"]),
        "kubernetes.io/arch": of_type("kubernetes.io/arch"),
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": it["name"],
        "karpenter.k8s.aws/instance-family": of_type("karpenter.k8s.aws/instance-family"),
    });
    if dice.percent(60) {
        labels["karpenter.sh/nodepool"] = dice.pick(&given.node_pools)["metadata"]["name"].clone();
    }
    if dice.percent(40) {
        labels["example.com/team"] = json!(dice.pick(&TEAMS));
    }
    if dice.percent(10) {
        // It does not say where it is.
        labels
            .as_object_mut()
            .unwrap()
            .remove("topology.kubernetes.io/zone");
    }
    let mut spec = json!({});
    if dice.percent(20) {
        spec["taints"] = json!([{ "key": "example.com/taint", "value": "x", "effect": dice.pick(&["NoSchedule", "PreferNoSchedule"]) }]);
    }
    if dice.percent(8) {
        spec["unschedulable"] = json!(true);
    }
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": name, "labels": labels },
        "spec": spec,
        "status": { "capacity": it["capacity"], "allocatable": it["allocatable"] },
    })
}
