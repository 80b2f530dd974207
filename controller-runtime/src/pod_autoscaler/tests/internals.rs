//! keda.md §9: what KEDA's own end-to-end tests of its internals expect, with their numbers, on a whole embedded cluster:
//! controllers, scheduler, kubelet, the HPA, and the KEDA half behind its metrics adapter.

mod activity;
mod failures;
mod fallback;
mod formulas;
mod jobs;
mod outages;
mod pausing;
mod targets;
mod values;

use metrics_adapter::MetricsAdapter;

use super::*;
use crate::sim::{
    api::boxed_backend,
    cluster::{self, Cluster},
};

const OBJECT: &str = "/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects/so";
const HPA: &str = "keda-hpa-so";
const ADAPTER: (&str, &str) = ("keda", "adapter");

/// Long enough for a poll, the HPA, and the little stabilisation that [`Stage::apply_object`] asks for.
const A_WHILE: u64 = 75;

/// A whole cluster in which the KEDA half runs.
struct Stage {
    world: World,
}

impl std::ops::Deref for Stage {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl Stage {
    fn new() -> Self {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock: SharedClock = Arc::new(TokioClock::starting_at(start));
        let cluster = Cluster::new(cluster::Options::new(Arc::clone(&clock), 1));
        tokio::spawn(cluster.run());
        let (namespace, service) = ADAPTER;
        let room = json!({"cpu": "64", "memory": "64Gi", "pods": "200"});
        let objects = [
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"},
                "status": {"capacity": room, "allocatable": room}}),
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace, "name": service},
                "spec": {"ports": [{"port": 443}]}}),
            json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
            "spec": {
                "group": "external.metrics.k8s.io", "version": "v1beta1",
                "groupPriorityMinimum": 100, "versionPriority": 100, "insecureSkipTLSVerify": true,
                "service": {"namespace": namespace, "name": service, "port": 443},
            }}),
        ];
        cluster.load(objects.into()).unwrap();
        let mut stage = Self {
            world: World::on(cluster.api().clone(), clock),
        };
        stage.restart();
        stage
    }

    /// Ends the KEDA half and starts another one.
    fn restart(&mut self) {
        self.world.restart();
        let (namespace, service) = ADAPTER;
        let adapter = MetricsAdapter::new(Arc::clone(&self.metrics));
        self.server
            .register_backend(namespace, service, boxed_backend(adapter));
    }

    /// The ScaledObject `so` on the Deployment `web`, between 0 and 5, 5 messages of `orders` for each replica, with an
    /// HPA that scales in within seconds.
    fn apply_object(&self, spec: &Value) {
        self.scale("so", spec);
    }

    /// The same by another name.
    fn scale(&self, name: &str, spec: &Value) {
        let mut all = json!({
            "idleReplicaCount": null, "maxReplicaCount": 5,
            "advanced": {"horizontalPodAutoscalerConfig": quick()},
        });
        for (key, value) in spec.as_object().unwrap() {
            all[key] = value.clone();
        }
        self.scaled_object(name, &all);
    }

    async fn annotate(&self, annotation: &str, value: impl Into<Value>) {
        let annotations = json!({format!("autoscaling.keda.sh/{annotation}"): value.into()});
        self.patch(OBJECT, &json!({"metadata": {"annotations": annotations}}))
            .await;
    }

    /// Sets the queue `orders` and tells the replicas a while later.
    async fn with_orders(&self, value: f64) -> i64 {
        self.script.set("orders", value);
        self.pass(A_WHILE).await;
        self.replicas("web")
    }

    /// The queue `orders` no longer answers; the replicas a while later, and once more, if they have not changed.
    async fn without_orders(&self) -> i64 {
        self.script.fail("orders", scaler_api::ErrorKind::Unavailable);
        self.pass(A_WHILE).await;
        let replicas = self.replicas("web");
        self.pass(A_WHILE).await;
        assert_eq!(self.replicas("web"), replicas, "they stay");
        replicas
    }
}

/// Settings of an HPA that scales in within seconds.
fn quick() -> Value {
    json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 10}}})
}

fn trigger(queue: &str, target: &str) -> Value {
    json!({"type": "test", "name": queue, "metadata": {"queue": queue, "target": target}})
}

impl Stage {
    /// An Argo Rollout `canary`, and somebody who makes what it asks for.
    fn rollout(&self, replicas: i32) {
        let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        self.apply(json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "rollouts.argoproj.io"},
            "spec": {
                "group": "argoproj.io", "scope": "Namespaced",
                "names": {"plural": "rollouts", "singular": "rollout", "kind": "Rollout"},
                "versions": [{
                    "name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}, "scale": {
                        "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.HPAReplicas",
                        "labelSelectorPath": ".status.selector",
                    }},
                }],
            },
        }));
        self.apply(json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "canary", "namespace": "default"}, "spec": {"replicas": replicas},
        }));
        let (mut changes, client) = (self.server.observe(), self.server.client("default"));
        tokio::spawn(async move {
            while let Some(change) = changes.recv().await {
                let wanted = &change.object["spec"]["replicas"];
                if change.resource != "rollouts" || change.object["status"]["HPAReplicas"] == *wanted {
                    continue;
                }
                let status = json!({"status": {"HPAReplicas": wanted, "selector": "app=canary"}});
                let path = "/apis/argoproj.io/v1alpha1/namespaces/default/rollouts/canary/status";
                let request = http::Request::patch(path)
                    .header("content-type", "application/merge-patch+json")
                    .body(status.to_string().into_bytes())
                    .unwrap();
                client.request_text(request).await.unwrap();
            }
        });
    }
}
