//! DaemonSets: a pod on every node that wants one.

mod decide;

use futures::future::BoxFuture;
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::{Api, ResourceExt as _, api::PostParams};

use super::{
    Informers, Stores, children::Children, expectations::Expectations, meta::is_controlled_by, pods, work,
};
use crate::{
    events::EventType,
    queue::{Action, WorkQueue},
    runtime::Runtime,
    store::{Change, ObjectKey},
};

/// The controller as a task.
pub(crate) fn controller(cx: &Runtime, informers: &mut Informers) -> BoxFuture<'static, ()> {
    let queue = WorkQueue::new();
    let expectations = Expectations::default();
    expectations.watch_pods(&mut informers.pods, "DaemonSet", &queue);
    let stores = informers.stores();
    let (adding, forgetting) = (queue.clone(), expectations.clone());
    informers.daemon_sets.subscribe(move |change| {
        let key = ObjectKey::of(&**change.object());
        if matches!(change, Change::Deleted(_)) {
            forgetting.forget(&key);
        }
        adding.add(key);
    });
    let (adding, sets) = (queue.clone(), stores.daemon_sets.clone());
    informers.nodes.subscribe(move |change| {
        if let Change::Applied {
            object,
            previous: Some(previous),
        } = change
            && previous.metadata.labels == object.metadata.labels
            && previous.spec == object.spec
        {
            return;
        }
        for set in sets.list() {
            adding.add(ObjectKey::of(&*set));
        }
    });
    let controller = Controller {
        cx: cx.named("daemonset-controller"),
        stores: stores.clone(),
        expectations,
    };
    work(stores, queue, move |key| {
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
        let Some(set) = self.stores.daemon_sets.get(&key) else {
            return Ok(Action::Await);
        };
        if !self.expectations.fulfilled(&key) {
            return Ok(Action::Await);
        }
        let nodes = self.stores.nodes.list();
        let mut pods = self.stores.pods.list_namespace(&key.namespace);
        pods.retain(|pod| is_controlled_by(&pod.metadata, &*set));
        let now = self.cx.clock.now();
        let mut failure = None;
        if set.metadata.deletion_timestamp.is_none() {
            let plan = decide::plan(&set, &nodes, &pods, now);
            for pod in plan.delete.iter().filter(|pod| pods::is_finished(pod)) {
                let node = pods::node_name(pod).unwrap_or_default();
                let message = format!("Found failed daemon pod {key} on node {node}, will try to kill it");
                self.cx
                    .recorder
                    .publish(&*set, EventType::Warning, "FailedDaemonPod", message);
            }
            let children = Children {
                cx: &self.cx,
                expectations: &self.expectations,
                key: &key,
                owner: &*set,
            };
            failure = children.delete(&plan.delete).await.err();
            failure = children.create(&plan.create).await.err().or(failure);
        }
        let status = decide::status(&set, &nodes, &pods, now);
        if set.status.as_ref() != Some(&status) {
            let api: Api<DaemonSet> = Api::namespaced(self.cx.client.clone(), &key.namespace);
            let changed = DaemonSet {
                status: Some(status),
                ..(*set).clone()
            };
            api.replace_status(&set.name_any(), &PostParams::default(), &changed)
                .await?;
        }
        match failure {
            Some(failure) => Err(failure.into()),
            None => Ok(Action::Await),
        }
    }
}
