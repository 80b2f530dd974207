//! The API server of the embedded cluster.
//!
//! [`ApiServer`] holds the objects; [`ApiServer::service`] answers HTTP requests as a `tower::Service`, and
//! [`ApiServer::client`] puts an unmodified `kube::Client` on top of it. Every request is answered under one lock and
//! in one step, so a single-threaded runtime gives the same answers, resourceVersions and uids for the same seed.
//! The order of concerns in a request: `routes` reads it, `service` dispatches it, one of `verbs` serves it (through
//! `defaults`, `validation`, `crd` and `managed`), and `state` commits the change and tells who watches.

mod admission;
mod aggregation;
mod collector;
mod convert;
mod crd;
mod defaults;
mod discovery;
mod encode;
mod field;
mod managed;
mod old;
mod openapi;
mod paging;
mod patch;
mod protobuf;
mod random;
mod remaining;
mod reply;
mod resources;
mod routes;
mod selectors;
mod service;
mod state;
mod status;
mod store;
mod table;
mod validation;
mod value;
mod verbs;
mod watch;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use scaler_api::SharedClock;
use serde_json::Value;
use tokio::sync::{Notify, mpsc};

pub(crate) use self::defaults::TEMPLATE_GENERATION;
pub use self::{
    aggregation::{BoxedBackend, boxed_backend},
    crd::{Definitions, Rule, RuleEvaluator, Violation},
    reply::ApiBody,
    service::ApiService,
    status::{ApiError, Cause, Details},
    store::Verb,
};
use self::{state::State, verbs::Call};

/// The version that the embedded API server says it is.
pub const KUBERNETES_VERSION: &str = "v1.35.0";

/// What an API server is made from.
#[derive(Clone, Debug)]
pub struct Options {
    /// Tells the time of timestamps.
    pub clock: SharedClock,
    /// The seed of uids and generated names.
    pub seed: u64,
}

/// A committed change, for recorders.
#[derive(Clone, Debug)]
pub struct Change {
    /// The resourceVersion of the change; consecutive changes have rising ones.
    pub resource_version: u64,
    /// What happened.
    pub verb: Verb,
    /// The API group; empty for the core group.
    pub group: String,
    /// The version in which the object is stored.
    pub version: String,
    /// The plural name of the resource.
    pub resource: String,
    /// The object's kind.
    pub kind: String,
    /// The new state; of a deletion, the last one.
    pub object: Arc<Value>,
    /// The state before.
    pub previous: Option<Arc<Value>>,
}

/// An in-process Kubernetes API server. Clones share one cluster.
#[derive(Clone, Debug)]
pub struct ApiServer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clock: SharedClock,
    state: Mutex<State>,
    collector: Arc<Notify>,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.now = self.clock.now();
        state
    }
}

impl ApiServer {
    /// An empty cluster: its namespaces and system priority classes.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let Options { clock, seed } = options;
        let state = State::new(clock.now(), seed);
        let collector = state.pending.notify();
        Self {
            inner: Arc::new(Inner {
                clock,
                state: Mutex::new(state),
                collector,
            }),
        }
    }

    /// A client of this server. Call it inside a tokio runtime.
    #[must_use]
    pub fn client(&self, default_namespace: &str) -> kube::Client {
        kube::Client::new(self.service(), default_namespace)
    }

    /// The server as a `tower::Service` over HTTP requests.
    #[must_use]
    pub fn service(&self) -> ApiService {
        ApiService::new(self.clone())
    }

    /// Registers what answers for the Service `namespace/service` when an APIService refers to it.
    pub fn register_backend(&self, namespace: &str, service: &str, backend: BoxedBackend) {
        aggregation::register(&mut self.inner.lock(), namespace, service, backend);
    }

    /// Takes a backend away again, as when its pods are gone; its APIServices become unavailable.
    pub fn unregister_backend(&self, namespace: &str, service: &str) {
        aggregation::unregister(&mut self.inner.lock(), namespace, service);
    }

    /// Registers what answers for the Service `namespace/service` when a ValidatingWebhookConfiguration refers to it;
    /// [`boxed_backend`] boxes it.
    pub fn register_webhook(&self, namespace: &str, service: &str, webhook: BoxedBackend) {
        self.inner.lock().webhooks.register(namespace, service, webhook);
    }

    /// Takes a webhook away again, as when its pods are gone.
    pub fn unregister_webhook(&self, namespace: &str, service: &str) {
        self.inner.lock().webhooks.unregister(namespace, service);
    }

    /// Every change from now on, in the order of commitment. Dropping the receiver ends it.
    #[must_use]
    pub fn observe(&self) -> mpsc::UnboundedReceiver<Change> {
        self.inner.lock().observe()
    }

    /// Tracks the managers of plain creations and updates on every object in `metadata.managedFields`, as a real
    /// server does. Off by default: it doubles the size of objects. Applied objects are tracked always.
    pub fn track_updates(&self, on: bool) {
        self.inner.lock().track_updates = on;
    }

    /// Checks the CEL rules of custom resources with `evaluator` from now on, instead of with the interpreter that is
    /// built in.
    pub fn evaluate_rules(&self, evaluator: Arc<dyn RuleEvaluator>) {
        self.inner.lock().rules = evaluator;
    }

    /// Creates the object, or changes an existing one as `kubectl apply --server-side --force-conflicts` would. A status
    /// that the manifest brings is written too, so that a folder can describe a cluster in the middle of its life.
    ///
    /// # Errors
    /// The `Status` of the refusal, e.g. 422 with every invalid field.
    pub fn apply_manifest(&self, object: Value) -> Result<Arc<Value>, ApiError> {
        verbs::apply_manifest(&mut self.inner.lock(), object)
    }

    /// What an object in an old form of KEDA or Karpenter is today, given those beside it; empty for one that is not old,
    /// or whose old kind has a definition of its own here.
    #[must_use]
    pub fn convert(&self, object: &Value, beside: &[Value]) -> Vec<scaler_api::Converted> {
        old::convert(&self.inner.lock().registry, object, beside)
    }

    /// The objects of a resource as they are stored, without a request; `namespace` narrows it.
    #[must_use]
    pub fn objects(&self, group: &str, plural: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let state = self.inner.lock();
        let Some(resource) = state.registry.get(group, plural) else {
            return Vec::new();
        };
        let store = resource.store.and_then(|index| state.stores.get(index));
        store
            .into_iter()
            .flat_map(|store| store.range(namespace))
            .map(|entry| entry.value.clone())
            .collect()
    }

    /// The last resourceVersion that was given out.
    #[must_use]
    pub fn resource_version(&self) -> u64 {
        self.inner.lock().revision
    }

    /// Forgets history and open lists, as etcd's compaction does: older watches and continue tokens get 410.
    pub fn compact(&self) {
        let mut state = self.inner.lock();
        let revision = state.revision;
        state.snapshots.expire();
        for store in &mut state.stores {
            store.compact(revision);
        }
    }

    /// Runs what a controller manager does for every kind: deletes dependents of deleted owners (background, foreground
    /// and orphaning), contents of namespaces and instances of definitions that are being deleted. Never returns.
    pub async fn collect_garbage(self) {
        collector::run(&self.inner).await;
    }
}
