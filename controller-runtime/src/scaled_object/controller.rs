//! The controller: one turn of one object at a time.
//!
//! A leader's turn reconciles if the object or something that it is made of has changed, checks the triggers if it is
//! time, and writes the status if it says something else. A standby's turn only does what is needed to
//! answer for the object. Turns of different objects run side by side; what was watched only ever adds a key to the
//! queue. While nothing changes, a turn writes nothing.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::{BoxFuture, join_all};
use k8s_openapi::api::core::v1::{ConfigMap, ObjectReference, Secret, ServiceAccount};
use kube::{Resource, ResourceExt as _, core::PartialObjectMeta};
use metrics_adapter::Selector;
use scaler_api::{
    Context, Registry,
    keda::{ClusterTriggerAuthentication, KEDA_VERSION, ScaledObject, TriggerAuthentication},
};
use tokio::{sync::Semaphore, time::Instant};

use super::{
    external_metrics::ScaledObjectMetrics,
    hpa::KeptAutoscaler,
    plan::Builder,
    push::Pushes,
    samples::Sources,
    signals::Signals,
    state::{Entries, Entry, Turn},
    status,
    target::{SlimDeployment, SlimStatefulSet, Targets},
    watched_scales::WatchedScales,
};
use crate::{
    admission::conflicts::Rivals,
    events::{EventType, Recorder},
    explain::{self, Runs},
    pod_autoscaler::{
        metrics::Kind,
        watched::{Watched, Watches},
    },
    queue::{Action, Backoff, WorkQueue},
    runtime::{Readiness, Runtime},
    store::{ObjectKey, Unreadable, list_readable},
    trigger_auth::{self, DependencyKind, Resolver, dependents::Listener, users::Users},
};

/// How the KEDA half runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The namespaces that are watched; all of them where none is named.
    pub namespaces: Vec<String>,
    /// How old a sample may be that answers the HPA.
    pub sample_max_age: Duration,
    /// How many objects are worked on at once. A turn waits for its sources, so this is not about processors: with
    /// fewer than there are objects, sources that hang make other objects late.
    pub concurrency: usize,
    /// The label `app.kubernetes.io/version` of HPAs.
    pub keda_version: String,
    /// How authentications are resolved.
    pub authentication: trigger_auth::Settings,
    /// The labels of the ScaledObjects and ScaledJobs that this process scales; somebody else scales the others, and
    /// this process answers for them as a standby does.
    pub selector: Selector,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            namespaces: Vec::new(),
            sample_max_age: scaler_api::DEFAULT_SAMPLE_MAX_AGE,
            concurrency: 1024,
            keda_version: KEDA_VERSION.to_owned(),
            authentication: trigger_auth::Settings::default(),
            selector: Selector::default(),
        }
    }
}

/// How soon what failed is tried again: at first at once, as objects are often made just after those that refer to
/// them, and never later than a poll would be.
pub(crate) const RETRY: Backoff = Backoff {
    first: Duration::from_millis(100),
    last: Duration::from_secs(30),
};

/// How many turns ask the API server at once: each has a connection of its own, and more of them at a time do not make a
/// server faster. Those that wait for their sources do not count.
const ASKING: usize = 16;

/// The controller of ScaledObjects.
pub struct Controller {
    core: Arc<Core>,
    watches: Vec<BoxFuture<'static, ()>>,
    synced: Vec<BoxFuture<'static, ()>>,
}

impl fmt::Debug for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller")
            .field("config", &self.core.config)
            .finish_non_exhaustive()
    }
}

/// What a turn works with.
pub(crate) struct Core {
    pub(super) runtime: Runtime,
    pub(super) config: Config,
    pub(super) objects: Watched<ScaledObject>,
    pub(super) hpas: Watched<KeptAutoscaler>,
    #[cfg_attr(not(feature = "server"), allow(dead_code, reason = "the webhook asks"))]
    rivals: Rivals,
    pub(super) builder: Builder,
    pub(super) entries: Entries,
    pub(super) pushes: Pushes,
    queue: WorkQueue<ObjectKey>,
    /// Held by turns that ask the API server.
    pub(super) asking: Semaphore,
    /// The objects of the first list that had no turn yet.
    first_turns: Mutex<BTreeSet<ObjectKey>>,
    synced: Readiness,
    ready: Readiness,
}

/// What a process does with its turns.
#[derive(Clone, Copy, Debug)]
enum Role {
    Leader,
    Standby,
}

impl Controller {
    /// A controller in the name of `keda-operator`. Nothing is asked of the API server before it [runs](Self::run).
    #[must_use]
    pub fn new(runtime: Runtime, registry: Arc<Registry>, context: Context, config: Config) -> Self {
        Self::with_listener(runtime, registry, context, config, Listener::none())
    }

    /// The same, which tells `listener` of what triggers are built from when it changes.
    pub(crate) fn with_listener(
        runtime: Runtime,
        registry: Arc<Registry>,
        context: Context,
        config: Config,
        listener: Listener,
    ) -> Self {
        let runtime = Runtime {
            recorder: runtime.recorder.named(scaler_api::keda::MANAGED_BY),
            ..runtime
        };
        let (queue, entries) = (WorkQueue::new(), Entries::default());
        runtime.work.add("scaled-object", &queue);
        let signals = Signals {
            queue: queue.clone(),
            entries: entries.clone(),
            scales: WatchedScales::default(),
            leadership: runtime.leadership.clone(),
            clock: Arc::clone(&runtime.clock),
            selector: config.selector.clone(),
            listener,
            users: Users::default(),
        };
        let mut watches = Watches::new(runtime.client.clone(), &config.namespaces);
        let rivals = Rivals::default();
        let objects = watch_objects(&mut watches, &runtime, &signals, &rivals);
        let hpas = watch_autoscalers(&mut watches, &signals, &rivals);
        let deployments = watches.namespaced::<SlimDeployment>(signals.target());
        let stateful_sets = watches.namespaced::<SlimStatefulSet>(signals.target());
        let authentications = watches.namespaced::<TriggerAuthentication>(
            signals.authentication(DependencyKind::TriggerAuthentication),
        );
        let cluster_authentications = watches.cluster::<ClusterTriggerAuthentication>(
            signals.authentication(DependencyKind::ClusterTriggerAuthentication),
        );
        let registered = runtime.pods.registered();
        registered.add("scaled_object", &objects, |object| &object.spec.triggers);
        registered.add("trigger_authentication", &authentications, |_| &[]);
        registered.add("cluster_trigger_authentication", &cluster_authentications, |_| {
            &[]
        });
        let scales = signals.scales.clone();
        let targets = Targets::new(runtime.client.clone(), deployments, stateful_sets, scales.clone());
        let resolver = Resolver::new(
            runtime.client.clone(),
            authentications,
            cluster_authentications,
            config.authentication.clone(),
            &registry,
            &context,
        );
        let builder = Builder {
            sources: Sources::new(registry, context),
            resolver: resolver.with_users(signals.users.clone()),
            targets,
        };
        let (mut watches, mut synced) = watches.into_futures();
        for (watch, first_list) in watch_references(&runtime.client, &config, &signals) {
            watches.push(watch);
            synced.push(first_list);
        }
        watches.push(Box::pin(builder.resolver.clone().run(signals.everybody())));
        let (client, namespaces) = (runtime.client.clone(), config.namespaces.clone());
        watches.push(Box::pin(scales.run(client, namespaces, signals)));
        let core = Core {
            runtime,
            config,
            objects,
            hpas,
            rivals,
            builder,
            entries,
            pushes: Pushes::new(queue.clone()),
            queue,
            asking: Semaphore::new(ASKING),
            first_turns: Mutex::default(),
            synced: Readiness::default(),
            ready: Readiness::default(),
        };
        Self {
            core: Arc::new(core),
            watches,
            synced,
        }
    }

    /// Builds triggers from what it watches, once that is [synced](Self::synced).
    pub(crate) fn builder(&self) -> Builder {
        self.core.builder.clone()
    }

    /// Whether its caches are filled.
    pub(crate) fn synced(&self) -> Readiness {
        self.core.synced.clone()
    }

    /// The external metrics of the objects that it runs.
    #[must_use]
    pub fn external_metrics(&self) -> ScaledObjectMetrics {
        ScaledObjectMetrics {
            entries: self.core.entries.clone(),
            targets: self.core.builder.targets.clone(),
            pods: self.core.runtime.pods.clone(),
            queue: self.core.queue.clone(),
            sample_max_age: self.core.config.sample_max_age,
        }
    }

    /// Why objects are scaled as they are; `runs` knows what HPAs did whose controller is in this process.
    pub(crate) fn explained(&self, runs: Runs) -> explain::Kind {
        let (asked, names) = (Arc::clone(&self.core), Arc::clone(&self.core));
        explain::Kind::new(
            "ScaledObject",
            &["scaledobjects", "so"],
            move |key| asked.explain(key, &runs),
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

    /// The objects and HPAs that it watches.
    #[cfg(feature = "server")]
    pub(crate) fn watched(&self) -> crate::admission::webhook::Stores {
        crate::admission::webhook::Stores {
            scaled_objects: self.core.objects.clone(),
            autoscalers: self.core.hpas.clone(),
            rivals: self.core.rivals.clone(),
        }
    }

    /// Whether its caches are filled and the objects in them can be answered for, to be asked while it runs.
    #[must_use]
    pub fn ready(&self) -> Readiness {
        self.core.ready.clone()
    }

    /// Watches, answers, and works whenever this process leads, until dropped.
    pub async fn run(self) {
        let Self {
            core,
            watches,
            synced,
        } = self;
        let work = async move {
            join_all(synced).await;
            core.synced.set();
            core.work().await;
        };
        futures::join!(join_all(watches), work);
    }
}

impl Core {
    /// Takes turns as the leader or as a standby.
    async fn work(&self) {
        self.expect_first_turns();
        // The first lists have put everything into the queue.
        let is_listed = AtomicBool::new(true);
        let stand_by = || {
            let is_listed = is_listed.swap(false, Ordering::Relaxed);
            async move {
                if !is_listed {
                    self.restart();
                }
                self.take_turns(Role::Standby).await;
            }
        };
        let lead = || {
            let is_listed = is_listed.swap(false, Ordering::Relaxed);
            async move {
                for unreadable in self.objects.unreadable() {
                    announce(&self.runtime.recorder, &unreadable);
                }
                if !is_listed {
                    self.take_up().await;
                }
                futures::join!(self.take_turns(Role::Leader), self.pushes.listen());
            }
        };
        self.runtime.leadership.alternate(stand_by, lead).await;
    }

    async fn take_turns(&self, role: Role) {
        let turn = |key: ObjectKey| async move {
            let action = match role {
                Role::Leader => Box::pin(self.lead(&key)).await,
                Role::Standby => Box::pin(self.stand_by(&key)).await,
            };
            self.note_first_turn(&key);
            Ok::<_, Infallible>(action)
        };
        self.queue.run(self.config.concurrency, turn).await;
    }

    /// Every object gets a turn; those that were under way when the role changed were dropped.
    fn restart(&self) {
        let known = self.objects.list();
        let mut keys: BTreeSet<_> = known.iter().map(|object| ObjectKey::of(&**object)).collect();
        keys.extend(self.entries.keys());
        keys.iter().for_each(|key| self.entries.mark(key));
        self.runtime.pods.clear(Kind::ScaledObject);
        self.queue.restart(keys);
    }

    /// Takes every object up anew from what the API says, which may be more than what was watched.
    async fn take_up(&self) {
        let objects = loop {
            match self.list().await {
                Ok(objects) => break objects,
                Err(error) => tracing::warn!(%error, "the objects were not listed, trying again"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        let now = self.runtime.clock.now();
        for object in &objects {
            let entry = self.entries.of(&ObjectKey::of(object), object, now);
            entry.resume(object, now).await;
        }
        self.restart();
    }

    async fn list(&self) -> kube::Result<Vec<ScaledObject>> {
        let client = || self.runtime.client.clone();
        let namespaces = &self.config.namespaces;
        let apis: Vec<kube::Api<ScaledObject>> = if namespaces.is_empty() {
            vec![kube::Api::all(client())]
        } else {
            let api = |namespace: &String| kube::Api::namespaced(client(), namespace);
            namespaces.iter().map(api).collect()
        };
        let mut objects = Vec::new();
        for api in apis {
            objects.extend(list_readable(&api).await?.0);
        }
        Ok(objects)
    }

    fn first_turns(&self) -> MutexGuard<'_, BTreeSet<ObjectKey>> {
        self.first_turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expect_first_turns(&self) {
        let known = self.objects.list();
        let mut expected = self.first_turns();
        expected.extend(known.iter().map(|object| ObjectKey::of(&**object)));
        if expected.is_empty() {
            self.ready.set();
        }
    }

    fn note_first_turn(&self, key: &ObjectKey) {
        let mut expected = self.first_turns();
        if expected.remove(key) && expected.is_empty() {
            self.ready.set();
        }
    }

    /// One turn of one object in a process that leads.
    async fn lead(&self, key: &ObjectKey) -> Action {
        let Some(object) = self.objects.get(key) else {
            self.entries.remove(key);
            self.runtime.pods.remove(Kind::ScaledObject, key);
            self.runtime.decisions.forget(&format!("ScaledObject/{key}"));
            self.pushes.follow(key, None);
            return Action::Await;
        };
        let entry = self.entries.of(key, &object, self.runtime.clock.now());
        if !self.config.selector.matches(object.labels()) {
            return self.leave(key, &entry).await;
        }
        let mut turn = entry.turn.lock().await;
        if turn.is_left {
            *turn = Turn::resume(&object, self.runtime.clock.now());
        }
        if object.metadata.deletion_timestamp.is_some() {
            self.pushes.follow(key, None);
            return self.finalize(key, &object, &entry, &mut turn).await;
        }
        if turn.wants_reconciliation(&entry, &object) {
            let _permit = self.asking.acquire().await;
            Box::pin(self.reconcile(key, &object, &entry, &mut turn)).await;
        }
        Box::pin(self.heed(&object, &entry, &mut turn)).await;
        if is_due(turn.next_check)
            && let Some(plan) = entry.live(|live| live.plan.clone())
        {
            Box::pin(self.check(&object, &plan, &entry, &mut turn)).await;
        }
        self.pushes
            .follow(key, entry.live(|live| live.plan.clone()).as_deref());
        self.refresh(key, &object, &entry, &mut turn);
        let published = turn.is_published() || {
            let _permit = self.asking.acquire().await;
            Box::pin(self.publish(key, &mut turn)).await
        };
        next_action(&turn, published)
    }

    /// One turn of an object that somebody else scales.
    async fn leave(&self, key: &ObjectKey, entry: &Entry) -> Action {
        self.pushes.follow(key, None);
        entry.turn.lock().await.is_left = true;
        Box::pin(self.stand_by(key)).await
    }

    /// What the status says about the HPA and about failing sources, which also change between two checks.
    fn refresh(&self, key: &ObjectKey, object: &ScaledObject, entry: &Entry, turn: &mut Turn) {
        let (health, in_force) = entry.live(|live| {
            let in_force = live
                .plan
                .as_ref()
                .map(|plan| live.ledger.any_in_force(plan.fallback.as_ref()));
            (live.ledger.to_status(), in_force)
        });
        turn.status.health = health;
        if let Some(in_force) = in_force {
            self.set_fallback(key, object, turn, in_force);
            let hpa_name = turn.status.hpa_name.clone().unwrap_or_default();
            let hpa = self.hpas.get(&ObjectKey::new(&key.namespace, hpa_name));
            let found = hpa.and_then(|hpa| status::hpa_condition(&hpa.status.value()));
            let known = turn.status.condition("HPAActive");
            if let Some(found) = found
                && known.is_none_or(|known| (&known.status, &known.reason) != (&found.status, &found.reason))
            {
                status::set_condition(&mut turn.status, found);
            }
        }
    }

    /// Writes the status if it has changed; whether it says now what it shall.
    pub(super) async fn publish(&self, key: &ObjectKey, turn: &mut Turn) -> bool {
        let Some(patch) = turn.published.patch(&turn.status) else {
            return true;
        };
        let api = self.api(key);
        let patch = kube::api::Patch::Merge(&patch);
        match api
            .patch_status(&key.name, &kube::api::PatchParams::default(), &patch)
            .await
        {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => {
                tracing::warn!(object = %key, %error, "status was not written");
                if !std::mem::replace(&mut turn.unwritten, true)
                    && let Some(object) = self.objects.get(key)
                {
                    let (recorder, message) = (&self.runtime.recorder, error.to_string());
                    recorder.publish(&*object, EventType::Warning, "ScaledObjectUpdateFailed", message);
                }
                return false;
            }
        }
        turn.unwritten = false;
        turn.published = status::Published::of(&turn.status);
        true
    }

    pub(super) fn api(&self, key: &ObjectKey) -> kube::Api<ScaledObject> {
        kube::Api::namespaced(self.runtime.client.clone(), &key.namespace)
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
        self.runtime
            .decisions
            .record("scaled-object", format!("ScaledObject/{key}"), from, to, reason);
    }
}

/// Hears of Secrets and ConfigMaps that authentications may refer to, those of the watched namespaces and of the one that
/// ClusterTriggerAuthentications refer to, and of ServiceAccounts, whose roles scalers may take.
fn watch_references(
    client: &kube::Client,
    config: &Config,
    signals: &Signals,
) -> Vec<(BoxFuture<'static, ()>, BoxFuture<'static, ()>)> {
    let home = &config.authentication.cluster_object_namespace;
    let mut namespaces = config.namespaces.clone();
    if !namespaces.is_empty() && !namespaces.contains(home) {
        namespaces.push(home.clone());
    }
    let secrets = match config.authentication.restrict_secret_access {
        true => vec![home.clone()],
        false => namespaces.clone(),
    };
    let mut watches = Watches::new(client.clone(), &secrets);
    watches.namespaced::<PartialObjectMeta<Secret>>(signals.dependency(DependencyKind::Secret));
    let (mut running, mut synced) = watches.into_futures();
    let mut watches = Watches::new(client.clone(), &namespaces);
    watches.namespaced::<PartialObjectMeta<ConfigMap>>(signals.dependency(DependencyKind::ConfigMap));
    let (more, more_synced) = watches.into_futures();
    running.extend(more);
    synced.extend(more_synced);
    let mut watches = Watches::new(client.clone(), &config.namespaces);
    watches
        .namespaced::<PartialObjectMeta<ServiceAccount>>(signals.dependency(DependencyKind::ServiceAccount));
    let (more, more_synced) = watches.into_futures();
    running.extend(more);
    synced.extend(more_synced);
    running.into_iter().zip(synced).collect()
}

/// Watches the objects; of those that cannot be read the leader says so.
fn watch_objects(
    watches: &mut Watches<'_>,
    runtime: &Runtime,
    signals: &Signals,
    rivals: &Rivals,
) -> Watched<ScaledObject> {
    let (signals, recorder, rivals) = (signals.clone(), runtime.recorder.clone(), rivals.clone());
    let leadership = runtime.leadership.clone();
    watches.namespaced_reporting(
        move |change| {
            rivals.scaled_object(change);
            signals.object(change);
        },
        move |unreadable| {
            if leadership.leads() {
                announce(&recorder, unreadable);
            }
        },
    )
}

fn watch_autoscalers(
    watches: &mut Watches<'_>,
    signals: &Signals,
    rivals: &Rivals,
) -> Watched<KeptAutoscaler> {
    let (signals, rivals) = (signals.clone(), rivals.clone());
    watches.namespaced(move |change| {
        rivals.autoscaler(change);
        signals.autoscaler(change);
    })
}

/// Says on the object that it cannot be read.
fn announce(recorder: &Recorder, unreadable: &Unreadable) {
    announce_unreadable::<ScaledObject>(recorder, unreadable, "ScaledObjectCheckFailed");
}

/// Says on an object of some kind that it cannot be read.
pub(crate) fn announce_unreadable<K: Resource<DynamicType = ()>>(
    recorder: &Recorder,
    unreadable: &Unreadable,
    reason: &str,
) {
    let about = ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        namespace: unreadable.metadata.namespace.clone(),
        name: unreadable.metadata.name.clone(),
        uid: unreadable.metadata.uid.clone(),
        ..ObjectReference::default()
    };
    let message = format!("the object cannot be read: {}", unreadable.problem);
    recorder.publish_about(about, EventType::Warning, reason, message);
}

pub(super) fn retry_delay(turn: &mut Turn) -> Duration {
    turn.failures = turn.failures.saturating_add(1);
    RETRY.after(turn.failures)
}

/// Whether a time has come.
pub(crate) fn is_due(at: Option<Instant>) -> bool {
    at.is_some_and(|at| at <= Instant::now())
}

pub(super) fn next_action(turn: &Turn, published: bool) -> Action {
    let unpublished = (!published).then(|| Instant::now() + Duration::from_secs(1));
    wake_at([turn.next_check, turn.retry_at, unpublished])
}

/// Comes back at the first of these times.
pub(crate) fn wake_at(times: impl IntoIterator<Item = Option<Instant>>) -> Action {
    match times.into_iter().flatten().min() {
        // A key that is due already waits a moment for its turn like any other.
        Some(at) => Action::RequeueAfter(
            at.saturating_duration_since(Instant::now())
                .max(Duration::from_millis(1)),
        ),
        None => Action::Await,
    }
}
