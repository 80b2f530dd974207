//! Every document, every error and the data path, as a client sees them.

#![allow(clippy::unwrap_used, reason = "an unexpected answer fails the test")]

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use metrics_adapter::{
    ExternalMetricValue, ExternalMetrics, MetricError, MetricErrorKind, MetricRequest, MetricsAdapter,
};
use scaler_api::Quantity;
use serde_json::{Value, json};
use tower::ServiceExt;

const DATA: &str = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
     application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

/// Knows `s0-aws-sqs-Orders` of the ScaledObject `orders`, and fails on purpose for names that say so.
#[derive(Debug)]
struct Shop;

#[async_trait]
impl ExternalMetrics for Shop {
    async fn get(&self, request: &MetricRequest) -> Result<Vec<ExternalMetricValue>, MetricError> {
        let fail = |kind| Err(MetricError::new(kind, format!("{kind:?} on purpose")));
        match request.metric.as_str() {
            "bad" => return fail(MetricErrorKind::BadRequest),
            "forbidden" => return fail(MetricErrorKind::Forbidden),
            "busy" => return fail(MetricErrorKind::TooManyRequests),
            "broken" => return fail(MetricErrorKind::Internal),
            "down" => return fail(MetricErrorKind::ServiceUnavailable),
            "slow" => return fail(MetricErrorKind::Timeout),
            "empty" => return Ok(Vec::new()),
            _ => {}
        }
        if !request.is_for("s0-aws-sqs-Orders") || request.namespace != "shop" {
            return Err(MetricError::not_found(request));
        }
        let Some("orders") = request.selector.exact_value("scaledobject.keda.sh/name") else {
            return Err(MetricError::new(
                MetricErrorKind::BadRequest,
                "scaledObject name is not specified",
            ));
        };
        let measured = "2026-01-01T00:00:00.75Z".parse().unwrap();
        let whole = ExternalMetricValue::new("s0-aws-sqs-Orders", Quantity::from_units(12), measured);
        let labels = BTreeMap::from([("region".to_owned(), "eu".to_owned())]);
        let part = ExternalMetricValue {
            value: Quantity::from_millis(1500),
            window_seconds: Some(60),
            metric_labels: labels,
            ..whole.clone()
        };
        Ok(vec![whole, part])
    }
}

struct Answer {
    code: StatusCode,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

async fn send(method: &str, uri: &str, headers: &[(header::HeaderName, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let adapter = MetricsAdapter::new(Arc::new(Shop));
    let (head, body) = adapter
        .oneshot(request.body(()).unwrap())
        .await
        .unwrap()
        .into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Answer {
        code: head.status,
        headers: head.headers,
        body,
    }
}

async fn get(uri: &str) -> Answer {
    send("GET", uri, &[]).await
}

#[tokio::test]
async fn legacy_discovery_names_the_group_its_version_and_the_stub_resource() {
    let version = json!({ "groupVersion": "external.metrics.k8s.io/v1beta1", "version": "v1beta1" });
    let group =
        json!({ "name": "external.metrics.k8s.io", "versions": [version], "preferredVersion": version });
    let mut standalone = group.clone();
    standalone["kind"] = json!("APIGroup");
    standalone["apiVersion"] = json!("v1");
    for (uri, expected) in [
        (
            "/apis",
            json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [group] }),
        ),
        ("/apis/external.metrics.k8s.io", standalone),
        (
            "/apis/external.metrics.k8s.io/v1beta1",
            json!({
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": "external.metrics.k8s.io/v1beta1",
                "resources": [{
                    "name": "externalmetrics", "singularName": "", "namespaced": true,
                    "kind": "ExternalMetricValueList", "verbs": ["get"],
                }],
            }),
        ),
    ] {
        let answer = get(uri).await;
        assert_eq!(answer.code, StatusCode::OK, "{uri}");
        assert_eq!(
            answer.header(header::CONTENT_TYPE),
            Some("application/json"),
            "{uri}"
        );
        assert_eq!(answer.json(), expected, "{uri}");
    }
}

#[tokio::test]
async fn aggregated_discovery_is_served_in_the_first_version_that_the_client_accepts() {
    let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let v2beta1 = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
    let nopeer = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer";
    for (accept, content_type) in [
        (AGGREGATED, v2),
        (nopeer, v2),
        (v2beta1, v2beta1),
        ("application/json", "application/json"),
        ("application/vnd.kubernetes.protobuf, */*", "application/json"),
        (
            "application/json;g=other.io;v=v2;as=APIGroupDiscoveryList,application/json",
            "application/json",
        ),
    ] {
        let answer = send("GET", "/apis", &[(header::ACCEPT, accept)]).await;
        assert_eq!(
            answer.header(header::CONTENT_TYPE),
            Some(content_type),
            "{accept}"
        );
        assert_eq!(answer.header(header::VARY), Some("Accept"), "{accept}");
    }
    let answer = send("GET", "/apis", &[(header::ACCEPT, AGGREGATED)]).await.json();
    assert_eq!(answer["kind"], "APIGroupDiscoveryList");
    assert_eq!(answer["apiVersion"], "apidiscovery.k8s.io/v2");
    let item = &answer["items"][0];
    assert_eq!(item["metadata"]["name"], "external.metrics.k8s.io");
    assert_eq!(item["versions"][0]["freshness"], "Current");
    assert_eq!(item["versions"][0]["resources"][0]["resource"], "externalmetrics");
    assert_eq!(item["versions"][0]["resources"][0]["scope"], "Namespaced");
}

#[tokio::test]
async fn a_document_that_the_client_has_is_not_sent_again() {
    for uri in [
        "/apis",
        "/openapi/v2",
        "/openapi/v3",
        "/apis/external.metrics.k8s.io/v1beta1",
    ] {
        let first = get(uri).await;
        let etag = first.header(header::ETAG).unwrap().to_owned();
        assert!(
            etag.starts_with('"') && etag.ends_with('"') && etag.len() > 2,
            "{uri}: {etag}"
        );
        let again = send("GET", uri, &[(header::IF_NONE_MATCH, &etag)]).await;
        assert_eq!(
            (again.code, again.body.len()),
            (StatusCode::NOT_MODIFIED, 0),
            "{uri}"
        );
        let other = send("GET", uri, &[(header::IF_NONE_MATCH, "\"0\"")]).await;
        assert_eq!((other.code, other.body), (StatusCode::OK, first.body), "{uri}");
    }
    let aggregated = send("GET", "/apis", &[(header::ACCEPT, AGGREGATED)]).await;
    assert_ne!(
        aggregated.header(header::ETAG),
        get("/apis").await.header(header::ETAG)
    );
}

#[tokio::test]
async fn openapi_documents_are_minimal_and_lead_to_each_other() {
    let v2 = get("/openapi/v2").await.json();
    assert_eq!((&v2["swagger"], &v2["paths"]), (&json!("2.0"), &json!({})));
    let v3 = get("/openapi/v3").await.json();
    let url = v3["paths"]["apis/external.metrics.k8s.io/v1beta1"]["serverRelativeURL"]
        .as_str()
        .unwrap();
    assert!(
        url.starts_with("/openapi/v3/apis/external.metrics.k8s.io/v1beta1?hash="),
        "{url}"
    );
    let group = get(url).await;
    assert_eq!(
        (group.code, &group.json()["openapi"]),
        (StatusCode::OK, &json!("3.0.0"))
    );
}

#[tokio::test]
async fn health_and_version_answer_without_any_metric() {
    for uri in ["/healthz", "/livez", "/readyz", "/livez/ping"] {
        let answer = get(uri).await;
        assert_eq!(
            (answer.code, answer.body.as_slice()),
            (StatusCode::OK, b"ok".as_slice()),
            "{uri}"
        );
    }
    let version = get("/version").await.json();
    assert_eq!(version["gitVersion"], concat!("v", env!("CARGO_PKG_VERSION")));
    assert!(
        get("/").await.json()["paths"]
            .as_array()
            .unwrap()
            .contains(&json!("/apis"))
    );
}

#[tokio::test]
async fn a_metric_is_found_whatever_the_case_of_its_name_and_the_notation_of_its_selector() {
    for selector in [
        "scaledobject.keda.sh%2Fname%3Dorders",
        "scaledobject.keda.sh/name==orders",
        "scaledobject.keda.sh/name+in+(orders)",
        "!legacy%2Cscaledobject.keda.sh%2Fname%20in%20(orders)",
    ] {
        let answer = get(&format!("{DATA}/s0-aws-sqs-orders?labelSelector={selector}")).await;
        assert_eq!(answer.code, StatusCode::OK, "{selector}");
        assert_eq!(answer.header(header::CONTENT_TYPE), Some("application/json"));
        assert_eq!(
            answer.json(),
            json!({
                "kind": "ExternalMetricValueList",
                "apiVersion": "external.metrics.k8s.io/v1beta1",
                "metadata": {},
                "items": [
                    {
                        "metricName": "s0-aws-sqs-Orders", "metricLabels": null,
                        "timestamp": "2026-01-01T00:00:00Z", "value": "12",
                    },
                    {
                        "metricName": "s0-aws-sqs-Orders", "metricLabels": { "region": "eu" },
                        "timestamp": "2026-01-01T00:00:00Z", "window": 60, "value": "1500m",
                    },
                ],
            }),
            "{selector}"
        );
    }
    let upper = get(&format!(
        "{DATA}/S0-AWS-SQS-ORDERS?labelSelector=scaledobject.keda.sh/name=orders"
    ))
    .await;
    assert_eq!(upper.code, StatusCode::OK);
}

#[tokio::test]
async fn an_empty_answer_is_an_empty_list_and_head_has_no_body() {
    assert_eq!(get(&format!("{DATA}/empty")).await.json()["items"], json!([]));
    let head = send("HEAD", &format!("{DATA}/empty"), &[]).await;
    assert_eq!((head.code, head.body.len()), (StatusCode::OK, 0));
}

async fn assert_failure(method: &str, uri: &str, code: u16, reason: &str, message: &str) {
    let answer = send(method, uri, &[]).await;
    let status = answer.json();
    assert_eq!(answer.code.as_u16(), code, "{method} {uri}");
    assert_eq!(
        answer.header(header::CONTENT_TYPE),
        Some("application/json"),
        "{method} {uri}"
    );
    assert_eq!(
        (
            &status["kind"],
            &status["apiVersion"],
            &status["status"],
            &status["reason"],
            &status["code"]
        ),
        (
            &json!("Status"),
            &json!("v1"),
            &json!("Failure"),
            &json!(reason),
            &json!(code)
        ),
        "{method} {uri}"
    );
    let text = status["message"].as_str().unwrap();
    assert!(text.starts_with(message), "{method} {uri}: {text}");
}

#[tokio::test]
async fn every_failure_of_a_source_is_a_status_with_its_reason() {
    for (metric, code, reason, message) in [
        ("bad", 400, "BadRequest", "BadRequest on purpose"),
        ("forbidden", 403, "Forbidden", "Forbidden on purpose"),
        ("busy", 429, "TooManyRequests", "TooManyRequests on purpose"),
        ("broken", 500, "InternalError", "Internal on purpose"),
        ("down", 503, "ServiceUnavailable", "ServiceUnavailable on purpose"),
        ("slow", 504, "Timeout", "Timeout on purpose"),
        (
            "Unknown",
            404,
            "NotFound",
            "the server could not find the metric unknown for namespace shop",
        ),
        (
            "s0-aws-sqs-orders",
            400,
            "BadRequest",
            "scaledObject name is not specified",
        ),
    ] {
        assert_failure("GET", &format!("{DATA}/{metric}"), code, reason, message).await;
    }
}

#[tokio::test]
async fn a_label_selector_that_cannot_be_parsed_is_a_bad_request() {
    let message = "unable to parse labelSelector \"a b\": unable to parse requirement: found 'b', expected: in, notin, \
                   =, ==, !=, gt, lt";
    assert_failure(
        "GET",
        &format!("{DATA}/empty?labelSelector=a%20b"),
        400,
        "BadRequest",
        message,
    )
    .await;
}

#[tokio::test]
async fn what_is_no_metric_of_a_namespace_is_not_found() {
    for uri in [
        DATA.to_owned(),
        format!("{DATA}/a/b"),
        format!("{DATA}/a%2Fb"),
        "/apis/external.metrics.k8s.io/v1beta1/s0-aws-sqs-orders".to_owned(),
        "/apis/custom.metrics.k8s.io".to_owned(),
        "/openapi/v3/apis/apps/v1".to_owned(),
    ] {
        let message = "the server could not find the requested resource";
        assert_failure("GET", &uri, 404, "NotFound", message).await;
    }
}

#[tokio::test]
async fn metrics_are_neither_written_nor_watched() {
    let message = "the server does not allow this method on the requested resource";
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        assert_failure(method, &format!("{DATA}/empty"), 405, "MethodNotAllowed", message).await;
        assert_failure(method, "/apis", 405, "MethodNotAllowed", message).await;
    }
    assert_failure(
        "GET",
        &format!("{DATA}/empty?watch=true"),
        405,
        "MethodNotAllowed",
        message,
    )
    .await;
}

#[tokio::test]
async fn a_client_that_takes_no_json_is_told_what_there_is() {
    let uri = format!("{DATA}/empty");
    let only_protobuf = send(
        "GET",
        &uri,
        &[(header::ACCEPT, "application/vnd.kubernetes.protobuf")],
    )
    .await;
    assert_eq!(
        (only_protobuf.code, &only_protobuf.json()["reason"]),
        (StatusCode::NOT_ACCEPTABLE, &json!("NotAcceptable"))
    );
    for accept in [
        "application/vnd.kubernetes.protobuf, */*",
        "application/json, */*",
        "application/*",
        "",
    ] {
        assert_eq!(
            send("GET", &uri, &[(header::ACCEPT, accept)]).await.code,
            StatusCode::OK,
            "{accept}"
        );
    }
}

#[cfg(feature = "mock")]
#[tokio::test]
async fn the_mock_stands_in_for_a_source() {
    let mut metrics = metrics_adapter::MockExternalMetrics::new();
    metrics
        .expect_get()
        .withf(|request| request.metric == "qps")
        .once()
        .returning(|_| Ok(Vec::new()));
    let request = Request::get(format!("{DATA}/qps")).body(()).unwrap();
    let answer = MetricsAdapter::new(Arc::new(metrics))
        .oneshot(request)
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn readyz_says_what_is_missing_until_nothing_is() {
    let is_ready = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let asked = Arc::clone(&is_ready);
    let adapter = MetricsAdapter::new(Arc::new(Shop)).with_readiness(move || {
        let is_ready = asked.load(std::sync::atomic::Ordering::Relaxed);
        is_ready.then_some(()).ok_or_else(|| "no sample yet".to_owned())
    });
    for (uri, before, after) in [
        ("/readyz", 503, 200),
        ("/healthz", 200, 200),
        ("/livez", 200, 200),
    ] {
        for (ready, expected) in [(false, before), (true, after)] {
            is_ready.store(ready, std::sync::atomic::Ordering::Relaxed);
            let request = Request::get(uri).body(()).unwrap();
            let answer = adapter.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status().as_u16(), expected, "{uri} {ready}");
            if expected == 503 {
                let body = answer.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(body, "not ready: no sample yet");
            }
        }
    }
}
