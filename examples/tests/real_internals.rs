//! keda.md §9 on a real control plane: what KEDA's own end-to-end tests of its internals expect, with their numbers,
//! from the binary as a process, Kubernetes' HPA and its other controllers, and sources over HTTP.
//!
//! Every case has a namespace and sources of its own; all of them run side by side.
#![cfg(all(feature = "sim", feature = "metrics-api"))]
#![allow(clippy::unwrap_used, reason = "everything here is a test")]

mod run_support;

use std::{pin::Pin, time::Duration};

use controller_runtime::envtest;
use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
    core::{ApiResource, DynamicObject, GroupVersionKind, TypeMeta},
};
use serde_json::{Value, json};

use run_support::{Queue, Running, follow::Replicas, install, until};

/// A case's namespace, and what is in it.
struct Case {
    client: Client,
    namespace: String,
    /// The source that triggers read which say nothing else.
    orders: Queue,
}

impl Case {
    async fn new(client: &Client, namespace: &str) -> Self {
        let case = Self {
            client: client.clone(),
            namespace: namespace.to_owned(),
            orders: Queue::start().await,
        };
        case.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}))
            .await;
        case
    }

    fn api(&self, types: &TypeMeta) -> Api<DynamicObject> {
        let kind = GroupVersionKind::try_from(types).unwrap();
        let resource = ApiResource::from_gvk(&kind);
        match kind.kind.as_str() {
            "Namespace" | "Node" | "CustomResourceDefinition" => {
                Api::all_with(self.client.clone(), &resource)
            }
            _ => Api::namespaced_with(self.client.clone(), &self.namespace, &resource),
        }
    }

    fn of_kind(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        self.api(&TypeMeta {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
        })
    }

    async fn apply(&self, object: Value) {
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let api = self.api(object.types.as_ref().unwrap());
        let parameters = PatchParams::apply("test").force();
        api.patch(&object.name_any(), &parameters, &Patch::Apply(&object))
            .await
            .unwrap();
    }

    async fn workload(&self, kind: &str, replicas: i32) {
        self.apply(json!({
            "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web"},
            "spec": {
                "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "web", "image": "web"}]},
                },
            },
        }))
        .await;
    }

    /// A Deployment without replicas and its followed replicas.
    async fn deployment(&self, replicas: i32) -> Replicas {
        self.workload("Deployment", replicas).await;
        Replicas::follow(&self.client, &self.namespace, "web")
    }

    /// The ScaledObject `so` on the Deployment `web`, between 0 and 5, 5 jobs for each replica.
    async fn object(&self, spec: Value) {
        let mut object = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "so"},
            "spec": {
                "scaleTargetRef": {"name": "web"},
                "pollingInterval": 1, "cooldownPeriod": 1, "maxReplicaCount": 5,
                "advanced": {"horizontalPodAutoscalerConfig": quick()},
                "triggers": [trigger(&self.orders, "5")],
            },
        });
        for (key, value) in spec.as_object().unwrap() {
            object["spec"][key] = value.clone();
        }
        self.apply(object).await;
    }

    async fn change(&self, patch: Value) {
        let objects = self.of_kind("keda.sh/v1alpha1", "ScaledObject");
        objects
            .patch("so", &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    async fn annotate(&self, annotation: &str, value: impl Into<Value>) {
        let annotations = json!({format!("autoscaling.keda.sh/{annotation}"): value.into()});
        self.change(json!({"metadata": {"annotations": annotations}}))
            .await;
    }

    /// A condition of `so` as `status reason`.
    async fn condition(&self, type_: &str) -> Option<String> {
        let objects = self.of_kind("keda.sh/v1alpha1", "ScaledObject");
        let object = objects.get_opt("so").await.unwrap()?;
        let conditions = object.data["status"]["conditions"].as_array()?.clone();
        let found = conditions.iter().find(|condition| condition["type"] == type_)?;
        Some(format!(
            "{} {}",
            found["status"].as_str()?,
            found["reason"].as_str()?
        ))
    }

    async fn reaches_condition(&self, type_: &str, expected: &str) {
        until(
            &format!("{type_} of {}: {expected}", self.namespace),
            async || (self.condition(type_).await? == expected).then_some(()),
        )
        .await;
    }

    async fn hpas(&self) -> Vec<String> {
        let hpas = self.of_kind("autoscaling/v2", "HorizontalPodAutoscaler");
        let list = hpas.list(&ListParams::default()).await.unwrap();
        list.iter().map(|hpa| hpa.name_any()).collect()
    }
}

/// Settings of an HPA that scales at once.
fn quick() -> Value {
    json!({"behavior": {
        "scaleUp": {"policies": [{"type": "Pods", "value": 20, "periodSeconds": 1}]},
        "scaleDown": {"stabilizationWindowSeconds": 0},
    }})
}

fn trigger(queue: &Queue, target: &str) -> Value {
    json!({
        "type": "metrics-api", "metadata": {"url": queue.url(), "valueLocation": "jobs", "targetValue": target},
    })
}

fn fallback(behavior: &str) -> Value {
    json!({"fallback": {"failureThreshold": 3, "replicas": 3, "behavior": behavior}})
}

/// Long enough for several polls and several turns of the HPA.
async fn a_while() {
    tokio::time::sleep(Duration::from_secs(8)).await;
}

async fn stays(replicas: &Replicas, expected: i32, why: &str) {
    a_while().await;
    assert_eq!(replicas.last(), Some(expected), "{why}");
}

async fn section_9_fallback_50_gives_5_down_3_restored_5(case: Case) {
    let replicas = case.deployment(0).await;
    case.object(fallback("static")).await;
    case.orders.set(50);
    replicas.reach(5).await;
    case.orders.set_away(true);
    replicas.reach(3).await;
    stays(&replicas, 3, "while the source is down").await;
    case.reaches_condition("Fallback", "True FallbackExists").await;
    case.orders.set_away(false);
    replicas.reach(5).await;
    case.reaches_condition("Fallback", "False NoFallbackFound").await;
    case.orders.set(0);
    replicas.reach(0).await;
}

async fn section_9_fallback_if_higher_4_stays(case: Case) {
    let replicas = case.deployment(0).await;
    case.object(fallback("currentReplicasIfHigher")).await;
    case.orders.set(20);
    replicas.reach(4).await;
    case.orders.set_away(true);
    case.reaches_condition("Fallback", "True FallbackExists").await;
    stays(&replicas, 4, "more than 3").await;
    assert_eq!(*replicas.all().last_chunk::<2>().unwrap(), [1, 4]);
}

async fn section_9_fallback_if_lower_3(case: Case) {
    let replicas = case.deployment(0).await;
    case.object(fallback("currentReplicasIfLower")).await;
    case.orders.set(20);
    replicas.reach(4).await;
    case.orders.set_away(true);
    replicas.reach(3).await;
    stays(&replicas, 3, "not more than 3").await;
}

async fn section_9_fallback_from_zero_3(case: Case) {
    let replicas = case.deployment(0).await;
    case.orders.set_away(true);
    case.object(fallback("static")).await;
    replicas.reach(3).await;
    assert_eq!(replicas.all(), [0, 1, 3]);
}

async fn section_9_fallback_on_a_custom_resource_with_scale(case: Case) {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    case.apply(json!({
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
    }))
    .await;
    let rollouts = case.of_kind("argoproj.io/v1alpha1", "Rollout");
    until("Rollouts are served", async || {
        rollouts.list(&ListParams::default()).await.ok()
    })
    .await;
    case.apply(json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "canary"},
        "spec": {"replicas": 0},
    }))
    .await;
    let mut spec = fallback("static");
    spec["scaleTargetRef"] =
        json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "canary"});
    case.object(spec).await;
    // Its controller: what is asked for is there.
    let reach = async |expected: i64| {
        until(&format!("{expected} replicas of the Rollout"), async || {
            let rollout = rollouts.get("canary").await.unwrap();
            let wanted = rollout.data["spec"]["replicas"].clone();
            if rollout.data["status"]["HPAReplicas"] != wanted {
                let status = json!({"status": {"HPAReplicas": wanted, "selector": "app=canary"}});
                let parameters = PatchParams::default();
                rollouts
                    .patch_status("canary", &parameters, &Patch::Merge(status))
                    .await
                    .unwrap();
            }
            (wanted == expected).then_some(())
        })
        .await;
    };
    case.orders.set(50);
    reach(5).await;
    case.orders.set_away(true);
    reach(3).await;
    case.orders.set_away(false);
    reach(5).await;
    case.orders.set(0);
    reach(0).await;
}

async fn section_9_modifiers_16_by_2_gives_8_and_a_fallback_of_6_gives_12_by_2(case: Case) {
    let replicas = case.deployment(0).await;
    let other = Queue::start().await;
    case.object(formula(&case.orders, &other, "a + b", "static"))
        .await;
    case.orders.set(12);
    other.set(4);
    replicas.reach(8).await;
    case.orders.set_away(true);
    replicas.reach(6).await;
    case.orders.set_away(false);
    replicas.reach(8).await;
}

async fn section_9_modifiers_a_formula_takes_8_instead_which_gives_4(case: Case) {
    let replicas = case.deployment(0).await;
    let other = Queue::start().await;
    case.object(formula(&case.orders, &other, "(a ?? 8) + b", "scalingModifiers"))
        .await;
    case.orders.set(12);
    replicas.reach(6).await;
    case.orders.set_away(true);
    replicas.reach(4).await;
    stays(&replicas, 4, "8 / 2").await;
}

fn formula(a: &Queue, b: &Queue, formula: &str, behavior: &str) -> Value {
    let (mut a, mut b) = (trigger(a, "5"), trigger(b, "5"));
    (a["name"], b["name"]) = (json!("a"), json!("b"));
    json!({
        "maxReplicaCount": 10, "triggers": [a, b],
        "fallback": {"failureThreshold": 3, "replicas": 6, "behavior": behavior},
        "advanced": {
            "horizontalPodAutoscalerConfig": quick(),
            "scalingModifiers": {"formula": formula, "target": "2"},
        },
    })
}

async fn section_9_idle_0_2_4_0(case: Case) {
    let replicas = case.deployment(0).await;
    case.object(json!({"idleReplicaCount": 0, "minReplicaCount": 2, "maxReplicaCount": 4}))
        .await;
    case.reaches_condition("Ready", "True ScaledObjectReady").await;
    stays(&replicas, 0, "at rest").await;
    case.orders.set(1);
    replicas.reach(2).await;
    case.orders.set(50);
    replicas.reach(4).await;
    case.orders.set(0);
    replicas.reach(0).await;
    assert_eq!(replicas.all(), [0, 2, 4, 0]);
}

async fn section_9_pause_variants(case: Case) {
    let replicas = case.deployment(0).await;
    case.object(json!({})).await;
    case.orders.set(15);
    replicas.reach(3).await;
    case.annotate("paused", "").await;
    case.reaches_condition("Paused", "True ScaledObjectPaused").await;
    assert_eq!(case.hpas().await, [""; 0]);
    case.orders.set(50);
    stays(&replicas, 3, "paused").await;
    case.annotate("paused-replicas", "1").await;
    replicas.reach(1).await;
    case.annotate("paused", Value::Null).await;
    stays(&replicas, 1, "paused at 1").await;
    case.annotate("paused-replicas", Value::Null).await;
    replicas.reach(5).await;
    case.reaches_condition("Paused", "False ScaledObjectUnpaused")
        .await;
}

async fn section_9_paused_directions(case: Case) {
    let replicas = case.deployment(0).await;
    case.object(json!({})).await;
    case.annotate("paused-scale-out", "true").await;
    case.orders.set(15);
    stays(&replicas, 0, "scaling out is paused").await;
    case.annotate("paused-scale-out", "false").await;
    replicas.reach(3).await;
    case.annotate("paused-scale-in", "true").await;
    a_while().await;
    case.orders.set(0);
    stays(&replicas, 3, "scaling in is paused").await;
    case.annotate("paused-scale-in", Value::Null).await;
    replicas.reach(0).await;
}

async fn section_9_average_value_8_gives_4(case: Case) {
    value_metric_type(&case, "AverageValue", 4).await;
}

async fn section_9_value_8_gives_10(case: Case) {
    value_metric_type(&case, "Value", 10).await;
}

async fn value_metric_type(case: &Case, metric_type: &str, expected: i32) {
    let replicas = case.deployment(0).await;
    let mut trigger = trigger(&case.orders, "2");
    trigger["metricType"] = json!(metric_type);
    case.object(json!({"maxReplicaCount": 10, "triggers": [trigger]}))
        .await;
    case.orders.set(8);
    replicas.reach(expected).await;
    stays(&replicas, expected, metric_type).await;
}

async fn section_9_a_replica_set_goes_from_0_to_5_and_back(case: Case) {
    case.workload("ReplicaSet", 0).await;
    let target = json!({"name": "web", "kind": "ReplicaSet", "apiVersion": "apps/v1"});
    case.object(json!({"scaleTargetRef": target})).await;
    let sets = case.of_kind("apps/v1", "ReplicaSet");
    for (jobs, expected) in [(3, 1), (50, 5), (0, 0)] {
        case.orders.set(jobs);
        until(&format!("{expected} replicas of the ReplicaSet"), async || {
            let set = sets.get("web").await.unwrap();
            (set.data["spec"]["replicas"] == expected).then_some(())
        })
        .await;
    }
}

async fn section_9_a_renamed_hpa_and_restored_replicas(case: Case) {
    let replicas = case.deployment(2).await;
    let config = |name: &str| {
        let mut config = quick();
        config["name"] = json!(name);
        json!({"horizontalPodAutoscalerConfig": config, "restoreToOriginalReplicaCount": true})
    };
    case.orders.set(50);
    case.object(json!({"advanced": config("first")})).await;
    replicas.reach(5).await;
    assert_eq!(case.hpas().await, ["first"]);
    case.change(json!({"spec": {"advanced": config("second")}})).await;
    until("the HPA is renamed", async || {
        (case.hpas().await == ["second"]).then_some(())
    })
    .await;
    stays(&replicas, 5, "another name").await;
    case.of_kind("keda.sh/v1alpha1", "ScaledObject")
        .delete("so", &DeleteParams::default())
        .await
        .unwrap();
    replicas.reach(2).await;
    until("the HPA is gone", async || {
        case.hpas().await.is_empty().then_some(())
    })
    .await;
}

async fn section_9_force_activation_and_an_object_beside_broken_ones_5083(case: Case) {
    let replicas = case.deployment(0).await;
    let mut unauthenticated = trigger(&case.orders, "5");
    unauthenticated["authenticationRef"] = json!({"name": "nobody"});
    let mut unreachable = trigger(&case.orders, "5");
    unreachable["metadata"]["url"] = json!("http://127.0.0.1:1/queue");
    for (name, trigger) in [("unauthenticated", unauthenticated), ("unreachable", unreachable)] {
        case.apply(json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": name},
            "spec": {
                "pollingInterval": 1, "scaleTargetRef": {"name": format!("missing-{name}")}, "triggers": [trigger],
            },
        }))
        .await;
    }
    case.object(json!({})).await;
    case.reaches_condition("Ready", "True ScaledObjectReady").await;
    case.annotate("force-activation", "true").await;
    replicas.reach(1).await;
    case.annotate("force-activation", Value::Null).await;
    replicas.reach(0).await;
    case.orders.set(50);
    replicas.reach(5).await;
}

async fn section_9_scaled_job_accurate_4_8_10(case: Case) {
    // No node has room for its pods; who says that they run is this test.
    case.apply(json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob", "metadata": {"name": "work"},
        "spec": {
            "pollingInterval": 1, "maxReplicaCount": 10,
            "scalingStrategy": {"strategy": "accurate"},
            "jobTargetRef": {"template": {"spec": {
                "nodeSelector": {"there": "none"}, "containers": [{"name": "work", "image": "worker"}],
            }}},
            "triggers": [trigger(&case.orders, "1")],
        },
    }))
    .await;
    let jobs: Api<Job> = Api::namespaced(case.client.clone(), &case.namespace);
    let pods: Api<Pod> = Api::namespaced(case.client.clone(), &case.namespace);
    let count = async || jobs.list(&ListParams::default()).await.unwrap().items.len();
    for expected in [4, 8, 10] {
        case.orders.set(4);
        until(&format!("{expected} Jobs"), async || {
            (count().await == expected).then_some(())
        })
        .await;
        case.orders.set(0);
        tokio::time::sleep(Duration::from_secs(3)).await;
        let running = Patch::Merge(json!({"status": {"phase": "Running"}}));
        let all = until("a pod for each Job", async || {
            let all = pods.list(&ListParams::default()).await.unwrap().items;
            (all.len() == expected).then_some(all)
        })
        .await;
        for pod in all {
            pods.patch_status(&pod.name_any(), &PatchParams::default(), &running)
                .await
                .unwrap();
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(count().await, expected, "the queue is empty");
    }
}

/// Serves the types of this build by KEDA's protocol of external scalers; the address.
#[cfg(feature = "all-scalers")]
async fn external_server() -> String {
    let mut registry = scaler_api::Registry::new();
    scalers::register_all(&mut registry);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = scalers::external::server::ExternalServer::new(registry, scaler_api::Context::new())
        .of_type("metrics-api")
        .sharing_samples_for(Duration::from_millis(500))
        .polling_every(Duration::from_millis(500));
    tokio::spawn(server.serve(listener, None, std::future::pending()));
    address
}

#[cfg(feature = "all-scalers")]
fn external(type_: &str, address: &str, case: &Case) -> Value {
    let mut trigger = trigger(&case.orders, "5");
    trigger["type"] = json!(type_);
    trigger["metadata"]["scalerAddress"] = json!(address);
    trigger
}

/// Both ends of the protocol between a source and a Deployment.
#[cfg(feature = "all-scalers")]
async fn an_external_scaler_of_ours_drives_a_deployment(case: Case) {
    let replicas = case.deployment(0).await;
    let address = external_server().await;
    case.object(json!({"triggers": [external("external", &address, &case)]}))
        .await;
    case.reaches_condition("Ready", "True ScaledObjectReady").await;
    case.orders.set(15);
    replicas.reach(3).await;
    case.orders.set(50);
    replicas.reach(5).await;
    case.orders.set(0);
    replicas.reach(0).await;
}

/// The scaler says at once what a poll would find ten minutes later.
#[cfg(feature = "all-scalers")]
async fn an_external_scaler_of_ours_pushes_and_a_deployment_starts(case: Case) {
    let replicas = case.deployment(0).await;
    let address = external_server().await;
    let spec = json!({"pollingInterval": 600, "triggers": [external("external-push", &address, &case)]});
    case.object(spec).await;
    case.reaches_condition("Ready", "True ScaledObjectReady").await;
    case.orders.set(10);
    replicas.reach(2).await;
    assert_eq!(replicas.all(), [0, 1, 2]);
}

type Run = fn(Case) -> Pin<Box<dyn Future<Output = ()>>>;

/// The functions by name, each of which becomes a case.
macro_rules! cases {
    ($($(#[$attribute:meta])* $name:ident),* $(,)?) => {
        [$($(#[$attribute])* (stringify!($name), (|case| Box::pin($name(case))) as Run)),*]
    };
}

#[tokio::test]
async fn the_internals_of_section_9_on_a_real_control_plane() {
    let options = envtest::Options {
        hpa_sync_period: Duration::from_secs(1),
        ..envtest::Options::default()
    };
    let Some(plane) = envtest::start_or_skip(options).await else {
        return;
    };
    let client = plane.client("default");
    install(&client).await;
    let capacity = json!({"cpu": "64", "memory": "256Gi", "pods": "500"});
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": "pods-here", "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"kubernetes.io/hostname": "pods-here", "kubernetes.io/os": "linux"},
        },
        "status": {"capacity": capacity, "allocatable": capacity},
    });
    Case::new(&client, "cases").await.apply(node).await;
    let mut running = Running::start(plane.kubeconfig(), &["--only", "pods"]).await;
    until("it is ready", async || {
        (running.health("readyz").await.0 == 200).then_some(())
    })
    .await;
    let cases = cases![
        section_9_fallback_50_gives_5_down_3_restored_5,
        section_9_fallback_if_higher_4_stays,
        section_9_fallback_if_lower_3,
        section_9_fallback_from_zero_3,
        section_9_fallback_on_a_custom_resource_with_scale,
        section_9_modifiers_16_by_2_gives_8_and_a_fallback_of_6_gives_12_by_2,
        section_9_modifiers_a_formula_takes_8_instead_which_gives_4,
        section_9_idle_0_2_4_0,
        section_9_pause_variants,
        section_9_paused_directions,
        section_9_average_value_8_gives_4,
        section_9_value_8_gives_10,
        section_9_a_replica_set_goes_from_0_to_5_and_back,
        section_9_a_renamed_hpa_and_restored_replicas,
        section_9_force_activation_and_an_object_beside_broken_ones_5083,
        section_9_scaled_job_accurate_4_8_10,
        #[cfg(feature = "all-scalers")]
        an_external_scaler_of_ours_drives_a_deployment,
        #[cfg(feature = "all-scalers")]
        an_external_scaler_of_ours_pushes_and_a_deployment_starts,
    ];
    let started = tokio::time::Instant::now();
    let (local, mut under_way) = (tokio::task::LocalSet::new(), Vec::new());
    for (index, (name, run)) in cases.into_iter().enumerate() {
        let case = Case::new(&client, &format!("case-{index}")).await;
        under_way.push((name, local.spawn_local(run(case))));
    }
    let mut failed = Vec::new();
    let ended = async {
        for (name, case) in under_way {
            if let Err(error) = case.await {
                failed.push(format!("{name}: {error}"));
            }
        }
    };
    local.run_until(ended).await;
    println!("all cases took {:?}", started.elapsed());
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(running.terminate().await, Some(0));
    plane.stop().await;
}
