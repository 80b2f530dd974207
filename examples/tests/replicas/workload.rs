//! Workloads of the tests, and what is right about them at any time.

use axum::http::Method;
use examples::install::apply::apply;
use kube::{
    Api, Client,
    api::DynamicObject,
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};

use crate::{
    pair::{Pair, Replica},
    run_support::{Queue, door::Write, follow::Replicas, until},
};

/// A Deployment whose pods want half a CPU.
pub(crate) fn deployment(namespace: &str, name: &str, replicas: i32, on: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "nodeSelector": on,
                    "containers": [{
                        "name": "worker", "image": "worker", "resources": {"requests": {"cpu": "500m"}},
                    }],
                },
            },
        },
    })
}

/// A node with room for every pod of a test, kept alive by kwok.
pub(crate) fn node(name: &str) -> Value {
    let capacity = json!({"cpu": "256", "memory": "256Gi", "pods": "500"});
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        },
        "status": {"capacity": capacity, "allocatable": capacity},
    })
}

/// A ScaledObject for the Deployment of its name, one replica for five jobs; at most `step` more at a time.
pub(crate) fn scaled_object(namespace: &str, name: &str, url: &str, step: i32) -> Value {
    json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"name": name},
            "pollingInterval": 1, "cooldownPeriod": 1, "maxReplicaCount": 10,
            "advanced": {"horizontalPodAutoscalerConfig": {
                "behavior": {
                    "scaleUp": {"policies": [{"type": "Pods", "value": step, "periodSeconds": 3}]},
                    "scaleDown": {"stabilizationWindowSeconds": 0},
                },
            }},
            "triggers": [{
                "type": "metrics-api",
                "metadata": {"url": url, "valueLocation": "jobs", "targetValue": "5"},
            }],
        },
    })
}

/// The conditions of an object of a kind, as `Type=Status`.
pub(crate) async fn conditions(
    client: &Client,
    namespace: &str,
    kind: (&str, &str, &str),
    name: &str,
) -> Vec<String> {
    let (group, version, kind) = kind;
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let object = api.get(name).await.unwrap();
    let conditions = object.data["status"]["conditions"].as_array().cloned();
    let mut said: Vec<String> = conditions
        .into_iter()
        .flatten()
        .map(|condition| {
            format!(
                "{}={}",
                condition["type"].as_str().unwrap(),
                condition["status"].as_str().unwrap()
            )
        })
        .collect();
    said.sort();
    said
}

pub(crate) const SCALED_OBJECT: (&str, &str, &str) = ("keda.sh", "v1alpha1", "ScaledObject");
pub(crate) const AUTOSCALER: (&str, &str, &str) = ("autoscaling", "v2", "HorizontalPodAutoscaler");

/// A Deployment that follows a queue.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) queue: Queue,
    pub(crate) replicas: Replicas,
}

impl Work {
    pub(crate) async fn begin(pair: &Pair, name: &'static str, replicas: i32, step: i32) -> Self {
        let namespace = &pair.namespace;
        let queue = Queue::start().await;
        let objects = [
            deployment(
                namespace,
                name,
                replicas,
                &json!({"kubernetes.io/hostname": namespace}),
            ),
            scaled_object(namespace, name, &queue.url(), step),
        ];
        apply(&pair.client, &objects, &|_| {}).await.unwrap();
        let replicas = Replicas::follow(&pair.client, namespace, name);
        until("the ScaledObject is ready", async || {
            let said = conditions(&pair.client, namespace, SCALED_OBJECT, name).await;
            said.contains(&"Ready=True".to_owned()).then_some(())
        })
        .await;
        Self {
            name,
            queue,
            replicas,
        }
    }

    /// Whether a write asks for another number of replicas.
    pub(crate) fn scales(name: &'static str) -> impl Fn(&Write) -> bool + Send + 'static {
        let path = format!("/deployments/{name}/scale");
        move |write| write.is(&Method::PUT, &path)
    }

    /// How often one of the processes has set the number of replicas.
    pub(crate) fn steps(&self, processes: &[&Replica]) -> usize {
        let scales = Self::scales(self.name);
        let writes = processes.iter().flat_map(|process| process.door.writes());
        writes.filter(|write| scales(write)).count()
    }
}
