//! Whose objects are whose: orphans that an owner selects are adopted, and what it no longer selects is let go.

use std::sync::Arc;

use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::LabelSelector};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{Patch, PatchParams},
};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::meta::{controller_of, controller_reference, is_controlled_by, selects};
use crate::runtime::Runtime;

/// An owner that selects objects by their labels.
#[derive(Debug)]
pub(crate) struct Claim<'a, O> {
    pub(crate) cx: &'a Runtime,
    pub(crate) owner: &'a O,
    /// Without one it adopts nothing and lets nothing go.
    pub(crate) selector: Option<&'a LabelSelector>,
    /// What adopted objects are kept by, until the owner lets them go.
    pub(crate) finalizer: Option<&'a str>,
}

impl<O> Claim<'_, O>
where
    O: Resource<DynamicType = ()>,
{
    /// The objects among `objects` that are the owner's, newly adopted ones included. `member` says what it takes beside
    /// the labels.
    ///
    /// # Errors
    /// Those of the API server, but for objects that are gone.
    pub(crate) async fn objects<K>(
        &self,
        objects: Vec<Arc<K>>,
        member: impl Fn(&K) -> bool,
    ) -> kube::Result<Vec<Arc<K>>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let deleting = self.owner.meta().deletion_timestamp.is_some();
        let mut claimed = Vec::new();
        for object in objects {
            let meta = object.meta();
            let selected = self
                .selector
                .is_none_or(|selector| selects(selector, meta.labels.as_ref()))
                && member(&object);
            if is_controlled_by(meta, self.owner) {
                if selected {
                    claimed.push(object);
                } else if !deleting {
                    let reference = json!({"$patch": "delete", "uid": self.owner.meta().uid});
                    self.patch(&*object, json!({"ownerReferences": [reference]}))
                        .await?;
                }
            } else if self.selector.is_some()
                && selected
                && !deleting
                && controller_of(meta).is_none()
                && meta.deletion_timestamp.is_none()
            {
                let mut meta = json!({"ownerReferences": [controller_reference(self.owner)]});
                if let Some(finalizer) = self.finalizer {
                    meta["finalizers"] = json!([finalizer]);
                }
                claimed.extend(self.patch(&*object, meta).await?.map(Arc::new));
            }
        }
        Ok(claimed)
    }

    /// Changes metadata; nothing if the object is gone or is another by now.
    async fn patch<K>(&self, object: &K, mut meta: serde_json::Value) -> kube::Result<Option<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.cx.client.clone(), &object.namespace().unwrap_or_default());
        meta["uid"] = json!(object.uid());
        let patch = json!({"metadata": meta});
        match api
            .patch(
                &object.name_any(),
                &PatchParams::default(),
                &Patch::Strategic(&patch),
            )
            .await
        {
            Ok(object) => Ok(Some(object)),
            Err(kube::Error::Api(status))
                if status.is_not_found() || status.is_invalid() || status.is_conflict() =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
