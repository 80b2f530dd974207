//! `autoscaler run`, as a process: its command line without a cluster, and its work on a real control plane.
#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, reason = "everything here is a test")]

mod run_support;

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use controller_runtime::envtest;
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Service},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    Api, Client,
    api::{DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use run_support::{Queue, Running, api_service_condition, autoscaler, install, until};

const API_SERVICE: &str = "v1beta1.external.metrics.k8s.io";

#[test]
fn everything_that_is_wrong_is_said_at_once_with_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.yaml");
    std::fs::write(&file, "leaderElecton: {}\nlogs: {format: xml}\n").unwrap();
    let output = autoscaler()
        .args(["run", "--leader-election-retry-period=often", "--config"])
        .arg(&file)
        .env("METRICS_PORT", "many")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    for part in [
        "error: 5 problems in the input:",
        "leaderElecton: is no setting, did you mean leaderElection?",
        "logs.format: \"xml\" cannot be read, expected one of text, json",
        "--leader-election-retry-period: \"often\" cannot be read, expected a duration",
        "environment METRICS_PORT: \"many\" cannot be read, expected a port",
        "provider: is missing",
    ] {
        assert!(said.contains(part), "{part} is missing in\n{said}");
    }
    let unknown = autoscaler().args(["run", "--leader-elct"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn the_effective_configuration_is_printed_with_the_origin_of_each_value() {
    let output = autoscaler()
        .args(["run", "--only", "pods", "--secure-port", "7443", "--print-config"])
        .env("WATCH_NAMESPACE", "shop")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    for line in [
        "only: pods # flag --only\n",
        "namespaces: [shop] # environment WATCH_NAMESPACE\n",
        "  bindAddress: \"0.0.0.0:7443\" # flag --secure-port\n",
        "  leaseDuration: 15s # default\n",
    ] {
        assert!(printed.contains(line), "{line} is missing in\n{printed}");
    }
}

#[tokio::test]
async fn an_api_server_that_is_away_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let content = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("http://{closed}")}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    std::fs::write(&kubeconfig, content.to_string()).unwrap();
    let mut running = Running::start(&kubeconfig, &["--only", "pods"]).await;
    assert_eq!(running.health("livez").await, (200, "ok".to_owned()));
    let (code, text) = until("the reason is said", async || {
        let (code, text) = running.health("readyz").await;
        text.contains("does not answer").then_some((code, text))
    })
    .await;
    assert_eq!(code, 500, "{text}");
    assert_eq!(running.terminate().await, Some(0));
}

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "one story")]
async fn pods_follow_a_source_on_a_real_control_plane_and_nothing_stays_behind() {
    let Some(plane) = envtest::start_or_skip(envtest::Options::default()).await else {
        return;
    };
    let client = plane.client("default");
    let queue = Queue::start().await;
    let mut running = Running::start(plane.kubeconfig(), &["--only", "pods"]).await;

    // Without its kinds it waits and says which.
    until("the missing kinds are said", async || {
        let (_, text) = running.health("readyz").await;
        text.contains("scaledobjects.keda.sh").then_some(())
    })
    .await;
    install(&client).await;
    until("it is ready", async || {
        (running.health("readyz").await.0 == 200).then_some(())
    })
    .await;
    until("the APIService is available", async || {
        api_service_condition(&client)
            .await
            .filter(|status| status == "True")
    })
    .await;

    // 0 -> 1 -> N -> 0, told to somebody who is not there yet.
    let receiver = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let destination = json!({"http": {"uri": format!("http://{receiver}/")}});
    apply(
        &client,
        json!({
            "apiVersion": "eventing.keda.sh/v1alpha1", "kind": "CloudEventSource",
            "metadata": {"name": "receiver", "namespace": "default"},
            "spec": {"clusterName": "west", "destination": destination},
        }),
    )
    .await;
    workload(&client, &queue).await;
    until("the ScaledObject is ready", async || {
        let object = scaled_objects(&client).get("worker").await.ok()?;
        let conditions = object.data["status"]["conditions"].as_array()?.clone();
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready")?;
        (ready["status"] == "True").then_some(())
    })
    .await;
    assert_eq!(replicas(&client).await, 0);
    let told = receive(receiver).await;
    queue.set(3);
    until("the first replica", async || {
        (replicas(&client).await == 1).then_some(())
    })
    .await;
    until("the HPA shows the metric", async || {
        targets(&client).await.filter(|shown| shown == "3/5 (avg)")
    })
    .await;
    queue.set(40);
    until("eight replicas", async || {
        (replicas(&client).await == 8).then_some(())
    })
    .await;
    queue.set(0);
    until("none again", async || {
        (replicas(&client).await == 0).then_some(())
    })
    .await;

    let of_ready = [
        "keda.scaledobject.ready.v1",
        "/west/autoscaler/keda",
        "/west/default/scaledobject/worker",
    ];
    until("what happened is told", async || {
        (*told.lock().unwrap() == [of_ready]).then_some(())
    })
    .await;

    let page = running.metrics("metrics").await;
    for part in [
        "keda_cloudeventsource_events_emitted_total{namespace=\"default\",cloudeventsource=\"receiver\",eventsink=\"http\",state=\"emitted\"} 1",
        "autoscaler_leader 1",
        "autoscaler_decisions_total{controller=\"scaled-object\"}",
        "autoscaler_adapter_requests_total{verb=\"get\",code=\"200\"}",
        "autoscaler_api_requests_total{verb=\"watch\",code=\"200\"}",
        "autoscaler_queue_delayed{controller=\"scaled-object\"} 1",
        "autoscaler_turn_duration_seconds_count{controller=\"scaled-object\",result=\"ok\"}",
        "keda_scaler_metrics_value{namespace=\"default\",metric=\"s0-metric-api-",
        "scaledObject=\"worker\",scaler=\"metricsAPIScaler\",triggerIndex=\"0\",type=\"scaledobject\"} 0.0",
        "keda_scaler_http_requests_total{namespace=\"default\",scaled_resource=\"worker\",scaler=\"metrics-api\"",
        "keda_scaler_http_request_duration_seconds_count{scaler=\"metrics-api\",status_code=\"200\"}",
        "keda_resource_registered_total{type=\"scaled_object\",namespace=\"default\"} 1.0",
        "keda_trigger_registered_total{type=\"metrics-api\"} 1.0",
    ] {
        assert!(page.contains(part), "{part} is missing in\n{page}");
    }
    every_metric_is_documented(&page);
    let decisions: Value =
        serde_json::from_str(&running.metrics("decisions?object=default/worker").await).unwrap();
    assert!(
        decisions["decisions"].as_array().unwrap().len() >= 4,
        "{decisions}"
    );

    // An orderly end takes back what a process outside the cluster registered.
    assert_eq!(running.terminate().await, Some(0));
    let services: Api<APIService> = Api::all(client.clone());
    assert!(services.get_opt(API_SERVICE).await.unwrap().is_none());
    let services: Api<Service> = Api::namespaced(client.clone(), "autoscaler");
    assert!(services.get_opt("autoscaler").await.unwrap().is_none());
    plane.stop().await;
}

#[cfg(feature = "kwok")]
#[tokio::test]
async fn pods_get_nodes_of_an_instance_types_file_on_a_real_control_plane() {
    use k8s_openapi::api::core::v1::Node;
    use kube::{ResourceExt as _, api::ListParams};

    let Some(plane) = envtest::start_or_skip(envtest::Options::default()).await else {
        return;
    };
    let client = plane.client("default");
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in provisioner::karpenter::crds() {
        definitions
            .create(&PostParams::default(), &definition)
            .await
            .unwrap();
    }
    let types = run_support::kwok::tiny();
    let arguments = ["--only=nodes", "--provider=kwok", "--instance-types-file"];
    let arguments = [&arguments[..], &[types.path().to_str().unwrap()]].concat();
    let mut running = Running::start(plane.kubeconfig(), &arguments).await;
    until("it is ready", async || {
        (running.health("readyz").await.0 == 200).then_some(())
    })
    .await;

    apply(
        &client,
        json!({"apiVersion": "karpenter.kwok.sh/v1alpha1", "kind": "KWOKNodeClass", "metadata": {"name": "default"}}),
    )
    .await;
    let class = json!({"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": "default"});
    apply(
        &client,
        json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "default"},
            "spec": {"template": {"spec": {"nodeClassRef": class, "requirements": []}}},
        }),
    )
    .await;
    let resources = json!({"requests": {"cpu": "500m"}});
    apply(
        &client,
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "worker", "namespace": "default"},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": {"app": "worker"}},
                "template": {
                    "metadata": {"labels": {"app": "worker"}},
                    "spec": {"containers": [{"name": "worker", "image": "worker", "resources": resources}]},
                },
            },
        }),
    )
    .await;
    until("both pods run", async || {
        let deployments: Api<Deployment> = Api::default_namespaced(client.clone());
        let status = deployments.get("worker").await.ok()?.status?;
        (status.ready_replicas == Some(2)).then_some(())
    })
    .await;
    let nodes = Api::<Node>::all(client.clone());
    let nodes = nodes.list(&ListParams::default()).await.unwrap().items;
    assert_eq!(nodes.len(), 2, "a tiny machine has room for one of them");
    for node in nodes {
        assert_eq!(node.labels()["node.kubernetes.io/instance-type"], "tiny");
    }
    assert_eq!(running.terminate().await, Some(0));
}

/// Takes CloudEvents from now on: type, source and subject of each.
async fn receive(address: std::net::SocketAddr) -> Arc<Mutex<Vec<[String; 3]>>> {
    let told = Arc::new(Mutex::new(Vec::new()));
    let take = async |State(told): State<Arc<Mutex<Vec<[String; 3]>>>>, headers: HeaderMap| {
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        let event = ["ce-type", "ce-source", "ce-subject"].map(header);
        told.lock().unwrap().push(event);
        StatusCode::ACCEPTED
    };
    let router = Router::new().route("/", post(take)).with_state(Arc::clone(&told));
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    told
}

/// `page` is what `/metrics` says.
fn every_metric_is_documented(page: &str) {
    let documentation = include_str!("../../docs/metrics.md");
    for line in page.lines() {
        let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|said| said.split_once(' ')) else {
            continue;
        };
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let name = format!("`{name}{suffix}`");
        assert!(
            documentation.contains(&name),
            "docs/metrics.md does not name {name}"
        );
    }
}

/// A node for pods, a Deployment without replicas, and a ScaledObject that follows `queue`.
async fn workload(client: &Client, queue: &Queue) {
    let capacity = json!({"cpu": "32", "memory": "256Gi", "pods": "110"});
    apply(
        client,
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {
                "name": "pods-here",
                "annotations": {"kwok.x-k8s.io/node": "fake"},
                "labels": {"kubernetes.io/hostname": "pods-here", "kubernetes.io/os": "linux"},
            },
            "status": {"capacity": capacity, "allocatable": capacity},
        }),
    )
    .await;
    apply(
        client,
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "worker", "namespace": "default"},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": {"app": "worker"}},
                "template": {
                    "metadata": {"labels": {"app": "worker"}},
                    "spec": {"containers": [{"name": "worker", "image": "worker"}]},
                },
            },
        }),
    )
    .await;
    apply(
        client,
        json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {"name": "worker", "namespace": "default"},
            "spec": {
                "scaleTargetRef": {"name": "worker"},
                "pollingInterval": 1, "cooldownPeriod": 1, "maxReplicaCount": 10,
                "advanced": {"horizontalPodAutoscalerConfig": {
                    "behavior": {
                        "scaleUp": {"policies": [{"type": "Pods", "value": 10, "periodSeconds": 15}]},
                        "scaleDown": {"stabilizationWindowSeconds": 0},
                    },
                }},
                "triggers": [{
                    "type": "metrics-api",
                    "metadata": {"url": queue.url(), "valueLocation": "jobs", "targetValue": "5"},
                }],
            },
        }),
    )
    .await;
}

async fn apply(client: &Client, object: Value) {
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    let types = object.types.clone().unwrap();
    let kind = kube::core::GroupVersionKind::try_from(&types).unwrap();
    let (resource, _) = kube::discovery::pinned_kind(client, &kind).await.unwrap();
    let api: Api<DynamicObject> = match &object.metadata.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let name = object.metadata.name.clone().unwrap();
    let params = PatchParams::apply("test").force();
    api.patch(&name, &params, &Patch::Apply(&object)).await.unwrap();
}

fn scaled_objects(client: &Client) -> Api<DynamicObject> {
    let kind = kube::core::GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject");
    let resource = kube::core::ApiResource::from_gvk(&kind);
    Api::namespaced_with(client.clone(), "default", &resource)
}

async fn replicas(client: &Client) -> i32 {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "default");
    let deployment = deployments.get("worker").await.unwrap();
    deployment.spec.and_then(|spec| spec.replicas).unwrap()
}

/// The column TARGETS of `kubectl get hpa`.
async fn targets(client: &Client) -> Option<String> {
    let request = http::Request::get("/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers")
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(Vec::new())
        .unwrap();
    let table: Value = client.request(request).await.ok()?;
    let columns = table["columnDefinitions"].as_array()?;
    let column = columns.iter().position(|column| column["name"] == "Targets")?;
    Some(table["rows"][0]["cells"][column].as_str()?.to_owned())
}
