//! What was read, put together: a world and the pods to place in it, or everything that is wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    document::{Document, Problem},
    instance_types, objects, surroundings,
};
use crate::{
    Catalog,
    karpenter::NodePool,
    schedule::{ClusterNode, PodFacts, Pool, PreferencePolicy, World},
};

/// What a document is given as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Pods: to place, or on nodes where they name one.
    Pods,
    /// Pools that may buy.
    NodePools,
    /// What can be bought.
    InstanceTypes,
    /// Nodes that are there.
    Nodes,
    /// DaemonSets.
    DaemonSets,
    /// Namespaces, for the namespace selectors of pod affinity.
    Namespaces,
    /// Whatever else places of pods depend on: PersistentVolumeClaims, PersistentVolumes, StorageClasses, CSINodes, Services
    /// and the owners of pods, and a KubeSchedulerConfiguration for its default spreads. Documents of these kinds count as
    /// such wherever they are given.
    Surroundings,
}

/// Documents by what they are given as.
#[derive(Clone, Debug, Default)]
pub struct Collector {
    preferences: PreferencePolicy,
    documents: BTreeMap<Role, Vec<Document>>,
    catalog: Option<Arc<Catalog>>,
    problems: Vec<Problem>,
}

/// Everything that a plan is made of.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Pools, nodes with their pods, daemons.
    pub world: World,
    /// The pods to place.
    pub pods: Vec<Arc<PodFacts>>,
    /// What a user should know although nothing is wrong.
    pub notes: Vec<String>,
}

impl Collector {
    /// Adds documents.
    pub fn add(&mut self, role: Role, documents: Vec<Document>) {
        // A role without documents is given, too.
        self.documents.entry(role).or_default();
        for document in documents {
            let is_around = surroundings::is_kind(&document.object["kind"]);
            let role = if is_around { Role::Surroundings } else { role };
            self.documents.entry(role).or_default().push(document);
        }
    }

    /// Says whether preferences of pods count.
    pub fn prefer(&mut self, preferences: PreferencePolicy) {
        self.preferences = preferences;
    }

    /// Takes note of what was wrong before.
    pub fn add_problems(&mut self, problems: Vec<Problem>) {
        self.problems.extend(problems);
    }

    /// Sells this, whatever instance types there are among the documents.
    pub fn sell(&mut self, catalog: Arc<Catalog>) {
        self.catalog = Some(catalog);
    }

    /// Puts everything together. Without a document of a pool there is one that buys anything.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn build(mut self) -> Result<Inputs, Vec<Problem>> {
        let mut problems = std::mem::take(&mut self.problems);
        let mut notes = Vec::new();
        let catalog = match self.catalog.take() {
            Some(catalog) => catalog,
            None => Arc::new(
                instance_types::catalog(self.take(Role::InstanceTypes))
                    .map_err(|found| problems.extend(found))
                    .unwrap_or_default(),
            ),
        };
        let mut around = surroundings::read(self.take(Role::Surroundings), &mut problems);
        let mut reader = objects::Reader {
            problems: &mut problems,
            notes: &mut notes,
        };
        let given = self.documents.contains_key(&Role::NodePools);
        let mut pools = reader.pools(self.take(Role::NodePools));
        let daemons = reader.daemon_sets(self.take(Role::DaemonSets));
        let namespaces = reader.namespaces(self.take(Role::Namespaces));
        let read_nodes = reader.nodes(self.take(Role::Nodes));
        let mut read_pods = reader.pods(self.take(Role::Pods), &around.storage);
        if !given {
            pools.push(default_pool());
            notes.push("no pools are given: one named default buys anything".to_owned());
        }
        let world_pools = pools
            .iter()
            .filter_map(|pool| Pool::new(pool, Arc::clone(&catalog)).ok())
            .collect();
        let nodes = read_nodes
            .iter()
            .map(|node| {
                let name = node.metadata.name.as_deref().unwrap_or_default();
                let pods = read_pods.bound.remove(name).unwrap_or_default();
                ClusterNode {
                    volume_limits: around.storage.limits(name),
                    ..ClusterNode::of_node(node, None, pods)
                }
            })
            .collect();
        let lost: usize = read_pods.bound.values().map(Vec::len).sum();
        if lost > 0 {
            let nodes: BTreeSet<&str> = read_pods.bound.keys().map(String::as_str).collect();
            let some: Vec<&str> = nodes.into_iter().take(3).collect();
            notes.push(format!(
                "{lost} pods run on nodes that are not given, such as {}: they are left out",
                some.join(", ")
            ));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Inputs {
            world: World {
                pools: world_pools,
                nodes,
                daemons,
                namespaces,
                preferences: self.preferences,
                default_spreads: std::mem::take(&mut around.default_spreads),
                workloads: std::mem::take(&mut around.workloads),
                ..World::default()
            },
            pods: read_pods.pending,
            notes,
        })
    }

    fn take(&mut self, role: Role) -> Vec<Document> {
        self.documents.remove(&role).unwrap_or_default()
    }
}

/// The pool that there is where none is given: without requirements, taints and limits.
#[must_use]
pub fn default_pool() -> NodePool {
    let pool = serde_json::json!({
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": { "name": "default" },
        "spec": { "template": { "spec": { "requirements": [], "nodeClassRef": objects::default_class() } } },
    });
    serde_json::from_value(pool).expect("the pool is written as its type says")
}
