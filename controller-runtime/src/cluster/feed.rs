//! Keeps the index current and wakes whoever a change concerns.

use std::sync::Arc;

use futures::future;
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Namespace, Node, Pod},
    policy::v1::PodDisruptionBudget,
};
use kube::{Api, Client, ResourceExt as _};
use provisioner::karpenter::{NodeClaim, NodePool};
use scaler_api::SharedClock;

use super::{
    Cluster, may_buy, pod,
    surroundings::{StorageFeed, WorkloadFeed},
};
use crate::{
    provisioning::Batcher,
    queue::{Backoff, WorkQueue},
    store::{Change, Informer, ObjectKey, Store},
    work::WorkMetrics,
};

/// Keys that wait for their controllers. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Queues {
    /// Claims by name: their whole life.
    pub(crate) claims: WorkQueue<String>,
    /// Claims by name: drift.
    pub(crate) drift: WorkQueue<String>,
    /// Pools by name.
    pub(crate) pools: WorkQueue<String>,
    /// Node classes by name.
    pub(crate) classes: WorkQueue<String>,
    /// Nodes by name that may have lost their claim.
    pub(crate) nodes: WorkQueue<String>,
    /// Pods that want machines.
    pub(crate) batcher: Batcher,
}

impl Queues {
    pub(crate) fn new(batcher: Batcher) -> Self {
        let backoff = Backoff {
            first: std::time::Duration::from_secs(1),
            last: std::time::Duration::from_secs(60),
        };
        Self {
            claims: WorkQueue::with_backoff(backoff),
            drift: WorkQueue::with_backoff(backoff),
            pools: WorkQueue::with_backoff(backoff),
            classes: WorkQueue::with_backoff(backoff),
            nodes: WorkQueue::with_backoff(backoff),
            batcher,
        }
    }

    /// Counts what is in them.
    pub(crate) fn measure(&self, work: &WorkMetrics) {
        work.add("node-claim", &self.claims);
        work.add("drift", &self.drift);
        work.add("node-pool", &self.pools);
        work.add("node-class", &self.classes);
        work.add("node", &self.nodes);
    }

    /// Starts over with everything that is known.
    pub(crate) fn restart(&self, cluster: &Cluster, classes: Vec<String>) {
        let (claims, pools, nodes) = cluster.with(|state| {
            let claims: Vec<_> = state.claims().map(|claim| claim.name_any()).collect();
            let pools: Vec<_> = state.pools().map(|pool| pool.name_any()).collect();
            let nodes: Vec<_> = state.nodes().map(|node| node.name_any()).collect();
            (claims, pools, nodes)
        });
        self.drift.restart(claims.clone());
        self.claims.restart(claims);
        self.pools.restart(pools);
        self.nodes.restart(nodes);
        self.classes.restart(classes);
        self.batcher.restart();
    }

    /// Forgets what comes until dropped, where nobody works on it.
    pub(crate) async fn discard(&self) {
        let pods = async {
            loop {
                self.batcher.next(None).await;
            }
        };
        futures::join!(
            self.claims.discard(),
            self.drift.discard(),
            self.pools.discard(),
            self.classes.discard(),
            self.nodes.discard(),
            pods
        );
    }

    fn claim(&self, claim: &NodeClaim) {
        self.claims.add(claim.name_any());
        if let Some(pool) = claim.pool() {
            self.pools.add(pool.to_owned());
        }
    }
}

/// The informers behind the index.
#[derive(Debug)]
pub(crate) struct Feed {
    nodes: Informer<Node>,
    claims: Informer<NodeClaim>,
    pools: Informer<NodePool>,
    pods: Informer<Pod>,
    daemon_sets: Informer<DaemonSet>,
    budgets: Informer<PodDisruptionBudget>,
    namespaces: Informer<Namespace>,
    storage: StorageFeed,
    /// Where default spreads need to know.
    workloads: Option<WorkloadFeed>,
}

impl Feed {
    /// Informers that keep `cluster` current and wake the controllers through `queues`.
    pub(crate) fn new(
        client: &Client,
        clock: &SharedClock,
        cluster: &Cluster,
        queues: &Queues,
        has_default_spreads: bool,
    ) -> Self {
        Self {
            storage: StorageFeed::new(client, cluster),
            workloads: has_default_spreads.then(|| WorkloadFeed::new(client, cluster)),
            nodes: nodes(client, cluster, queues),
            claims: claims(client, cluster, queues),
            pools: pools(client, cluster, queues),
            pods: pods(client, clock, cluster, queues),
            daemon_sets: daemon_sets(client, cluster),
            budgets: budgets(client, cluster),
            namespaces: namespaces(client, cluster),
        }
    }

    /// The claims as they are watched.
    pub(crate) fn claims(&self) -> Store<NodeClaim> {
        self.claims.store()
    }

    /// Resolves once every first list has arrived.
    pub(crate) fn synced(&self) -> impl Future<Output = ()> + Send + use<> {
        let (nodes, claims, pools) = (self.nodes.store(), self.claims.store(), self.pools.store());
        let (pods, daemon_sets, budgets) =
            (self.pods.store(), self.daemon_sets.store(), self.budgets.store());
        let namespaces = self.namespaces.store();
        async move {
            namespaces.synced().await;
            nodes.synced().await;
            claims.synced().await;
            pools.synced().await;
            pods.synced().await;
            daemon_sets.synced().await;
            budgets.synced().await;
        }
    }

    /// Lists and watches until dropped.
    pub(crate) fn run(self) -> Vec<future::BoxFuture<'static, ()>> {
        let mut all: Vec<future::BoxFuture<'static, ()>> = vec![
            Box::pin(self.namespaces.run()),
            Box::pin(self.pools.run()),
            Box::pin(self.claims.run()),
            Box::pin(self.nodes.run()),
            Box::pin(self.daemon_sets.run()),
            Box::pin(self.budgets.run()),
            Box::pin(self.pods.run()),
        ];
        all.extend(self.storage.run());
        all.extend(self.workloads.into_iter().flat_map(WorkloadFeed::run));
        all
    }
}

fn nodes(client: &Client, cluster: &Cluster, queues: &Queues) -> Informer<Node> {
    let mut informer = Informer::new(Api::<Node>::all(client.clone()));
    let (cluster, queues) = (cluster.clone(), queues.clone());
    informer.subscribe(move |change| {
        let node = change.object();
        let claim = cluster.with(|state| {
            let claim = state.claim_of(node);
            match change {
                Change::Applied { object, .. } => {
                    state.apply_node(object);
                }
                Change::Deleted(node) => state.delete_node(&node.name_any()),
            }
            claim.or_else(|| state.claim_of(node))
        });
        // A node that is deleted takes its claim along, or goes if it has none.
        if claim.is_none() || node.metadata.deletion_timestamp.is_some() {
            queues.nodes.add(node.name_any());
        }
        if let Some(claim) = claim {
            queues.claim(&claim);
        }
    });
    informer
}

fn claims(client: &Client, cluster: &Cluster, queues: &Queues) -> Informer<NodeClaim> {
    let mut informer = Informer::new(Api::<NodeClaim>::all(client.clone()));
    let (cluster, queues) = (cluster.clone(), queues.clone());
    informer.subscribe(move |change| {
        let claim = change.object();
        let nodes = cluster.with(|state| {
            let nodes = state.nodes_of(claim);
            match change {
                Change::Applied { object, .. } => {
                    state.apply_claim(object);
                }
                Change::Deleted(claim) => state.delete_claim(&claim.name_any()),
            }
            nodes
        });
        queues.claim(claim);
        queues.classes.add(claim.spec.node_class_ref.name.clone());
        match change {
            Change::Applied { object, previous } => {
                let is_going = |claim: &NodeClaim| claim.metadata.deletion_timestamp.is_some();
                if previous.is_none() {
                    queues.drift.add(claim.name_any());
                }
                // Its pods need another place.
                if is_going(object) && !previous.as_ref().is_some_and(|old| is_going(old)) {
                    queues.batcher.trigger_again();
                }
            }
            // What waited for it may need another one.
            Change::Deleted(_) => queues.batcher.trigger_again(),
        }
        for node in nodes {
            queues.nodes.add(node.name_any());
        }
    });
    informer
}

fn pools(client: &Client, cluster: &Cluster, queues: &Queues) -> Informer<NodePool> {
    let mut informer = Informer::new(Api::<NodePool>::all(client.clone()));
    let (cluster, queues) = (cluster.clone(), queues.clone());
    informer.subscribe(move |change| {
        let pool = change.object();
        let name = pool.name_any();
        let claims: Vec<Arc<NodeClaim>> = cluster.with(|state| {
            match change {
                Change::Applied { object, .. } => state.apply_pool(object),
                Change::Deleted(_) => state.delete_pool(&name),
            }
            state
                .claims()
                .filter(|claim| claim.pool() == Some(name.as_str()))
                .cloned()
                .collect()
        });
        let (spec_changed, ready_changed) = match change {
            Change::Applied { object, previous } => (
                previous.as_ref().is_none_or(|old| old.spec != object.spec),
                previous
                    .as_ref()
                    .is_some_and(|old| may_buy(old) != may_buy(object)),
            ),
            Change::Deleted(_) => (true, false),
        };
        queues.pools.add(name);
        if ready_changed {
            queues.batcher.trigger_again();
        }
        if spec_changed {
            for claim in claims {
                queues.claims.add(claim.name_any());
                queues.drift.add(claim.name_any());
            }
            queues.batcher.trigger_again();
        }
    });
    informer
}

/// What a change of a pod means to its node's claim: `lastPodEventTime` moves when a pod comes, ends or goes.
fn is_pod_event(change: &Change<Pod>) -> bool {
    match change {
        Change::Applied {
            object,
            previous: Some(old),
        } => {
            pod::node_name(old) != pod::node_name(object)
                || pod::is_terminal(old) != pod::is_terminal(object)
                || pod::is_terminating(old) != pod::is_terminating(object)
        }
        Change::Applied { previous: None, .. } => false,
        Change::Deleted(pod) => !pod::is_terminal(pod) && !pod::is_terminating(pod),
    }
}

fn pods(client: &Client, clock: &SharedClock, cluster: &Cluster, queues: &Queues) -> Informer<Pod> {
    let mut informer = Informer::new(Api::<Pod>::all(client.clone()));
    let (clock, cluster, queues) = (clock.clone(), cluster.clone(), queues.clone());
    informer.subscribe(move |change| {
        let pod = change.object();
        let claim = cluster.with(|state| {
            match change {
                Change::Applied { object, .. } => {
                    state.apply_pod(object);
                }
                Change::Deleted(pod) => state.delete_pod(&ObjectKey::of(&**pod)),
            }
            let node = state.node(pod::node_name(pod)?)?;
            let claim = state.claim_of(&node)?;
            if is_pod_event(change) && !pod::is_daemon(pod) {
                state.note_pod_event(&claim.name_any(), clock.now());
            }
            Some(claim)
        });
        if let Some(claim) = claim {
            queues.claims.add(claim.name_any());
        }
        if matches!(change, Change::Applied { .. }) && pod::is_provisionable(pod) {
            queues
                .batcher
                .trigger(pod.metadata.uid.as_deref().unwrap_or_default());
        }
    });
    informer
}

fn daemon_sets(client: &Client, cluster: &Cluster) -> Informer<DaemonSet> {
    let mut informer = Informer::new(Api::<DaemonSet>::all(client.clone()));
    let cluster = cluster.clone();
    informer.subscribe(move |change| {
        cluster.with(|state| match change {
            Change::Applied { object, .. } => state.apply_daemon_set(object),
            Change::Deleted(daemon_set) => state.delete_daemon_set(&ObjectKey::of(&**daemon_set)),
        });
    });
    informer
}

fn budgets(client: &Client, cluster: &Cluster) -> Informer<PodDisruptionBudget> {
    let mut informer = Informer::new(Api::<PodDisruptionBudget>::all(client.clone()));
    let cluster = cluster.clone();
    informer.subscribe(move |change| {
        cluster.with(|state| match change {
            Change::Applied { object, .. } => state.apply_budget(object),
            Change::Deleted(budget) => state.delete_budget(&ObjectKey::of(&**budget)),
        });
    });
    informer
}

fn namespaces(client: &Client, cluster: &Cluster) -> Informer<Namespace> {
    let mut informer = Informer::new(Api::<Namespace>::all(client.clone()));
    let cluster = cluster.clone();
    informer.subscribe(move |change| {
        cluster.with(|state| match change {
            Change::Applied { object, .. } => state.apply_namespace(&object.name_any(), object.labels()),
            Change::Deleted(namespace) => state.delete_namespace(&namespace.name_any()),
        });
    });
    informer
}
