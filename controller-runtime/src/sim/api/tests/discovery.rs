//! Discovery, tables, aggregation.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::Full;
use k8s_openapi::{api::core::v1::Service, kube_aggregator::pkg::apis::apiregistration::v1::APIService};
use kube::{
    Api, Discovery, ResourceExt,
    api::PostParams,
    core::GroupVersionKind,
    discovery::{Scope, pinned_kind},
};
use serde_json::json;

use super::{client, deployment, make_pod, of, raw, refusal, server};
use crate::sim::api::boxed_backend;

#[tokio::test(start_paused = true)]
async fn clients_discover_kinds_both_ways() {
    let client = client(&server());
    assert_eq!(client.apiserver_version().await.unwrap().git_version, "v1.35.0");
    let kind = GroupVersionKind::gvk("apps", "v1", "Deployment");
    let (resource, capabilities) = pinned_kind(&client, &kind).await.unwrap();
    assert_eq!(
        (resource.plural.as_str(), capabilities.scope),
        ("deployments", Scope::Namespaced)
    );
    assert!(
        capabilities
            .subresources
            .iter()
            .any(|(sub, _)| sub.plural.contains("scale"))
    );
    for discovery in [
        Discovery::new(client.clone()).run().await.unwrap(),
        Discovery::new(client.clone()).run_aggregated().await.unwrap(),
    ] {
        assert!(discovery.has_group("autoscaling") && !discovery.has_group("keda.sh"));
        assert_eq!(discovery.resolve_gvk(&kind).unwrap().0.plural, "deployments");
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_paths_are_not_found_and_health_is_ok() {
    let server = server();
    assert_eq!(
        raw(&server, "GET", "/apis/none/v1", &[], "").await,
        (404, json!("404 page not found\n"))
    );
    assert_eq!(
        raw(&server, "GET", "/readyz?verbose", &[], "").await,
        (200, json!("ok"))
    );
    assert_eq!(raw(&server, "POST", "/api/v1/pods", &[], "{}").await.0, 405);
    let (code, status) = raw(&server, "GET", "/api/v1/namespaces/default/pods/none", &[], "").await;
    assert_eq!((code, &status["details"]["kind"]), (404, &json!("pods")));
}

#[tokio::test(start_paused = true)]
async fn tables_have_the_columns_one_knows() {
    let server = server();
    let client = client(&server);
    make_pod(&client, "a").await;
    server.apply_manifest(deployment("web")).unwrap();
    tokio::time::advance(std::time::Duration::from_secs(65)).await;
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let (_, pods) = raw(&server, "GET", "/api/v1/pods", &accept, "").await;
    let shown: Vec<&str> = pods["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|column| column["priority"] == 0)
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    assert_eq!(shown, ["Name", "Ready", "Status", "Restarts", "Age"]);
    assert_eq!(
        pods["rows"][0]["cells"],
        json!([
            "a", "0/1", "Pending", "0", "65s", "<none>", "<none>", "<none>", "<none>"
        ])
    );
    assert_eq!(pods["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let (_, table) = raw(&server, "GET", "/apis/apps/v1/deployments", &accept, "").await;
    assert_eq!(
        table["rows"][0]["cells"],
        json!(["web", "0/1", 0, 0, "65s", "main", "nginx:1", "app=web"])
    );
}

#[tokio::test(start_paused = true)]
async fn an_aggregated_api_is_its_backends_to_answer() {
    let server = server();
    let client = client(&server);
    let services: Api<APIService> = Api::all(client.clone());
    let registration = of(json!({
        "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
        "spec": {
            "group": "external.metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": true,
            "service": {"namespace": "default", "name": "metrics"},
        },
    }));
    services
        .create(&PostParams::default(), &registration)
        .await
        .unwrap();
    let reason = || async {
        let conditions = services
            .get("v1beta1.external.metrics.k8s.io")
            .await
            .unwrap()
            .status
            .unwrap()
            .conditions;
        conditions.unwrap()[0].reason.clone().unwrap()
    };
    assert_eq!(reason().await, "ServiceNotFound");
    let path = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/m";
    assert_eq!(raw(&server, "GET", path, &[], "").await.0, 503);
    let service: Service = of(json!({"metadata": {"name": "metrics"}, "spec": {"ports": [{"port": 443}]}}));
    Api::<Service>::default_namespaced(client.clone())
        .create(&PostParams::default(), &service)
        .await
        .unwrap();
    assert_eq!(reason().await, "MissingEndpoints");
    let backend = tower::service_fn(|request: http::Request<Full<Bytes>>| async move {
        let user = request.headers()["x-remote-user"].to_str().unwrap().to_owned();
        let body = json!({"path": request.uri().path(), "user": user}).to_string();
        Ok::<_, Infallible>(http::Response::new(Full::new(Bytes::from(body))))
    });
    server.register_backend("default", "metrics", boxed_backend(backend));
    assert_eq!(reason().await, "Passed");
    assert_eq!(
        raw(&server, "GET", path, &[], "").await,
        (200, json!({"path": path, "user": "kubernetes-admin"}))
    );
    let (_, groups) = raw(&server, "GET", "/apis", &[], "").await;
    assert!(
        groups["groups"]
            .as_array()
            .unwrap()
            .iter()
            .any(|group| group["name"] == "external.metrics.k8s.io")
    );
    server.unregister_backend("default", "metrics");
    assert_eq!(raw(&server, "GET", path, &[], "").await.0, 503);
}

#[tokio::test(start_paused = true)]
async fn manifests_are_applied_by_kind_and_bring_their_status() {
    let server = server();
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "status": {
        "capacity": {"cpu": "2"}, "conditions": [{"type": "Ready", "status": "True"}],
    }});
    let applied = server.apply_manifest(node).unwrap();
    assert_eq!(applied["status"]["conditions"][0]["type"], "Ready");
    assert_eq!(applied["status"]["allocatable"]["cpu"], "2");
    let error = server
        .apply_manifest(json!({"apiVersion": "x/v1", "kind": "Odd", "metadata": {"name": "n"}}))
        .unwrap_err();
    assert_eq!(error.message, "no matches for kind \"Odd\" in version \"x/v1\"");
    let client = client(&server);
    let found: Api<k8s_openapi::api::core::v1::Node> = Api::all(client);
    assert_eq!(found.get("n").await.unwrap().name_any(), "n");
    assert_eq!(refusal(found.get("m").await).0, 404);
}
