//! Jobs: pods that run to their end.

mod decide;

use std::time::Duration;

use futures::future::BoxFuture;
use jiff::SignedDuration;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};

use super::{
    Informers, Stores, children::Children, expectations::Expectations, meta::is_controlled_by, work,
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
    expectations.watch_pods(&mut informers.pods, "Job", &queue);
    let (adding, forgetting) = (queue.clone(), expectations.clone());
    informers.jobs.subscribe(move |change| {
        let key = ObjectKey::of(&**change.object());
        if matches!(change, Change::Deleted(_)) {
            forgetting.forget(&key);
        }
        adding.add(key);
    });
    let stores = informers.stores();
    let controller = Controller {
        cx: cx.named("job-controller"),
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
        let mut pods = self.stores.pods.list_namespace(&key.namespace);
        let Some(job) = self.stores.jobs.get(&key) else {
            return self.release_orphans(&key).await;
        };
        if job.metadata.deletion_timestamp.is_some()
            || job.spec.as_ref().is_some_and(|spec| spec.managed_by.is_some())
        {
            return Ok(Action::Await);
        }
        if !self.expectations.fulfilled(&key) {
            return Ok(Action::Await);
        }
        pods.retain(|pod| is_controlled_by(&pod.metadata, &*job));
        let now = self.cx.clock.now();
        let plan = decide::plan(&job, &pods, now);
        if job.status.as_ref() != Some(&plan.status) {
            let api: Api<Job> = Api::namespaced(self.cx.client.clone(), &key.namespace);
            let changed = Job {
                status: Some(plan.status.clone()),
                ..(*job).clone()
            };
            api.replace_status(&key.name, &PostParams::default(), &changed)
                .await?;
        }
        for (warning, reason, message) in &plan.events {
            let event_type = if *warning {
                EventType::Warning
            } else {
                EventType::Normal
            };
            self.cx
                .recorder
                .publish(&*job, event_type, *reason, message.as_str());
        }
        for pod in &plan.release {
            self.release(pod).await?;
        }
        let children = Children {
            cx: &self.cx,
            expectations: &self.expectations,
            key: &key,
            owner: &*job,
        };
        children.delete(&plan.delete).await?;
        children.create(&plan.create).await?;
        let mut next = plan.next;
        if let (Some(end), Some(ttl)) = (
            decide::finished(&job),
            job.spec.as_ref().and_then(|spec| spec.ttl_seconds_after_finished),
        ) {
            let due = end + SignedDuration::from_secs(i64::from(ttl));
            if due <= now {
                return self.delete_finished(&key, &job).await;
            }
            next = Some(next.map_or(due, |next| next.min(due)));
        }
        Ok(next.map_or(Action::Await, |next| {
            Action::RequeueAfter(Duration::try_from(next.duration_since(now)).unwrap_or_default())
        }))
    }

    /// Takes the finalizer from a pod that is counted.
    async fn release(&self, pod: &Pod) -> kube::Result<()> {
        let api: Api<Pod> = Api::namespaced(self.cx.client.clone(), &pod.namespace().unwrap_or_default());
        let left: Vec<_> = pod
            .finalizers()
            .iter()
            .filter(|finalizer| *finalizer != decide::FINALIZER)
            .collect();
        let patch = serde_json::json!({"metadata": {
            "uid": pod.uid(),
            "resourceVersion": pod.resource_version(),
            "finalizers": if left.is_empty() { None } else { Some(left) },
        }});
        match api
            .patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&patch))
            .await
        {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            result => result.map(drop),
        }
    }

    /// Nobody counts the pods of a Job that is gone.
    async fn release_orphans(&self, key: &ObjectKey) -> kube::Result<Action> {
        for pod in self.stores.pods.list_namespace(&key.namespace) {
            let owner = super::meta::controller_of(&pod.metadata);
            let of_this = owner.is_some_and(|owner| owner.kind == "Job" && owner.name == key.name);
            if of_this
                && pod
                    .finalizers()
                    .iter()
                    .any(|finalizer| finalizer == decide::FINALIZER)
            {
                self.release(&pod).await?;
            }
        }
        Ok(Action::Await)
    }

    async fn delete_finished(&self, key: &ObjectKey, job: &Job) -> kube::Result<Action> {
        let api: Api<Job> = Api::namespaced(self.cx.client.clone(), &key.namespace);
        let preconditions = kube::api::Preconditions {
            uid: job.uid(),
            resource_version: None,
        };
        let parameters = DeleteParams {
            preconditions: Some(preconditions),
            ..DeleteParams::background()
        };
        match api.delete(&key.name, &parameters).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Action::Await),
            result => result.map(|_| Action::Await),
        }
    }
}
