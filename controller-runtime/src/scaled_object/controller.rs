//! The controller: one turn of one object at a time.
//!
//! A turn reconciles if the object or something that it is made of has changed, checks the triggers if it is time, and
//! writes the status if it says something else. Turns of different objects run side by side; what was watched only ever
//! adds a key to the queue. While nothing changes, a turn writes nothing.

use std::{fmt, sync::Arc, time::Duration};

use futures::future::{BoxFuture, join_all};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Resource, ResourceExt as _, core::PartialObjectMeta};
use scaler_api::{
    Context, Registry,
    keda::{ClusterTriggerAuthentication, KEDA_VERSION, ScaledObject, TriggerAuthentication},
};
use tokio::time::Instant;

use super::{
    external_metrics::ScaledObjectMetrics,
    hpa::Autoscaler,
    plan::Builder,
    samples::Sources,
    state::{Entries, Entry, Fingerprint, Turn},
    status,
    target::{SlimDeployment, SlimStatefulSet, Targets},
};
use crate::{
    pod_autoscaler::watched::{Watched, Watches},
    queue::{Action, Backoff, WorkQueue},
    runtime::Runtime,
    store::{Change, ObjectKey},
    trigger_auth::{DependencyKind, Resolver},
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
    /// Where ClusterTriggerAuthentications find their Secrets and ConfigMaps.
    pub cluster_object_namespace: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            namespaces: Vec::new(),
            sample_max_age: scaler_api::DEFAULT_SAMPLE_MAX_AGE,
            concurrency: 1024,
            keda_version: KEDA_VERSION.to_owned(),
            cluster_object_namespace: "keda".to_owned(),
        }
    }
}

/// How soon what failed is tried again: at first at once, as objects are often made just after those that refer to
/// them, and never later than a poll would be.
const RETRY: Backoff = Backoff {
    first: Duration::from_millis(100),
    last: Duration::from_secs(30),
};

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
    pub(super) hpas: Watched<Autoscaler>,
    pub(super) builder: Builder,
    pub(super) entries: Entries,
    queue: WorkQueue<ObjectKey>,
}

impl Controller {
    /// A controller in the name of `keda-operator`. Nothing is asked of the API server before it [runs](Self::run).
    #[must_use]
    pub fn new(runtime: Runtime, registry: Arc<Registry>, context: Context, config: Config) -> Self {
        let runtime = Runtime {
            recorder: runtime.recorder.named(scaler_api::keda::MANAGED_BY),
            ..runtime
        };
        let (queue, entries) = (WorkQueue::new(), Entries::default());
        let signals = Signals {
            queue: queue.clone(),
            entries: entries.clone(),
        };
        let mut watches = Watches::new(runtime.client.clone(), &config.namespaces);
        let objects = watches.namespaced({
            let signals = signals.clone();
            move |change| signals.object(change)
        });
        let hpas = watches.namespaced({
            let signals = signals.clone();
            move |change| signals.autoscaler(change)
        });
        let deployments = watches.namespaced::<SlimDeployment>(signals.target());
        let stateful_sets = watches.namespaced::<SlimStatefulSet>(signals.target());
        let authentications = watches
            .namespaced::<TriggerAuthentication>(signals.dependency(DependencyKind::TriggerAuthentication));
        let cluster_authentications = watches.cluster::<ClusterTriggerAuthentication>(
            signals.dependency(DependencyKind::ClusterTriggerAuthentication),
        );
        watches.namespaced::<PartialObjectMeta<Secret>>(signals.dependency(DependencyKind::Secret));
        watches.namespaced::<PartialObjectMeta<ConfigMap>>(signals.dependency(DependencyKind::ConfigMap));
        let targets = Targets::new(runtime.client.clone(), deployments, stateful_sets);
        let resolver = Resolver::new(
            runtime.client.clone(),
            authentications,
            cluster_authentications,
            &config.cluster_object_namespace,
        );
        let builder = Builder {
            sources: Sources::new(registry, context),
            resolver,
            targets,
        };
        let (watches, synced) = watches.into_futures();
        let core = Core {
            runtime,
            config,
            objects,
            hpas,
            builder,
            entries,
            queue,
        };
        Self {
            core: Arc::new(core),
            watches,
            synced,
        }
    }

    /// The external metrics of the objects that it runs.
    #[must_use]
    pub fn external_metrics(&self) -> ScaledObjectMetrics {
        ScaledObjectMetrics {
            entries: self.core.entries.clone(),
            targets: self.core.builder.targets.clone(),
            queue: self.core.queue.clone(),
            sample_max_age: self.core.config.sample_max_age,
        }
    }

    /// Watches and works until dropped.
    pub async fn run(self) {
        let Self {
            core,
            watches,
            synced,
        } = self;
        let work = async move {
            join_all(synced).await;
            let concurrency = core.config.concurrency;
            let queue = core.queue.clone();
            let turn = |key: ObjectKey| {
                let core = Arc::clone(&core);
                async move { Ok::<_, std::convert::Infallible>(Box::pin(core.turn(&key)).await) }
            };
            queue.run(concurrency, turn).await;
        };
        futures::join!(join_all(watches), work);
    }
}

impl Core {
    /// One turn of one object.
    async fn turn(&self, key: &ObjectKey) -> Action {
        let Some(object) = self.objects.get(key) else {
            self.entries.remove(key);
            return Action::Await;
        };
        let entry = self.entries.of(key, &object);
        let mut turn = entry.turn.lock().await;
        if object.metadata.deletion_timestamp.is_some() {
            return self.finalize(key, &object, &entry, &mut turn).await;
        }
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= Instant::now());
        let dirty = entry.live(super::state::Live::take_dirty);
        if dirty || is_due(turn.retry_at) || turn.seen.as_ref() != Some(&Fingerprint::of(&object)) {
            self.reconcile(key, &object, &entry, &mut turn).await;
        }
        if is_due(turn.next_check)
            && let Some(plan) = entry.live(|live| live.plan.clone())
        {
            self.check(key, &plan, &entry, &mut turn).await;
        }
        self.refresh(key, &object, &entry, &mut turn);
        let published = self.publish(key, &mut turn).await;
        next_action(&turn, published)
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
            let found = hpa.and_then(|hpa| status::hpa_condition(&hpa.status));
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
        let Some(patch) = status::patch(&turn.published, &turn.status) else {
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
                return false;
            }
        }
        turn.published = turn.status.clone();
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

pub(super) fn retry_delay(turn: &mut Turn) -> Duration {
    turn.failures = turn.failures.saturating_add(1);
    RETRY.after(turn.failures)
}

fn next_action(turn: &Turn, published: bool) -> Action {
    let unpublished = (!published).then(|| Instant::now() + Duration::from_secs(1));
    match [turn.next_check, turn.retry_at, unpublished]
        .into_iter()
        .flatten()
        .min()
    {
        // A key that is due already waits a moment for its turn like any other.
        Some(at) => Action::RequeueAfter(
            at.saturating_duration_since(Instant::now())
                .max(Duration::from_millis(1)),
        ),
        None => Action::Await,
    }
}

/// Turns what was watched into keys.
#[derive(Clone)]
struct Signals {
    queue: WorkQueue<ObjectKey>,
    entries: Entries,
}

impl Signals {
    fn reconcile(&self, key: ObjectKey) {
        self.entries.mark(&key);
        self.queue.add(key);
    }

    fn object(&self, change: &Change<ScaledObject>) {
        let key = ObjectKey::of(&**change.object());
        match change {
            Change::Applied { object, previous } => {
                self.entries.set_target(&key, object);
                // Of its status the controller is the only writer.
                let same = |previous: &Arc<ScaledObject>| {
                    previous.uid() == object.uid() && Fingerprint::of(previous) == Fingerprint::of(object)
                };
                if !previous.as_ref().is_some_and(same) {
                    self.queue.add(key);
                }
            }
            Change::Deleted(_) => self.queue.add(key),
        }
    }

    fn autoscaler(&self, change: &Change<Autoscaler>) {
        let owner = |hpa: &Autoscaler| {
            let owners = hpa.owner_references().iter();
            let mut owners = owners.filter(|owner| owner.controller == Some(true));
            let owner = owners.find(|owner| owner.kind == ScaledObject::kind(&()))?;
            Some(ObjectKey::new(hpa.namespace().unwrap_or_default(), &owner.name))
        };
        match change {
            Change::Deleted(hpa) => {
                if let Some(key) = owner(hpa) {
                    self.reconcile(key);
                }
            }
            Change::Applied {
                object,
                previous: None,
            } => {
                if let Some(key) = owner(object) {
                    self.queue.add(key);
                }
            }
            Change::Applied {
                object,
                previous: Some(previous),
            } => {
                let Some(key) = owner(previous).or_else(|| owner(object)) else {
                    return;
                };
                let drifted = previous.spec != object.spec
                    || previous.labels() != object.labels()
                    || previous.annotations() != object.annotations()
                    || previous.owner_references() != object.owner_references();
                if drifted {
                    self.reconcile(key);
                } else if status::hpa_condition(&previous.status) != status::hpa_condition(&object.status) {
                    self.queue.add(key);
                }
            }
        }
    }

    /// A target that appears, goes, or gets another template.
    fn target<K: Resource>(&self) -> impl FnMut(&Change<K>) + Clone + Send + 'static {
        let signals = self.clone();
        move |change| {
            let (is_other, is_changed) = match change {
                Change::Applied {
                    object,
                    previous: Some(previous),
                } => {
                    let (object, previous) = (object.meta(), previous.meta());
                    (
                        object.uid != previous.uid,
                        object.generation != previous.generation,
                    )
                }
                _ => (true, true),
            };
            if !is_other && !is_changed {
                return;
            }
            for key in signals.entries.of_target(&ObjectKey::of(&**change.object())) {
                let entry = signals.entries.get(&key);
                if is_other || entry.is_some_and(|entry| entry.live(|live| live.uses_containers)) {
                    signals.reconcile(key);
                }
            }
        }
    }

    /// Something that triggers are built from.
    fn dependency<K: Resource>(
        &self,
        kind: DependencyKind,
    ) -> impl FnMut(&Change<K>) + Clone + Send + 'static {
        let signals = self.clone();
        move |change| {
            for key in signals
                .entries
                .of_dependency(&(kind, ObjectKey::of(&**change.object())))
            {
                signals.reconcile(key);
            }
        }
    }
}
