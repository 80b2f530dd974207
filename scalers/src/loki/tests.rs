//! The metadata, and every byte that a server gets.

use std::{sync::Mutex, time::Duration};

use scaler_api::{
    ErrorKind, MetricTarget, Quantity, Secret, TriggerInput,
    conformance::{self, Harness, Levels, Outage},
    metadata,
};

use super::*;
use crate::http::{
    HttpEnvironment,
    test_server::{Reply, TestServer},
};

fn input(address: &str, pairs: &[(&str, &str)]) -> TriggerInput {
    let mut all = vec![
        ("serverAddress", address),
        ("query", "sum(rate({app=\"a b\"}[1m]))"),
        ("threshold", "2.5"),
    ];
    all.extend(pairs);
    TriggerInput {
        metadata: all
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        ..TriggerInput::default()
    }
}

fn parse(input: &TriggerInput) -> LokiTrigger {
    metadata::parse(input).unwrap().0
}

fn vector(elements: &str) -> Reply {
    let body = format!(
        r#"{{"status":"success","data":{{"resultType":"vector","result":[{elements}],"stats":{{}}}}}}"#
    );
    Reply::Body(200, body)
}

#[test]
fn section_2_1_the_metric_is_loki() {
    let metric = &parse(&input("http://a", &[])).metrics()[0];
    assert_eq!(metric.external_name(), Some("loki"));
    assert_eq!(
        *metric.target(),
        MetricTarget::AverageValue(Quantity::from_millis(2500))
    );
}

#[test]
fn an_address_is_completed_wherever_it_ends() {
    for (address, expected) in [
        ("http://a:3100", "http://a:3100/loki/api/v1/query"),
        ("http://a:3100/", "http://a:3100/loki/api/v1/query"),
        ("http://a/loki", "http://a/loki/api/v1/query"),
        ("http://a/loki/api/v1/query", "http://a/loki/api/v1/query"),
        (
            "http://a/behind/a/proxy/",
            "http://a/behind/a/proxy/loki/api/v1/query",
        ),
    ] {
        let url = parse(&input(address, &[])).url().unwrap();
        assert_eq!(url.as_str().split('?').next(), Some(expected), "{address}");
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let bad = [
        ("threshold", "0"),
        ("tenantName", "a\nb"),
        ("authModes", "bearer"),
        ("ignoreNullValues", "maybe"),
    ];
    let found = metadata::parse::<LokiTrigger>(&input("loki:3100", &bad))
        .unwrap_err()
        .to_string();
    for expected in [
        "serverAddress \"loki:3100\" is not a URL",
        "threshold must be greater than 0, got 0",
        "tenantName",
        "authModes bearer needs bearerToken",
        "ignoreNullValues",
    ] {
        assert!(found.contains(expected), "{expected:?} is not in {found}");
    }
    let mut formula = input("http://a", &[("threshold", "0")]);
    formula.settings.as_metric_source = true;
    assert!(
        metadata::parse::<LokiTrigger>(&formula).is_ok(),
        "a formula needs no target"
    );
}

#[tokio::test]
async fn a_request_is_what_the_api_of_loki_asks_for_to_the_byte() {
    let server = TestServer::start(vector(r#"{"metric":{},"value":[1700000000.5,"7"]}"#)).await;
    let address = server.url("");
    let mut input = input(&address, &[("tenantName", "shop"), ("authModes", "basic")]);
    for (key, value) in [("username", "scaler"), ("password", "hunter2")] {
        input.authentication.insert(key.into(), Secret::new(value));
    }
    let context = Context::new().with(HttpEnvironment::new());
    let scaler = parse(&input).connect(&context).await.unwrap();
    assert_eq!(scaler.sample().await.unwrap(), Sample::single("loki", 7.0, true));
    let expected = format!(
        "GET /loki/api/v1/query?query=sum%28rate%28%7Bapp%3D%22a+b%22%7D%5B1m%5D%29%29 HTTP/1.1\r\n\
         x-scope-orgid: shop\r\nauthorization: Basic c2NhbGVyOmh1bnRlcjI=\r\naccept: */*\r\nhost: {}\r\n\r\n",
        address.trim_start_matches("http://")
    );
    assert_eq!(server.last_request(), expected);
}

#[tokio::test]
async fn answers_are_read_by_kedas_rules() {
    let server = TestServer::start(Reply::Silence).await;
    let element = |value: &str| vector(&format!(r#"{{"metric":{{}},"value":[1,{value}]}}"#));
    let context = Context::new().with(HttpEnvironment::new());
    for (reply, lenient, strict) in [
        (element("\"2.5\""), Ok(2.5), Ok(2.5)),
        (element("null"), Ok(0.0), Ok(0.0)),
        (
            vector(""),
            Ok(0.0),
            Err("loki metrics may be lost, the result is empty"),
        ),
        (vector(r#"{"value":[]}"#), Ok(0.0), Err("the value list is empty")),
        (
            vector(r#"{"value":[1,"1"]},{"value":[1,"2"]}"#),
            Err("multiple elements"),
            Err("multiple elements"),
        ),
        (
            Reply::Body(400, "parse error".into()),
            Err("status: 400"),
            Err("status: 400"),
        ),
    ] {
        server.reply(reply);
        for (ignore, expected) in [("true", &lenient), ("false", &strict)] {
            let input = input(&server.url(""), &[("ignoreNullValues", ignore)]);
            let scaler = parse(&input).connect(&context).await.unwrap();
            match (scaler.sample().await, expected) {
                (Ok(sample), Ok(value)) => assert_eq!(sample.values[0].value, *value),
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{error}"),
                (other, expected) => panic!("{other:?}, not {expected:?}"),
            }
        }
    }
    for (status, kind) in [
        (401, ErrorKind::Unauthorized),
        (404, ErrorKind::NotFound),
        (429, ErrorKind::Throttled),
        (503, ErrorKind::Unavailable),
    ] {
        server.reply(Reply::Body(status, String::new()));
        let scaler = parse(&input(&server.url(""), &[]))
            .connect(&context)
            .await
            .unwrap();
        assert_eq!(scaler.sample().await.unwrap_err().kind(), kind);
    }
}

struct Endpoint {
    server: TestServer,
    value: Mutex<f64>,
}

impl Endpoint {
    fn input(&self, token: &str) -> TriggerInput {
        let mut input = input(
            &self.server.url(""),
            &[("activationThreshold", "5.5"), ("authModes", "bearer")],
        );
        input
            .authentication
            .insert("bearerToken".into(), Secret::new(token));
        input
    }

    fn show(&self) {
        let value = *self.value.lock().unwrap();
        self.server
            .reply(vector(&format!(r#"{{"value":[1,"{value}"]}}"#)));
    }
}

#[async_trait]
impl Harness for Endpoint {
    type Trigger = LokiTrigger;

    fn input(&self) -> TriggerInput {
        self.input("hunter2hunter2")
    }

    async fn set_value(&self, value: f64) {
        *self.value.lock().unwrap() = value;
        self.show();
    }

    async fn set_outage(&self, outage: Option<Outage>) {
        match outage {
            None => self.show(),
            Some(Outage::Silent) => self.server.reply(Reply::Silence),
            Some(_) => self.server.reply(Reply::Body(503, String::new())),
        }
    }

    fn levels(&self) -> Levels {
        Levels::around(5.5)
    }

    fn context(&self) -> Context {
        Context::new()
            .with(HttpEnvironment::new())
            .with_timeout(Duration::from_millis(500))
    }

    fn input_with_bad_credentials(&self) -> Option<TriggerInput> {
        Some(self.input("wrong"))
    }

    async fn open_connections(&self) -> Option<usize> {
        Some(self.server.open_connections())
    }
}

#[tokio::test]
async fn it_conforms() {
    let server = TestServer::start(Reply::Silence).await;
    server.require("authorization: Bearer hunter2hunter2\r\n");
    conformance::assert_conforms(&Endpoint {
        server,
        value: Mutex::default(),
    })
    .await;
}
