//! The KEDA half against the embedded API server, in virtual time, with a scripted source.

mod at_rest;
mod cloud_events;
mod events;
mod failures;
mod internals;
mod metrics;
mod modifiers;
mod objects;
mod push;
mod replicas;
mod rows;
mod scaled_jobs;
mod shards;
mod story;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use metrics_adapter::{ExternalMetrics, MetricError, MetricRequest, Selector};
use scaler_api::{Context, Registry, SharedClock, TokioClock, keda};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{Config, PodAutoscaler, metrics::PodMetrics};
use crate::{
    decisions::DecisionLog,
    runtime::Runtime,
    scaled_object::testing::{Script, TestSource},
    sim::api::{ApiServer, Options},
};

/// A cluster without workload controllers, and the KEDA half that runs in it.
struct World {
    server: ApiServer,
    clock: SharedClock,
    script: Arc<Script>,
    metrics: Arc<dyn ExternalMetrics>,
    decisions: DecisionLog,
    pods: PodMetrics,
    running: Vec<JoinHandle<()>>,
}

impl World {
    /// Call it inside a runtime whose time is paused.
    fn new() -> Self {
        let mut world = Self::idle();
        world.restart();
        world
    }

    /// The same without the KEDA half.
    fn idle() -> Self {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock: SharedClock = Arc::new(TokioClock::starting_at(start));
        let server = ApiServer::new(Options {
            clock: Arc::clone(&clock),
            seed: 1,
        });
        tokio::spawn(server.clone().collect_garbage());
        Self::on(server, clock)
    }

    /// On a cluster that is there, still without the KEDA half.
    fn on(server: ApiServer, clock: SharedClock) -> Self {
        for definition in keda::crds() {
            server
                .apply_manifest(serde_json::to_value(definition).unwrap())
                .unwrap();
        }
        let script = Script::new();
        let (runtime, _events) = Runtime::new(server.client("default"), Arc::clone(&clock), "test");
        let (decisions, pods) = (runtime.decisions.clone(), runtime.pods.clone());
        let metrics = autoscaler(runtime, &script).external_metrics();
        Self {
            server,
            clock,
            script,
            metrics,
            decisions,
            pods,
            running: Vec::new(),
        }
    }

    /// Ends the KEDA half and starts another one.
    fn restart(&mut self) {
        for task in self.running.drain(..) {
            task.abort();
        }
        (self.metrics, self.decisions, self.pods, self.running) =
            start_autoscaler(&self.server, &self.clock, &self.script);
    }

    fn apply(&self, object: Value) {
        self.server.apply_manifest(object).unwrap();
    }

    fn deployment(&self, name: &str, replicas: i32) {
        self.apply(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {"containers": [{
                        "name": "app", "image": "nginx", "env": [{"name": "WORD", "value": "from env"}],
                    }]},
                },
            },
        }));
    }

    /// A ScaledObject on the Deployment `web`, fed by the queue `orders`.
    fn scaled_object(&self, name: &str, spec: &Value) {
        let mut object = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "scaleTargetRef": {"name": "web"},
                "pollingInterval": 5, "cooldownPeriod": 10, "idleReplicaCount": 0,
                "minReplicaCount": 0, "maxReplicaCount": 3,
                "triggers": [{"type": "test", "metadata": {"queue": "orders", "target": "5"}}],
            },
        });
        for (key, value) in spec.as_object().unwrap() {
            object["spec"][key] = value.clone();
        }
        self.apply(object);
    }

    async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    fn object(&self, group: &str, plural: &str, name: &str) -> Option<Value> {
        let objects = self.server.objects(group, plural, Some("default"));
        objects
            .iter()
            .find(|object| object["metadata"]["name"] == name)
            .map(|object| (**object).clone())
    }

    fn status(&self, name: &str) -> Value {
        self.object("keda.sh", "scaledobjects", name).unwrap()["status"].clone()
    }

    /// A condition as `status reason`.
    fn condition(&self, name: &str, type_: &str) -> String {
        let status = self.status(name);
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let found = conditions.iter().find(|condition| condition["type"] == type_);
        found.map_or_else(String::new, |found| {
            format!(
                "{} {}",
                found["status"].as_str().unwrap(),
                found["reason"].as_str().unwrap_or_default()
            )
        })
    }

    fn message(&self, name: &str, type_: &str) -> String {
        let conditions = self.status(name)["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let found = conditions
            .iter()
            .find(|condition| condition["type"] == type_)
            .unwrap();
        found["message"].as_str().unwrap_or_default().to_owned()
    }

    fn hpa(&self, name: &str) -> Option<Value> {
        self.object("autoscaling", "horizontalpodautoscalers", name)
    }

    fn replicas(&self, deployment: &str) -> i64 {
        self.object("apps", "deployments", deployment).unwrap()["spec"]["replicas"]
            .as_i64()
            .unwrap()
    }

    /// Events about an object as `type reason message`, each once, in the order of their first appearance.
    fn events(&self, name: &str) -> Vec<String> {
        let mut events = self.server.objects("", "events", Some("default"));
        events.retain(|event| event["involvedObject"]["name"] == name);
        let first = |event: &Arc<Value>| {
            let name = event["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            (
                event["firstTimestamp"].as_str().unwrap_or_default().to_owned(),
                name,
            )
        };
        events.sort_by_key(first);
        let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
        let words = events.iter().map(|event| {
            assert_eq!(event["source"]["component"], "keda-operator");
            format!(
                "{} {} {}",
                text(event, "type"),
                text(event, "reason"),
                text(event, "message")
            )
        });
        words.collect()
    }

    /// Asks as the HPA does.
    async fn metric(&self, scaled_object: &str, metric: &str) -> Result<String, MetricError> {
        let request = MetricRequest {
            namespace: "default".into(),
            metric: metric.into(),
            selector: Selector::parse(&format!("scaledobject.keda.sh/name={scaled_object}")).unwrap(),
        };
        let values = self.metrics.get(&request).await?;
        assert_eq!(values.len(), 1);
        Ok(values[0].value.to_string())
    }

    async fn delete(&self, path: &str) {
        let request = http::Request::delete(path).body(Vec::new()).unwrap();
        self.server.client("default").request_text(request).await.unwrap();
    }

    async fn patch(&self, path: &str, patch: &Value) {
        let request = http::Request::patch(path)
            .header("content-type", "application/merge-patch+json")
            .body(serde_json::to_vec(patch).unwrap())
            .unwrap();
        self.server.client("default").request_text(request).await.unwrap();
    }
}

type Started = (
    Arc<dyn ExternalMetrics>,
    DecisionLog,
    PodMetrics,
    Vec<JoinHandle<()>>,
);

fn autoscaler(runtime: Runtime, script: &Arc<Script>) -> PodAutoscaler {
    configured(runtime, script, Config::default())
}

fn configured(runtime: Runtime, script: &Arc<Script>, config: Config) -> PodAutoscaler {
    let context = Context::new()
        .with_clock(Arc::clone(&runtime.clock))
        .with(Arc::clone(script));
    let mut registry = Registry::new();
    registry.register::<TestSource>();
    PodAutoscaler::new(runtime, Arc::new(registry), context, config)
}

fn start_autoscaler(server: &ApiServer, clock: &SharedClock, script: &Arc<Script>) -> Started {
    let (runtime, events) = Runtime::new(server.client("default"), Arc::clone(clock), "test");
    let (decisions, pods) = (runtime.decisions.clone(), runtime.pods.clone());
    let autoscaler = autoscaler(runtime, script);
    let metrics = autoscaler.external_metrics();
    (
        metrics,
        decisions,
        pods,
        vec![tokio::spawn(events), tokio::spawn(autoscaler.run())],
    )
}
