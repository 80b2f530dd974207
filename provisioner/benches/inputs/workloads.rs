//! Pods as Karpenter's own benchmark makes them.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use serde_json::{Value, json};

const SEED: u64 = 42;
const ZONE: &str = "topology.kubernetes.io/zone";
const HOSTNAME: &str = "kubernetes.io/hostname";

/// A seeded source of choices.
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    pub(super) fn new() -> Self {
        Self(ChaCha8Rng::seed_from_u64(SEED))
    }

    pub(super) fn pick<'a>(&mut self, among: &[&'a str]) -> &'a str {
        let count = u64::try_from(among.len()).expect("few");
        among[usize::try_from(self.0.next_u64() % count).expect("less than few")]
    }

    fn letter(&mut self) -> &'static str {
        self.pick(&["a", "b", "c", "d", "e", "f", "g"])
    }

    pub(super) fn requests(&mut self) -> Value {
        let cpu = self.pick(&["100m", "250m", "500m", "1", "1500m"]);
        let memory = self.pick(&["100Mi", "256Mi", "512Mi", "1Gi", "2Gi", "4Gi"]);
        json!({ "cpu": cpu, "memory": memory })
    }
}

/// The pods of a workload.
pub(super) fn pods(workload: &str, count: usize) -> Vec<Value> {
    let mut dice = Dice::new();
    let kind = |index: usize| match workload {
        "generic" => 0,
        "diverse" => index / (count / 5).max(1),
        "preference" => 5,
        _ => panic!("there is no workload {workload}"),
    };
    (0..count)
        .map(|index| pod(&mut dice, index, kind(index)))
        .collect()
}

fn pod(dice: &mut Dice, index: usize, kind: usize) -> Value {
    let mut labels = json!({ "my-label": dice.letter() });
    let mut spec = json!({ "containers": [{ "name": "a", "resources": { "requests": dice.requests() } }] });
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    match kind {
        1 | 2 => {
            spec["topologySpreadConstraints"] = json!([{
                "maxSkew": 1,
                "topologyKey": if kind == 1 { ZONE } else { HOSTNAME },
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": { "matchLabels": { "my-label": dice.letter() } },
            }]);
        }
        3 => {
            let label = json!({ "my-affininity": dice.letter() });
            spec["affinity"]["podAffinity"][required] =
                json!([{ "topologyKey": ZONE, "labelSelector": { "matchLabels": label } }]);
            labels = label;
        }
        4 => {
            labels = json!({ "app": "nginx" });
            spec["affinity"]["podAntiAffinity"][required] =
                json!([{ "topologyKey": HOSTNAME, "labelSelector": { "matchLabels": labels } }]);
        }
        5 => {
            labels = json!({ "app": "nginx" });
            spec["containers"][0]["resources"]["requests"] = json!({ "cpu": "100m", "memory": "4Gi" });
            let in_zone = json!({ "key": ZONE, "operator": "In", "values": ["test-zone-1"] });
            spec["affinity"]["nodeAffinity"][preferred] =
                json!([{ "weight": 1, "preference": { "matchExpressions": [in_zone] } }]);
            let away = |weight: u32, key: &str| {
                let term = json!({ "topologyKey": key, "labelSelector": { "matchLabels": labels } });
                json!({ "weight": weight, "podAffinityTerm": term })
            };
            spec["affinity"]["podAntiAffinity"][preferred] = json!([away(10, ZONE), away(1, HOSTNAME)]);
        }
        _ => {}
    }
    json!({
        "metadata": { "name": format!("pod-{index}"), "namespace": "default", "uid": format!("{index:08}"), "labels": labels },
        "spec": spec,
    })
}
