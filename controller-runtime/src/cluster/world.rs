//! The index as the solver wants it.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Pod};
use kube::ResourceExt as _;
use provisioner::{
    Catalog,
    karpenter::{NodePool, condition, node_pool},
    schedule::{ClusterNode, PodFacts, PodKey, Pool, VolumeNeeds, World},
};

use super::{ClusterState, Member, pod};
use crate::store::ObjectKey;

/// What can be bought, by pool.
pub type Catalogs = BTreeMap<String, Arc<Catalog>>;

/// The cluster at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// [`ClusterState::version`] when it was taken.
    pub version: u64,
    /// What the solver works on.
    pub world: World,
    /// The machines behind `world.nodes`, by the name that they have there.
    pub members: BTreeMap<String, Member>,
}

impl Snapshot {
    /// The name under which a machine is nominated: its claim's, or its node's if it has none.
    #[must_use]
    pub fn nomination_of(&self, node: &str) -> String {
        let claim = self.members.get(node).and_then(Member::claim_name);
        claim.unwrap_or(node).to_owned()
    }
}

/// Whether machines may be bought for a pool.
#[must_use]
pub fn may_buy(pool: &NodePool) -> bool {
    pool.metadata.deletion_timestamp.is_none()
        && !pool.is_static()
        && condition::is_true(pool.conditions(), node_pool::conditions::READY)
}

impl ClusterState {
    /// The cluster as it is now. Pools without a catalogue, or that are not ready, buy nothing.
    #[must_use]
    pub fn snapshot(&self, catalogs: &Catalogs) -> Snapshot {
        let buying = self.pools.values().filter(|pool| may_buy(pool));
        let pools = buying.filter_map(|pool| {
            let catalog = catalogs.get(&pool.name_any())?;
            // Requirements that cannot be read make the pool not ready.
            Pool::new(pool, Arc::clone(catalog)).ok()
        });
        let pools = pools.collect();
        let mut members = BTreeMap::new();
        let mut nodes = Vec::new();
        for member in self.members() {
            let node = self.cluster_node(&member, catalogs);
            members.insert(node.name.clone(), member);
            nodes.push(node);
        }
        let daemons = self
            .daemon_sets
            .values()
            .map(|set| Arc::new(daemon(set)))
            .collect();
        let namespaces = self.namespaces.clone();
        let world = World {
            pools,
            nodes,
            daemons,
            namespaces,
            workloads: self.workloads.values().cloned().collect(),
            ..World::default()
        };
        Snapshot {
            version: self.version,
            world,
            members,
        }
    }

    fn cluster_node(&self, member: &Member, catalogs: &Catalogs) -> ClusterNode {
        let claim = member.claim.as_deref();
        let mut cluster_node = match &member.node {
            Some(node) => ClusterNode::of_node(node, claim, self.facts_on(&node.name_any())),
            None => {
                let catalog = member.pool().and_then(|pool| catalogs.get(pool));
                claim
                    .map(|claim| ClusterNode::of_claim(claim, catalog.map(Arc::as_ref)))
                    .unwrap_or_default()
            }
        };
        cluster_node.deleting |= self.is_leaving(member);
        if let Some(node) = &member.node {
            cluster_node.volume_limits = self.storage.limits(&node.name_any());
        }
        cluster_node
    }

    /// The facts of a pod, read once per version of it; what its volumes ask for is looked up each time.
    #[must_use]
    pub fn facts(&self, key: &ObjectKey) -> Option<Arc<PodFacts>> {
        let entry = self.pods.get(key)?;
        let facts = entry.facts.get_or_init(|| Arc::new(PodFacts::of(&entry.pod)));
        if facts.volumes == VolumeNeeds::None || self.storage.is_empty() {
            return Some(Arc::clone(facts));
        }
        Some(Arc::new(self.storage.resolve(&entry.pod, facts)))
    }

    /// The facts of the pods of a node that use it.
    fn facts_on(&self, node: &str) -> Vec<Arc<PodFacts>> {
        let keys = self.pods_by_node.get(node).into_iter().flatten();
        keys.filter_map(|key| self.facts(key))
            .filter(|facts| !facts.is_terminal)
            .collect()
    }

    /// The pods that must have a place: those that wait for one, and those whose machine is going.
    #[must_use]
    pub fn to_place(&self) -> Vec<Arc<Pod>> {
        let leaving = self
            .members()
            .into_iter()
            .filter(|member| self.is_leaving(member));
        let nodes = leaving.filter_map(|member| member.node_name().map(str::to_owned));
        let moved = nodes
            .flat_map(|node| self.pods_on(&node))
            .filter(|pod| pod::is_reschedulable(pod));
        self.provisionable()
            .into_iter()
            .chain(moved.collect::<Vec<_>>())
            .collect()
    }
}

fn daemon(set: &DaemonSet) -> PodFacts {
    let key = PodKey::new(set.namespace().unwrap_or_default(), set.name_any());
    let template = set.spec.as_ref().map(|spec| &spec.template);
    let labels = template
        .and_then(|template| template.metadata.as_ref()?.labels.clone())
        .unwrap_or_default();
    let spec = template
        .and_then(|template| template.spec.clone())
        .unwrap_or_default();
    PodFacts::of_spec(key, labels, &spec)
}
