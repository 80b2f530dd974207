//! The world that a plan is made in: pools with their catalogues, nodes with their pods, daemons.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::{Node, Taint, TopologySpreadConstraint};

use super::{PodFacts, PodKey, PreferencePolicy, Workload};
use crate::{
    Catalog, Error, Requirement, Requirements, ResourceList,
    karpenter::{NodeClaim, NodePool, condition, labels, node_claim},
    taints,
};

/// Everything that a plan depends on beside the pods to place.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Pools that may buy: ready, not being deleted, not static.
    pub pools: Vec<Pool>,
    /// Every node of the cluster, and claims that have no node yet.
    pub nodes: Vec<ClusterNode>,
    /// One template per DaemonSet; the key is the set's.
    pub daemons: Vec<Arc<PodFacts>>,
    /// Labels of namespaces, for namespace selectors of pod affinity.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// How pools' `minValues` are met.
    pub min_values: MinValuesPolicy,
    /// Whether preferences of pods count.
    pub preferences: PreferencePolicy,
    /// Spreads of pods that have none of their own, as the scheduler's configuration has them; their selectors are those
    /// of the pod's `workloads`.
    pub default_spreads: Vec<TopologySpreadConstraint>,
    /// Services and owners of pods, for default spreads: a pod of none has none.
    pub workloads: Vec<Workload>,
}

/// How `minValues` are met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MinValuesPolicy {
    /// A claim with fewer values is not made.
    #[default]
    Strict,
    /// It is made and marked.
    BestEffort,
}

/// A pool and what can be bought for it.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Name.
    pub name: String,
    /// Pools of higher weight are tried first.
    pub weight: i32,
    /// Requirements of the template, its labels, the pool's and the class's label included.
    pub requirements: Requirements,
    /// Taints for good.
    pub taints: Vec<Taint>,
    /// `spec.limits`.
    pub limits: Option<ResourceList>,
    /// What can be bought.
    pub catalog: Arc<Catalog>,
}

impl Pool {
    /// A pool with the catalogue of its class.
    ///
    /// # Errors
    /// If its requirements cannot be read.
    pub fn new(pool: &NodePool, catalog: Arc<Catalog>) -> Result<Self, Error> {
        let name = pool.metadata.name.clone().unwrap_or_default();
        let template = &pool.spec.template;
        let class = &template.spec.node_class_ref;
        let mut requirements = Requirements::from_specs(&template.spec.requirements)?;
        requirements.extend(&Requirements::from_labels(&template.metadata.labels));
        requirements.add(Requirement::one_of(labels::NODEPOOL, [name.as_str()]));
        requirements.add(Requirement::one_of(
            &labels::class_label(&class.group, &class.kind),
            [class.name.as_str()],
        ));
        Ok(Self {
            name,
            weight: pool.weight(),
            requirements,
            taints: template.spec.taints.clone(),
            limits: pool.spec.limits.clone(),
            catalog,
        })
    }
}

/// A node, or a claim on its way to become one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterNode {
    /// The node's name, the claim's while there is no node.
    pub name: String,
    /// The claim's name, if there is one.
    pub claim: Option<String>,
    /// The pool, if it belongs to one.
    pub pool: Option<String>,
    /// Its labels; of a claim that was not launched yet, what its labels may become.
    pub requirements: Requirements,
    /// Taints that pods must tolerate: without those that go away while it starts.
    pub taints: Vec<Taint>,
    /// Whether it takes pods already.
    pub initialized: bool,
    /// What the machine has; of a claim that was not launched yet, what it may have at most.
    pub capacity: ResourceList,
    /// What pods can use; of a claim that was not launched yet, what it asked for.
    pub allocatable: ResourceList,
    /// The pods on it.
    pub pods: Vec<Arc<PodFacts>>,
    /// Whether it is going: it takes no pods and counts against no limit.
    pub deleting: bool,
    /// Whether pods may be moved onto it by consolidation: not inside `consolidateAfter`.
    pub takes_moved_pods: bool,
    /// Whether `allocatable` already leaves out what daemons need.
    pub daemons_counted: bool,
    /// How many volumes can be attached, by CSI driver; any number of drivers that are not named.
    pub volume_limits: BTreeMap<String, u32>,
}

impl ClusterNode {
    /// A node, with its claim if it has one, and the pods on it.
    #[must_use]
    pub fn of_node(node: &Node, claim: Option<&NodeClaim>, pods: Vec<Arc<PodFacts>>) -> Self {
        let meta = &node.metadata;
        let name = meta.name.clone().unwrap_or_default();
        let mut node_labels = meta.labels.clone().unwrap_or_default();
        node_labels
            .entry(labels::HOSTNAME.to_owned())
            .or_insert_with(|| name.clone());
        let initialized = claim.is_none()
            || node_labels
                .get(labels::INITIALIZED)
                .is_some_and(|value| value == "true")
            || claim.is_some_and(|claim| {
                condition::is_true(claim.conditions(), node_claim::conditions::INITIALIZED)
            });
        if !initialized {
            // Labels that registration will copy.
            let of_claim = claim
                .and_then(|claim| claim.metadata.labels.clone())
                .unwrap_or_default();
            for (key, value) in of_claim {
                node_labels.entry(key).or_insert(value);
            }
        }
        let status = node.status.clone().unwrap_or_default();
        let of_node = |map| ResourceList::from_kube_lossy(Option::as_ref(map));
        let expected = claim.and_then(|claim| claim.status.as_ref());
        let marked = meta.deletion_timestamp.is_some()
            || claim.is_some_and(|claim| claim.metadata.deletion_timestamp.is_some())
            || node_taints(node)
                .iter()
                .any(|taint| taint.key == labels::DISRUPTED_TAINT);
        let starting = |present: ResourceList, expected: Option<&ResourceList>| match expected {
            Some(expected) if !initialized => fill(present, expected),
            _ => present,
        };
        Self {
            claim: claim.and_then(|claim| claim.metadata.name.clone()),
            pool: node_labels.get(labels::NODEPOOL).cloned(),
            requirements: Requirements::from_labels(&node_labels),
            taints: lasting_taints(node, claim, initialized),
            initialized,
            capacity: starting(
                of_node(&status.capacity),
                expected.and_then(|status| status.capacity.as_ref()),
            ),
            allocatable: starting(
                of_node(&status.allocatable),
                expected.and_then(|status| status.allocatable.as_ref()),
            ),
            pods,
            deleting: marked,
            takes_moved_pods: true,
            daemons_counted: false,
            volume_limits: BTreeMap::new(),
            name,
        }
    }

    /// A claim without a node. Before its launch it counts with what it asked for, so that pods planned onto it keep
    /// their place; `catalog` (of its pool) bounds what it may turn out to have.
    #[must_use]
    pub fn of_claim(claim: &NodeClaim, catalog: Option<&Catalog>) -> Self {
        let name = claim.metadata.name.clone().unwrap_or_default();
        let launched = claim.provider_id().is_some();
        let claim_labels = claim.metadata.labels.clone().unwrap_or_default();
        let mut requirements = Requirements::from_specs(&claim.spec.requirements).unwrap_or_default();
        for requirement in Requirements::from_labels(&claim_labels).iter() {
            requirements.set(requirement.clone());
        }
        if launched {
            requirements = Requirements::from_labels(&claim_labels);
        }
        requirements.set(Requirement::one_of(labels::HOSTNAME, [name.as_str()]));
        let status = claim.status.clone().unwrap_or_default();
        let asked = claim.spec.resources.requests.clone();
        let at_most = || {
            catalog.map_or_else(
                || asked.clone(),
                |catalog| greatest_capacity(catalog, &requirements),
            )
        };
        Self {
            claim: Some(name.clone()),
            pool: claim.pool().map(str::to_owned),
            taints: taints::lasting(&claim.spec.taints, &[]),
            initialized: false,
            capacity: status.capacity.filter(|_| launched).unwrap_or_else(at_most),
            volume_limits: BTreeMap::new(),
            daemons_counted: !(launched && status.allocatable.is_some()),
            allocatable: status
                .allocatable
                .filter(|_| launched)
                .unwrap_or_else(|| asked.clone()),
            pods: Vec::new(),
            deleting: claim.metadata.deletion_timestamp.is_some(),
            takes_moved_pods: false,
            requirements,
            name,
        }
    }

    /// Whether a pod of this key is on it.
    #[must_use]
    pub fn has_pod(&self, key: &PodKey) -> bool {
        self.pods.iter().any(|pod| pod.key == *key)
    }

    /// A label's value, if it is certain.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.requirements.get(key)?.single()
    }
}

fn node_taints(node: &Node) -> &[Taint] {
    node.spec
        .as_ref()
        .and_then(|spec| spec.taints.as_deref())
        .unwrap_or_default()
}

fn lasting_taints(node: &Node, claim: Option<&NodeClaim>, initialized: bool) -> Vec<Taint> {
    let mut present = node_taints(node).to_vec();
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        let cordoned = Taint {
            key: "node.kubernetes.io/unschedulable".into(),
            effect: "NoSchedule".into(),
            ..Taint::default()
        };
        present = taints::merge(&present, &[cordoned]);
    }
    match claim {
        Some(claim) if !initialized => taints::merge(
            &taints::lasting(&present, &claim.spec.startup_taints),
            &claim.spec.taints,
        ),
        _ => present,
    }
}

/// `present`, with what is missing or zero taken from `expected`: devices show up late.
fn fill(mut present: ResourceList, expected: &ResourceList) -> ResourceList {
    for (name, amount) in expected.iter() {
        if present.get(name).is_zero() {
            present.set(name, amount);
        }
    }
    present
}

fn greatest_capacity(catalog: &Catalog, requirements: &Requirements) -> ResourceList {
    let possible = catalog
        .instance_types
        .iter()
        .filter(|it| it.requirements.intersects(requirements).is_ok());
    possible.fold(ResourceList::default(), |greatest, it| greatest.max(&it.capacity))
}
