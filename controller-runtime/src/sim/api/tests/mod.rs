//! The API server through an unmodified `kube::Client`.

mod crud;
mod custom;
mod deletion;
mod discovery;
mod old;
mod patches;
mod subresources;
mod watches;
mod webhooks;

use std::{sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{Api, Client, api::PostParams};
use scaler_api::TokioClock;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{ApiServer, Options};

/// A seeded cluster in virtual time that begins with the year 2026.
fn server() -> ApiServer {
    let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    ApiServer::new(Options {
        clock: Arc::new(TokioClock::starting_at(start)),
        seed: 1,
    })
}

fn client(server: &ApiServer) -> Client {
    server.client("default")
}

/// The status, code and message of a refusal.
fn refusal<T: std::fmt::Debug>(result: kube::Result<T>) -> (u16, String, String) {
    match result.unwrap_err() {
        kube::Error::Api(status) => (status.code, status.reason.clone(), status.message.clone()),
        other => panic!("no refusal: {other:?}"),
    }
}

fn of<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn config_map(name: &str) -> ConfigMap {
    of(json!({"metadata": {"name": name, "labels": {"app": name}}, "data": {"k": "v"}}))
}

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "main", "image": "nginx:1"}]},
    })
}

async fn make_pod(client: &Client, name: &str) -> Pod {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    pods.create(&PostParams::default(), &of(pod(name))).await.unwrap()
}

fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": "nginx:1"}]},
            },
        },
    })
}

/// A request without the client, for what the client does not show: the answer's code and JSON (or text).
async fn raw(
    server: &ApiServer,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, Value) {
    let mut request = http::Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::from(body.to_owned())).unwrap();
    let response = server.service().oneshot(request).await.unwrap();
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    (code, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Lets everything that is ready run.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
