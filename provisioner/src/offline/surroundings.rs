//! What places of pods depend on beside pods and nodes: storage, what pods belong to, the scheduler's configuration.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    apps::v1::{ReplicaSet, StatefulSet},
    core::v1::{ReplicationController, Service, TopologySpreadConstraint},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::document::{Document, Problem};
use crate::{
    schedule::Workload,
    storage::{Storage, StorageObject},
};

const SCHEDULER: &str = "KubeSchedulerConfiguration";
const KINDS: [&str; 9] = [
    "PersistentVolumeClaim",
    "PersistentVolume",
    "StorageClass",
    "CSINode",
    "Service",
    "ReplicaSet",
    "StatefulSet",
    "ReplicationController",
    SCHEDULER,
];

/// Whether objects of this `kind` are read here.
pub(super) fn is_kind(kind: &Value) -> bool {
    kind.as_str().is_some_and(|kind| KINDS.contains(&kind))
}

#[derive(Default)]
pub(super) struct Surroundings {
    pub storage: Storage,
    pub workloads: Vec<Workload>,
    pub default_spreads: Vec<TopologySpreadConstraint>,
}

/// Everything that can be read; what is wrong with the rest goes to `problems`.
pub(super) fn read(documents: Vec<Document>, problems: &mut Vec<Problem>) -> Surroundings {
    let mut around = Surroundings::default();
    let mut first: BTreeMap<[String; 3], String> = BTreeMap::new();
    for mut document in documents {
        let is_namespaced = !matches!(
            document.kind(),
            "PersistentVolume" | "StorageClass" | "CSINode" | SCHEDULER
        );
        if is_namespaced && document.object["metadata"]["namespace"].is_null() {
            document.object["metadata"]["namespace"] = Value::from("default");
        }
        let place = format!("{}:{}", document.file, document.number);
        if let Some(other) = identity(&document).and_then(|identity| first.insert(identity, place)) {
            let name = &document.object["metadata"]["name"];
            let message = format!("is {name}, which {other} has, expected a name of its own");
            problems.push(document.problem(document.kind(), "metadata.name", message));
            continue;
        }
        if let Err(problem) = around.take(&document) {
            problems.push(problem);
        }
    }
    around
}

/// Kind, namespace and name; what has no name cannot stand twice.
fn identity(document: &Document) -> Option<[String; 3]> {
    let metadata = &document.object["metadata"];
    let name = metadata["name"].as_str()?;
    let namespace = metadata["namespace"].as_str().unwrap_or_default();
    Some([document.kind(), namespace, name].map(str::to_owned))
}

impl Surroundings {
    fn take(&mut self, document: &Document) -> Result<(), Problem> {
        fn typed<T: DeserializeOwned>(document: &Document) -> Result<T, Problem> {
            document.typed(document.kind())
        }
        let storage = match document.kind() {
            "PersistentVolumeClaim" => StorageObject::Claim(typed(document)?),
            "PersistentVolume" => StorageObject::Volume(typed(document)?),
            "StorageClass" => StorageObject::Class(typed(document)?),
            "CSINode" => StorageObject::Node(typed(document)?),
            SCHEDULER => {
                self.default_spreads.extend(default_spreads(document)?);
                return Ok(());
            }
            _ => {
                self.workloads.extend(workload(document)?);
                return Ok(());
            }
        };
        self.storage.apply(storage);
        Ok(())
    }
}

fn workload(document: &Document) -> Result<Option<Workload>, Problem> {
    let kind = document.kind();
    Ok(match kind {
        "Service" => Workload::of_service(&document.typed::<Service>(kind)?),
        "ReplicaSet" => {
            let set: ReplicaSet = document.typed(kind)?;
            let selector = set.spec.map(|spec| spec.selector);
            selector.and_then(|selector| Workload::of_owner(kind, &set.metadata, selector))
        }
        "StatefulSet" => {
            let set: StatefulSet = document.typed(kind)?;
            let selector = set.spec.map(|spec| spec.selector);
            selector.and_then(|selector| Workload::of_owner(kind, &set.metadata, selector))
        }
        _ => {
            let controller: ReplicationController = document.typed(kind)?;
            let labels = controller.spec.and_then(|spec| spec.selector);
            let selector = labels.map(|labels| LabelSelector {
                match_labels: Some(labels),
                match_expressions: None,
            });
            selector.and_then(|selector| Workload::of_owner(kind, &controller.metadata, selector))
        }
    })
}

/// `defaultConstraints` of the arguments of `PodTopologySpread`, of every profile.
fn default_spreads(document: &Document) -> Result<Vec<TopologySpreadConstraint>, Problem> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut found = Vec::new();
    for profile in list(&document.object["profiles"]) {
        for plugin in list(&profile["pluginConfig"]) {
            if plugin["name"] != "PodTopologySpread" {
                continue;
            }
            for constraint in list(&plugin["args"]["defaultConstraints"]) {
                let field = "profiles.pluginConfig.args.defaultConstraints";
                let read = serde_json::from_value(constraint);
                found.push(read.map_err(|error| document.problem(SCHEDULER, field, error.to_string()))?);
            }
        }
    }
    Ok(found)
}
