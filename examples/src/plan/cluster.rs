//! A cluster's objects as documents.

use std::path::Path;

use anyhow::Context as _;
use k8s_openapi::api::{
    apps::v1::{DaemonSet, ReplicaSet, StatefulSet},
    core::v1::{
        Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController, Service,
    },
    storage::v1::{CSINode, StorageClass},
};
use kube::{
    Api, Client, Config, Resource,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use provisioner::{
    karpenter::NodePool,
    offline::{Document, Role},
};
use serde::{Serialize, de::DeserializeOwned};

/// How many objects are asked for at once.
const PAGE: u32 = 500;

/// The objects of a role in the cluster of a kubeconfig.
///
/// # Errors
/// Where the kubeconfig cannot be used or the cluster cannot be read.
pub(super) fn documents(kubeconfig: &Path, role: Role) -> anyhow::Result<Vec<Document>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime can be made")?;
    runtime.block_on(async {
        let what = || format!("kubeconfig {}", kubeconfig.display());
        let read = Kubeconfig::read_from(kubeconfig).with_context(what)?;
        let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
            .await
            .with_context(what)?;
        let client = Client::try_from(config).with_context(what)?;
        match role {
            Role::Pods => all::<Pod>(client).await,
            Role::NodePools => all::<NodePool>(client).await,
            Role::Nodes => all::<Node>(client).await,
            Role::DaemonSets => all::<DaemonSet>(client).await,
            Role::Namespaces => all::<Namespace>(client).await,
            Role::InstanceTypes => Ok(Vec::new()),
            Role::Surroundings => surroundings(client).await,
        }
    })
}

/// What places of pods depend on beside pods and nodes.
async fn surroundings(client: Client) -> anyhow::Result<Vec<Document>> {
    let mut documents = all::<PersistentVolumeClaim>(client.clone()).await?;
    documents.extend(all::<PersistentVolume>(client.clone()).await?);
    documents.extend(all::<StorageClass>(client.clone()).await?);
    documents.extend(all::<CSINode>(client.clone()).await?);
    documents.extend(all::<Service>(client.clone()).await?);
    documents.extend(all::<ReplicaSet>(client.clone()).await?);
    documents.extend(all::<StatefulSet>(client.clone()).await?);
    documents.extend(all::<ReplicationController>(client).await?);
    Ok(documents)
}

async fn all<K>(client: Client) -> anyhow::Result<Vec<Document>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let kind = K::kind(&());
    let api: Api<K> = Api::all(client);
    let mut documents = Vec::new();
    let mut parameters = ListParams::default().limit(PAGE);
    loop {
        let page = api
            .list(&parameters)
            .await
            .with_context(|| format!("the cluster's {} cannot be listed", K::plural(&())))?;
        for object in page.items {
            documents.push(Document {
                file: "cluster".to_owned(),
                number: documents.len() + 1,
                object: serde_json::to_value(object)
                    .with_context(|| format!("a {kind} cannot be written down"))?,
            });
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = ListParams::default().limit(PAGE).continue_token(&token),
            None => return Ok(documents),
        }
    }
}
