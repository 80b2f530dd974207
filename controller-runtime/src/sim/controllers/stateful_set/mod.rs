//! StatefulSets: pods with names and an order.
//!
//! A pod that comes back during an update gets the new template, also below the partition: revisions are not kept as
//! objects.

mod decide;

use futures::future::BoxFuture;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{PersistentVolumeClaim, Pod},
};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, PostParams},
};

use super::{Informers, Stores, expectations::Expectations, meta::is_controlled_by, work};
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
        let mut pods = self.stores.pods.list_namespace(&key.namespace);
        pods.retain(|pod| is_controlled_by(&pod.metadata, &*set));
        let now = self.cx.clock.now();
        if set.metadata.deletion_timestamp.is_none() {
            let plan = decide::plan(&set, &pods, now);
            for pod in &plan.create {
                self.create(&key, &set, pod).await?;
            }
            for pod in &plan.delete {
                self.delete(&key, &set, pod).await?;
            }
        }
        let status = decide::status(&set, &pods, now);
        if set.status.as_ref() != Some(&status) {
            let api: Api<StatefulSet> = Api::namespaced(self.cx.client.clone(), &key.namespace);
            let changed = StatefulSet {
                status: Some(status),
                ..(*set).clone()
            };
            api.replace_status(&key.name, &PostParams::default(), &changed)
                .await?;
        }
        Ok(Action::Await)
    }

    async fn create(&self, key: &ObjectKey, set: &StatefulSet, pod: &Pod) -> kube::Result<()> {
        let volumes: Api<PersistentVolumeClaim> = Api::namespaced(self.cx.client.clone(), &key.namespace);
        for claim in decide::claims(set, pod) {
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
