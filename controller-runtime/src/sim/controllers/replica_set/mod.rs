//! ReplicaSets: as many pods as are wanted.

mod decide;
mod scale_in;

use std::{collections::BTreeMap, sync::Arc};

use futures::future::BoxFuture;
use k8s_openapi::api::{
    apps::v1::{ReplicaSet, ReplicaSetStatus},
    core::v1::Pod,
};
use kube::{
    Api, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
};

use self::decide::Plan;
use super::{
    Informers, Stores,
    children::Children,
    expectations::Expectations,
    meta::{controller_of, controller_reference, is_controlled_by, selects},
    pods, work,
};
use crate::{
    queue::{Action, WorkQueue},
    runtime::Runtime,
    store::{Change, ObjectKey},
};

/// The controller as a task.
pub(crate) fn controller(cx: &Runtime, informers: &mut Informers) -> BoxFuture<'static, ()> {
    let queue = WorkQueue::new();
    let expectations = Expectations::default();
    expectations.watch_pods(&mut informers.pods, "ReplicaSet", &queue);
    let (adding, forgetting) = (queue.clone(), expectations.clone());
    informers.replica_sets.subscribe(move |change| {
        let key = ObjectKey::of(&**change.object());
        if matches!(change, Change::Deleted(_)) {
            forgetting.forget(&key);
        }
        adding.add(key);
    });
    let stores = informers.stores();
    let adding = queue.clone();
    let sets = stores.replica_sets.clone();
    informers.pods.subscribe(move |change| {
        if let Change::Applied { object: pod, .. } = change
            && controller_of(&pod.metadata).is_none()
        {
            for set in sets.list_namespace(&pod.namespace().unwrap_or_default()) {
                if set
                    .spec
                    .as_ref()
                    .is_some_and(|spec| selects(&spec.selector, pod.metadata.labels.as_ref()))
                {
                    adding.add(ObjectKey::of(&*set));
                }
            }
        }
    });
    let controller = Controller {
        cx: cx.named("replicaset-controller"),
        stores,
        expectations,
    };
    work(controller.stores.clone(), queue, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(key).await }
    })
}

#[derive(Clone, Debug)]
struct Controller {
    cx: Runtime,
    stores: Stores,
    expectations: Expectations,
}

impl Controller {
    async fn reconcile(&self, key: ObjectKey) -> kube::Result<Action> {
        let Some(set) = self.stores.replica_sets.get(&key) else {
            return Ok(Action::Await);
        };
        if !self.expectations.fulfilled(&key) {
            return Ok(Action::Await);
        }
        let pods = self.claim(&set).await?;
        let mut failure = None;
        let children = Children {
            cx: &self.cx,
            expectations: &self.expectations,
            key: &key,
            owner: &*set,
        };
        if set.metadata.deletion_timestamp.is_none() {
            let active = pods.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
            let related = self.related(&set);
            match decide::plan(&set, active, &related, self.cx.clock.now()) {
                Plan::Keep => {}
                Plan::Create(count) => {
                    let template = set
                        .spec
                        .as_ref()
                        .and_then(|spec| spec.template.clone())
                        .unwrap_or_default();
                    let prefix = format!("{}-", key.name);
                    let pod =
                        pods::from_template(&template, &key.namespace, &prefix, controller_reference(&*set));
                    failure = children.create(&vec![pod; count]).await.err();
                }
                Plan::Delete(pods) => failure = children.delete(&pods).await.err(),
            }
        }
        let now = self.cx.clock.now();
        let status = decide::status(&set, &pods, failure.as_ref(), now);
        let settled = set.status.as_ref() == Some(&status);
        if !settled {
            self.write_status(&set, status).await?;
        }
        if let Some(failure) = failure {
            return Err(failure.into());
        }
        Ok(decide::next_available(&set, &pods, now).map_or(Action::Await, Action::RequeueAfter))
    }

    /// The set's pods, finished ones excepted; orphans that it selects are adopted, and its own that it no longer
    /// selects are let go.
    async fn claim(&self, set: &ReplicaSet) -> kube::Result<Vec<Arc<Pod>>> {
        let namespace = set.namespace().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(self.cx.client.clone(), &namespace);
        let selector = set
            .spec
            .as_ref()
            .map(|spec| spec.selector.clone())
            .unwrap_or_default();
        let mut claimed = Vec::new();
        for pod in self.stores.pods.list_namespace(&namespace) {
            let selected = selects(&selector, pod.metadata.labels.as_ref());
            let mine = is_controlled_by(&pod.metadata, set);
            if mine && !selected {
                let owners: Vec<_> = pod
                    .owner_references()
                    .iter()
                    .filter(|owner| owner.uid != set.uid().unwrap_or_default())
                    .collect();
                let patch = serde_json::json!({"metadata": {"uid": pod.uid(), "ownerReferences": owners}});
                api.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&patch))
                    .await?;
            } else if mine && !pods::is_finished(&pod) {
                claimed.push(pod);
            } else if selected
                && pods::is_active(&pod)
                && controller_of(&pod.metadata).is_none()
                && set.metadata.deletion_timestamp.is_none()
            {
                let mut owners = pod.owner_references().to_vec();
                owners.push(controller_reference(set));
                let patch = serde_json::json!({"metadata": {"uid": pod.uid(), "ownerReferences": owners}});
                claimed.push(Arc::new(
                    api.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&patch))
                        .await?,
                ));
            }
        }
        Ok(claimed)
    }

    /// The pods of every set with the same owner.
    fn related(&self, set: &ReplicaSet) -> Vec<Arc<Pod>> {
        let owner = controller_of(&set.metadata).map(|owner| owner.uid.clone());
        let namespace = set.namespace().unwrap_or_default();
        let sets: BTreeMap<String, ()> = self
            .stores
            .replica_sets
            .list_namespace(&namespace)
            .iter()
            .filter(|other| {
                other.uid() == set.uid()
                    || (owner.is_some()
                        && controller_of(&other.metadata).map(|owner| &owner.uid) == owner.as_ref())
            })
            .filter_map(|other| Some((other.uid()?, ())))
            .collect();
        let mut pods = self.stores.pods.list_namespace(&namespace);
        pods.retain(|pod| controller_of(&pod.metadata).is_some_and(|owner| sets.contains_key(&owner.uid)));
        pods
    }

    async fn write_status(&self, set: &ReplicaSet, status: ReplicaSetStatus) -> kube::Result<()> {
        let api: Api<ReplicaSet> =
            Api::namespaced(self.cx.client.clone(), &set.namespace().unwrap_or_default());
        let changed = ReplicaSet {
            status: Some(status),
            ..set.clone()
        };
        api.replace_status(&set.name_any(), &PostParams::default(), &changed)
            .await
            .map(drop)
    }
}
