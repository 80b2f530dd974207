//! Deployments: a ReplicaSet per pod template, and the way from one to the next.

mod rollout;
mod size;
mod status;
mod template;

use std::sync::Arc;

use futures::future::BoxFuture;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Pod,
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};

use self::rollout::Change;
use super::{
    Informers, Stores,
    claim::Claim,
    meta::{controller_of, is_controlled_by, selects},
    work,
};
use crate::{
    events::EventType,
    queue::{Action, WorkQueue},
    runtime::Runtime,
    store::{Change as Seen, ObjectKey},
};

/// The controller as a task.
pub(crate) fn controller(cx: &Runtime, informers: &mut Informers) -> BoxFuture<'static, ()> {
    let queue = WorkQueue::new();
    let stores = informers.stores();
    let adding = queue.clone();
    informers
        .deployments
        .subscribe(move |change| adding.add(ObjectKey::of(&**change.object())));
    let (adding, deployments) = (queue.clone(), stores.deployments.clone());
    informers.replica_sets.subscribe(move |change| {
        let set = change.object();
        let before = match change {
            Seen::Applied { previous, .. } => previous.as_ref(),
            Seen::Deleted(_) => None,
        };
        for owner in [Some(set), before]
            .into_iter()
            .flatten()
            .filter_map(|set| owner(set))
        {
            adding.add(owner);
        }
        if controller_of(&set.metadata).is_none() && matches!(change, Seen::Applied { .. }) {
            for deployment in deployments.list_namespace(&set.namespace().unwrap_or_default()) {
                let spec = deployment.spec.as_ref();
                if spec.is_some_and(|spec| selects(&spec.selector, set.metadata.labels.as_ref())) {
                    adding.add(ObjectKey::of(&*deployment));
                }
            }
        }
    });
    // Recreate waits for the last old pod to go.
    let (adding, sets) = (queue.clone(), stores.replica_sets.clone());
    informers.pods.subscribe(move |change| {
        let Seen::Deleted(pod) = change else { return };
        let namespace = pod.namespace().unwrap_or_default();
        let owner = controller_of(&pod.metadata).filter(|owner| owner.kind == "ReplicaSet");
        let set = owner.and_then(|owner| sets.get(&ObjectKey::new(namespace.clone(), owner.name.clone())));
        let deployment = set.as_ref().and_then(|set| controller_of(&set.metadata));
        if let Some(deployment) = deployment {
            adding.add(ObjectKey::new(namespace, deployment.name.clone()));
        }
    });
    let controller = Controller {
        cx: cx.named("deployment-controller"),
        stores: stores.clone(),
    };
    work(stores, queue, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(key).await }
    })
}

/// The Deployment that manages a set.
fn owner(set: &ReplicaSet) -> Option<ObjectKey> {
    let owner = controller_of(&set.metadata).filter(|owner| owner.kind == "Deployment")?;
    Some(ObjectKey::new(
        set.namespace().unwrap_or_default(),
        owner.name.clone(),
    ))
}

#[derive(Clone, Debug)]
struct Controller {
    cx: Runtime,
    stores: Stores,
}

impl Controller {
    async fn reconcile(&self, key: ObjectKey) -> kube::Result<Action> {
        let Some(deployment) = self.stores.deployments.get(&key) else {
            return Ok(Action::Await);
        };
        let claim = Claim {
            cx: &self.cx,
            owner: &*deployment,
            selector: deployment.spec.as_ref().map(|spec| &spec.selector),
            finalizer: None,
        };
        let sets = self.stores.replica_sets.list_namespace(&key.namespace);
        let sets = claim.objects(sets, |_| true).await?;
        let pods = self.pods_of(&key.namespace, &sets);
        let rollout = rollout::sync(&deployment, &sets, &pods, self.cx.clock.now());
        let api: Api<Deployment> = Api::namespaced(self.cx.client.clone(), &key.namespace);
        let mut version = deployment.resource_version();
        for change in &rollout.changes {
            if let Change::Revision(revision) = change {
                let patch = serde_json::json!({
                    "metadata": {"resourceVersion": version, "annotations": {template::REVISION: revision}},
                });
                version = api
                    .patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch))
                    .await?
                    .resource_version();
            } else {
                self.apply(&deployment, &key.namespace, change).await?;
            }
        }
        if deployment.status.as_ref() == Some(&rollout.status.status) {
            return Ok(rollout
                .status
                .next_check(&rollout.spec)
                .map_or(Action::Await, Action::RequeueAfter));
        }
        let patch = serde_json::json!({
            "metadata": {"resourceVersion": version},
            "status": nulled(deployment.status.as_ref(), &rollout.status.status),
        });
        api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        Ok(Action::Await)
    }

    fn pods_of(&self, namespace: &str, sets: &[Arc<ReplicaSet>]) -> Vec<Arc<Pod>> {
        let mut pods = self.stores.pods.list_namespace(namespace);
        pods.retain(|pod| sets.iter().any(|set| is_controlled_by(&pod.metadata, &**set)));
        pods
    }

    async fn apply(&self, deployment: &Deployment, namespace: &str, change: &Change) -> kube::Result<()> {
        let sets: Api<ReplicaSet> = Api::namespaced(self.cx.client.clone(), namespace);
        match change {
            Change::Create(set) => match sets.create(&PostParams::default(), set).await {
                Err(kube::Error::Api(status)) if status.is_already_exists() => {
                    self.check_collision(deployment, namespace, set).await
                }
                result => result.map(drop),
            },
            Change::Update(set) => sets
                .replace(&set.name_any(), &PostParams::default(), set)
                .await
                .map(drop),
            Change::Delete(name) => match sets.delete(name, &DeleteParams::background()).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
                result => result.map(drop),
            },
            Change::Revision(_) => Ok(()),
            Change::Event(message) => {
                self.cx.recorder.publish(
                    deployment,
                    EventType::Normal,
                    "ScalingReplicaSet",
                    message.as_str(),
                );
                Ok(())
            }
        }
    }

    /// A set of the new set's name is there: it is ours and not seen yet, or another with the same hash.
    async fn check_collision(
        &self,
        deployment: &Deployment,
        namespace: &str,
        set: &ReplicaSet,
    ) -> kube::Result<()> {
        let sets: Api<ReplicaSet> = Api::namespaced(self.cx.client.clone(), namespace);
        let existing = sets.get(&set.name_any()).await?;
        let ours = is_controlled_by(&existing.metadata, deployment)
            && template::find_new(deployment, [&existing]).is_some();
        if !ours {
            let api: Api<Deployment> = Api::namespaced(self.cx.client.clone(), namespace);
            let count = deployment
                .status
                .as_ref()
                .and_then(|status| status.collision_count)
                .unwrap_or_default()
                + 1;
            let patch = serde_json::json!({"status": {"collisionCount": count}});
            api.patch_status(
                &deployment.name_any(),
                &PatchParams::default(),
                &Patch::Merge(&patch),
            )
            .await?;
        }
        // Once more when the store has caught up.
        Err(kube::Error::Service(
            format!("replica set {} exists already", set.name_any()).into(),
        ))
    }
}

/// A merge patch from one status to another: what is no longer there becomes null.
fn nulled<T: serde::Serialize>(from: Option<&T>, to: &T) -> serde_json::Value {
    let mut patch = serde_json::to_value(to).unwrap_or_default();
    let before = serde_json::to_value(from).unwrap_or_default();
    if let (Some(patch), Some(before)) = (patch.as_object_mut(), before.as_object()) {
        for key in before.keys() {
            patch.entry(key.clone()).or_insert(serde_json::Value::Null);
        }
    }
    patch
}
