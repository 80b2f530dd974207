//! A whole embedded cluster: API server, controllers, scheduler, kubelets.
//!
//! ```
//! # use std::{sync::Arc, time::Duration};
//! # use controller_runtime::sim::cluster::{Cluster, Options};
//! # use scaler_api::TokioClock;
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let clock = Arc::new(TokioClock::starting_at("2026-01-01T00:00:00Z".parse().expect("a time")));
//! let cluster = Cluster::new(Options::new(clock, 7));
//! let running = tokio::spawn(cluster.run());
//! let node = serde_json::json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
//! cluster.load(vec![node]).expect("a node");
//! cluster.settle(Duration::from_secs(10), Duration::from_secs(60)).await.expect("nothing goes on for ever");
//! let nodes = cluster.api().objects("", "nodes", None);
//! assert!(nodes[0]["spec"]["taints"].is_null(), "it is ready");
//! # running.abort();
//! # }
//! ```

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use provisioner::Machines;
use scaler_api::SharedClock;
use serde_json::Value;

use super::{
    api::{self, ApiError, ApiServer},
    controllers::{self, Informers, horizontal_pod_autoscaler},
    kubelet::{self, DefaultPrograms, Programs},
    scheduler,
};
use crate::runtime::Runtime;

/// What a cluster is made from.
#[derive(Clone, Debug)]
pub struct Options {
    /// Tells the time; virtual under a paused runtime.
    pub clock: SharedClock,
    /// The seed of everything that chance decides.
    pub seed: u64,
    /// The machines of the cloud that nodes run on, besides the Nodes that are loaded.
    pub machines: Option<Arc<dyn Machines>>,
    /// What containers run.
    pub programs: Arc<dyn Programs>,
    /// The HorizontalPodAutoscaler's parameters and metrics of resources.
    pub hpa: horizontal_pod_autoscaler::Options,
    /// From a pod's binding to the start of its first container; chance adds up to a quarter.
    pub pod_start_delay: Duration,
    /// From a machine's start to its node being ready.
    pub node_ready_delay: Duration,
    /// From a machine's end to its node counting as lost.
    pub node_grace: Duration,
}

impl Options {
    /// A cluster without a cloud, whose containers do the default.
    #[must_use]
    pub fn new(clock: SharedClock, seed: u64) -> Self {
        Self {
            clock,
            seed,
            machines: None,
            programs: Arc::new(DefaultPrograms),
            hpa: horizontal_pod_autoscaler::Options::default(),
            pod_start_delay: Duration::from_secs(2),
            node_ready_delay: Duration::from_secs(10),
            node_grace: Duration::from_secs(50),
        }
    }
}

/// An embedded cluster. It does nothing until its [`run`](Self::run) is polled, but its API answers.
pub struct Cluster {
    api: ApiServer,
    runtime: Runtime,
    events: Mutex<Option<BoxFuture<'static, ()>>>,
    options: Options,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// An empty cluster. Call it inside a tokio runtime.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let api = ApiServer::new(api::Options {
            clock: options.clock.clone(),
            seed: options.seed,
        });
        let (runtime, events) = Runtime::new(api.client("default"), options.clock.clone(), "embedded");
        Self {
            api,
            runtime,
            events: Mutex::new(Some(Box::pin(events))),
            options,
        }
    }

    /// The API server, e.g. to look at objects without a request.
    #[must_use]
    pub fn api(&self) -> &ApiServer {
        &self.api
    }

    /// A client whose default namespace is `namespace`.
    #[must_use]
    pub fn client(&self, namespace: &str) -> kube::Client {
        self.api.client(namespace)
    }

    /// The surroundings of the cluster's controllers, for more controllers in the same cluster.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// What the last runs of HorizontalPodAutoscalers came to.
    #[must_use]
    pub fn autoscaler_runs(&self) -> horizontal_pod_autoscaler::Runs {
        self.options.hpa.runs.clone()
    }

    /// Everything that turns, until dropped. Call it once.
    pub fn run(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut informers = Informers::new(&self.runtime.client);
        let mut tasks: Vec<BoxFuture<'static, ()>> = vec![Box::pin(self.api.clone().collect_garbage())];
        tasks.extend(self.events.lock().unwrap_or_else(PoisonError::into_inner).take());
        tasks.extend(controllers::all(&self.runtime, &mut informers));
        let hpa = self.options.hpa.clone();
        tasks.push(horizontal_pod_autoscaler::controller(
            &self.runtime,
            informers.pods.store(),
            hpa,
        ));
        tasks.push(scheduler::scheduler(
            &self.runtime,
            &mut informers,
            self.options.seed,
        ));
        let kubelets = kubelet::Config {
            machines: self.options.machines.clone(),
            programs: Arc::clone(&self.options.programs),
            pod_start_delay: self.options.pod_start_delay,
            node_ready_delay: self.options.node_ready_delay,
            node_grace: self.options.node_grace,
            seed: self.options.seed,
        };
        tasks.push(kubelet::kubelets(&self.runtime, &mut informers, kubelets));
        tasks.extend(informers.run());
        async move {
            let mut tasks: FuturesUnordered<_> = tasks.into_iter().collect();
            while tasks.next().await.is_some() {}
        }
    }

    /// Applies manifests: namespaces and definitions first, then what others refer to, then the rest in its order. Objects
    /// in old forms of KEDA and Karpenter are taken as what they are today, as the API takes them.
    ///
    /// # Errors
    /// The first object that is refused, by kind and name, and why.
    pub fn load(&self, manifests: Vec<Value>) -> Result<(), LoadError> {
        let mut objects = Vec::new();
        for manifest in manifests {
            flatten(manifest, &mut objects);
        }
        objects.sort_by_key(rank);
        for object in &objects {
            let name = describe(object);
            let converted = self.api.convert(object, &objects);
            let today = if converted.is_empty() {
                vec![object.clone()]
            } else {
                converted.into_iter().map(|converted| converted.object).collect()
            };
            for object in today {
                self.api.apply_manifest(object).map_err(|source| LoadError {
                    object: name.clone(),
                    source,
                })?;
            }
        }
        Ok(())
    }

    /// Waits until no object has changed for `quiet`.
    ///
    /// # Errors
    /// If that is not so within `limit`.
    pub async fn settle(&self, quiet: Duration, limit: Duration) -> Result<(), TimedOut> {
        let mut changes = self.api.observe();
        let settled = async { while let Ok(Some(_)) = tokio::time::timeout(quiet, changes.recv()).await {} };
        tokio::time::timeout(limit, settled)
            .await
            .map_err(|_| TimedOut { limit })
    }

    /// Waits until `condition` holds; it is looked at after every change of an object.
    ///
    /// # Errors
    /// If it does not hold within `limit`.
    pub async fn wait_for(
        &self,
        limit: Duration,
        mut condition: impl FnMut(&ApiServer) -> bool,
    ) -> Result<(), TimedOut> {
        let mut changes = self.api.observe();
        let holds = async {
            while !condition(&self.api) {
                if changes.recv().await.is_none() {
                    return;
                }
            }
        };
        tokio::time::timeout(limit, holds)
            .await
            .map_err(|_| TimedOut { limit })
    }
}

/// A manifest that the API server refused.
#[derive(Debug, thiserror::Error)]
#[error("{object}: {source}")]
pub struct LoadError {
    /// Kind, namespace and name.
    pub object: String,
    /// Why, with every field.
    #[source]
    pub source: ApiError,
}

/// Something did not come about in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("did not come about within {limit:?}")]
pub struct TimedOut {
    /// How long was waited.
    pub limit: Duration,
}

/// The items of a `List` one by one.
fn flatten(manifest: Value, objects: &mut Vec<Value>) {
    match manifest {
        Value::Object(mut list)
            if list
                .get("kind")
                .and_then(Value::as_str)
                .is_some_and(|kind| kind.ends_with("List"))
                && list.contains_key("items") =>
        {
            if let Some(Value::Array(items)) = list.remove("items") {
                for item in items {
                    flatten(item, objects);
                }
            }
        }
        manifest => objects.push(manifest),
    }
}

/// What others need comes first; workloads come after what they refer to.
fn rank(object: &Value) -> usize {
    const FIRST: [&str; 12] = [
        "Namespace",
        "CustomResourceDefinition",
        "PriorityClass",
        "ServiceAccount",
        "Secret",
        "ConfigMap",
        "StorageClass",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "Service",
        "PodDisruptionBudget",
        "Node",
    ];
    let kind = object["kind"].as_str().unwrap_or_default();
    FIRST
        .iter()
        .position(|first| *first == kind)
        .unwrap_or(FIRST.len())
}

fn describe(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

#[cfg(test)]
mod tests;
