//! What is planned for: the inputs that Karpenter was measured on where they are to be had, and their like.

mod catalogs;
mod cluster;
mod workloads;

use std::path::PathBuf;

use provisioner::{
    offline::{Collector, Document, Inputs, Role, documents},
    schedule::World,
};
use serde_json::Value;

/// Where the recorded inputs are, if they are anywhere: `SCHEDULING_INPUTS`, or beside the repository.
fn recorded() -> PathBuf {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/baselines/scheduling");
    std::env::var_os("SCHEDULING_INPUTS").map_or_else(|| PathBuf::from(beside), PathBuf::from)
}

/// The objects of a recorded input.
fn file(name: &str) -> Option<Vec<Document>> {
    let path = recorded().join(name);
    let content = std::fs::read(&path).ok()?;
    let (found, problems) = documents(&path.display().to_string(), &content);
    assert!(problems.is_empty(), "{}", problems[0]);
    Some(found)
}

/// The pods of a workload and what is sold in a catalogue.
pub(crate) fn inputs(workload: &str, pods: usize, catalog: &str) -> Inputs {
    let pods = file(&format!("pods-{workload}-{pods}.json.gz"))
        .unwrap_or_else(|| numbered(workloads::pods(workload, pods)));
    let mut collector = Collector::default();
    collector.add(Role::Pods, pods);
    collector.add(Role::InstanceTypes, types(catalog));
    built(collector)
}

/// A cluster with room on most of its nodes, and their pods.
pub(crate) fn cluster(nodes: usize, pods: usize) -> World {
    let types = types("kwok144");
    let of_node = types.iter().find(|it| it.object["name"] == "s-16x-amd64-linux");
    let of_node = of_node.expect("the catalogue has it").object.clone();
    let mut collector = Collector::default();
    collector.add(Role::Pods, numbered(cluster::pods(nodes, pods)));
    collector.add(Role::Nodes, numbered(cluster::nodes(nodes, &of_node)));
    collector.add(Role::InstanceTypes, types);
    built(collector).world
}

fn types(catalog: &str) -> Vec<Document> {
    file(&format!("{catalog}-instance-types.json.gz")).unwrap_or_else(|| numbered(catalogs::types(catalog)))
}

fn built(collector: Collector) -> Inputs {
    match collector.build() {
        Ok(inputs) => inputs,
        Err(problems) => panic!("{}", problems[0]),
    }
}

fn numbered(objects: Vec<Value>) -> Vec<Document> {
    let numbered = objects.into_iter().enumerate();
    numbered
        .map(|(index, object)| Document {
            file: "made".to_owned(),
            number: index + 1,
            object,
        })
        .collect()
}
