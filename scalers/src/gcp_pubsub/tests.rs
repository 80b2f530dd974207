//! The rules of keda.md §2.1 and of `gcp-pubsub`, byte for byte against the documentation of `projects.timeSeries.query`, and the
//! suite that every scaler passes.

use std::{sync::Mutex, time::Duration};

use scaler_api::{
    ErrorKind, MetricTarget, PodIdentity, Quantity, TriggerInput,
    conformance::{self, Harness, Levels, Outage},
    metadata,
};

use super::*;
use crate::http::{
    HttpEnvironment,
    test_server::{Reply, TestServer},
};

/// A token and a series in one, of which each request reads its own.
fn series(value: &Value) -> String {
    json!({
        "access_token": "t0ken", "expires_in": 3600,
        "timeSeriesDescriptor": {"pointDescriptors": [{"key": "value", "valueType": "INT64"}]},
        "timeSeriesData": [{"pointData": [
            {"values": [value], "timeInterval": {"endTime": "2026-01-01T00:00:00Z"}},
            {"values": [{"int64Value": "99"}]},
        ]}],
    })
    .to_string()
}

fn input(pairs: &[(&str, &str)]) -> TriggerInput {
    let mut input = TriggerInput::default();
    let given = [
        ("subscriptionName", "projects/shop/subscriptions/orders"),
        ("activationValue", "5"),
    ];
    for (key, value) in given.iter().chain(pairs) {
        input.metadata.insert((*key).to_owned(), (*value).to_owned());
    }
    input.metadata.retain(|_, value| !value.is_empty());
    input.settings.pod_identity = Some(PodIdentity {
        provider: "gcp".to_owned(),
        ..PodIdentity::default()
    });
    input
}

fn context(server: &TestServer) -> Context {
    let environment = GcpEnvironment::new()
        .with_endpoint(server.url("/"))
        .with_metadata_server(server.url("/"));
    Context::new()
        .with(HttpEnvironment::new())
        .with(environment)
        .with_timeout(Duration::from_millis(1500))
}

struct Monitoring {
    server: TestServer,
    context: Context,
    value: Mutex<f64>,
}

#[async_trait]
impl Harness for Monitoring {
    type Trigger = PubSubTrigger;

    fn input(&self) -> TriggerInput {
        input(&[])
    }

    async fn set_value(&self, value: f64) {
        *self.value.lock().unwrap() = value;
        self.server
            .reply(Reply::Body(200, series(&json!({"doubleValue": value}))));
    }

    async fn set_outage(&self, outage: Option<Outage>) {
        let value = *self.value.lock().unwrap();
        self.server.reply(match outage {
            None => Reply::Body(200, series(&json!({"doubleValue": value}))),
            Some(Outage::Silent) => Reply::Silence,
            Some(_) => Reply::Body(503, String::new()),
        });
    }

    fn levels(&self) -> Levels {
        Levels::around(5.0)
    }

    fn context(&self) -> Context {
        self.context.clone()
    }
}

#[tokio::test]
async fn it_conforms() {
    let server = TestServer::start(Reply::Body(200, series(&json!({"int64Value": "0"})))).await;
    let monitoring = Monitoring {
        context: context(&server),
        server,
        value: Mutex::default(),
    };
    conformance::assert_conforms(&monitoring).await;
}

async fn scaler(input: &TriggerInput, context: &Context) -> PubSubScaler {
    let (trigger, _) = metadata::parse::<PubSubTrigger>(input).unwrap();
    trigger.connect(context).await.unwrap()
}

#[tokio::test]
async fn one_login_and_one_query_with_its_token() {
    let server = TestServer::start(Reply::Body(200, series(&json!({"int64Value": "6"})))).await;
    let scaler = scaler(&input(&[]), &context(&server)).await;
    for _ in 0..3 {
        let sample = scaler.sample().await.unwrap();
        assert_eq!((sample.values[0].value, sample.active), (6.0, true));
        assert_eq!(sample.values[0].name, "gcp-ps-projects-shop-subscriptions-orders");
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 4);
    assert!(
        requests[0]
            .starts_with("GET /computeMetadata/v1/instance/service-accounts/default/token HTTP/1.1\r\n"),
        "{}",
        requests[0]
    );
    assert!(requests[0].contains("metadata-flavor: Google\r\n"));
    let request = &requests[1];
    assert!(
        request.starts_with("POST /v3/projects/shop/timeSeries:query HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(request.contains("authorization: Bearer t0ken\r\n"), "{request}");
    let body = json!({
        "query": "fetch pubsub_subscription | metric 'pubsub.googleapis.com/subscription/num_undelivered_messages' | \
                  filter (resource.project_id == 'shop' && resource.subscription_id == 'orders') | within 2m",
        "pageSize": 1,
    });
    let sent: Value = serde_json::from_str(request.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(sent, body);
}

#[test]
fn queries_are_those_of_keda() {
    let text = |pairs: &[(&str, &str)]| {
        let (trigger, _) = metadata::parse::<PubSubTrigger>(&input(pairs)).unwrap();
        trigger.query(&trigger.resource().unwrap(), "home").unwrap()
    };
    let topic = [
        ("subscriptionName", ""),
        ("topicName", "news"),
        ("mode", "MessageSizes"),
    ];
    let expected = "fetch pubsub_topic | metric 'pubsub.googleapis.com/topic/message_sizes' | \
                    filter (resource.project_id == 'home' && resource.topic_id == 'news') | within ";
    let with = |pairs: &[(&'static str, &'static str)]| text(&[&topic[..], pairs].concat());
    let grouped = |function: &str| format!(" | align delta(3m) | every 3m | group_by [], {function}");
    assert_eq!(with(&[]), format!("{expected}2m"));
    assert_eq!(with(&[("timeHorizon", "90s")]), format!("{expected}90s"));
    assert_eq!(with(&[("timeHorizon", "1h")]), format!("{expected}60m"));
    assert_eq!(
        with(&[("aggregation", "sum")]),
        format!("{expected}5m{}", grouped("sum(value)"))
    );
    assert_eq!(
        with(&[("aggregation", "percentile95"), ("timeHorizon", "10m")]),
        format!("{expected}10m{}", grouped("percentile(value, 95)"))
    );
}

#[test]
fn modes_become_snake_case() {
    for (mode, expected) in [
        ("SubscriptionSize", "num_undelivered_messages"),
        ("OldestUnackedMessageAge", "oldest_unacked_message_age"),
        ("num_undelivered_messages", "num_undelivered_messages"),
        ("ByteCost", "byte_cost"),
        ("HTTPRequests2xx", "http_requests2xx"),
        ("Top10Age", "top10_age"),
    ] {
        assert_eq!(query::metric(mode).unwrap(), expected);
    }
    assert!(query::metric("a' || true").is_err());
}

#[test]
fn the_newest_point_counts_and_none_is_no_value() {
    let newest = |data: Value, instead| {
        query::newest(&json!({"timeSeriesData": data}), instead).map_err(|error| error.kind())
    };
    let point = |value: Value| json!([{"pointData": [{"values": [value]}]}]);
    assert_eq!(newest(point(json!({"doubleValue": 2.5})), None), Ok(2.5));
    assert_eq!(newest(point(json!({"int64Value": "7"})), None), Ok(7.0));
    assert_eq!(
        newest(point(json!({"stringValue": "x"})), Some(1.0)),
        Err(ErrorKind::Invalid)
    );
    for empty in [json!([]), json!(null), json!([{"pointData": []}])] {
        assert_eq!(newest(empty.clone(), None), Err(ErrorKind::NotFound));
        assert_eq!(newest(empty, Some(3.0)), Ok(3.0));
    }
}

#[tokio::test]
async fn answers_have_their_kinds() {
    let server = TestServer::start(Reply::Body(200, series(&json!({"int64Value": "6"})))).await;
    let scaler = scaler(&input(&[]), &context(&server)).await;
    scaler.sample().await.unwrap();
    for (status, code, expected) in [
        (404, "NOT_FOUND", ErrorKind::NotFound),
        (400, "INVALID_ARGUMENT", ErrorKind::Invalid),
        (429, "RESOURCE_EXHAUSTED", ErrorKind::Throttled),
        (500, "INTERNAL", ErrorKind::Unavailable),
        // Last, since it makes the token be asked for anew.
        (403, "PERMISSION_DENIED", ErrorKind::Unauthorized),
    ] {
        let body = json!({"error": {"code": status, "status": code, "message": "no"}});
        server.reply(Reply::Body(status, body.to_string()));
        let error = scaler.sample().await.unwrap_err();
        assert_eq!(error.kind(), expected, "{code}: {error}");
    }
}

#[tokio::test]
async fn the_project_of_a_name_alone_is_that_of_the_machine() {
    let server = TestServer::start(Reply::Body(200, "home".to_owned())).await;
    let scaler = scaler(&input(&[("subscriptionName", "orders")]), &context(&server)).await;
    scaler.sample().await.unwrap_err();
    server.reply(Reply::Body(200, series(&json!({"int64Value": "1"}))));
    scaler.sample().await.unwrap();
    let requests = server.requests();
    assert!(requests[0].starts_with("GET /computeMetadata/v1/project/project-id HTTP/1.1\r\n"));
    assert!(
        server
            .last_request()
            .starts_with("POST /v3/projects/home/timeSeries:query")
    );
}

#[tokio::test]
async fn a_token_of_somebody_else_is_exchanged_for_one_of_a_service_account() {
    let mut body: Value = serde_json::from_str(&series(&json!({"int64Value": "6"}))).unwrap();
    body["accessToken"] = "0thers".into();
    body["expireTime"] = "2999-01-01T00:00:00Z".into();
    let server = TestServer::start(Reply::Body(200, body.to_string())).await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("token"), r#"{"id_token": "service-account-token"}"#).unwrap();
    let mut file = json!({
        "type": "external_account", "audience": "//iam.example/pool", "token_url": server.url("/sts"),
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "service_account_impersonation_url": server.url("/as:generateAccessToken"),
        "credential_source": {
            "file": path("token"), "format": {"type": "json", "subject_token_field_name": "id_token"},
        },
    });
    std::fs::write(path("file"), file.to_string()).unwrap();
    let environment = GcpEnvironment::new()
        .with_endpoint(server.url("/"))
        .with_credentials_file(path("file"));
    let context = Context::new().with(HttpEnvironment::new()).with(environment);
    let scaler = scaler(&input(&[]), &context).await;
    for _ in 0..2 {
        assert_eq!(scaler.sample().await.unwrap().values[0].value, 6.0);
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 4, "one login");
    for expected in [
        "POST /sts ",
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&audience=%2F%2Fiam.example%2Fpool",
        "subject_token=service-account-token",
    ] {
        assert!(requests[0].contains(expected), "{}", requests[0]);
    }
    assert!(
        requests[1].starts_with("POST /as:generateAccessToken "),
        "{}",
        requests[1]
    );
    assert!(
        requests[1].contains("authorization: Bearer t0ken\r\n"),
        "{}",
        requests[1]
    );
    assert!(
        requests[2].contains("authorization: Bearer 0thers\r\n"),
        "{}",
        requests[2]
    );
    file["credential_source"] = json!({"url": "http://elsewhere"});
    std::fs::write(path("file"), file.to_string()).unwrap();
    server.require("nothing has it");
    let error = scaler.sample().await.unwrap_err();
    assert!(
        error.to_string().contains("credential_source names no file"),
        "{error}"
    );
}

#[test]
fn keys_follow_the_rules_of_keda() {
    let (trigger, _) = metadata::parse::<PubSubTrigger>(&input(&[])).unwrap();
    let MetricSpec::External { name, target } = &trigger.metrics()[0] else {
        panic!("an external metric")
    };
    assert_eq!(name, "gcp-ps-projects-shop-subscriptions-orders");
    assert_eq!(*target, MetricTarget::AverageValue(Quantity::from_units(10)));
    let old = [
        ("subscriptionSize", "7"),
        ("mode", "OldestUnackedMessageAge"),
        ("value", "3"),
    ];
    let (trigger, warnings) = metadata::parse::<PubSubTrigger>(&input(&old)).unwrap();
    assert_eq!(trigger.wanted(), ("SubscriptionSize", 7.0));
    assert!(warnings.warnings()[0].to_string().contains("deprecated"));
    let without = |input: TriggerInput| {
        let mut input = input;
        input.settings.pod_identity = None;
        input
    };
    let key = |text: &str| {
        let mut input = without(input(&[]));
        input
            .authentication
            .insert("GoogleApplicationCredentials".into(), Secret::new(text));
        input
    };
    let mut from_environment = without(input(&[("credentialsFromEnv", "KEY")]));
    from_environment
        .environment
        .insert("KEY".into(), "hunter2".into());
    for (input, expected) in [
        (
            input(&[("subscriptionName", "")]),
            "exactly one of subscription or topic",
        ),
        (
            input(&[("topicName", "t")]),
            "exactly one of subscription or topic",
        ),
        (input(&[("subscriptionName", "a'b")]), "is no name"),
        (
            input(&[("subscriptionName", "projects/p/topics/t")]),
            "neither a name nor projects",
        ),
        (
            input(&[
                ("subscriptionName", ""),
                ("topicName", "t"),
                ("subscriptionSize", "5"),
            ]),
            "Use subscriptionName field instead",
        ),
        (
            input(&[("aggregation", "mode")]),
            "unsupported aggregation function",
        ),
        (
            input(&[("aggregation", "percentile101")]),
            "invalid percentile value",
        ),
        (input(&[("value", "0")]), "value"),
        (
            input(&[("credentialsFromEnvFile", "KEY")]),
            "credentialsFromEnvFile is not supported",
        ),
        (without(input(&[])), "google application credentials not found"),
        (key("hunter2"), "not its JSON"),
        (from_environment, "not its JSON"),
    ] {
        let problems = metadata::parse::<PubSubTrigger>(&input).unwrap_err();
        assert!(problems.to_string().contains(expected), "{expected}: {problems}");
        assert!(!problems.to_string().contains("hunter2"), "{problems}");
    }
}
