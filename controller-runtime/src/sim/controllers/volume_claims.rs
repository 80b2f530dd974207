//! Claims of volumes that are in use stay until they are not.

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams},
};

use super::{Informers, pods, work};
use crate::{
    queue::{Action, WorkQueue},
    runtime::Runtime,
    store::{Change, ObjectKey},
};

/// Admission puts it on every claim.
pub(crate) const PROTECTION: &str = "kubernetes.io/pvc-protection";

/// The controller as a task.
pub(crate) fn controller(cx: &Runtime, informers: &mut Informers) -> BoxFuture<'static, ()> {
    let queue = WorkQueue::new();
    let adding = queue.clone();
    informers.volume_claims.subscribe(move |change| {
        if matches!(change, Change::Applied { object, .. } if object.metadata.deletion_timestamp.is_some()) {
            adding.add(ObjectKey::of(&**change.object()));
        }
    });
    let adding = queue.clone();
    informers.pods.subscribe(move |change| {
        if let Change::Deleted(pod) = change {
            for claim in claims_of(pod) {
                adding.add(ObjectKey::new(pod.namespace().unwrap_or_default(), claim));
            }
        }
    });
    let stores = informers.stores();
    let cx = cx.named("pvc-protection-controller");
    work(stores.clone(), queue, move |key| {
        let (cx, stores) = (cx.clone(), stores.clone());
        async move {
            let Some(claim) = stores.volume_claims.get(&key) else {
                return Ok(Action::Await);
            };
            let used = || {
                let pods = stores.pods.list_namespace(&key.namespace);
                pods.iter()
                    .any(|pod| pods::node_name(pod).is_some() && claims_of(pod).any(|name| name == key.name))
            };
            let held = claim.finalizers().iter().any(|name| name == PROTECTION);
            if claim.metadata.deletion_timestamp.is_none() || !held || used() {
                return Ok(Action::Await);
            }
            let left: Vec<_> = claim
                .finalizers()
                .iter()
                .filter(|name| *name != PROTECTION)
                .collect();
            let patch = serde_json::json!({"metadata": {
                "uid": claim.uid(), "resourceVersion": claim.resource_version(), "finalizers": left,
            }});
            let api: Api<PersistentVolumeClaim> = Api::namespaced(cx.client.clone(), &key.namespace);
            match api
                .patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch))
                .await
            {
                Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Action::Await),
                result => result.map(|_| Action::Await),
            }
        }
    })
}

/// The names of the claims that a pod uses.
fn claims_of(pod: &Pod) -> impl Iterator<Item = String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.clone()))
}
