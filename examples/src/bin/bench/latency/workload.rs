//! What is scaled, by what, and the source that it follows.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Json, Router, extract::State, routing::get};
use examples::install::apply::apply;
use kube::Client;
use serde_json::{Value, json};

use crate::cluster;

pub(super) const NAMESPACE: &str = "default";
pub(super) const NAME: &str = "latency";
/// Kubernetes' default.
pub(super) const HPA_SYNC_PERIOD: Duration = Duration::from_secs(15);
/// `pollingInterval`.
pub(super) const POLLING_INTERVAL: Duration = Duration::from_secs(5);
/// `cooldownPeriod`.
const COOLDOWN_PERIOD: Duration = Duration::from_secs(10);
/// What one replica is to have.
const TARGET: u64 = 5;
/// How many replicas a round asks for.
pub(super) const REPLICAS: i32 = 10;
/// The value that asks for them.
pub(super) const BUSY: u64 = 50;

/// A source of a number over HTTP.
#[derive(Debug)]
pub(super) struct Source {
    value: Arc<AtomicU64>,
    url: String,
}

impl Source {
    /// Says 0 for now.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let value = Arc::new(AtomicU64::new(0));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let answer = async |State(value): State<Arc<AtomicU64>>| {
            Json(json!({ "jobs": value.load(Ordering::Relaxed) }))
        };
        let router = Router::new()
            .route("/", get(answer))
            .with_state(Arc::clone(&value));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { value, url })
    }

    pub(super) fn set(&self, value: u64) {
        self.value.store(value, Ordering::Relaxed);
    }
}

/// A node for the pods, a Deployment at rest, and the ScaledObject.
pub(super) async fn create(client: &Client, source: &Source) -> anyhow::Result<()> {
    cluster::define_scaled_objects(client).await?;
    apply(client, &[node(), deployment(), scaled_object(source)], &|_| {}).await
}

fn node() -> Value {
    let capacity = json!({ "cpu": "32", "memory": "256Gi", "pods": "110" });
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": NAME,
            "annotations": { "kwok.x-k8s.io/node": "fake" },
            "labels": { "kubernetes.io/hostname": NAME, "kubernetes.io/os": "linux" },
        },
        "status": { "capacity": capacity, "allocatable": capacity },
    })
}

fn deployment() -> Value {
    let labels = json!({ "app": NAME });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": NAME, "namespace": NAMESPACE },
        "spec": {
            "replicas": 0,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": NAME, "image": NAME }] },
            },
        },
    })
}

fn scaled_object(source: &Source) -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": { "name": NAME, "namespace": NAMESPACE },
        "spec": {
            "scaleTargetRef": { "name": NAME },
            "pollingInterval": POLLING_INTERVAL.as_secs(),
            "cooldownPeriod": COOLDOWN_PERIOD.as_secs(),
            "minReplicaCount": 0,
            "maxReplicaCount": 2 * REPLICAS,
            "triggers": [{
                "type": "metrics-api",
                "metadata": { "url": source.url, "valueLocation": "jobs", "targetValue": TARGET.to_string() },
            }],
        },
    })
}
