//! Pods as Karpenter's own benchmark makes them.

use std::path::Path;

use anyhow::{Context as _, bail};
use provisioner::offline::{self, Document};
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
        let count = u64::try_from(among.len()).unwrap_or(1);
        among[usize::try_from(self.0.next_u64() % count).unwrap_or(0)]
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

/// The objects of a file of the inputs.
pub(super) fn file(path: &Path) -> anyhow::Result<Vec<Document>> {
    let name = path.display().to_string();
    let content = std::fs::read(path).with_context(|| name.clone())?;
    let (documents, problems) = offline::documents(&name, &content);
    match problems.first() {
        Some(problem) => bail!("{problem}"),
        None => Ok(documents),
    }
}

/// The pods of a workload: recorded ones where there is a file of them.
pub(super) fn pods(inputs: &Path, workload: &str, count: usize) -> anyhow::Result<Vec<Document>> {
    let recorded = inputs.join(format!("pods-{workload}-{count}.json.gz"));
    if recorded.exists() {
        return file(&recorded);
    }
    let pods = match workload {
        "generic" => made(count, |_| 0),
        "diverse" => made(count, |index| index / (count / 5).max(1)),
        _ => bail!("there is no file {} and no rule to make one", recorded.display()),
    };
    Ok(documents("made", pods))
}

/// Documents of objects.
pub(super) fn documents(file: &str, objects: impl IntoIterator<Item = Value>) -> Vec<Document> {
    let numbered = objects.into_iter().enumerate();
    numbered
        .map(|(index, object)| Document {
            file: file.to_owned(),
            number: index + 1,
            object,
        })
        .collect()
}

/// Pods of which `kind` says by index which of the five kinds they are.
fn made(count: usize, kind: impl Fn(usize) -> usize) -> Vec<Value> {
    let mut dice = Dice::new();
    (0..count)
        .map(|index| pod(&mut dice, index, kind(index)))
        .collect()
}

fn pod(dice: &mut Dice, index: usize, kind: usize) -> Value {
    let mut labels = json!({ "my-label": dice.letter() });
    let mut spec = json!({ "containers": [{ "name": "a", "resources": { "requests": dice.requests() } }] });
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
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
        _ => {}
    }
    json!({
        "metadata": { "name": format!("pod-{index}"), "namespace": "default", "uid": format!("{index:08}"), "labels": labels },
        "spec": spec,
    })
}
