//! Kubernetes objects out of documents.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Node, Pod},
};
use serde_json::{Value, json};

use super::{
    amounts::Amounts,
    document::{Document, Problem, brief},
    pods,
};
use crate::{
    karpenter::{NodePool, validate},
    schedule::{PodFacts, PodKey, VolumeNeeds},
    storage::Storage,
};

/// Labels by namespace.
type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

/// Reads documents, and takes down what is wrong and what is odd.
pub(super) struct Reader<'a> {
    pub problems: &'a mut Vec<Problem>,
    pub notes: &'a mut Vec<String>,
}

/// Pods, by what is to be done with them.
#[derive(Default)]
pub(super) struct Pods {
    pub pending: Vec<Arc<PodFacts>>,
    /// By node.
    pub bound: BTreeMap<String, Vec<Arc<PodFacts>>>,
}

/// The class of pools that name none.
pub(super) fn default_class() -> Value {
    json!({ "group": "karpenter.sh", "kind": "NodeClass", "name": "default" })
}

impl Reader<'_> {
    /// Leaves those that are of the kind, named, and each once.
    fn of_kind(&mut self, documents: Vec<Document>, kind: &str, is_namespaced: bool) -> Vec<Document> {
        let mut first: BTreeMap<(String, String), String> = BTreeMap::new();
        let mut kept = Vec::with_capacity(documents.len());
        for document in documents {
            let said = &document.object["kind"];
            if !said.is_null() && said != kind {
                let message = format!("is {}, expected {kind}", brief(said));
                self.problems.push(document.problem(kind, "kind", message));
                continue;
            }
            let metadata = &document.object["metadata"];
            let Some(name) = metadata["name"].as_str().filter(|name| !name.is_empty()) else {
                let message = format!("is {}, expected a non-empty string", brief(&metadata["name"]));
                self.problems
                    .push(document.problem(kind, "metadata.name", message));
                continue;
            };
            let namespace = match metadata["namespace"].as_str() {
                Some(namespace) if is_namespaced => namespace,
                _ => "default",
            };
            let place = format!("{}:{}", document.file, document.number);
            let key = (namespace.to_owned(), name.to_owned());
            if let Some(other) = first.get(&key) {
                let message = format!("is {name:?}, which {other} has, expected a name of its own");
                self.problems
                    .push(document.problem(kind, "metadata.name", message));
                continue;
            }
            first.insert(key, place);
            kept.push(document);
        }
        kept
    }

    fn typed<T: serde::de::DeserializeOwned>(&mut self, document: &Document, kind: &str) -> Option<T> {
        document
            .typed(kind)
            .map_err(|problem| self.problems.push(problem))
            .ok()
    }

    /// Volumes are looked up where anything is known of storage.
    pub(super) fn pods(&mut self, documents: Vec<Document>, storage: &Storage) -> Pods {
        let mut pods = Pods::default();
        let mut waiting = 0_usize;
        for mut document in self.of_kind(documents, "Pod", true) {
            let mut notes = Vec::new();
            let before = self.problems.len();
            pods::check_spec(&mut document, &["spec"], self.problems, &mut notes);
            if document.object["metadata"]["namespace"].is_null() {
                document.object["metadata"]["namespace"] = Value::from("default");
            }
            if self.problems.len() > before {
                continue;
            }
            let Some(pod) = self.typed::<Pod>(&document, "Pod") else {
                continue;
            };
            let mut facts = PodFacts::of(&pod);
            if !storage.is_empty() && facts.volumes != VolumeNeeds::None {
                facts = storage.resolve(&pod, &facts);
            }
            let facts = Arc::new(facts);
            let spec = pod.spec.as_ref();
            let node = spec
                .and_then(|spec| spec.node_name.as_deref())
                .unwrap_or_default();
            let is_gated = spec.is_some_and(|spec| spec.scheduling_gates.iter().flatten().next().is_some());
            if !node.is_empty() {
                if !facts.is_terminal {
                    pods.bound.entry(node.to_owned()).or_default().push(facts);
                }
            } else if facts.is_reschedulable() && !facts.is_terminating && !is_gated {
                self.notes.extend(notes.iter().map(ToString::to_string));
                pods.pending.push(facts);
            } else {
                waiting += 1;
            }
        }
        if waiting > 0 {
            self.notes.push(format!(
                "{waiting} pods ask for no place: they are done, going, gated, or a DaemonSet's"
            ));
        }
        pods
    }

    pub(super) fn nodes(&mut self, documents: Vec<Document>) -> Vec<Node> {
        let mut nodes = Vec::new();
        for mut document in self.of_kind(documents, "Node", false) {
            let before = self.problems.len();
            let mut object = std::mem::take(&mut document.object);
            document.object = json!({ "kind": "Node", "metadata": object["metadata"] });
            let mut amounts = Amounts {
                document: &document,
                kind: "Node",
                problems: self.problems,
            };
            let mut read = |name: &str| {
                let field = format!("status.{name}");
                let found = object.get_mut("status").and_then(|status| status.get_mut(name));
                found.map_or_else(Vec::new, |map| amounts.map(&field, map))
            };
            let (capacity, allocatable) = (read("capacity"), read("allocatable"));
            amounts.contradiction(
                "status.allocatable",
                (&allocatable, "allocatable"),
                (&capacity, "capacity"),
            );
            if allocatable.is_empty() {
                let message = format!(
                    "is {}, expected what pods can use",
                    brief(&object["status"]["allocatable"])
                );
                amounts.problem("status.allocatable", message);
            }
            document.object = object;
            if self.problems.len() == before {
                nodes.extend(self.typed::<Node>(&document, "Node"));
            }
        }
        nodes
    }

    pub(super) fn daemon_sets(&mut self, documents: Vec<Document>) -> Vec<Arc<PodFacts>> {
        let mut daemons = Vec::new();
        for mut document in self.of_kind(documents, "DaemonSet", true) {
            let (path, before) = (["spec", "template", "spec"], self.problems.len());
            pods::check_spec(&mut document, &path, self.problems, &mut Vec::new());
            if self.problems.len() > before {
                continue;
            }
            let Some(set) = self.typed::<DaemonSet>(&document, "DaemonSet") else {
                continue;
            };
            let namespace = set.metadata.namespace.unwrap_or_else(|| "default".to_owned());
            let key = PodKey::new(namespace, set.metadata.name.unwrap_or_default());
            let template = set.spec.map(|spec| spec.template).unwrap_or_default();
            let labels = template.metadata.and_then(|metadata| metadata.labels);
            let spec = template.spec.unwrap_or_default();
            daemons.push(Arc::new(PodFacts::of_spec(
                key,
                labels.unwrap_or_default(),
                &spec,
            )));
        }
        daemons
    }

    pub(super) fn namespaces(&mut self, documents: Vec<Document>) -> Namespaces {
        let documents = self.of_kind(documents, "Namespace", false);
        let read = documents.iter().map(|document| {
            let metadata = &document.object["metadata"];
            let labels = metadata["labels"].as_object().into_iter().flatten();
            let labels = labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
            (
                metadata["name"].as_str().unwrap_or_default().to_owned(),
                labels.collect(),
            )
        });
        read.collect()
    }

    /// The pools that may buy.
    pub(super) fn pools(&mut self, documents: Vec<Document>) -> Vec<NodePool> {
        let mut pools = Vec::new();
        for mut document in self.of_kind(documents, "NodePool", false) {
            let before = self.problems.len();
            self.prepare_pool(&mut document);
            let Some(pool) = self.typed::<NodePool>(&document, "NodePool") else {
                continue;
            };
            for problem in validate::node_pool(&pool) {
                self.problems
                    .push(document.problem("NodePool", problem.field, problem.message));
            }
            if let Some(weight) = pool.spec.weight.filter(|weight| !(1..=100).contains(weight)) {
                let message = format!("is {weight}, expected a number from 1 to 100");
                self.problems
                    .push(document.problem("NodePool", "spec.weight", message));
            }
            if self.problems.len() > before {
                continue;
            }
            let label = document.label("NodePool");
            if pool.is_static() {
                self.notes.push(format!(
                    "{label} keeps a fixed number of nodes: it buys none for pods"
                ));
            } else if pool.metadata.deletion_timestamp.is_some() {
                self.notes.push(format!("{label} is being deleted: it buys none"));
            } else {
                pools.push(pool);
            }
        }
        pools
    }

    /// Checks limits, and writes down what a pool may leave out.
    fn prepare_pool(&mut self, document: &mut Document) {
        let mut object = std::mem::take(&mut document.object);
        document.object = json!({ "kind": "NodePool", "metadata": object["metadata"] });
        let mut amounts = Amounts {
            document: &*document,
            kind: "NodePool",
            problems: self.problems,
        };
        // Limits out of reach are how people say none, so huge ones are fine; signs and words are not.
        if let Some(limits) = object.get_mut("spec").and_then(|spec| spec.get_mut("limits")) {
            amounts.limits("spec.limits", limits);
        }
        let template = object.get_mut("spec").and_then(|spec| spec.get_mut("template"));
        if let Some(Value::Object(spec)) = template.and_then(|template| template.get_mut("spec")) {
            spec.entry("requirements").or_insert_with(|| json!([]));
            if spec.get("nodeClassRef").is_none_or(Value::is_null) {
                spec.insert("nodeClassRef".to_owned(), default_class());
                let label = document.label("NodePool");
                self.notes
                    .push(format!("{label} names no node class: any sells for it"));
            }
        }
        document.object = object;
    }
}
