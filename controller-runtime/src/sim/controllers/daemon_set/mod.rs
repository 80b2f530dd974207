//! DaemonSets: a pod on every node that wants one.

mod decide;
mod update;

use std::sync::Arc;

use futures::future::BoxFuture;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus},
    core::v1::Pod,
};
use kube::{Api, ResourceExt as _, api::PostParams};

use super::{
    Informers, Stores,
    children::{Children, Failure},
    claim::Claim,
    expectations::Expectations,
    history::History,
    meta::{controller_of, selects},
    pods, work,
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
    let (adding, sets) = (queue.clone(), stores.daemon_sets.clone());
    informers.pods.subscribe(move |change| {
        let Change::Applied { object: pod, .. } = change else {
            return;
        };
        if controller_of(&pod.metadata).is_some() {
            return;
        }
        for set in sets.list_namespace(&pod.namespace().unwrap_or_default()) {
            let spec = set.spec.as_ref();
            if spec.is_some_and(|spec| selects(&spec.selector, pod.metadata.labels.as_ref())) {
                adding.add(ObjectKey::of(&*set));
            }
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
        if set.metadata.deletion_timestamp.is_some() {
            // What it had goes, and nothing new comes.
            return Ok(Action::Await);
        }
        let pods = self.claim(&set).await?;
        let history = self.history(&set);
        let kept = history.revisions().await?;
        let spec = set.spec.clone().unwrap_or_default();
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let (revision, count) = history
            .revision_of(&spec.template, &kept, collisions.unwrap_or_default())
            .await?;
        let hash = revision
            .labels()
            .get(decide::HASH_LABEL)
            .cloned()
            .unwrap_or_default();
        let (nodes, now) = (self.stores.nodes.list(), self.cx.clock.now());
        let failure = self
            .carry_out(&key, &set, decide::plan(&set, &hash, &nodes, &pods, now))
            .await;
        let mut status = decide::status(&set, &hash, &nodes, &pods, now);
        status.collision_count = collisions.max(Some(count).filter(|count| *count > 0));
        self.write_status(&set, status).await?;
        if let Some(failure) = failure {
            return Err(failure.into());
        }
        let of_pod = |revision: &Arc<ControllerRevision>| {
            let hash = revision.labels().get(decide::HASH_LABEL);
            pods.iter()
                .any(|pod| hash.is_some() && pod.labels().get(decide::HASH_LABEL) == hash)
        };
        let used = kept.iter().filter(|revision| of_pod(revision));
        let used = used
            .map(|revision| revision.name_any())
            .chain([revision.name_any()]);
        history
            .trim(&kept, &used.collect(), spec.revision_history_limit)
            .await?;
        let min_ready = spec.min_ready_seconds.unwrap_or_default();
        Ok(pods::next_available(&pods, min_ready, now).map_or(Action::Await, Action::RequeueAfter))
    }

    async fn claim(&self, set: &DaemonSet) -> kube::Result<Vec<Arc<Pod>>> {
        let claim = Claim {
            cx: &self.cx,
            owner: set,
            selector: set.spec.as_ref().map(|spec| &spec.selector),
            finalizer: None,
        };
        let pods = self
            .stores
            .pods
            .list_namespace(&set.namespace().unwrap_or_default());
        claim.objects(pods, |_| true).await
    }

    fn history<'a>(&'a self, set: &'a DaemonSet) -> History<'a, DaemonSet> {
        History {
            cx: &self.cx,
            stores: &self.stores,
            owner: set,
            selector: set.spec.as_ref().map(|spec| &spec.selector),
            hash_label: decide::HASH_LABEL,
        }
    }

    /// Deletes and creates pods; why that failed, if it did.
    async fn carry_out(&self, key: &ObjectKey, set: &DaemonSet, plan: decide::Plan) -> Option<Failure> {
        for pod in plan.delete.iter().filter(|pod| pods::is_finished(pod)) {
            let node = pods::node_name(pod).unwrap_or_default();
            let message = format!("Found failed daemon pod {key} on node {node}, will try to kill it");
            self.cx
                .recorder
                .publish(set, EventType::Warning, "FailedDaemonPod", message);
        }
        let children = Children {
            cx: &self.cx,
            expectations: &self.expectations,
            key,
            owner: set,
        };
        let failure = children.delete(&plan.delete).await.err();
        children.create(&plan.create).await.err().or(failure)
    }

    async fn write_status(&self, set: &DaemonSet, status: DaemonSetStatus) -> kube::Result<()> {
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let api: Api<DaemonSet> =
            Api::namespaced(self.cx.client.clone(), &set.namespace().unwrap_or_default());
        let changed = DaemonSet {
            status: Some(status),
            ..set.clone()
        };
        api.replace_status(&set.name_any(), &PostParams::default(), &changed)
            .await
            .map(drop)
    }
}
