//! Jobs: pods that run to their end.

mod backoff;
mod decide;
mod indexes;
mod manage;
mod pod;
mod policy;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use jiff::SignedDuration;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};

use self::backoff::Backoff;
use super::{
    Informers, Stores,
    children::Children,
    claim::Claim,
    expectations::Expectations,
    meta::{controller_of, selects},
    work,
};
use crate::{
    events::EventType,
    queue::{Action, WorkQueue},
    runtime::Runtime,
    store::{Change, ObjectKey, Store},
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
    let (adding, jobs) = (queue.clone(), stores.jobs.clone());
    informers.pods.subscribe(move |change| {
        let Change::Applied { object: pod, .. } = change else {
            return;
        };
        if controller_of(&pod.metadata).is_some() {
            return;
        }
        if counts(pod) {
            adding.add(ObjectKey::new(pod.namespace().unwrap_or_default(), ORPHANS));
        }
        for job in selecting(&jobs, pod) {
            adding.add(ObjectKey::of(&*job));
        }
    });
    let controller = Controller {
        cx: cx.named("job-controller"),
        stores: stores.clone(),
        expectations,
        backoffs: Arc::default(),
    };
    work(stores, queue, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(key).await }
    })
}

/// In place of a Job's name: look at the pods that no Job manages.
const ORPHANS: &str = "";

/// The Jobs that select a pod.
fn selecting(jobs: &Store<Job>, pod: &Pod) -> Vec<Arc<Job>> {
    let mut jobs = jobs.list_namespace(&pod.namespace().unwrap_or_default());
    jobs.retain(|job| {
        let selector = job.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        selector.is_some_and(|selector| selects(selector, pod.metadata.labels.as_ref()))
    });
    jobs
}

/// Whether the pod is kept until it is counted.
fn counts(pod: &Pod) -> bool {
    pod.finalizers()
        .iter()
        .any(|finalizer| finalizer == decide::FINALIZER)
}

/// By Job, with its uid.
type Backoffs = BTreeMap<ObjectKey, (Option<String>, Backoff)>;

#[derive(Clone, Debug)]
struct Controller {
    cx: Runtime,
    stores: Stores,
    expectations: Expectations,
    /// What is remembered of each Job's failures, as upstream's controller does, only in memory.
    backoffs: Arc<Mutex<Backoffs>>,
}

impl Controller {
    /// What is remembered of this very Job.
    fn backoff(&self, key: &ObjectKey, job: &Job) -> Backoff {
        let backoffs = self.backoffs.lock().unwrap_or_else(PoisonError::into_inner);
        let known = backoffs.get(key).filter(|(uid, _)| *uid == job.uid());
        known.map(|(_, backoff)| backoff.clone()).unwrap_or_default()
    }

    fn remember(&self, key: &ObjectKey, job: &Job, backoff: Backoff) {
        let mut backoffs = self.backoffs.lock().unwrap_or_else(PoisonError::into_inner);
        backoffs.insert(key.clone(), (job.uid(), backoff));
    }

    fn forget(&self, key: &ObjectKey) {
        let mut backoffs = self.backoffs.lock().unwrap_or_else(PoisonError::into_inner);
        backoffs.remove(key);
    }

    async fn claim(&self, job: &Job) -> kube::Result<Vec<Arc<Pod>>> {
        let claim = Claim {
            cx: &self.cx,
            owner: job,
            selector: job.spec.as_ref().and_then(|spec| spec.selector.as_ref()),
            finalizer: Some(decide::FINALIZER),
        };
        let pods = self
            .stores
            .pods
            .list_namespace(&job.namespace().unwrap_or_default());
        claim.objects(pods, |_| true).await
    }

    async fn reconcile(&self, key: ObjectKey) -> kube::Result<Action> {
        let Some(job) = self.stores.jobs.get(&key) else {
            self.forget(&key);
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
        let pods = self.claim(&job).await?;
        let now = self.cx.clock.now();
        let plan = decide::plan(&job, &pods, &self.backoff(&key, &job), now);
        if job.status.as_ref() != Some(&plan.status) {
            let api: Api<Job> = Api::namespaced(self.cx.client.clone(), &key.namespace);
            let changed = Job {
                status: Some(plan.status.clone()),
                ..(*job).clone()
            };
            api.replace_status(&key.name, &PostParams::default(), &changed)
                .await?;
        }
        self.remember(&key, &job, plan.backoff.clone());
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
        for pod in &plan.discard {
            self.release(pod).await?;
        }
        children.delete(&plan.discard).await?;
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

    /// Nobody counts the pods of a Job that is gone, nor those that nobody manages.
    async fn release_orphans(&self, key: &ObjectKey) -> kube::Result<Action> {
        for pod in self.stores.pods.list_namespace(&key.namespace) {
            let orphan = match controller_of(&pod.metadata) {
                Some(owner) => owner.kind == "Job" && owner.name == key.name,
                None => selecting(&self.stores.jobs, &pod).is_empty(),
            };
            if orphan && counts(&pod) {
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
