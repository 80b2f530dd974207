//! ReplicaSets: as many pods as are wanted.

mod decide;
mod scale_in;

use std::{collections::BTreeSet, sync::Arc};

use futures::future::BoxFuture;
use k8s_openapi::api::{
    apps::v1::{ReplicaSet, ReplicaSetStatus},
    core::v1::Pod,
};
use kube::{Api, ResourceExt as _, api::PostParams};

use self::decide::Plan;
use super::{
    Informers, Stores,
    children::Children,
    claim::Claim,
    expectations::Expectations,
    meta::{controller_of, controller_reference, selects},
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
        let spec = set.spec.as_ref();
        let min_ready = spec.and_then(|spec| spec.min_ready_seconds).unwrap_or_default();
        Ok(pods::next_available(&pods, min_ready, now).map_or(Action::Await, Action::RequeueAfter))
    }

    /// The set's pods, finished ones excepted; what it adopts is not terminating.
    async fn claim(&self, set: &ReplicaSet) -> kube::Result<Vec<Arc<Pod>>> {
        let mut pods = self
            .stores
            .pods
            .list_namespace(&set.namespace().unwrap_or_default());
        pods.retain(|pod| !pods::is_finished(pod));
        let claim = Claim {
            cx: &self.cx,
            owner: set,
            selector: set.spec.as_ref().map(|spec| &spec.selector),
            finalizer: None,
        };
        claim.objects(pods, |_| true).await
    }

    /// The pods of every set with the same owner; none for a set without one.
    fn related(&self, set: &ReplicaSet) -> Vec<Arc<Pod>> {
        let Some(owner) = controller_of(&set.metadata) else {
            return Vec::new();
        };
        let namespace = set.namespace().unwrap_or_default();
        let sets: BTreeSet<String> = self
            .stores
            .replica_sets
            .list_namespace(&namespace)
            .iter()
            .filter(|other| controller_of(&other.metadata).is_some_and(|other| other.uid == owner.uid))
            .filter_map(|other| other.uid())
            .collect();
        let mut pods = self.stores.pods.list_namespace(&namespace);
        pods.retain(|pod| controller_of(&pod.metadata).is_some_and(|owner| sets.contains(&owner.uid)));
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
