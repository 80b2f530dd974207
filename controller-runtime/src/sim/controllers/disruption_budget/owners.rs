//! How many pods the controllers of a budget's pods want.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::core::v1::Pod,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Api, ResourceExt as _,
    core::{DynamicObject, GroupVersionKind},
    discovery,
};

use super::Controller;
use crate::{sim::controllers::meta::controller_of, store::ObjectKey};

/// What the controllers of some pods want, each of them once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Owners {
    pub(super) replicas: i32,
    /// Whether a pod has no controller.
    pub(super) unmanaged: bool,
}

/// A controller and its replicas.
type Wanted = (String, i32);

impl Controller {
    /// Asks the controllers of `pods`, or says in the words of Kubernetes why that cannot be done.
    pub(super) async fn owners(&self, pods: &[Arc<Pod>]) -> Result<Owners, String> {
        let mut known: BTreeMap<String, i32> = BTreeMap::new();
        let mut unmanaged = false;
        for pod in pods {
            let Some(owner) = controller_of(&pod.metadata) else {
                unmanaged = true;
                continue;
            };
            let namespace = pod.namespace().unwrap_or_default();
            // Several ReplicaSets may belong to one Deployment, whose uid is known only after having looked.
            let wanted = match self.of_workload(&namespace, owner) {
                Some(wanted) => Some(wanted),
                None if known.contains_key(&owner.uid) => continue,
                None => self.by_scale(&namespace, owner).await?,
            };
            let (uid, replicas) =
                wanted.ok_or_else(|| format!("found no controllers for pod {:?}", pod.name_any()))?;
            known.insert(uid, replicas);
        }
        Ok(Owners {
            replicas: known.values().sum(),
            unmanaged,
        })
    }

    /// The controllers that the control plane knows by itself.
    fn of_workload(&self, namespace: &str, owner: &OwnerReference) -> Option<Wanted> {
        let key = ObjectKey::new(namespace.to_owned(), owner.name.clone());
        let wanted = |meta: &ObjectMeta, replicas: Option<i32>| {
            Some((meta.uid.clone().unwrap_or_default(), replicas.unwrap_or(1)))
        };
        let (group, _) = owner.api_version.split_once('/')?;
        if group != "apps" {
            return None;
        }
        match owner.kind.as_str() {
            "ReplicaSet" => {
                let set = self.stores.replica_sets.get(&key)?;
                if set.metadata.uid.as_ref() != Some(&owner.uid) {
                    return None;
                }
                let Some(above) = controller_of(&set.metadata).filter(|above| above.kind == "Deployment")
                else {
                    return wanted(&set.metadata, set.spec.as_ref()?.replicas);
                };
                let key = ObjectKey::new(namespace.to_owned(), above.name.clone());
                let deployment = self.stores.deployments.get(&key)?;
                if deployment.metadata.uid.as_ref() != Some(&above.uid) {
                    return None;
                }
                wanted(&deployment.metadata, deployment.spec.as_ref()?.replicas)
            }
            "StatefulSet" => {
                let set = self.stores.stateful_sets.get(&key)?;
                if set.metadata.uid.as_ref() != Some(&owner.uid) {
                    return None;
                }
                wanted(&set.metadata, set.spec.as_ref()?.replicas)
            }
            _ => None,
        }
    }

    /// Any controller that has a scale. None if it is not there.
    async fn by_scale(&self, namespace: &str, owner: &OwnerReference) -> Result<Option<Wanted>, String> {
        let (group, version) = owner
            .api_version
            .split_once('/')
            .unwrap_or(("", &owner.api_version));
        let kind = GroupVersionKind::gvk(group, version, &owner.kind);
        let not_found =
            |error: &kube::Error| matches!(error, kube::Error::Api(status) if status.is_not_found());
        let (resource, capabilities) =
            discovery::pinned_kind(&self.cx.client, &kind)
                .await
                .map_err(|error| match error {
                    kube::Error::Discovery(_) => no_match(owner),
                    error if not_found(&error) => no_match(owner),
                    error => message(&error),
                })?;
        let api: Api<DynamicObject> = Api::namespaced_with(self.cx.client.clone(), namespace, &resource);
        match api.get_scale(&owner.name).await {
            Ok(scale) if scale.metadata.uid.as_ref() == Some(&owner.uid) => {
                let replicas = scale.spec.and_then(|spec| spec.replicas).unwrap_or_default();
                Ok(Some((owner.uid.clone(), replicas)))
            }
            Ok(_) => Ok(None),
            Err(error) if not_found(&error) => {
                let scaled = capabilities
                    .subresources
                    .iter()
                    .any(|(sub, _)| sub.kind == "Scale");
                if scaled {
                    return Ok(None);
                }
                let name = if group.is_empty() {
                    resource.plural
                } else {
                    format!("{}.{group}", resource.plural)
                };
                Err(format!("{name} does not implement the scale subresource"))
            }
            Err(error) => Err(message(&error)),
        }
    }
}

fn no_match(owner: &OwnerReference) -> String {
    format!(
        "no matches for kind {:?} in version {:?}",
        owner.kind, owner.api_version
    )
}

fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    }
}
