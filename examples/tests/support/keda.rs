//! A cluster as KEDA leaves it: its definitions, objects with what it has written about them, HPAs, and how it was
//! registered with the API server.

use std::{collections::BTreeMap, fmt::Debug, path::Path};

use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
    core::{DynamicObject, GroupVersionKind},
    discovery,
};
use scaler_api::{Clock as _, SystemClock};
use serde_json::{Value, json};

/// The namespace of the workloads.
pub(crate) const SHOP: &str = "shop";
/// The release that was there.
const RELEASE: &str = "2.17.0";
/// How long ago the workload that cools down was last active.
const RESTED: SignedDuration = SignedDuration::from_secs(20);
/// How long its cooldown is.
pub(crate) const COOLDOWN: SignedDuration = SignedDuration::from_secs(75);

/// A workload, the ScaledObject about it, and what KEDA has said.
pub(crate) struct Scaled {
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) replicas: i32,
    annotations: Value,
    spec: Value,
    /// Status and reason of the condition `Active`.
    active: (&'static str, &'static str),
    /// What the status says besides.
    status: Value,
}

/// The sources, by the name of what they scale.
pub(crate) type Sources = BTreeMap<&'static str, String>;

/// One trigger on a source, five jobs a replica.
fn trigger(url: &str) -> Value {
    json!({"type": "metrics-api", "metadata": {"url": url, "valueLocation": "jobs", "targetValue": "5"}})
}

fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Active, in an HPA of another name with a behaviour, read with a token, and with a field that is not known here.
fn busy_spec(url: &str) -> Value {
    let behavior = json!({"scaleUp": {"policies": [{"type": "Pods", "value": 10, "periodSeconds": 5}]}});
    let mut trigger = trigger(url);
    trigger["metadata"]["authMode"] = json!("bearer");
    trigger["authenticationRef"] = json!({"name": "queue"});
    json!({
        "triggers": [trigger], "cooldownPeriod": 300, "costCenter": "7",
        "advanced": {"horizontalPodAutoscalerConfig": {"name": "busy-by-jobs", "behavior": behavior}},
    })
}

/// One of each kind.
pub(crate) fn scaled(sources: &Sources) -> Vec<Scaled> {
    let of = |name: &'static str, replicas: i32, active, spec: Value| {
        let mut whole = json!({"pollingInterval": 1, "maxReplicaCount": 20});
        if let Some(url) = sources.get(name) {
            whole["triggers"] = json!([trigger(url)]);
        }
        merge(&mut whole, &spec);
        Scaled {
            name,
            kind: "Deployment",
            replicas,
            annotations: json!({}),
            spec: whole,
            active,
            status: json!({}),
        }
    };
    let now = SystemClock.now();
    let (active, asleep) = (("True", "ScalerActive"), ("False", "ScalerNotActive"));
    vec![
        of("asleep", 0, asleep, json!({"cooldownPeriod": 5})),
        of("single", 1, active, json!({})),
        Scaled {
            status: json!({"authenticationsTypes": "queue"}),
            ..of("busy", 7, active, busy_spec(&sources["busy"]))
        },
        Scaled {
            status: json!({"lastActiveTime": seconds(now - RESTED)}),
            ..of(
                "cooling",
                2,
                ("False", "ScalerCooldown"),
                json!({"cooldownPeriod": COOLDOWN.as_secs()}),
            )
        },
        of(
            "idle",
            0,
            asleep,
            json!({"idleReplicaCount": 0, "minReplicaCount": 2}),
        ),
        Scaled {
            status: json!({"health": {"s0-metric-api-jobs": {"numberOfFailures": 9, "status": "Failing"}}}),
            ..of(
                "broken",
                3,
                active,
                json!({"fallback": {"failureThreshold": 3, "replicas": 3}}),
            )
        },
        of(
            "computing",
            2,
            active,
            json!({
                "minReplicaCount": 2,
                "triggers": [{"type": "cpu", "metricType": "Utilization", "metadata": {"value": "50"}}],
            }),
        ),
        Scaled {
            annotations: json!({"autoscaling.keda.sh/paused-replicas": "4"}),
            status: json!({"pausedReplicaCount": 4}),
            ..of("paused", 4, active, json!({}))
        },
        Scaled {
            annotations: json!({"autoscaling.keda.sh/paused": "true"}),
            ..of("frozen", 5, active, json!({}))
        },
        Scaled {
            kind: "StatefulSet",
            ..of("ordered", 2, active, json!({}))
        },
    ]
}

impl Scaled {
    pub(crate) fn is_paused(&self) -> bool {
        self.annotations.as_object().is_some_and(|all| !all.is_empty())
    }

    /// The name of the HPA.
    pub(crate) fn hpa_name(&self) -> String {
        let configured = &self.spec["advanced"]["horizontalPodAutoscalerConfig"]["name"];
        configured
            .as_str()
            .map_or_else(|| format!("keda-hpa-{}", self.name), ToOwned::to_owned)
    }

    fn workload(&self) -> Value {
        let labels = json!({"app": self.name});
        let requests = json!({"requests": {"cpu": "10m"}});
        json!({
            "apiVersion": "apps/v1", "kind": self.kind,
            "metadata": {"name": self.name, "namespace": SHOP},
            "spec": {
                "replicas": self.replicas, "serviceName": (self.kind == "StatefulSet").then_some(self.name),
                "podManagementPolicy": (self.kind == "StatefulSet").then_some("Parallel"),
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "app", "image": "app", "resources": requests}]},
                },
            },
        })
    }

    fn object(&self) -> Value {
        let mut spec = self.spec.clone();
        spec["scaleTargetRef"] = match self.kind {
            "Deployment" => json!({"name": self.name}),
            kind => json!({"name": self.name, "kind": kind, "apiVersion": "apps/v1"}),
        };
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {
                "name": self.name, "namespace": SHOP, "annotations": self.annotations,
                "labels": {"scaledobject.keda.sh/name": self.name, "team": "shop"},
                "finalizers": ["finalizer.keda.sh"],
            },
            "spec": spec,
        })
    }

    fn resource_metrics(&self) -> bool {
        self.spec["triggers"][0]["type"] == "cpu"
    }

    /// What KEDA has written.
    fn status(&self, now: Timestamp) -> Value {
        let condition = |type_: &str, status: &str, reason: &str, message: &str| json!({"type": type_, "status": status, "reason": reason, "message": message});
        let ready = "ScaledObject is defined correctly and is ready for scaling";
        let falls_back = self.spec.get("fallback").is_some();
        let mut conditions = vec![
            condition("Ready", "True", "ScaledObjectReady", ready),
            condition("Active", self.active.0, self.active.1, "as it was"),
            match falls_back {
                true => condition("Fallback", "True", "FallbackExists", "as it was"),
                false => condition("Fallback", "False", "NoFallbackFound", "as it was"),
            },
        ];
        conditions.push(match self.is_paused() {
            true => condition("Paused", "True", "ScaledObjectPaused", "ScaledObject is paused"),
            false => json!({"type": "Paused", "status": "False"}),
        });
        let mut status = json!({
            "scaleTargetKind": format!("apps/v1.{}", self.kind),
            "scaleTargetGVKR": {
                "group": "apps", "version": "v1", "kind": self.kind,
                "resource": format!("{}s", self.kind.to_lowercase()),
            },
            "originalReplicaCount": 1,
            "hpaName": self.hpa_name(),
            "triggersTypes": self.spec["triggers"][0]["type"],
            "conditions": conditions,
        });
        match self.resource_metrics() {
            true => status["resourceMetricNames"] = json!(["cpu"]),
            false => {
                let metric = "s0-metric-api-jobs";
                status["externalMetricNames"] = json!([metric]);
                status["health"] = json!({metric: {"numberOfFailures": 0, "status": "Happy"}});
                status["triggersActivity"] = json!({metric: {"isActive": self.active.0 == "True"}});
            }
        }
        if self.active.0 == "True" {
            status["lastActiveTime"] = json!(seconds(now));
        }
        merge(&mut status, &self.status);
        status
    }

    fn hpa(&self, owner: &str) -> Value {
        let metric = match self.resource_metrics() {
            true => json!({"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50},
            }}),
            false => json!({"type": "External", "external": {
                "metric": {
                    "name": "s0-metric-api-jobs",
                    "selector": {"matchLabels": {"scaledobject.keda.sh/name": self.name}},
                },
                "target": {"type": "AverageValue", "averageValue": "5"},
            }}),
        };
        let min = self.spec["minReplicaCount"].as_i64().unwrap_or(1).max(1);
        json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {
                "name": self.hpa_name(), "namespace": SHOP,
                "labels": {
                    "app.kubernetes.io/name": self.hpa_name(), "app.kubernetes.io/version": RELEASE,
                    "app.kubernetes.io/part-of": self.name, "app.kubernetes.io/managed-by": "keda-operator",
                    "scaledobject.keda.sh/name": self.name, "team": "shop",
                },
                "ownerReferences": [{
                    "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": self.name, "uid": owner,
                    "controller": true, "blockOwnerDeletion": true,
                }],
            },
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": self.kind, "name": self.name},
                "minReplicas": min, "maxReplicas": self.spec["maxReplicaCount"],
                "behavior": self.spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"],
                "metrics": [metric],
            },
        })
    }
}

fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().unwrap() {
        into[key] = value.clone();
    }
}

/// KEDA's own definitions; in a folder of its release where `KEDA_DEFINITIONS` names one.
fn definitions() -> Vec<Value> {
    if let Some(folder) = std::env::var_os("KEDA_DEFINITIONS") {
        let kinds = [
            "scaledobjects",
            "scaledjobs",
            "triggerauthentications",
            "clustertriggerauthentications",
        ];
        let file = |kind: &str| Path::new(&folder).join(format!("keda.sh_{kind}.yaml"));
        let read = |kind: &str| std::fs::read_to_string(file(kind)).unwrap();
        return kinds
            .iter()
            .map(|kind| serde_saphyr::from_str(&read(kind)).unwrap())
            .collect();
    }
    let list: Value = serde_saphyr::from_str(include_str!("../fixtures/keda/definitions.yaml")).unwrap();
    list["items"].as_array().unwrap().clone()
}

/// What KEDA's manifests register; its process is not there any more.
pub(crate) fn registration() -> Vec<Value> {
    let service = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "keda"},
            "spec": {"selector": {"app": name}, "ports": [{"name": "https", "port": 443, "targetPort": 6443}]},
        })
    };
    let (adapter, webhook) = ("keda-operator-metrics-apiserver", "keda-admission-webhooks");
    vec![
        service(adapter),
        service(webhook),
        json!({
            "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {
                "name": "v1beta1.external.metrics.k8s.io",
                "labels": {"app.kubernetes.io/name": "v1beta1.external.metrics.k8s.io", "app.kubernetes.io/part-of": "keda-operator"},
            },
            "spec": {
                "group": "external.metrics.k8s.io", "version": "v1beta1",
                "groupPriorityMinimum": 100, "versionPriority": 100, "insecureSkipTLSVerify": true,
                "service": {"namespace": "keda", "name": adapter, "port": 443},
            },
        }),
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "keda-admission", "labels": {"app.kubernetes.io/part-of": "keda-operator"}},
            "webhooks": [{
                "name": "vscaledobject.kb.io", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "failurePolicy": "Ignore", "timeoutSeconds": 10, "matchPolicy": "Equivalent",
                "clientConfig": {"service": {
                    "namespace": "keda", "name": webhook, "path": "/validate-keda-sh-v1alpha1-scaledobject",
                }},
                "rules": [{
                    "apiGroups": ["keda.sh"], "apiVersions": ["*"], "resources": ["scaledobjects"],
                    "operations": ["CREATE", "UPDATE"],
                }],
            }],
        }),
    ]
}

/// Jobs of a ScaledJob, one that KEDA's definition takes without a specification, and an authentication.
fn others(jobs: &str) -> Vec<Value> {
    let finalizers = json!(["finalizer.keda.sh"]);
    let pod = json!({"restartPolicy": "Never", "containers": [{"name": "app", "image": "app"}]});
    vec![
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "queue", "namespace": SHOP},
            "stringData": {"token": "secret"},
        }),
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "TriggerAuthentication",
            "metadata": {"name": "queue", "namespace": SHOP, "finalizers": finalizers},
            "spec": {"secretTargetRef": [{"parameter": "token", "name": "queue", "key": "token"}]},
            "status": {"scaledobjects": "busy"},
        }),
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob",
            "metadata": {"name": "batch", "namespace": SHOP, "finalizers": finalizers},
            "spec": {
                "pollingInterval": 1,
                "jobTargetRef": {"template": {"metadata": {"labels": {"app": "batch"}}, "spec": pod}},
                "triggers": [trigger(jobs)],
            },
            "status": {
                "triggersTypes": "metrics-api",
                "conditions": [{"type": "Ready", "status": "True", "reason": "ScaledJobReady", "message": "ready"}],
            },
        }),
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob",
            "metadata": {"name": "empty", "namespace": SHOP},
        }),
    ]
}

fn job(owner: &str) -> Value {
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {
            "name": "batch-x7k2p", "namespace": SHOP,
            "labels": {
                "app.kubernetes.io/name": "batch-x7k2p", "app.kubernetes.io/part-of": "batch",
                "app.kubernetes.io/managed-by": "keda-operator", "app.kubernetes.io/version": RELEASE,
                "scaledjob.keda.sh/name": "batch",
            },
            "annotations": {"scaledjob.keda.sh/generation": "1"},
            "ownerReferences": [{
                "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob", "name": "batch", "uid": owner,
                "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": {"template": {
            "metadata": {"labels": {"scaledjob.keda.sh/name": "batch"}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "app", "image": "app"}]},
        }},
    })
}

/// The API of a kind.
pub(crate) async fn api(
    client: &Client,
    api_version: &str,
    kind: &str,
    namespace: Option<&str>,
) -> Api<DynamicObject> {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let kind = GroupVersionKind::gvk(group, version, kind);
    let found = super::run_support::until("the kind is served", async || {
        discovery::pinned_kind(client, &kind).await.ok()
    });
    let (resource, _) = found.await;
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

/// Creates an object as KEDA's process does, with what it says about it, and gives its uid.
pub(crate) async fn create(client: &Client, object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let (version, kind) = (text("/apiVersion").unwrap(), text("/kind").unwrap());
    let api = api(client, version, kind, text("/metadata/namespace")).await;
    let params = PostParams {
        field_manager: Some("keda".to_owned()),
        ..PostParams::default()
    };
    let typed: DynamicObject = serde_json::from_value(object.clone()).unwrap();
    let created = told(kind, api.create(&params, &typed).await);
    if let Some(status) = object.get("status") {
        let patch = Patch::Merge(json!({ "status": status }));
        let params = PatchParams {
            field_manager: Some("keda".to_owned()),
            ..PatchParams::default()
        };
        told(kind, api.patch_status(&created.name_any(), &params, &patch).await);
    }
    created.uid().unwrap()
}

fn told<T>(what: &str, result: Result<T, impl Debug>) -> T {
    result.unwrap_or_else(|error| panic!("{what}: {error:?}"))
}

/// Makes the cluster.
pub(crate) async fn build(client: &Client, sources: &Sources, all: &[Scaled]) {
    for definition in definitions() {
        create(client, &definition).await;
    }
    for namespace in ["keda", SHOP] {
        let metadata = json!({ "name": namespace });
        create(
            client,
            &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}),
        )
        .await;
    }
    let mut process = all[0].workload();
    process["metadata"] = json!({"name": "keda-operator", "namespace": "keda"});
    create(client, &process).await;
    for object in others(&sources["batch"]) {
        let uid = create(client, &object).await;
        if object["metadata"]["name"] == "batch" {
            create(client, &job(&uid)).await;
        }
    }
    for scaled in all {
        create(client, &scaled.workload()).await;
        let mut object = scaled.object();
        object["status"] = scaled.status(SystemClock.now());
        let uid = create(client, &object).await;
        if !scaled.is_paused() {
            create(client, &scaled.hpa(&uid)).await;
        }
    }
    for object in registration() {
        create(client, &object).await;
    }
}
