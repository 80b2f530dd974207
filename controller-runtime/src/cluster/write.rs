//! Writes with optimistic concurrency: a patch says which version of the object it was made for.

use kube::{
    Api, Resource,
    api::{Patch, PatchParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Which version of an object a patch was made for.
#[derive(Clone, Debug)]
pub(crate) struct Precondition {
    name: String,
    uid: Option<String>,
    resource_version: Option<String>,
}

impl Precondition {
    /// The version at hand.
    pub(crate) fn of<K: Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self {
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
        }
    }

    fn stamp(&self, mut patch: Value) -> Value {
        let metadata = json!({ "uid": self.uid, "resourceVersion": self.resource_version });
        match patch.get_mut("metadata").and_then(Value::as_object_mut) {
            Some(own) => {
                own.insert("uid".to_owned(), metadata["uid"].clone());
                own.insert("resourceVersion".to_owned(), metadata["resourceVersion"].clone());
            }
            None => patch["metadata"] = metadata,
        }
        patch
    }
}

/// Merges `patch` into an object; a conflict if it has changed meanwhile.
pub(crate) async fn merge_patch<K>(api: &Api<K>, object: &Precondition, patch: Value) -> kube::Result<K>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    api.patch(
        &object.name,
        &PatchParams::default(),
        &Patch::Merge(object.stamp(patch)),
    )
    .await
}

/// Merges `status` into an object's status; a conflict if the object has changed meanwhile.
pub(crate) async fn merge_patch_status<K>(
    api: &Api<K>,
    object: &Precondition,
    status: Value,
) -> kube::Result<K>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let patch = object.stamp(json!({ "status": status }));
    api.patch_status(&object.name, &PatchParams::default(), &Patch::Merge(patch))
        .await
}

/// Whether the object was not there any more.
pub(crate) fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found())
}

/// Whether the object had changed, or was another one of the same name.
pub(crate) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_conflict())
}
