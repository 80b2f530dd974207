//! keda.md §3.7 on a real control plane: its API server's rules for Jobs, its Job controller, its garbage collection.
#![allow(clippy::disallowed_methods, reason = "a real control plane takes real time")]

use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::{Namespace, Pod},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use scaler_api::{SystemClock, keda::ScaledJob};

use super::*;
use crate::envtest::shared_or_skip;

const NAMESPACE: &str = "scaled-jobs";

async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let start = tokio::time::Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn install(client: &Client) {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let parameters = PatchParams::apply("test").force();
    for definition in keda::crds() {
        let name = definition.name_any();
        let patch = Patch::Apply(&definition);
        definitions.patch(&name, &parameters, &patch).await.unwrap();
    }
    let objects: Api<ScaledJob> = Api::all(client.clone());
    let served = async || objects.list(&ListParams::default()).await.is_ok();
    eventually("ScaledJobs are served", served).await;
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}})).unwrap();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    // It may be there from another run.
    let _known = namespaces.create(&PostParams::default(), &namespace).await;
}

fn scaled_job(spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob", "metadata": {"name": "work", "labels": {"team": "a"}},
        "spec": {
            "pollingInterval": 1, "successfulJobsHistoryLimit": 1,
            "jobTargetRef": {"template": {"spec": {"containers": [{"name": "work", "image": "worker"}]}}},
            "triggers": [{"type": "test", "metadata": {"queue": "orders", "target": "1"}}],
        },
    });
    for (key, value) in spec.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    object
}

#[tokio::test]
async fn jobs_are_made_cleaned_up_rolled_out_and_go_on_a_real_control_plane() {
    let Some(control_plane) = shared_or_skip().await else {
        return;
    };
    let client = control_plane.client(NAMESPACE);
    install(&client).await;
    let script = Script::new();
    let (runtime, events) = Runtime::new(client.clone(), Arc::new(SystemClock), "test");
    let context = Context::new().with(Arc::clone(&script));
    let mut registry = Registry::new();
    registry.register::<TestSource>();
    let config = Config {
        namespaces: vec![NAMESPACE.to_owned()],
        ..Config::default()
    };
    let autoscaler = PodAutoscaler::new(runtime, Arc::new(registry), context, config);
    let running = [tokio::spawn(events), tokio::spawn(autoscaler.run())];

    let objects: Api<ScaledJob> = Api::default_namespaced(client.clone());
    let jobs: Api<Job> = Api::default_namespaced(client.clone());
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let apply = async |spec: Value| {
        let parameters = PatchParams::apply("test").force();
        let patch = Patch::Apply(scaled_job(&spec));
        objects.patch("work", &parameters, &patch).await.unwrap();
    };
    let count = async || jobs.list(&ListParams::default()).await.unwrap().items.len();
    let count_pods = async || {
        let labelled = ListParams::default().labels("scaledjob.keda.sh/name=work");
        pods.list(&labelled).await.unwrap().items.len()
    };

    script.set("orders", 3.0);
    apply(json!({})).await;
    eventually("a Job for each message", async || count().await == 3).await;
    eventually("a pod for each Job", async || count_pods().await == 3).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(count().await, 3, "none is made twice");
    let ready = objects.get("work").await.unwrap().status.unwrap();
    assert_eq!(
        ready.condition("Ready").unwrap().reason.as_deref(),
        Some("ScaledJobReady")
    );

    script.set("orders", 0.0);
    for pod in pods.list(&ListParams::default()).await.unwrap() {
        let done = Patch::Merge(json!({"status": {"phase": "Succeeded"}}));
        let name = pod.name_any();
        pods.patch_status(&name, &PatchParams::default(), &done)
            .await
            .unwrap();
    }
    eventually("the history keeps one", async || count().await == 1).await;

    script.set("orders", 2.0);
    eventually("two more", async || count().await == 3).await;
    let before: Vec<_> = jobs
        .list(&ListParams::default())
        .await
        .unwrap()
        .iter()
        .map(|job| job.uid())
        .collect();
    apply(json!({"maxReplicaCount": 5})).await;
    eventually("another generation", async || {
        let now = jobs.list(&ListParams::default()).await.unwrap();
        now.items.len() == 2 && now.iter().all(|job| !before.contains(&job.uid()))
    })
    .await;

    objects.delete("work", &DeleteParams::default()).await.unwrap();
    eventually("it goes with its Jobs", async || {
        objects.get_opt("work").await.unwrap().is_none() && count().await == 0
    })
    .await;
    running.iter().for_each(JoinHandle::abort);
}
