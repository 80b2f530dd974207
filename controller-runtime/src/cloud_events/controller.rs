//! Follows the sources, gives them what is published, and says in their status whether they work.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{
    StreamExt as _,
    future::{AbortHandle, Abortable, BoxFuture, join_all},
    stream::FuturesUnordered,
};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Api, Resource,
    api::{Patch, PatchParams},
    core::ObjectMeta,
};
use scaler_api::{
    SharedClock,
    keda::{CloudEventSource, CloudEventSourceSpec, ClusterCloudEventSource, Condition, FINALIZER},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    BUFFER, Config, Sink,
    event::Happening,
    worker::{Buffer, Surroundings, Worker},
};
use crate::{
    events::EventType,
    pod_autoscaler::watched::{Watched, Watches},
    queue::{Action, WorkQueue},
    runtime::{Readiness, Runtime},
    store::{Change, ObjectKey},
    trigger_auth::Resolver,
};

/// Tells what happens to KEDA's resources to those who subscribe to it.
pub(crate) struct CloudEvents {
    core: Arc<Core>,
    watches: Vec<BoxFuture<'static, ()>>,
    synced: Vec<BoxFuture<'static, ()>>,
    /// Whether authentications can be resolved.
    resolves: Readiness,
    heard: mpsc::Receiver<Happening>,
    changed: mpsc::UnboundedReceiver<ObjectKey>,
}

impl fmt::Debug for CloudEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudEvents").finish_non_exhaustive()
    }
}

struct Core {
    runtime: Runtime,
    around: Surroundings,
    /// Where the authentication of ClusterCloudEventSources is.
    cluster_object_namespace: String,
    sources: Watched<CloudEventSource>,
    cluster_sources: Watched<ClusterCloudEventSource>,
    running: Mutex<BTreeMap<ObjectKey, Running>>,
    /// Sources whose status may have to be written.
    queue: WorkQueue<ObjectKey>,
}

struct Running {
    worker: Arc<Worker>,
    stop: AbortHandle,
}

/// A source of either kind.
enum Found {
    Namespaced(Arc<CloudEventSource>),
    Cluster(Arc<ClusterCloudEventSource>),
}

impl Found {
    fn spec(&self) -> &CloudEventSourceSpec {
        match self {
            Self::Namespaced(found) => &found.spec,
            Self::Cluster(found) => &found.spec,
        }
    }

    fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Namespaced(found) => &found.metadata,
            Self::Cluster(found) => &found.metadata,
        }
    }

    fn conditions(&self) -> Option<&Vec<Condition>> {
        let status = match self {
            Self::Namespaced(found) => found.status.as_ref(),
            Self::Cluster(found) => found.status.as_ref(),
        };
        status?.conditions.as_ref()
    }

    fn reference(&self) -> ObjectReference {
        match self {
            Self::Namespaced(found) => found.object_ref(&()),
            Self::Cluster(found) => found.object_ref(&()),
        }
    }
}

impl CloudEvents {
    /// In the name of `runtime`'s component, from the moment on at which the first list is there. Authentications are
    /// looked up by `resolver` once it `resolves`.
    pub(crate) fn new(
        runtime: &Runtime,
        config: Config,
        sink: Arc<dyn Sink>,
        namespaces: &[String],
        cluster_object_namespace: &str,
        (resolver, resolves): (Resolver, Readiness),
    ) -> Self {
        let runtime = runtime.named(scaler_api::keda::MANAGED_BY);
        let (changes, changed) = mpsc::unbounded_channel();
        let (tell, heard) = mpsc::channel(BUFFER);
        listen(&runtime, tell);
        let mut watches = Watches::new(runtime.client.clone(), namespaces);
        let sources = watches.namespaced(report::<CloudEventSource>(changes.clone()));
        let cluster_sources = watches.cluster(report::<ClusterCloudEventSource>(changes));
        let registered = runtime.pods.registered();
        registered.add("cloudevent_source", &sources, |_| &[]);
        registered.add("cluster_cloudevent_source", &cluster_sources, |_| &[]);
        let (watches, synced) = watches.into_futures();
        let around = Surroundings {
            config,
            sink,
            resolver,
            metrics: runtime.pods.cloud_events().clone(),
        };
        let core = Core {
            runtime,
            around,
            cluster_object_namespace: cluster_object_namespace.to_owned(),
            sources,
            cluster_sources,
            running: Mutex::default(),
            queue: WorkQueue::new(),
        };
        Self {
            core: Arc::new(core),
            watches,
            synced,
            resolves,
            heard,
            changed,
        }
    }

    /// Watches and delivers until dropped; the status is written whenever this process leads.
    pub(crate) async fn run(self) {
        let Self {
            core,
            watches,
            synced,
            resolves,
            heard,
            changed,
        } = self;
        let work = async {
            join_all(synced).await;
            resolves.wait().await;
            futures::join!(core.deliver(heard, changed), core.keep_statuses());
        };
        futures::join!(join_all(watches), work);
    }
}

/// Hears what is published, and passes on what is told.
fn listen(runtime: &Runtime, tell: mpsc::Sender<Happening>) {
    let (clock, numbers): (SharedClock, _) = (Arc::clone(&runtime.clock), AtomicU64::new(0));
    runtime.recorder.listen(move |about, reason, message| {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let Some(happening) = Happening::of(about, reason, message, clock.now(), number) else {
            return;
        };
        if let Err(mpsc::error::TrySendError::Full(lost)) = tell.try_send(happening) {
            tracing::warn!(
                event = lost.event_type,
                "too much happens at once, an event is lost"
            );
        }
    });
}

fn report<K: Resource<DynamicType = ()> + 'static>(
    changes: mpsc::UnboundedSender<ObjectKey>,
) -> impl FnMut(&Change<K>) + Clone + Send + 'static {
    move |change| {
        // Nobody listens at shutdown.
        changes.send(ObjectKey::of(&**change.object())).ok();
    }
}

impl Core {
    fn find(&self, key: &ObjectKey) -> Option<Found> {
        if key.namespace.is_empty() {
            self.cluster_sources.get(key).map(Found::Cluster)
        } else {
            self.sources.get(key).map(Found::Namespaced)
        }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a worker for each source, and gives them what is heard.
    async fn deliver(
        &self,
        mut heard: mpsc::Receiver<Happening>,
        mut changed: mpsc::UnboundedReceiver<ObjectKey>,
    ) {
        let mut workers = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(_ended) = workers.next(), if !workers.is_empty() => {}
                Some(key) = changed.recv() => {
                    self.queue.add(key.clone());
                    if let Some((worker, stop)) = self.take_up(&key) {
                        workers.push(Abortable::new(self.work(worker), stop));
                    }
                }
                Some(event) = heard.recv() => {
                    let event = Arc::new(event);
                    for running in self.running().values() {
                        running.worker.offer(&event, &self.around.metrics);
                    }
                }
                else => return,
            }
        }
    }

    async fn work(&self, worker: Arc<Worker>) {
        let changed = || self.queue.add(worker.key.clone());
        worker.run(&self.around, changed).await;
    }

    /// Makes the worker of a source if it is new or was changed, and ends the one that it had.
    fn take_up(&self, key: &ObjectKey) -> Option<(Arc<Worker>, futures::future::AbortRegistration)> {
        let found = self
            .find(key)
            .filter(|found| found.metadata().deletion_timestamp.is_none());
        let mut running = self.running();
        let Some(found) = found else {
            if let Some(former) = running.remove(key) {
                former.stop.abort();
            }
            self.around.metrics.remove(key);
            return None;
        };
        if running
            .get(key)
            .is_some_and(|known| known.worker.spec == *found.spec())
        {
            return None;
        }
        let former = running.remove(key);
        if let Some(former) = &former {
            former.stop.abort();
        }
        let buffer = former.map_or_else(Arc::<Buffer>::default, |former| Arc::clone(&former.worker.buffer));
        self.around.metrics.queued(key, buffer.len());
        let namespace = match found {
            Found::Namespaced(_) => key.namespace.clone(),
            Found::Cluster(_) => self.cluster_object_namespace.clone(),
        };
        let worker = Worker::new(key.clone(), found.spec().clone(), namespace, buffer);
        let worker = Arc::new(worker);
        let (stop, registration) = AbortHandle::new_pair();
        let entry = Running {
            worker: Arc::clone(&worker),
            stop,
        };
        running.insert(key.clone(), entry);
        Some((worker, registration))
    }

    async fn keep_statuses(&self) {
        let leadership = &self.runtime.leadership;
        leadership
            .while_leading(|| async {
                let mut keys: Vec<_> = self.running().keys().cloned().collect();
                keys.extend(self.sources.list().iter().map(|source| ObjectKey::of(&**source)));
                let cluster = self.cluster_sources.list();
                keys.extend(cluster.iter().map(|source| ObjectKey::of(&**source)));
                self.queue.restart(keys);
                let turn = |key: ObjectKey| async move { Ok::<_, Infallible>(self.tell(&key).await) };
                self.queue.run(1, turn).await;
            })
            .await;
    }

    /// Makes the status say whether a source works; lets it go when it is deleted.
    async fn tell(&self, key: &ObjectKey) -> Action {
        let Some(found) = self.find(key) else {
            return Action::Await;
        };
        let metadata = found.metadata();
        let again = Action::RequeueAfter(Duration::from_secs(1));
        if metadata.deletion_timestamp.is_some() {
            // Of the process that was here before.
            let finalizers = metadata.finalizers.iter().flatten();
            let others: Vec<_> = finalizers.clone().filter(|name| *name != FINALIZER).collect();
            if others.len() == finalizers.count() {
                return Action::Await;
            }
            let patch = json!({"metadata": {
                "resourceVersion": metadata.resource_version, "finalizers": others,
            }});
            return self
                .patch(key, &patch, false)
                .await
                .map_or(again, |()| Action::Await);
        }
        let running = self.running().get(key).map(|running| Arc::clone(&running.worker));
        let Some(active) = running.and_then(|worker| worker.active()) else {
            return Action::Await;
        };
        let mut known = found.conditions().into_iter().flatten();
        let known = known.find(|known| known.type_ == active.type_);
        if known == Some(&active) {
            return Action::Await;
        }
        let patch = json!({"status": {"conditions": [active]}});
        if self.patch(key, &patch, true).await.is_err() {
            return again;
        }
        if known.is_none_or(|known| (&known.status, &known.reason) != (&active.status, &active.reason)) {
            let event_type = if active.is_true() {
                EventType::Normal
            } else {
                EventType::Warning
            };
            let (reason, message) = (
                active.reason.unwrap_or_default(),
                active.message.unwrap_or_default(),
            );
            let recorder = &self.runtime.recorder;
            recorder.publish_about(found.reference(), event_type, reason, message);
        }
        Action::Await
    }

    async fn patch(&self, key: &ObjectKey, patch: &Value, is_status: bool) -> Result<(), ()> {
        let client = self.runtime.client.clone();
        let result = if key.namespace.is_empty() {
            apply(
                &Api::<ClusterCloudEventSource>::all(client),
                &key.name,
                patch,
                is_status,
            )
            .await
        } else {
            let api = Api::<CloudEventSource>::namespaced(client, &key.namespace);
            apply(&api, &key.name, patch, is_status).await
        };
        match result {
            Ok(()) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => {
                tracing::warn!(source = %key, %error, "the source of CloudEvents was not written");
                Err(())
            }
        }
    }
}

async fn apply<K>(api: &Api<K>, name: &str, patch: &Value, is_status: bool) -> kube::Result<()>
where
    K: Clone + serde::de::DeserializeOwned + fmt::Debug,
{
    let (parameters, patch) = (PatchParams::default(), Patch::Merge(patch));
    if is_status {
        api.patch_status(name, &parameters, &patch).await.map(|_| ())
    } else {
        api.patch(name, &parameters, &patch).await.map(|_| ())
    }
}
