//! The controller: one turn of one object at a time, in the process that leads.
//!
//! A turn reconciles if the object or something that it is made of has changed, checks the triggers if it is time, and
//! writes the status if it says something else. While nothing changes, a turn writes nothing. Jobs and pods that change
//! wake nobody: they are counted at the next check.

use std::{
    convert::Infallible,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, join_all},
};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
    core::NamespaceResourceScope,
    runtime::watcher,
};
use scaler_api::keda::{SCALED_JOB_NAME_LABEL, ScaledJob, ScaledJobStatus};
use tokio::time::Instant;

use super::{
    jobs::{SlimJob, SlimPod},
    ledger::Ledger,
    state::{Entries, Turn},
};
use crate::{
    events::{EventType, Recorder},
    explain,
    pod_autoscaler::{
        Config,
        metrics::Kind,
        watched::{Watched, Watches},
    },
    queue::{Action, WorkQueue},
    runtime::{Readiness, Runtime},
    scaled_object::{
        controller::{announce_unreadable, is_due, wake_at},
        plan::Builder,
        state::Fingerprint,
        status,
    },
    store::{Change, ObjectKey, Unreadable, list_readable},
    trigger_auth::{Dependency, dependents::Listener},
};

/// How long a new leader waits for the first lists of Jobs and pods before it says that they cannot be read.
const PATIENCE: Duration = Duration::from_secs(10);

/// The controller of ScaledJobs.
pub(crate) struct Controller {
    core: Arc<Core>,
    watches: Vec<BoxFuture<'static, ()>>,
    /// The lists that nothing goes without.
    synced: Vec<BoxFuture<'static, ()>>,
    /// The lists of Jobs and pods.
    counted: Vec<BoxFuture<'static, ()>>,
    /// Whether the builder can build.
    builds: Readiness,
}

impl fmt::Debug for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScaledJobs").finish_non_exhaustive()
    }
}

/// What a turn works with.
pub(super) struct Core {
    pub(super) runtime: Runtime,
    pub(super) config: Config,
    pub(super) builder: Builder,
    pub(super) entries: Entries,
    pub(super) ledger: Ledger,
    pub(super) objects: Watched<ScaledJob>,
    jobs: Watched<SlimJob>,
    pods: Watched<SlimPod>,
    queue: WorkQueue<ObjectKey>,
    /// Why the Jobs of this term were not listed; none once they were.
    unread: Mutex<Option<String>>,
    synced: Readiness,
    ready: Readiness,
}

fn announce(recorder: &Recorder, unreadable: &Unreadable) {
    announce_unreadable::<ScaledJob>(recorder, unreadable, "ScaledJobCheckFailed");
}

/// Turns what was watched into keys. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signals {
    queue: WorkQueue<ObjectKey>,
    entries: Entries,
}

impl Signals {
    /// Hears of what triggers are built from.
    pub(crate) fn listener(&self) -> Listener {
        let (signals, entries) = (self.clone(), self.entries.clone());
        let listen = move |dependency: &Dependency| {
            for key in signals.entries.mark(dependency) {
                signals.queue.add(key);
            }
        };
        Listener::new(listen, move |dependency| entries.uses(dependency))
    }

    fn object(&self, change: &Change<ScaledJob>) {
        if let Change::Applied {
            object,
            previous: Some(previous),
        } = change
            && previous.uid() == object.uid()
            && Fingerprint::of(&**previous) == Fingerprint::of(&**object)
        {
            return;
        }
        self.queue.add(ObjectKey::of(&**change.object()));
    }
}

impl Controller {
    /// A controller that is told of changes by `signals` and builds triggers by `builder` once that is there.
    pub(crate) fn new(
        runtime: &Runtime,
        config: Config,
        builder: Builder,
        builds: Readiness,
        signals: Signals,
    ) -> Self {
        let runtime = runtime.named(scaler_api::keda::MANAGED_BY);
        runtime.work.add("scaled-job", &signals.queue);
        let (client, namespaces) = (runtime.client.clone(), config.namespaces.clone());
        let ledger = Ledger::default();
        let mut watches = Watches::new(client.clone(), &namespaces);
        let objects = watches.namespaced_reporting(
            {
                let (signals, users) = (signals.clone(), builder.resolver.users().clone());
                move |change| {
                    users.note_job(change);
                    signals.object(change);
                }
            },
            {
                let (recorder, leadership) = (runtime.recorder.clone(), runtime.leadership.clone());
                move |unreadable| {
                    if leadership.leads() {
                        announce(&recorder, unreadable);
                    }
                }
            },
        );
        let registered = runtime.pods.registered();
        registered.add("scaled_job", &objects, |object: &ScaledJob| &object.spec.triggers);
        let labelled = watcher::Config::default().labels(SCALED_JOB_NAME_LABEL);
        let mut work = Watches::new(client, &namespaces);
        let jobs = work.selected(&labelled, {
            let ledger = ledger.clone();
            move |change| ledger.job(change)
        });
        let pods = work.selected(&labelled, {
            let ledger = ledger.clone();
            move |change| ledger.pod(change)
        });
        let (mut watches, synced) = watches.into_futures();
        let (watches_of_work, counted) = work.into_futures();
        watches.extend(watches_of_work);
        let core = Core {
            runtime,
            config,
            builder,
            entries: signals.entries,
            ledger,
            objects,
            jobs,
            pods,
            queue: signals.queue,
            unread: Mutex::new(Some(UNLISTED.to_owned())),
            synced: Readiness::default(),
            ready: Readiness::default(),
        };
        Self {
            core: Arc::new(core),
            watches,
            synced,
            counted,
            builds,
        }
    }

    /// Why objects are scaled as they are.
    pub(crate) fn explained(&self) -> explain::Kind {
        let (asked, names) = (Arc::clone(&self.core), Arc::clone(&self.core));
        explain::Kind::new(
            "ScaledJob",
            &["scaledjobs", "sj"],
            move |key| asked.explain(key),
            move || {
                names
                    .objects
                    .list()
                    .iter()
                    .map(|object| ObjectKey::of(&**object))
                    .collect()
            },
        )
    }

    /// Whether the objects are listed.
    pub(crate) fn synced(&self) -> Readiness {
        self.core.synced.clone()
    }

    /// Whether its caches are filled, to be asked while it runs.
    pub(crate) fn ready(&self) -> Readiness {
        self.core.ready.clone()
    }

    /// Watches, and works whenever this process leads, until dropped.
    pub(crate) async fn run(self) {
        let Self {
            core,
            watches,
            synced,
            counted,
            builds,
        } = self;
        let (caches, leader) = (Arc::clone(&core), core);
        let counted = async move {
            join_all(counted).await;
            caches.ready.set();
        };
        let work = async move {
            join_all(synced).await;
            leader.synced.set();
            builds.wait().boxed().await;
            leader.work().boxed().await;
        };
        futures::join!(join_all(watches), counted, work);
    }
}

const UNLISTED: &str = "they were not listed yet";

impl Core {
    async fn work(&self) {
        let lead = || -> BoxFuture<'_, ()> { Box::pin(self.lead()) };
        let leadership = &self.runtime.leadership;
        leadership.while_leading(lead).boxed().await;
    }

    /// Everything that a leader does in its term.
    async fn lead(&self) {
        let _late = tokio::time::timeout(PATIENCE, self.ready.wait().boxed()).await;
        self.set_unread(Some(UNLISTED.to_owned()));
        self.entries.clear();
        self.runtime.pods.clear(Kind::ScaledJob);
        for unreadable in self.objects.unreadable() {
            announce(&self.runtime.recorder, &unreadable);
        }
        let objects = loop {
            match self.list_objects().boxed().await {
                Ok(objects) => break objects,
                Err(error) => tracing::warn!(%error, "the objects were not listed, trying again"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        for object in &objects {
            // It may be newer than what was watched.
            self.entries.of(&ObjectKey::of(object), object);
        }
        self.list_jobs().await;
        let known = self.objects.list();
        self.queue
            .restart(known.iter().map(|object| ObjectKey::of(&**object)));
        futures::join!(self.list_again().boxed(), self.take_turns().boxed());
    }

    async fn list_again(&self) {
        while self.unread().is_some() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.list_jobs().await;
        }
    }

    async fn take_turns(&self) {
        let turn = |key: ObjectKey| async move { Ok::<_, Infallible>(Box::pin(self.turn(&key)).await) };
        self.queue.run(self.config.concurrency, turn).await;
    }

    /// Learns which Jobs there are, whoever made them.
    async fn list_jobs(&self) {
        let labelled = ListParams::default().labels(SCALED_JOB_NAME_LABEL);
        match self.list_of_jobs(labelled).boxed().await {
            Ok(jobs) => {
                self.ledger.settle_all(jobs, Instant::now());
                self.set_unread(None);
            }
            Err(error) => {
                tracing::warn!(%error, "the Jobs were not listed, trying again");
                self.set_unread(Some(error.to_string()));
            }
        }
    }

    fn apis<K>(&self) -> Vec<Api<K>>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        let client = || self.runtime.client.clone();
        let namespaces = &self.config.namespaces;
        if namespaces.is_empty() {
            return vec![Api::all(client())];
        }
        let api = |namespace: &String| Api::namespaced(client(), namespace);
        namespaces.iter().map(api).collect()
    }

    async fn list_objects(&self) -> kube::Result<Vec<ScaledJob>> {
        let mut objects = Vec::new();
        for api in self.apis() {
            objects.extend(list_readable(&api).await?.0);
        }
        objects.retain(|object: &ScaledJob| self.config.selector.matches(object.labels()));
        Ok(objects)
    }

    /// One that cannot be read is none that can be left out.
    async fn list_of_jobs(&self, parameters: ListParams) -> kube::Result<Vec<SlimJob>> {
        let mut jobs = Vec::new();
        for api in self.apis() {
            jobs.extend(api.list(&parameters).await?);
        }
        Ok(jobs)
    }

    fn unread(&self) -> Option<String> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_unread(&self, problem: Option<String>) {
        *self.unread.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }

    /// Makes sure that the Jobs of an object can be counted.
    pub(super) async fn count_on_jobs(&self, key: &ObjectKey) -> Result<(), String> {
        if let Some(problem) = self.unread() {
            return Err(problem);
        }
        if !self.jobs.is_synced() || !self.pods.is_synced() {
            return Err(UNLISTED.to_owned());
        }
        let is_of_object = |job: &&Unreadable| {
            let labels = job.metadata.labels.as_ref();
            job.key().namespace == key.namespace
                && labels.and_then(|labels| labels.get(SCALED_JOB_NAME_LABEL)) == Some(&key.name)
        };
        if let Some(job) = self.jobs.unreadable().iter().find(is_of_object) {
            return Err(format!("Job {} cannot be read: {}", job.key(), job.problem));
        }
        if !self.ledger.is_in_doubt(key, Instant::now()) {
            return Ok(());
        }
        let api: Api<SlimJob> = Api::namespaced(self.runtime.client.clone(), &key.namespace);
        let of_object = ListParams::default().labels(&format!("{SCALED_JOB_NAME_LABEL}={}", key.name));
        let listed = api.list(&of_object).await.map_err(|error| error.to_string())?;
        self.ledger.settle(key, listed.items, Instant::now());
        Ok(())
    }

    /// One turn of one object.
    async fn turn(&self, key: &ObjectKey) -> Action {
        // Those that somebody else scales are as good as gone.
        let is_own = |object: &Arc<ScaledJob>| self.config.selector.matches(object.labels());
        let Some(object) = self.objects.get(key).filter(is_own) else {
            self.entries.remove(key);
            self.runtime.pods.remove(Kind::ScaledJob, key);
            self.runtime.decisions.forget(&format!("ScaledJob/{key}"));
            return Action::Await;
        };
        let entry = self.entries.of(key, &object);
        let mut turn = entry.turn.lock().await;
        if object.metadata.deletion_timestamp.is_some() {
            return self.finalize(key, &object, &mut turn).await;
        }
        if turn.wants_reconciliation(&entry, &object) {
            self.reconcile(key, &object, &mut turn).await;
        }
        if is_due(turn.next_check)
            && let Some(plan) = turn.plan.clone()
        {
            self.check(key, &plan, &entry, &mut turn).await;
        }
        let published = self.publish(key, &mut turn).await;
        let unpublished = (!published).then(|| Instant::now() + Duration::from_secs(1));
        wake_at([turn.next_check, turn.retry_at, unpublished])
    }

    /// Writes the status if it has changed; whether it says now what it shall.
    async fn publish(&self, key: &ObjectKey, turn: &mut Turn) -> bool {
        let Some(patch) = status::patch(&turn.published, &turn.status) else {
            return true;
        };
        let written = self
            .api(key)
            .patch_status(&key.name, &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        match written {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => {
                tracing::warn!(object = %key, %error, "status was not written");
                if !std::mem::replace(&mut turn.unwritten, true)
                    && let Some(object) = self.objects.get(key)
                {
                    let is_paused = |status: &ScaledJobStatus| status.paused.as_deref() == Some("True");
                    let reason = match is_paused(&turn.status) && !is_paused(&turn.published) {
                        true => "ScaledJobPauseFailed",
                        false => "ScaledJobUpdateFailed",
                    };
                    self.say(&object, EventType::Warning, reason, &error.to_string());
                }
                return false;
            }
        }
        turn.unwritten = false;
        turn.published = turn.status.clone();
        true
    }

    pub(super) fn api(&self, key: &ObjectKey) -> Api<ScaledJob> {
        Api::namespaced(self.runtime.client.clone(), &key.namespace)
    }

    /// Says why something was done.
    #[allow(clippy::needless_pass_by_value, reason = "numbers and texts alike")]
    pub(super) fn record(
        &self,
        key: &ObjectKey,
        from: impl ToString,
        to: impl ToString,
        reason: impl Into<String>,
    ) {
        let object = format!("ScaledJob/{key}");
        self.runtime
            .decisions
            .record("scaled-job", object, from, to, reason);
    }
}
