//! The trigger, and its scaler against a server on loopback.

use scaler_api::{ErrorKind, MetricTarget, Quantity, Secret, TriggerInput, metadata};

use super::*;
use crate::http::{
    HttpEnvironment,
    test_server::{Reply, TestServer},
};

fn input(url: &str, pairs: &[(&str, &str)]) -> TriggerInput {
    let mut metadata = BTreeMap::from([
        ("url".to_owned(), url.to_owned()),
        ("valueLocation".to_owned(), "orders.pending".to_owned()),
        ("targetValue".to_owned(), "8".to_owned()),
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

fn parse(input: &TriggerInput) -> MetricsApiTrigger {
    metadata::parse::<MetricsApiTrigger>(input)
        .expect("the metadata is good")
        .0
}

async fn sample(input: &TriggerInput) -> Result<Sample, Error> {
    let context = Context::new().with(HttpEnvironment::new());
    parse(input).connect(&context).await?.sample().await
}

fn orders(pending: &str) -> Reply {
    Reply::Body(200, format!("{{\"orders\": {{\"pending\": {pending}}}}}"))
}

#[test]
fn section_2_1_the_metric_is_named_by_its_location() {
    let metric = &parse(&input("http://a/", &[("targetValue", "2.5")])).metrics()[0];
    assert_eq!(metric.external_name(), Some("metric-api-orders-pending"));
    assert_eq!(
        *metric.target(),
        MetricTarget::AverageValue(Quantity::from_millis(2500))
    );
}

#[test]
fn all_problems_are_reported_at_once() {
    let mut input = input(
        "shop/stats",
        &[
            ("format", "toml"),
            ("aggregateFromKubeServiceEndpoints", "true"),
            ("authMode", "basic"),
        ],
    );
    input.metadata.remove("targetValue");
    let problems = metadata::parse::<MetricsApiTrigger>(&input)
        .unwrap_err()
        .to_string();
    for expected in [
        "url \"shop/stats\" is not a URL",
        "one of json, prometheus, xml, yaml",
        "missing required parameter \"targetValue\"",
        "authModes basic needs username",
    ] {
        assert!(problems.contains(expected), "{expected:?} is not in {problems}");
    }
    let aggregate = [
        ("aggregateFromKubeServiceEndpoints", "true"),
        ("aggregationType", "median"),
    ];
    let problems = metadata::parse::<MetricsApiTrigger>(&self::input("http://localhost/", &aggregate))
        .unwrap_err()
        .to_string();
    for expected in [
        "the host \"localhost\" is no Service of a cluster",
        "one of average, sum, max, min",
    ] {
        assert!(problems.contains(expected), "{expected:?} is not in {problems}");
    }
    input = self::input("http://a/", &[]);
    input.metadata.remove("targetValue");
    input.settings.as_metric_source = true;
    assert!(
        metadata::parse::<MetricsApiTrigger>(&input).is_ok(),
        "a formula needs no target"
    );
}

#[tokio::test]
async fn the_value_is_read_and_activates_strictly_above_its_threshold() {
    let server = TestServer::start(orders("3")).await;
    let name = "metric-api-orders-pending";
    let threshold = [("activationTargetValue", "3")];
    let url = server.url("/api/stats?shop=1");
    assert_eq!(
        sample(&input(&url, &threshold)).await.unwrap(),
        Sample::single(name, 3.0, false)
    );
    server.reply(orders("\"3500m\""));
    assert_eq!(
        sample(&input(&url, &threshold)).await.unwrap(),
        Sample::single(name, 3.5, true)
    );
    assert!(
        server
            .last_request()
            .starts_with("GET /api/stats?shop=1 HTTP/1.1")
    );
    server.reply(Reply::Body(200, "orders{state=\"pending\"} 4\n".into()));
    let text = [("format", "prometheus"), ("valueLocation", "orders")];
    assert_eq!(
        sample(&input(&url, &text)).await.unwrap(),
        Sample::single("metric-api-orders", 4.0, true)
    );
}

#[tokio::test]
async fn only_status_200_is_an_answer() {
    let server = TestServer::start(orders("3")).await;
    for (status, kind) in [
        (201, ErrorKind::Invalid),
        (401, ErrorKind::Unauthorized),
        (404, ErrorKind::NotFound),
        (429, ErrorKind::Throttled),
        (503, ErrorKind::Unavailable),
    ] {
        server.reply(Reply::Body(status, "{\"orders\":{\"pending\":3}}".into()));
        let error = sample(&input(&server.url("/stats"), &[])).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert_eq!(
            error.to_string(),
            format!("/stats: api returned {status} (host=127.0.0.1)")
        );
    }
}

#[tokio::test]
async fn credentials_reach_the_server_and_nothing_else() {
    let server = TestServer::start(orders("3")).await;
    let mut input = input(
        &server.url("/"),
        &[("authMode", "apiKey"), ("keyParamName", "x-shop")],
    );
    input
        .authentication
        .insert("apiKey".into(), Secret::new("hunter2"));
    sample(&input).await.unwrap();
    assert!(server.last_request().contains("x-shop: hunter2"));
    let trigger = parse(&input);
    let key = trigger.source_key();
    let scaler = trigger.clone().connect(&Context::new()).await.unwrap();
    let shown = format!("{trigger:?} {scaler:?} {key:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    input.authentication.insert("apiKey".into(), Secret::new("other"));
    assert_ne!(parse(&input).source_key(), key);
}

#[tokio::test]
async fn the_timeout_of_the_metadata_is_kept() {
    let server = TestServer::start(Reply::Silence).await;
    let before = std::time::Instant::now();
    let error = sample(&input(&server.url("/"), &[("timeout", "150")]))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(before.elapsed() < std::time::Duration::from_secs(2));
}

#[tokio::test]
async fn a_scaler_survives_an_outage_and_a_cancelled_sample() {
    let server = TestServer::start(Reply::Silence).await;
    let context = Context::new().with(HttpEnvironment::new());
    let scaler = parse(&input(&server.url("/"), &[]))
        .connect(&context)
        .await
        .unwrap();
    let brief = std::time::Duration::from_millis(50);
    assert!(tokio::time::timeout(brief, scaler.sample()).await.is_err());
    server.reply(Reply::Body(500, String::new()));
    assert_eq!(scaler.sample().await.unwrap_err().kind(), ErrorKind::Unavailable);
    server.reply(orders("3"));
    assert!(scaler.sample().await.unwrap().active);
}

/// The endpoints of one Service.
#[derive(Debug)]
struct Slices(std::sync::Mutex<Vec<(&'static str, u16)>>);

#[async_trait]
impl ServiceEndpoints for Slices {
    async fn endpoints(
        &self,
        namespace: &str,
        service: &str,
    ) -> Result<std::collections::BTreeSet<Endpoint>, Error> {
        assert_eq!((namespace, service), ("shop", "stats"));
        let endpoint = |(address, port): &(&str, u16)| Endpoint {
            address: (*address).to_owned(),
            ports: vec![*port],
        };
        Ok(self.0.lock().unwrap().iter().map(endpoint).collect())
    }
}

#[tokio::test]
async fn section_9_every_endpoint_of_a_service_is_asked() {
    let server = TestServer::start(orders("3")).await;
    let port = Url::parse(&server.url("/")).unwrap().port().unwrap();
    let slices = Arc::new(Slices(std::sync::Mutex::default()));
    let context = Context::new()
        .with(HttpEnvironment::new())
        .with(SharedServiceEndpoints(slices.clone()));
    let url = format!("http://stats.shop.svc:{port}/stats?a=b");
    let sample = async |aggregation: &str| {
        let pairs = [
            ("aggregateFromKubeServiceEndpoints", "true"),
            ("aggregationType", aggregation),
            ("timeout", "500"),
        ];
        let scaler = parse(&input(&url, &pairs)).connect(&context).await?;
        let sample: Result<Sample, Error> = scaler.sample().await;
        sample.map(|sample| sample.values[0].value)
    };
    let error = sample("sum").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    // The server listens at the first of them; the others do not count.
    let six = [
        "127.0.0.1",
        "127.0.0.2",
        "127.0.0.3",
        "127.0.0.4",
        "127.0.0.5",
        "127.0.0.6",
    ];
    *slices.0.lock().unwrap() = vec![(six[0], port)];
    assert_eq!(sample("sum").await.unwrap(), 3.0);
    assert!(server.last_request().starts_with("GET /stats?a=b HTTP/1.1"));
    *slices.0.lock().unwrap() = six.iter().map(|address| (*address, port)).collect();
    assert_eq!(sample("sum").await.unwrap(), 3.0, "only the first is there");
    assert_eq!(sample("average").await.unwrap(), 3.0);
    server.reply(Reply::Body(503, String::new()));
    let error = sample("max").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("service=shop/stats"), "{error}");
    let without = parse(&input(&url, &[("aggregateFromKubeServiceEndpoints", "true")]));
    let error = without.connect(&Context::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}
