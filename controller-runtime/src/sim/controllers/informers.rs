//! One watch per kind, shared by every part of the embedded control plane.

use std::{fmt, future::Future};

use futures::future::BoxFuture;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet},
    batch::v1::Job,
    core::v1::{Namespace, Node, PersistentVolumeClaim, Pod, Service, ServiceAccount},
    policy::v1::PodDisruptionBudget,
};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use crate::store::{Informer, Store};

macro_rules! kinds {
    ($($(#[$doc:meta])* $field:ident: $kind:ty,)+) => {
        /// The informers before they run: controllers subscribe to them.
        #[derive(Debug)]
        pub(crate) struct Informers {
            $($(#[$doc])* pub(crate) $field: Informer<$kind>,)+
        }

        impl Informers {
            /// Informers over all namespaces.
            pub(crate) fn new(client: &Client) -> Self {
                Self { $($field: Informer::new(Api::all(client.clone())),)+ }
            }

            /// What the informers will fill.
            pub(crate) fn stores(&self) -> Stores {
                Stores { $($field: self.$field.store(),)+ }
            }

            /// Their tasks, which run until dropped.
            pub(crate) fn run(self) -> Vec<BoxFuture<'static, ()>> {
                vec![$(Box::pin(run(self.$field)),)+]
            }
        }

        /// The objects of the cluster as the control plane knows them.
        #[derive(Clone, Debug)]
        pub(crate) struct Stores {
            $($(#[$doc])* pub(crate) $field: Store<$kind>,)+
        }

        impl Stores {
            /// Waits until every first list has arrived.
            pub(crate) async fn synced(&self) {
                $(self.$field.synced().await;)+
            }
        }
    };
}

kinds! {
    /// Pods.
    pods: Pod,
    /// Nodes.
    nodes: Node,
    /// Namespaces.
    namespaces: Namespace,
    /// Services.
    services: Service,
    /// Claims of volumes.
    volume_claims: PersistentVolumeClaim,
    /// Deployments.
    deployments: Deployment,
    /// ReplicaSets.
    replica_sets: ReplicaSet,
    /// StatefulSets.
    stateful_sets: StatefulSet,
    /// DaemonSets.
    daemon_sets: DaemonSet,
    /// Templates of the past.
    revisions: ControllerRevision,
    /// Jobs.
    jobs: Job,
    /// ServiceAccounts.
    service_accounts: ServiceAccount,
    /// PodDisruptionBudgets.
    budgets: PodDisruptionBudget,
}

fn run<K>(informer: Informer<K>) -> impl Future<Output = ()> + Send
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug + Send + Sync + 'static,
    K::DynamicType: Default,
{
    informer.run()
}
