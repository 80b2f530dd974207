//! The metadata, and what is sent and read.

use scaler_api::{ErrorKind, MetricTarget, Quantity, TriggerInput, metadata};

use super::*;
use crate::http::{
    HttpEnvironment,
    test_server::{Reply, TestServer},
};

fn input(pairs: &[(&str, &str)], secrets: &[(&str, &str)]) -> TriggerInput {
    let mut all = vec![
        ("index", "orders; returns"),
        ("valueLocation", "hits.total.value"),
        ("targetValue", "2.5"),
    ];
    all.extend(pairs);
    TriggerInput {
        metadata: all
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        authentication: secrets
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Secret::new(*value)))
            .collect(),
        ..TriggerInput::default()
    }
}

fn parse(input: &TriggerInput) -> Result<ElasticsearchTrigger, String> {
    metadata::parse(input)
        .map(|(trigger, _)| trigger)
        .map_err(|problems| problems.to_string())
}

const NODE: (&str, &str) = ("addresses", "http://a:9200");
const LOGIN: &[(&str, &str)] = &[("username", "u"), ("password", "p")];
const TEMPLATE: (&str, &str) = ("searchTemplateName", "open.orders");

#[test]
fn section_2_1_the_metric_is_named_by_the_template_or_query() {
    let trigger = parse(&input(&[NODE, TEMPLATE], LOGIN)).unwrap();
    let metric = &trigger.metrics()[0];
    assert_eq!(metric.external_name(), Some("elasticsearch-open-orders"));
    assert_eq!(
        *metric.target(),
        MetricTarget::AverageValue(Quantity::from_millis(2500))
    );
    let trigger = parse(&input(&[NODE, ("query", "{}")], LOGIN)).unwrap();
    assert_eq!(trigger.metrics()[0].external_name(), Some("elasticsearch-query"));
}

#[test]
fn rules_across_keys_are_those_of_keda() {
    let both = [("cloudID", "x:aCRk"), ("apiKey", "k")];
    for (pairs, secrets, expected) in [
        (
            &[TEMPLATE][..],
            &[][..],
            "either cloud config or endpoint addresses",
        ),
        (&[NODE, TEMPLATE], &both, "can't provide both cloud config"),
        (&[TEMPLATE], &both[..1], "both cloudID and apiKey"),
        (
            &[NODE, TEMPLATE],
            &[("username", "u")],
            "both username and password must be provided",
        ),
        (
            &[NODE, TEMPLATE],
            &[],
            "both username and password must be provided when addresses is used",
        ),
        (&[NODE], &[], "either searchTemplateName or query"),
        (
            &[NODE, TEMPLATE, ("query", "{}")],
            &[],
            "cannot provide both searchTemplateName and query",
        ),
        (&[NODE, ("query", "{")], &[], "query is not JSON"),
        (
            &[NODE, TEMPLATE, ("parameters", "a:1;b")],
            &[],
            "\"b\" is not name:value",
        ),
        (&[TEMPLATE, ("addresses", "a:9200")], &[], "addresses \"a:9200\""),
        (
            &[TEMPLATE],
            &[("cloudID", "x:hunter2"), ("apiKey", "k")],
            "is no id of a deployment",
        ),
        (
            &[NODE, TEMPLATE, ("targetValue", "0")],
            &[],
            "targetValue must be greater than 0",
        ),
    ] {
        let found = parse(&input(pairs, secrets)).unwrap_err();
        assert!(found.contains(expected), "{expected:?} is not in {found}");
    }
    let found = parse(&TriggerInput::default()).unwrap_err();
    for key in ["index", "valueLocation", "targetValue"] {
        assert!(found.contains(&format!("{key:?}")), "{found}");
    }
}

#[test]
fn a_cloud_id_leads_to_its_deployment() {
    let id = format!("shop:{}", {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode("eu.cloud.es.io:9243$abc$def")
    });
    let secrets = [("cloudID", id.as_str()), ("apiKey", "hunter2")];
    let trigger = parse(&input(&[TEMPLATE], &secrets)).unwrap();
    assert_eq!(
        trigger.nodes().unwrap()[0].as_str(),
        "https://abc.eu.cloud.es.io:9243/"
    );
    assert!(!format!("{trigger:?} {:?}", trigger.source_key()).contains("hunter2"));
}

async fn ask(input: &TriggerInput) -> Result<f64, Error> {
    let context = Context::new().with(HttpEnvironment::new());
    let scaler = parse(input).unwrap().connect(&context).await?;
    scaler.sample().await.map(|sample| sample.values[0].value)
}

#[tokio::test]
async fn a_search_is_what_elasticsearch_asks_for() {
    let answer = |body: &str| Reply::Body(200, body.to_owned());
    let server = TestServer::start(answer(r#"{"hits":{"total":{"value":7}}}"#)).await;
    let address = server.url("/base/");
    let template = [
        ("addresses", address.as_str()),
        TEMPLATE,
        ("parameters", "b: 2;a:1"),
        ("username", "scaler"),
    ];
    assert_eq!(
        ask(&input(&template, &[("password", "hunter2")])).await.unwrap(),
        7.0
    );
    let request = server.last_request();
    assert!(
        request.starts_with("POST /base/orders,returns/_search/template HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.contains("authorization: Basic c2NhbGVyOmh1bnRlcjI=\r\n"),
        "{request}"
    );
    let body = r#"{"id":"open.orders","params":{"a":"1","b":"2"}}"#;
    assert!(
        request.contains(&format!("content-length: {}\r\n", body.len())),
        "{request}"
    );
    let query = [("addresses", address.as_str()), ("query", r#"{"size": 0}"#)];
    for (body, lenient, strict) in [
        (r#"{"hits":{"total":{"value":"2.5"}}}"#, Some(2.5), Some(2.5)),
        (r#"{"hits":{"total":{"value":null}}}"#, Some(0.0), None),
        (r#"{"hits":{}}"#, Some(0.0), None),
        (r#"{"hits":{"total":{"value":"many"}}}"#, None, None),
        (r#"{"hits":{"total":{"value":[1]}}}"#, None, None),
    ] {
        server.reply(answer(body));
        for (ignore, expected) in [("true", lenient), ("false", strict)] {
            let mut pairs = query.to_vec();
            pairs.push(("ignoreNullValues", ignore));
            assert_eq!(ask(&input(&pairs, LOGIN)).await.ok(), expected, "{body}");
        }
    }
    assert!(
        server
            .last_request()
            .starts_with("POST /base/orders,returns/_search HTTP/1.1")
    );
    server.reply(Reply::Body(
        404,
        r#"{"error":{"reason":"no such index [orders]"},"status":404}"#.into(),
    ));
    let mut lenient = query.to_vec();
    lenient.push(("ignoreNullValues", "true"));
    let error = ask(&input(&lenient, LOGIN)).await.unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::NotFound,
        "what does not exist is not empty"
    );
    assert!(error.to_string().contains("no such index [orders]"), "{error}");
}
