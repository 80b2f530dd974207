//! StatefulSets: pods with names and an order.

mod claims;
mod decide;

use std::{collections::BTreeSet, sync::Arc};

use futures::future::BoxFuture;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus},
    core::v1::{PersistentVolumeClaim, Pod},
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};

use self::decide::{Revision, Revisions};
use super::{
    Informers, Stores,
    claim::Claim,
    expectations::Expectations,
    history::{self, History},
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
    expectations.watch_pods(&mut informers.pods, "StatefulSet", &queue);
    let (adding, forgetting) = (queue.clone(), expectations.clone());
    informers.stateful_sets.subscribe(move |change| {
        let key = ObjectKey::of(&**change.object());
        if matches!(change, Change::Deleted(_)) {
            forgetting.forget(&key);
        }
        adding.add(key);
    });
    let stores = informers.stores();
    let (adding, sets) = (queue.clone(), stores.stateful_sets.clone());
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
        cx: cx.named("statefulset-controller"),
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
        let Some(set) = self.stores.stateful_sets.get(&key) else {
            return Ok(Action::Await);
        };
        if !self.expectations.fulfilled(&key) {
            return Ok(Action::Await);
        }
        let pods = self.claim(&set).await?;
        if set.metadata.deletion_timestamp.is_some() {
            // What it had goes, and nothing new comes.
            return Ok(Action::Await);
        }
        let history = self.history(&set);
        let kept = history.revisions().await?;
        let (revisions, collisions) = self.revisions(&set, &history, &kept).await?;
        let now = self.cx.clock.now();
        let plan = decide::plan(&set, &revisions, &pods, now);
        for pod in &plan.create {
            self.create(&key, &set, pod).await?;
        }
        for pod in &pods {
            self.hand_over_claims(&key, &set, pod).await?;
        }
        for pod in &plan.delete {
            self.delete(&key, &set, pod).await?;
        }
        let mut status = decide::status(&set, &revisions, &pods, now);
        status.collision_count = Some(collisions);
        let of_pods = pods.iter().filter_map(|pod| pod.labels().get(decide::HASH_LABEL));
        let mut used: BTreeSet<String> = of_pods.cloned().collect();
        used.extend([revisions.current.name, revisions.update.name]);
        used.extend(status.current_revision.clone());
        self.write_status(&set, status).await?;
        let spec = set.spec.as_ref();
        let limit = spec.and_then(|spec| spec.revision_history_limit);
        history.trim(&kept, &used, limit).await?;
        let min_ready = spec.and_then(|spec| spec.min_ready_seconds).unwrap_or_default();
        Ok(pods::next_available(&pods, min_ready, now).map_or(Action::Await, Action::RequeueAfter))
    }

    /// The set's pods; an orphan has to have one of its names.
    async fn claim(&self, set: &StatefulSet) -> kube::Result<Vec<Arc<Pod>>> {
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
        claim
            .objects(pods, |pod| decide::ordinal(set, pod).is_some())
            .await
    }

    fn history<'a>(&'a self, set: &'a StatefulSet) -> History<'a, StatefulSet> {
        History {
            cx: &self.cx,
            stores: &self.stores,
            owner: set,
            selector: set.spec.as_ref().map(|spec| &spec.selector),
            hash_label: "controller.kubernetes.io/hash",
        }
    }

    /// The template of before and the one of now, and how many hashes collided.
    async fn revisions(
        &self,
        set: &StatefulSet,
        history: &History<'_, StatefulSet>,
        kept: &[Arc<ControllerRevision>],
    ) -> kube::Result<(Revisions, i32)> {
        let template = set
            .spec
            .as_ref()
            .map(|spec| spec.template.clone())
            .unwrap_or_default();
        let old = set.status.clone().unwrap_or_default();
        let collisions = old.collision_count.unwrap_or_default();
        let (update, collisions) = history.revision_of(&template, kept, collisions).await?;
        let update = Revision {
            name: update.name_any(),
            template,
        };
        let current = kept
            .iter()
            .find(|revision| Some(revision.name_any()) == old.current_revision)
            .and_then(|revision| {
                let (name, template) = (revision.name_any(), history::template(revision)?);
                Some(Revision { name, template })
            });
        let current = current.unwrap_or_else(|| update.clone());
        Ok((Revisions { current, update }, collisions))
    }

    async fn write_status(&self, set: &StatefulSet, status: StatefulSetStatus) -> kube::Result<()> {
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let api: Api<StatefulSet> =
            Api::namespaced(self.cx.client.clone(), &set.namespace().unwrap_or_default());
        let changed = StatefulSet {
            status: Some(status),
            ..set.clone()
        };
        api.replace_status(&set.name_any(), &PostParams::default(), &changed)
            .await
            .map(drop)
    }

    /// Makes the claims of a pod belong to what is to take them along.
    async fn hand_over_claims(&self, key: &ObjectKey, set: &StatefulSet, pod: &Arc<Pod>) -> kube::Result<()> {
        for claim in claims::make(set, pod) {
            let name = ObjectKey::new(key.namespace.clone(), claim.name_any());
            let Some(claim) = self.stores.volume_claims.get(&name) else {
                continue;
            };
            let now = claim.owner_references();
            let owners = claims::owners(set, pod, now);
            if owners.as_deref().unwrap_or_default() == now {
                continue;
            }
            let patch = serde_json::json!({"metadata": {
                "uid": claim.uid(), "resourceVersion": claim.resource_version(), "ownerReferences": owners,
            }});
            let api: Api<PersistentVolumeClaim> = Api::namespaced(self.cx.client.clone(), &key.namespace);
            api.patch(&claim.name_any(), &PatchParams::default(), &Patch::Merge(&patch))
                .await?;
        }
        Ok(())
    }

    async fn create(&self, key: &ObjectKey, set: &StatefulSet, pod: &Pod) -> kube::Result<()> {
        let volumes: Api<PersistentVolumeClaim> = Api::namespaced(self.cx.client.clone(), &key.namespace);
        for claim in claims::make(set, pod) {
            if self
                .stores
                .volume_claims
                .get(&ObjectKey::new(key.namespace.clone(), claim.name_any()))
                .is_none()
            {
                match volumes.create(&PostParams::default(), &claim).await {
                    Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                    result => drop(result?),
                }
            }
        }
        let api: Api<Pod> = Api::namespaced(self.cx.client.clone(), &key.namespace);
        let what = format!("Create Pod {} in StatefulSet {}", pod.name_any(), key.name);
        self.expectations.expect_creation(key);
        match api.create(&PostParams::default(), pod).await {
            Ok(_) => {
                self.cx.recorder.publish(
                    set,
                    EventType::Normal,
                    "SuccessfulCreate",
                    format!("{what} successful"),
                );
                Ok(())
            }
            Err(error) => {
                self.expectations.created(key);
                let message = format!("{what} failed error: {error}");
                self.cx
                    .recorder
                    .publish(set, EventType::Warning, "FailedCreate", message);
                Err(error)
            }
        }
    }

    async fn delete(&self, key: &ObjectKey, set: &StatefulSet, pod: &Pod) -> kube::Result<()> {
        let api: Api<Pod> = Api::namespaced(self.cx.client.clone(), &key.namespace);
        let uid = pod.uid().unwrap_or_default();
        self.expectations.expect_deletion(key, &uid);
        match api.delete(&pod.name_any(), &DeleteParams::default()).await {
            Ok(_) => {
                let message = format!(
                    "Delete Pod {} in StatefulSet {} successful",
                    pod.name_any(),
                    key.name
                );
                self.cx
                    .recorder
                    .publish(set, EventType::Normal, "SuccessfulDelete", message);
                Ok(())
            }
            Err(error) => {
                self.expectations.deleted(key, &uid);
                if matches!(&error, kube::Error::Api(status) if status.is_not_found()) {
                    Ok(())
                } else {
                    Err(error)
                }
            }
        }
    }
}
