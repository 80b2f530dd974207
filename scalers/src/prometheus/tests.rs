//! The trigger, and its scaler against a server on loopback.

use std::sync::Arc;

use scaler_api::{
    Clock, ErrorKind, MetricTarget, MetricType, PodIdentity, Quantity, Secret, TriggerInput, metadata,
};

use super::*;
use crate::http::{
    HttpEnvironment,
    test_server::{Reply, TestServer},
};

#[derive(Debug)]
struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        "2026-01-01T12:00:00.75Z".parse().unwrap()
    }
}

fn input(server: &str, pairs: &[(&str, &str)]) -> TriggerInput {
    let mut metadata = BTreeMap::from([
        ("serverAddress".to_owned(), server.to_owned()),
        ("query".to_owned(), "sum(rate(requests{a=\"b\"}[2m]))".to_owned()),
        ("threshold".to_owned(), "100.5".to_owned()),
    ]);
    metadata.extend(
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
    );
    TriggerInput {
        metadata,
        ..TriggerInput::default()
    }
}

fn parse(input: &TriggerInput) -> PrometheusTrigger {
    metadata::parse::<PrometheusTrigger>(input)
        .expect("the metadata is good")
        .0
}

async fn sample(input: &TriggerInput) -> Result<Sample, Error> {
    let context = Context::new()
        .with(HttpEnvironment::new())
        .with_clock(Arc::new(Noon));
    parse(input).connect(&context).await?.sample().await
}

fn value(text: &str) -> Reply {
    let body =
        format!(r#"{{"data":{{"resultType":"vector","result":[{{"metric":{{}},"value":[1,"{text}"]}}]}}}}"#);
    Reply::Body(200, body)
}

#[test]
fn section_2_1_the_metric_has_a_constant_name_and_a_fractional_target() {
    let mut input = input("http://a", &[]);
    input.settings.metric_type = MetricType::Value;
    let metric = &parse(&input).metrics()[0];
    assert_eq!(metric.external_name(), Some("prometheus"));
    assert_eq!(
        *metric.target(),
        MetricTarget::Value(Quantity::from_millis(100_500))
    );
}

#[tokio::test]
async fn the_request_is_that_of_the_query_api() {
    let server = TestServer::start(value("7")).await;
    let more = [
        ("namespace", "shop"),
        ("queryParameters", "dedup=true,partial=a b"),
        ("customHeaders", "X-Scope-OrgID=tenant, X-Other=1"),
    ];
    sample(&input(&server.url("/"), &more)).await.unwrap();
    let request = server.last_request();
    let (line, headers) = request.split_once("\r\n").unwrap();
    assert_eq!(
        line,
        "GET /api/v1/query?query=sum%28rate%28requests%7Ba%3D%22b%22%7D%5B2m%5D%29%29&time=2026-01-01T12%3A00%3A00Z\
         &namespace=shop&dedup=true&partial=a+b HTTP/1.1"
    );
    assert!(
        headers.contains("x-scope-orgid: tenant\r\n") && headers.contains("x-other: 1\r\n"),
        "{headers}"
    );
}

#[tokio::test]
async fn the_value_activates_strictly_above_its_threshold() {
    let server = TestServer::start(value("5.5")).await;
    let threshold = [("activationThreshold", "5.5")];
    assert_eq!(
        sample(&input(&server.url(""), &threshold)).await.unwrap(),
        Sample::single(METRIC, 5.5, false)
    );
    server.reply(value("5.6"));
    assert_eq!(
        sample(&input(&server.url(""), &threshold)).await.unwrap(),
        Sample::single(METRIC, 5.6, true)
    );
}

#[tokio::test]
async fn failures_name_the_query_and_have_a_kind() {
    let server = TestServer::start(Reply::Body(503, "secret details".into())).await;
    let error = sample(&input(&server.url(""), &[("query", "up")]))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(
        error.to_string(),
        "prometheus query api returned error. status: 503 (query=up)"
    );
    server.reply(Reply::Body(204, String::new()));
    let error = sample(&input(&server.url(""), &[])).await.unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::Invalid,
        "a success without a body is no answer"
    );
    server.reply(Reply::Silence);
    let error = sample(&input(&server.url(""), &[("timeout", "100ms")]))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn a_query_without_a_result_is_zero_or_an_error() {
    let server = TestServer::start(Reply::Body(200, r#"{"data":{"result":[]}}"#.into())).await;
    assert_eq!(
        sample(&input(&server.url(""), &[])).await.unwrap(),
        Sample::single(METRIC, 0.0, false)
    );
    let error = sample(&input(&server.url(""), &[("ignoreNullValues", "false")]))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("target may be lost, the result is empty"),
        "{error}"
    );
}

#[tokio::test]
async fn an_api_key_is_sent() {
    let server = TestServer::start(value("1")).await;
    let mut input = input(&server.url(""), &[("authModes", "apiKey")]);
    input
        .authentication
        .insert("apiKey".into(), Secret::new("hunter2"));
    sample(&input).await.unwrap();
    assert!(server.last_request().contains("x-api-key: hunter2"));
}

#[test]
fn all_problems_are_reported_at_once() {
    let mut input = input(
        "prometheus:9090",
        &[
            ("threshold", "0"),
            ("customHeaders", "a b=c"),
            ("authModes", "bearer"),
        ],
    );
    input.settings.pod_identity = Some(PodIdentity {
        provider: "aws".into(),
        ..PodIdentity::default()
    });
    let problems = metadata::parse::<PrometheusTrigger>(&input)
        .unwrap_err()
        .to_string();
    for expected in [
        "serverAddress \"prometheus:9090\" is not a URL of http or https",
        "threshold must be greater than 0, got 0",
        "customHeaders: \"a b\" and its value make no header",
        "authModes and podIdentity exclude each other",
        "authModes bearer needs bearerToken",
    ] {
        assert!(problems.contains(expected), "{expected:?} is not in {problems}");
    }
}

#[tokio::test]
async fn requests_and_empty_answers_are_noticed() {
    let server = TestServer::start(Reply::Body(200, r#"{"data":{"result":[]}}"#.into())).await;
    let observer = Observer::new();
    let context = Context::new().with(HttpEnvironment::new()).with(observer.clone());
    let statuses = |observer: &Observer| {
        let seen = observer.take();
        let statuses: Vec<_> = seen.requests.iter().map(|request| request.status).collect();
        (statuses, seen.empty_as_zero, seen.empty_as_error)
    };
    let address = server.url("");
    let scaler = parse(&input(&address, &[])).connect(&context).await.unwrap();
    scaler.sample().await.unwrap();
    assert_eq!(statuses(&observer), (vec![Some(200)], 1, 0));
    server.reply(Reply::Body(500, String::new()));
    scaler.sample().await.unwrap_err();
    assert_eq!(statuses(&observer), (vec![Some(500)], 0, 0));
    let nobody = parse(&input("http://127.0.0.1:1", &[]));
    let scaler = nobody.connect(&context).await.unwrap();
    scaler.sample().await.unwrap_err();
    assert_eq!(statuses(&observer), (vec![None], 0, 0));
}
