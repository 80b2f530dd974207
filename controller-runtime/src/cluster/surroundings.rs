//! What places of pods depend on beside pods and nodes: storage, and what pods belong to.

use std::sync::Arc;

use k8s_openapi::api::{
    apps::v1::{ReplicaSet, StatefulSet},
    core::v1::{PersistentVolume, PersistentVolumeClaim, ReplicationController, Service},
    storage::v1::{CSINode, StorageClass},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{Api, Client, Resource};
use provisioner::{schedule::Workload, storage::StorageObject};
use serde::de::DeserializeOwned;

use super::{Cluster, ClusterState};
use crate::store::{Change, Informer, ObjectKey};

/// Kind and key of what pods belong to.
pub(super) type WorkloadKey = (&'static str, ObjectKey);

impl ClusterState {
    /// Takes over something of storage.
    pub fn apply_storage(&mut self, object: StorageObject) {
        if self.storage.apply(object) {
            self.touch();
        }
    }

    /// Forgets something of storage.
    pub fn delete_storage(&mut self, object: &StorageObject) {
        if self.storage.delete(object) {
            self.touch();
        }
    }

    /// Takes over what pods belong to; `None` if none do any more.
    pub fn apply_workload(&mut self, kind: &'static str, key: ObjectKey, workload: Option<Workload>) {
        let key = (kind, key);
        let changed = match workload {
            Some(workload) => {
                self.workloads.get(&key) != Some(&workload) && {
                    self.workloads.insert(key, workload);
                    true
                }
            }
            None => self.workloads.remove(&key).is_some(),
        };
        if changed {
            self.touch();
        }
    }
}

/// The informers of storage.
#[derive(Debug)]
pub(super) struct StorageFeed {
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
    nodes: Informer<CSINode>,
}

/// The informers of what pods belong to.
#[derive(Debug)]
pub(super) struct WorkloadFeed {
    services: Informer<Service>,
    replica_sets: Informer<ReplicaSet>,
    stateful_sets: Informer<StatefulSet>,
    controllers: Informer<ReplicationController>,
}

impl StorageFeed {
    pub(super) fn new(client: &Client, cluster: &Cluster) -> Self {
        Self {
            claims: storage(client, cluster, StorageObject::Claim),
            volumes: storage(client, cluster, StorageObject::Volume),
            classes: storage(client, cluster, StorageObject::Class),
            nodes: storage(client, cluster, StorageObject::Node),
        }
    }

    pub(super) fn run(self) -> Vec<futures::future::BoxFuture<'static, ()>> {
        vec![
            Box::pin(self.claims.run()),
            Box::pin(self.volumes.run()),
            Box::pin(self.classes.run()),
            Box::pin(self.nodes.run()),
        ]
    }
}

impl WorkloadFeed {
    pub(super) fn new(client: &Client, cluster: &Cluster) -> Self {
        Self {
            services: workloads(client, cluster, "Service", Workload::of_service),
            replica_sets: workloads(client, cluster, "ReplicaSet", |set: &ReplicaSet| {
                let selector = set.spec.as_ref()?.selector.clone();
                Workload::of_owner("ReplicaSet", &set.metadata, selector)
            }),
            stateful_sets: workloads(client, cluster, "StatefulSet", |set: &StatefulSet| {
                let selector = set.spec.as_ref()?.selector.clone();
                Workload::of_owner("StatefulSet", &set.metadata, selector)
            }),
            controllers: workloads(
                client,
                cluster,
                CONTROLLER,
                |controller: &ReplicationController| {
                    let selector = LabelSelector {
                        match_labels: Some(controller.spec.as_ref()?.selector.clone()?),
                        match_expressions: None,
                    };
                    Workload::of_owner(CONTROLLER, &controller.metadata, selector)
                },
            ),
        }
    }

    pub(super) fn run(self) -> Vec<futures::future::BoxFuture<'static, ()>> {
        vec![
            Box::pin(self.services.run()),
            Box::pin(self.replica_sets.run()),
            Box::pin(self.stateful_sets.run()),
            Box::pin(self.controllers.run()),
        ]
    }
}

const CONTROLLER: &str = "ReplicationController";

fn storage<K>(client: &Client, cluster: &Cluster, object: fn(Arc<K>) -> StorageObject) -> Informer<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
{
    let mut informer = Informer::new(Api::<K>::all(client.clone()));
    let cluster = cluster.clone();
    informer.subscribe(move |change| {
        cluster.with(|state| match change {
            Change::Applied { object: new, .. } => state.apply_storage(object(Arc::clone(new))),
            Change::Deleted(old) => state.delete_storage(&object(Arc::clone(old))),
        });
    });
    informer
}

fn workloads<K>(
    client: &Client,
    cluster: &Cluster,
    kind: &'static str,
    of: fn(&K) -> Option<Workload>,
) -> Informer<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
{
    let mut informer = Informer::new(Api::<K>::all(client.clone()));
    let cluster = cluster.clone();
    informer.subscribe(move |change| {
        let key = ObjectKey::of(&**change.object());
        cluster.with(|state| match change {
            Change::Applied { object, .. } => state.apply_workload(kind, key, of(object)),
            Change::Deleted(_) => state.apply_workload(kind, key, None),
        });
    });
    informer
}
