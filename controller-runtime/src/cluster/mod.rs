//! What the cluster looks like: a synchronous index over the API's objects.
//!
//! [`ClusterState`] is fed by informers and by what the controllers themselves have just written; it does no I/O. It
//! joins nodes with the claims that they were bought for, knows the pods of every node, and remembers the little that
//! the API does not hold: nominations and which machines are about to go. Everything is ordered, so whoever walks it
//! does the same thing every time.

mod feed;
mod member;
mod memory;
pub mod pod;
mod surroundings;
mod world;
mod write;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Node, Pod},
    policy::v1::PodDisruptionBudget,
};
use kube::{Resource, ResourceExt as _};
use provisioner::{
    ResourceList,
    karpenter::{NodeClaim, NodePool},
    schedule::{PodFacts, Workload},
    storage::Storage,
};

pub(crate) use feed::{Feed, Queues};
pub use member::{Member, is_node_ready};
pub use world::{Catalogs, Snapshot, may_buy};
pub(crate) use write::{Precondition, is_conflict, is_gone, merge_patch, merge_patch_status};

use crate::store::ObjectKey;

/// The index. See the [module](self).
#[derive(Debug, Default)]
pub struct ClusterState {
    nodes: BTreeMap<String, Arc<Node>>,
    claims: BTreeMap<String, Arc<NodeClaim>>,
    pools: BTreeMap<String, Arc<NodePool>>,
    pods: BTreeMap<ObjectKey, Entry>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    daemon_sets: BTreeMap<ObjectKey, Arc<DaemonSet>>,
    budgets: BTreeMap<ObjectKey, Arc<PodDisruptionBudget>>,
    storage: Storage,
    workloads: BTreeMap<surroundings::WorkloadKey, Workload>,
    /// Names of nodes by provider id; more than one is a mistake that registration reports.
    nodes_by_provider: BTreeMap<String, BTreeSet<String>>,
    claims_by_provider: BTreeMap<String, BTreeSet<String>>,
    pods_by_node: BTreeMap<String, BTreeSet<ObjectKey>>,
    unbound: BTreeSet<ObjectKey>,
    nominations: BTreeMap<String, Timestamp>,
    pod_events: BTreeMap<String, Timestamp>,
    marked: BTreeSet<String>,
    version: u64,
}

/// A pod, and what the solver needs to know of it once somebody has asked.
#[derive(Debug)]
struct Entry {
    pod: Arc<Pod>,
    facts: OnceLock<Arc<PodFacts>>,
}

/// A shared [`ClusterState`]. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    state: Arc<Mutex<ClusterState>>,
}

impl Cluster {
    /// Reads or changes the state. `with` must not block.
    pub fn with<T>(&self, with: impl FnOnce(&mut ClusterState) -> T) -> T {
        with(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether `known` is at least as new as `object`: watches lag behind what the controllers have written themselves.
fn is_current<K: Resource>(known: Option<&Arc<K>>, object: &K) -> bool {
    let version = |object: &K| {
        object
            .meta()
            .resource_version
            .as_deref()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let Some(known) = known else { return false };
    known.meta().uid == object.meta().uid
        && matches!((version(known), version(object)), (Some(known), Some(new)) if known >= new)
}

fn link(index: &mut BTreeMap<String, BTreeSet<String>>, provider_id: Option<&str>, name: &str) {
    if let Some(id) = provider_id.filter(|id| !id.is_empty()) {
        index.entry(id.to_owned()).or_default().insert(name.to_owned());
    }
}

fn unlink(index: &mut BTreeMap<String, BTreeSet<String>>, provider_id: Option<&str>, name: &str) {
    let Some(id) = provider_id else { return };
    if let Some(names) = index.get_mut(id) {
        names.remove(name);
        if names.is_empty() {
            index.remove(id);
        }
    }
}

fn node_provider_id(node: &Node) -> Option<&str> {
    node.spec.as_ref()?.provider_id.as_deref()
}

/// Whether a change of a node can matter to placement; heartbeats do not.
fn node_changed(old: &Node, new: &Node) -> bool {
    let status = |node: &Node| {
        node.status
            .clone()
            .map(|status| (status.capacity, status.allocatable))
    };
    old.metadata.labels != new.metadata.labels
        || old.metadata.annotations != new.metadata.annotations
        || old.metadata.deletion_timestamp != new.metadata.deletion_timestamp
        || old.metadata.uid != new.metadata.uid
        || old.spec != new.spec
        || is_node_ready(old) != is_node_ready(new)
        || status(old) != status(new)
}

impl ClusterState {
    /// Grows with every change that can matter to where pods run and which machines are needed. Whoever has looked at
    /// a version without finding anything to do need not look again before it grows.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    fn touch(&mut self) {
        self.version += 1;
    }

    // Nodes and claims.

    /// Takes over a node; says whether it is news.
    pub fn apply_node(&mut self, node: &Arc<Node>) -> bool {
        let name = node.name_any();
        let known = self.nodes.get(&name).cloned();
        if is_current(known.as_ref(), node) {
            return false;
        }
        if known.as_ref().is_none_or(|known| node_changed(known, node)) {
            self.touch();
        }
        if let Some(known) = &known {
            unlink(&mut self.nodes_by_provider, node_provider_id(known), &name);
        }
        link(&mut self.nodes_by_provider, node_provider_id(node), &name);
        self.nodes.insert(name, Arc::clone(node));
        true
    }

    /// Forgets a node.
    pub fn delete_node(&mut self, name: &str) {
        if let Some(node) = self.nodes.remove(name) {
            unlink(&mut self.nodes_by_provider, node_provider_id(&node), name);
            self.touch();
        }
    }

    /// Takes over a claim; says whether it is news.
    pub fn apply_claim(&mut self, claim: &Arc<NodeClaim>) -> bool {
        let name = claim.name_any();
        let known = self.claims.get(&name).cloned();
        if is_current(known.as_ref(), claim) {
            return false;
        }
        if let Some(known) = &known {
            unlink(&mut self.claims_by_provider, known.provider_id(), &name);
        }
        link(&mut self.claims_by_provider, claim.provider_id(), &name);
        self.claims.insert(name, Arc::clone(claim));
        self.touch();
        true
    }

    /// Takes over what a controller has just written, unless the claim has gone meanwhile.
    pub fn update_claim(&mut self, claim: NodeClaim) {
        let known = self.claims.get(&claim.name_any());
        if known.is_some_and(|known| known.metadata.uid == claim.metadata.uid) {
            self.apply_claim(&Arc::new(claim));
        }
    }

    /// Takes over what a controller has just written, unless the node has gone meanwhile.
    pub fn update_node(&mut self, node: Node) {
        let known = self.nodes.get(&node.name_any());
        if known.is_some_and(|known| known.metadata.uid == node.metadata.uid) {
            self.apply_node(&Arc::new(node));
        }
    }

    /// Forgets a claim and what was remembered about it.
    pub fn delete_claim(&mut self, name: &str) {
        if let Some(claim) = self.claims.remove(name) {
            unlink(&mut self.claims_by_provider, claim.provider_id(), name);
            self.nominations.remove(name);
            self.pod_events.remove(name);
            self.marked.remove(name);
            self.touch();
        }
    }

    /// A claim.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<Arc<NodeClaim>> {
        self.claims.get(name).cloned()
    }

    /// Every claim, by name.
    pub fn claims(&self) -> impl Iterator<Item = &Arc<NodeClaim>> {
        self.claims.values()
    }

    /// A node.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<Arc<Node>> {
        self.nodes.get(name).cloned()
    }

    /// Every node, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// The nodes that have joined for a claim, by name: none, one, or by mistake several.
    #[must_use]
    pub fn nodes_of(&self, claim: &NodeClaim) -> Vec<Arc<Node>> {
        let names = claim.provider_id().and_then(|id| self.nodes_by_provider.get(id));
        names
            .into_iter()
            .flatten()
            .filter_map(|name| self.node(name))
            .collect()
    }

    /// The claim that a node was bought for.
    #[must_use]
    pub fn claim_of(&self, node: &Node) -> Option<Arc<NodeClaim>> {
        self.claim_of_provider(node_provider_id(node)?)
    }

    /// The claim of an instance.
    #[must_use]
    pub fn claim_of_provider(&self, provider_id: &str) -> Option<Arc<NodeClaim>> {
        self.claims_by_provider
            .get(provider_id)?
            .iter()
            .find_map(|name| self.claim(name))
    }

    /// A machine by its claim's name.
    #[must_use]
    pub fn member(&self, claim: &str) -> Option<Member> {
        let claim = self.claim(claim)?;
        let node = self.nodes_of(&claim).into_iter().next();
        Some(Member {
            node,
            claim: Some(claim),
        })
    }

    /// Every machine: the bought ones by the claim's name, then the others by the node's.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        let bought = self.claims.keys().filter_map(|name| self.member(name));
        let unowned = self.nodes.values().filter(|node| self.claim_of(node).is_none());
        bought
            .chain(unowned.map(|node| Member {
                node: Some(Arc::clone(node)),
                claim: None,
            }))
            .collect()
    }

    // Pods.

    /// Takes over a pod; says whether it is news.
    pub fn apply_pod(&mut self, pod: &Arc<Pod>) -> bool {
        let key = ObjectKey::of(&**pod);
        let known = self.pods.get(&key).map(|entry| Arc::clone(&entry.pod));
        if is_current(known.as_ref(), pod) {
            return false;
        }
        if known
            .as_ref()
            .is_none_or(|known| pod::changes_placement(known, pod))
        {
            self.touch();
        }
        if let Some(known) = &known {
            self.unbind(&key, known);
        }
        match pod::node_name(pod) {
            Some(node) => self
                .pods_by_node
                .entry(node.to_owned())
                .or_default()
                .insert(key.clone()),
            None => self.unbound.insert(key.clone()),
        };
        self.pods.insert(
            key,
            Entry {
                pod: Arc::clone(pod),
                facts: OnceLock::new(),
            },
        );
        true
    }

    /// Forgets a pod.
    pub fn delete_pod(&mut self, key: &ObjectKey) {
        if let Some(entry) = self.pods.remove(key) {
            self.unbind(key, &entry.pod);
            self.touch();
        }
    }

    fn unbind(&mut self, key: &ObjectKey, pod: &Pod) {
        self.unbound.remove(key);
        let Some(node) = pod::node_name(pod) else { return };
        if let Some(keys) = self.pods_by_node.get_mut(node) {
            keys.remove(key);
            if keys.is_empty() {
                self.pods_by_node.remove(node);
            }
        }
    }

    /// A pod.
    #[must_use]
    pub fn pod(&self, key: &ObjectKey) -> Option<Arc<Pod>> {
        self.pods.get(key).map(|entry| Arc::clone(&entry.pod))
    }

    /// Every pod, by namespace and name.
    pub fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.values().map(|entry| &entry.pod)
    }

    /// The pods of a node, by namespace and name.
    #[must_use]
    pub fn pods_on(&self, node: &str) -> Vec<Arc<Pod>> {
        self.pods_by_node
            .get(node)
            .into_iter()
            .flatten()
            .filter_map(|key| self.pod(key))
            .collect()
    }

    /// The pods that ask for a node.
    #[must_use]
    pub fn provisionable(&self) -> Vec<Arc<Pod>> {
        self.unbound
            .iter()
            .filter_map(|key| self.pod(key))
            .filter(|pod| pod::is_provisionable(pod))
            .collect()
    }

    // Pools, daemons, budgets.

    /// Takes over a pool.
    pub fn apply_pool(&mut self, pool: &Arc<NodePool>) {
        let known = self.pools.insert(pool.name_any(), Arc::clone(pool));
        let same = known.is_some_and(|known| {
            known.spec == pool.spec
                && known.metadata.deletion_timestamp == pool.metadata.deletion_timestamp
                && known.metadata.uid == pool.metadata.uid
                && known.conditions() == pool.conditions()
        });
        if !same {
            self.touch();
        }
    }

    /// Forgets a pool.
    pub fn delete_pool(&mut self, name: &str) {
        if self.pools.remove(name).is_some() {
            self.touch();
        }
    }

    /// A pool.
    #[must_use]
    pub fn pool(&self, name: &str) -> Option<Arc<NodePool>> {
        self.pools.get(name).cloned()
    }

    /// Every pool, by name.
    pub fn pools(&self) -> impl Iterator<Item = &Arc<NodePool>> {
        self.pools.values()
    }

    /// Takes over a daemon set.
    pub fn apply_daemon_set(&mut self, daemon_set: &Arc<DaemonSet>) {
        let known = self
            .daemon_sets
            .insert(ObjectKey::of(&**daemon_set), Arc::clone(daemon_set));
        if known.is_none_or(|known| known.spec != daemon_set.spec) {
            self.touch();
        }
    }

    /// Forgets a daemon set.
    pub fn delete_daemon_set(&mut self, key: &ObjectKey) {
        if self.daemon_sets.remove(key).is_some() {
            self.touch();
        }
    }

    /// Every daemon set, by namespace and name.
    pub fn daemon_sets(&self) -> impl Iterator<Item = &Arc<DaemonSet>> {
        self.daemon_sets.values()
    }

    /// Takes over the labels of a namespace.
    pub fn apply_namespace(&mut self, name: &str, labels: &BTreeMap<String, String>) {
        let known = self.namespaces.insert(name.to_owned(), labels.clone());
        if known.as_ref() != Some(labels) {
            self.touch();
        }
    }

    /// Forgets a namespace.
    pub fn delete_namespace(&mut self, name: &str) {
        if self.namespaces.remove(name).is_some() {
            self.touch();
        }
    }

    /// Takes over a disruption budget.
    pub fn apply_budget(&mut self, budget: &Arc<PodDisruptionBudget>) {
        let allowed =
            |budget: &PodDisruptionBudget| budget.status.as_ref().map(|status| status.disruptions_allowed);
        let known = self.budgets.insert(ObjectKey::of(&**budget), Arc::clone(budget));
        if known.is_none_or(|known| known.spec != budget.spec || allowed(&known) != allowed(budget)) {
            self.touch();
        }
    }

    /// Forgets a disruption budget.
    pub fn delete_budget(&mut self, key: &ObjectKey) {
        if self.budgets.remove(key).is_some() {
            self.touch();
        }
    }

    /// Every disruption budget, by namespace and name.
    pub fn budgets(&self) -> impl Iterator<Item = &Arc<PodDisruptionBudget>> {
        self.budgets.values()
    }

    // What pools use.

    /// What the machines of a pool have in total, `nodes` among it.
    #[must_use]
    pub fn usage(&self, pool: &str) -> ResourceList {
        let mut usage = ResourceList::default();
        let mut count = 0;
        for member in self.members_of(pool) {
            usage.add(&member.capacity());
            count += 1;
        }
        usage
            .0
            .insert("nodes".to_owned(), scaler_api::Quantity::from_units(count));
        usage
    }

    /// The machines of a pool, by the claim's name.
    pub fn members_of(&self, pool: &str) -> impl Iterator<Item = Member> {
        let names = self
            .claims
            .iter()
            .filter(move |(_, claim)| claim.pool() == Some(pool))
            .map(|(name, _)| name);
        names.filter_map(|name| self.member(name))
    }
}

#[cfg(test)]
mod tests;
