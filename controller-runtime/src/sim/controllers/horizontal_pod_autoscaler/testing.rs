//! A few paths of an API server in memory: one autoscaler, its target, its pods and the external metrics API.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, client::Body};
use metrics_adapter::{
    ExternalMetricValue, ExternalMetrics, MetricError, MetricErrorKind, MetricRequest, MetricsAdapter,
};
use scaler_api::{Clock as _, Quantity, TokioClock};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower::ServiceExt as _;

use super::{Options, controller};
use crate::{decisions::DecisionLog, runtime::Runtime, store::Informer};

type Reply = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// What the server knows, and what was asked of it.
#[derive(Debug)]
pub(super) struct World {
    pub(super) autoscaler: Value,
    pub(super) scale: Value,
    pub(super) pods: Vec<Value>,
    /// Messages in thousandths by the metric's name in lower case, or nothing if it cannot be read.
    pub(super) metrics: BTreeMap<String, Option<i64>>,
    /// How many more writes of the scale meet a conflict.
    pub(super) conflicts: u32,
    /// Whether who writes in between scales to zero.
    pub(super) zero_on_conflict: bool,
    /// `reason: message` of the events, in order.
    pub(super) events: Vec<String>,
    pub(super) status_writes: u32,
    /// Seconds since the start at which the scale was read.
    pub(super) scale_reads: Vec<u64>,
    watchers: Vec<mpsc::UnboundedSender<Bytes>>,
    /// Those of pods, which do not change here.
    idle_watchers: Vec<mpsc::UnboundedSender<Bytes>>,
    version: u64,
}

/// The server; clones share the world.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) world: Arc<Mutex<World>>,
    pub(super) clock: Arc<TokioClock>,
}

#[async_trait]
impl ExternalMetrics for Server {
    async fn get(&self, request: &MetricRequest) -> Result<Vec<ExternalMetricValue>, MetricError> {
        let world = self.world.lock().unwrap();
        match world.metrics.get(&request.metric) {
            Some(Some(millis)) => {
                let quantity = Quantity::from_millis(*millis);
                Ok(vec![ExternalMetricValue::new(
                    &request.metric,
                    quantity,
                    self.clock.now(),
                )])
            }
            Some(None) => Err(MetricError::new(
                MetricErrorKind::ServiceUnavailable,
                "the queue cannot be reached",
            )),
            None => Err(MetricError::not_found(request)),
        }
    }
}

impl Server {
    /// An autoscaler `web` in `shop` with this specification, on a Deployment with so many replicas.
    pub(super) fn new(metrics: &Value, replicas: i32) -> Self {
        let world = World {
            autoscaler: json!({
                "apiVersion": "autoscaling/v2",
                "kind": "HorizontalPodAutoscaler",
                "metadata": { "name": "web", "namespace": "shop", "uid": "1", "resourceVersion": "1" },
                "spec": {
                    "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
                    "minReplicas": 1,
                    "maxReplicas": 10,
                    "metrics": metrics,
                },
            }),
            scale: json!({
                "apiVersion": "autoscaling/v1",
                "kind": "Scale",
                "metadata": { "name": "web", "namespace": "shop", "resourceVersion": "7" },
                "spec": { "replicas": replicas },
                "status": { "replicas": replicas, "selector": "app=web" },
            }),
            pods: Vec::new(),
            metrics: BTreeMap::new(),
            conflicts: 0,
            zero_on_conflict: false,
            events: Vec::new(),
            status_writes: 0,
            scale_reads: Vec::new(),
            watchers: Vec::new(),
            idle_watchers: Vec::new(),
            version: 1,
        };
        let start = "2026-01-01T00:00:00Z".parse().unwrap();
        Self {
            world: Arc::new(Mutex::new(world)),
            clock: Arc::new(TokioClock::starting_at(start)),
        }
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        change(&mut self.world.lock().unwrap())
    }

    pub(super) fn replicas(&self) -> i64 {
        self.change(|world| world.scale["spec"]["replicas"].as_i64().unwrap())
    }

    /// `type=reason` of every condition; a `!` marks those that do not hold.
    pub(super) fn conditions(&self) -> Vec<String> {
        let conditions = self.change(|world| world.autoscaler["status"]["conditions"].clone());
        let conditions = conditions.as_array().cloned().unwrap_or_default();
        let line = |condition: &Value| {
            let mark = if condition["status"] == "True" { "" } else { "!" };
            format!(
                "{mark}{}={}",
                condition["type"].as_str().unwrap(),
                condition["reason"].as_str().unwrap()
            )
        };
        conditions.iter().map(line).collect()
    }

    pub(super) fn message(&self, condition_type: &str) -> String {
        let conditions = self.change(|world| world.autoscaler["status"]["conditions"].clone());
        let conditions = conditions.as_array().cloned().unwrap_or_default();
        let found = conditions
            .iter()
            .find(|condition| condition["type"] == condition_type)
            .unwrap();
        found["message"].as_str().unwrap().to_owned()
    }

    /// Tells watchers of the autoscaler, e.g. after its specification was changed.
    pub(super) fn notify(&self, event: &str) {
        self.change(|world| world.notify(event));
    }

    /// Starts the controller on a task.
    pub(super) fn start(&self, options: Options) -> DecisionLog {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        let client = Client::new(service, "default");
        let (runtime, events) = Runtime::new(client.clone(), self.clock.clone(), "test");
        let pods: Informer<Pod> = Informer::new(Api::all(client));
        let controller = controller(&runtime, pods.store(), options);
        tokio::spawn(events);
        tokio::spawn(pods.run());
        tokio::spawn(controller);
        runtime.decisions
    }

    async fn answer(&self, request: Request<Body>) -> Reply {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let path = head.uri.path().to_owned();
        if path.starts_with("/apis/external.metrics.k8s.io") {
            let adapter = MetricsAdapter::new(Arc::new(self.clone()));
            let request = Request::from_parts(head, ());
            return adapter
                .oneshot(request)
                .await
                .unwrap()
                .map(|body| body.boxed_unsync());
        }
        let watches = head.uri.query().is_some_and(|query| query.contains("watch=true"));
        let now = self.clock.elapsed().as_secs();
        let mut world = self.world.lock().unwrap();
        match (&head.method, path.as_str()) {
            (&Method::GET, "/apis/autoscaling/v2/horizontalpodautoscalers" | "/api/v1/pods") if watches => {
                world.watch(path.ends_with("autoscalers"))
            }
            (&Method::GET, "/apis/autoscaling/v2/horizontalpodautoscalers") => {
                list(std::slice::from_ref(&world.autoscaler))
            }
            (&Method::GET, "/api/v1/pods") => list(&world.pods),
            (&Method::GET, "/apis/apps/v1") => json_reply(200, &deployments()),
            (&Method::GET, "/apis/apps/v1/namespaces/shop/deployments/web/scale") => {
                world.scale_reads.push(now);
                json_reply(200, &world.scale)
            }
            (&Method::PUT, "/apis/apps/v1/namespaces/shop/deployments/web/scale") => world.write_scale(body),
            (&Method::PUT, "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/web/status") => {
                world.write_status(&body)
            }
            (&Method::POST, "/api/v1/namespaces/shop/events") => {
                assert_eq!(body["source"]["component"], "horizontal-pod-autoscaler");
                let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
                world.events.push(format!(
                    "{} {}: {}",
                    text("type"),
                    text("reason"),
                    text("message")
                ));
                json_reply(201, &body)
            }
            (&Method::PATCH, path) if path.starts_with("/api/v1/namespaces/shop/events/") => {
                json_reply(200, &json!({ "metadata": {}, "involvedObject": {} }))
            }
            (_, path) => failure(404, "NotFound", &format!("{path} not found")),
        }
    }
}

impl World {
    fn watch(&mut self, autoscalers: bool) -> Reply {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let watchers = if autoscalers {
            &mut self.watchers
        } else {
            &mut self.idle_watchers
        };
        watchers.push(sender);
        let stream = futures::stream::poll_fn(move |cx| receiver.poll_recv(cx));
        let frames = futures::StreamExt::map(stream, |bytes| Ok::<_, Infallible>(Frame::data(bytes)));
        Response::new(StreamBody::new(frames).boxed_unsync())
    }

    fn notify(&mut self, event: &str) {
        self.version += 1;
        self.autoscaler["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let line = format!("{}\n", json!({ "type": event, "object": self.autoscaler }));
        self.watchers
            .retain(|watcher| watcher.send(Bytes::from(line.clone())).is_ok());
    }

    fn write_scale(&mut self, scale: Value) -> Reply {
        if self.conflicts > 0 {
            self.conflicts -= 1;
            if self.zero_on_conflict {
                self.scale["spec"]["replicas"] = json!(0);
            }
            self.scale["metadata"]["resourceVersion"] = json!(format!("conflict-{}", self.conflicts));
            return failure(409, "Conflict", "the object has been modified");
        }
        if scale["metadata"]["resourceVersion"] != self.scale["metadata"]["resourceVersion"] {
            return failure(409, "Conflict", "the object is not the latest");
        }
        self.scale = scale;
        // The workload's controllers are quick here.
        self.scale["status"]["replicas"] = self.scale["spec"]["replicas"].clone();
        json_reply(200, &self.scale)
    }

    fn write_status(&mut self, object: &Value) -> Reply {
        assert_eq!(object["kind"], "HorizontalPodAutoscaler");
        if object["metadata"]["resourceVersion"] != self.autoscaler["metadata"]["resourceVersion"] {
            return failure(409, "Conflict", "the autoscaler is not the latest");
        }
        self.status_writes += 1;
        self.autoscaler["status"] = object["status"].clone();
        self.notify("MODIFIED");
        json_reply(200, &self.autoscaler)
    }
}

fn deployments() -> Value {
    let deployments = json!({
        "name": "deployments", "singularName": "deployment", "namespaced": true, "kind": "Deployment", "verbs": ["get"],
    });
    json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "apps/v1", "resources": [deployments] })
}

fn list(items: &[Value]) -> Reply {
    json_reply(
        200,
        &json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": "1" }, "items": items }),
    )
}

fn json_reply(code: u16, value: &Value) -> Reply {
    let builder = Response::builder()
        .status(code)
        .header("content-type", "application/json");
    builder
        .body(Full::new(Bytes::from(value.to_string())).boxed_unsync())
        .unwrap()
}

fn failure(code: u16, reason: &str, message: &str) -> Reply {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    json_reply(code, &status)
}
