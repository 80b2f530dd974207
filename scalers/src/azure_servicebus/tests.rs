//! The rules of keda.md §2.1, §5.8, §5.14, byte for byte against the documentation of the management API, and the suite that every
//! scaler passes.

use std::{sync::Mutex, time::Duration};

use scaler_api::{
    ErrorKind, MetricTarget, PodIdentity, TokioClock, TriggerInput,
    conformance::{self, Harness, Levels, Outage},
    metadata,
};

use super::*;
use crate::{
    azure::WorkloadIdentity,
    http::{
        HttpEnvironment,
        test_server::{Reply, TestServer},
    },
};

const KEY: &str = "hunter2hunter2";

fn connection(server: &TestServer) -> String {
    format!(
        "Endpoint={};SharedAccessKeyName=Root Manage;SharedAccessKey={KEY};UseDevelopmentEmulator=true",
        server.url("/").replace("http://", "sb://")
    )
}

fn input(connection: &str, pairs: &[(&str, &str)]) -> TriggerInput {
    let mut input = TriggerInput::default();
    for (key, value) in [("activationMessageCount", "5")].iter().chain(pairs) {
        input.metadata.insert((*key).to_owned(), (*value).to_owned());
    }
    if !connection.is_empty() {
        input
            .authentication
            .insert("connection".to_owned(), Secret::new(connection));
    }
    input
}

/// As the service writes it: other counts stand beside the active ones.
fn entry(name: &str, active: f64) -> String {
    format!(
        "<entry xmlns=\"http://www.w3.org/2005/Atom\"><id>https://shop/{name}</id><title type=\"text\">{name}</title>\
         <content type=\"application/xml\"><QueueDescription xmlns=\"http://schemas.microsoft.com/netservices/2010/10/servicebus/connect\">\
         <MessageCount>99</MessageCount><CountDetails xmlns:d2p1=\"http://schemas.microsoft.com/netservices/2011/06/servicebus\">\
         <d2p1:ActiveMessageCount>{active}</d2p1:ActiveMessageCount><d2p1:DeadLetterMessageCount>7</d2p1:DeadLetterMessageCount>\
         <d2p1:ScheduledMessageCount>3</d2p1:ScheduledMessageCount></CountDetails></QueueDescription></content></entry>"
    )
}

fn feed(entries: &[(String, f64)]) -> String {
    let entries: String = entries
        .iter()
        .map(|(name, active)| entry(name, *active))
        .collect();
    format!("<feed xmlns=\"http://www.w3.org/2005/Atom\"><title type=\"text\">Queues</title>{entries}</feed>")
}

struct Bus {
    server: TestServer,
    value: Mutex<f64>,
}

#[async_trait]
impl Harness for Bus {
    type Trigger = ServiceBusTrigger;

    fn input(&self) -> TriggerInput {
        input(&connection(&self.server), &[("queueName", "orders")])
    }

    fn secrets(&self) -> Vec<String> {
        vec![KEY.to_owned()]
    }

    async fn set_value(&self, value: f64) {
        *self.value.lock().unwrap() = value;
        self.server.reply(Reply::Body(200, entry("orders", value)));
    }

    async fn set_outage(&self, outage: Option<Outage>) {
        self.server.reply(match outage {
            None => Reply::Body(200, entry("orders", *self.value.lock().unwrap())),
            Some(Outage::Silent) => Reply::Silence,
            Some(_) => Reply::Body(503, String::new()),
        });
    }

    fn levels(&self) -> Levels {
        Levels::around(5.0)
    }

    fn context(&self) -> Context {
        context()
    }
}

fn context() -> Context {
    let clock = TokioClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    Context::new()
        .with(HttpEnvironment::new())
        .with_clock(std::sync::Arc::new(clock))
        .with_timeout(Duration::from_millis(1500))
}

async fn scaler(input: &TriggerInput) -> ServiceBusScaler {
    let (trigger, _) = metadata::parse::<ServiceBusTrigger>(input).unwrap();
    trigger.connect(&context()).await.unwrap()
}

#[tokio::test]
async fn it_conforms() {
    let server = TestServer::start(Reply::Body(200, entry("orders", 0.0))).await;
    let bus = Bus {
        server,
        value: Mutex::default(),
    };
    conformance::assert_conforms(&bus).await;
}

#[test]
fn the_signature_is_that_of_the_documentation() {
    // The signed text is the resource, encoded and in lower case, a line feed, and the end in seconds of Unix time.
    let url = "https://shop.servicebus.windows.net/Orders?api-version=2021-05";
    let token = namespace::sign(
        "Root Manage",
        &Secret::new(KEY),
        &url.parse().unwrap(),
        1_767_229_200,
    );
    let resource = "https%3a%2f%2fshop.servicebus.windows.net%2forders";
    let signature = azure::mac(KEY.as_bytes(), &format!("{resource}\n1767229200"));
    let signature = signature
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D");
    assert_eq!(
        token.expose(),
        format!("SharedAccessSignature sr={resource}&sig={signature}&se=1767229200&skn=Root+Manage")
    );
}

#[tokio::test]
async fn a_queue_and_a_subscription_are_asked_for_at_their_paths() {
    let server = TestServer::start(Reply::Body(200, entry("orders", 6.0))).await;
    for (pairs, path, metric) in [
        (
            &[("queueName", "shop/orders")][..],
            "/shop/orders",
            "azure-servicebus-shop-orders",
        ),
        (
            &[("topicName", "news"), ("subscriptionName", "mail")],
            "/news/Subscriptions/mail",
            "azure-servicebus-news",
        ),
    ] {
        let scaler = scaler(&input(&connection(&server), pairs)).await;
        let sample = scaler.sample().await.unwrap();
        assert_eq!((sample.values[0].value, sample.active), (6.0, true));
        assert_eq!(sample.values[0].name, metric);
        let request = server.last_request();
        let line = format!("GET {path}?api-version=2021-05 HTTP/1.1\r\n");
        assert!(request.starts_with(&line), "{request}");
        let url = server.url(path).parse().unwrap();
        let authorization = namespace::sign("Root Manage", &Secret::new(KEY), &url, 1_767_229_200);
        let header = format!("authorization: {}\r\n", authorization.expose());
        assert!(request.contains(&header), "{header} is not in {request}");
    }
}

#[tokio::test]
async fn names_that_match_as_a_whole_are_combined() {
    let server = TestServer::start(Reply::Body(200, String::new())).await;
    let entries: Vec<_> = [("a-1", 10.0), ("a-22", 5.0), ("ba-1", 100.0), ("a-1b", 100.0)]
        .map(|(name, active)| (name.to_owned(), active))
        .into();
    server.reply(Reply::Body(200, feed(&entries)));
    for (pattern, operation, expected) in [
        ("a-[0-9]+", "sum", 15.0),
        ("a-[0-9]+", "max", 10.0),
        ("a-[0-9]+", "avg", 7.0),
        // Of two words, either: the longer one matches the whole of "a-1b".
        ("a-1|a-1b", "sum", 110.0),
        ("none", "sum", 0.0),
        ("none", "avg", 0.0),
    ] {
        let pairs = [
            ("queueName", pattern),
            ("useRegex", "true"),
            ("operation", operation),
        ];
        let scaler = scaler(&input(&connection(&server), &pairs)).await;
        let sample = scaler.sample().await.unwrap();
        assert_eq!(sample.values[0].value, expected, "{pattern} {operation}");
        assert_eq!(sample.values[0].name, "azure-servicebus-queue-regex");
    }
    let request = server.last_request();
    let line = "GET /$Resources/Queues?$skip=0&$top=100&api-version=2021-05 HTTP/1.1\r\n";
    assert!(request.starts_with(line), "{request}");
    let pairs = [
        ("topicName", "news"),
        ("subscriptionName", "a.*"),
        ("useRegex", "true"),
    ];
    let scaler = scaler(&input(&connection(&server), &pairs)).await;
    let sample = scaler.sample().await.unwrap();
    assert_eq!(sample.values[0].value, 115.0);
    assert_eq!(sample.values[0].name, "azure-servicebus-topic-regex");
    let line = "GET /news/Subscriptions?$skip=0&$top=100&api-version=2021-05 HTTP/1.1\r\n";
    assert!(server.last_request().starts_with(line));
}

#[tokio::test]
async fn a_full_page_is_followed_by_the_next_one() {
    let server = TestServer::start(Reply::Body(200, String::new())).await;
    let full: Vec<_> = (0..PAGE).map(|index| (format!("q-{index}"), 1.0)).collect();
    server.reply(Reply::Body(200, feed(&full)));
    let pairs = [("queueName", "q-.*"), ("useRegex", "true")];
    let scaler = scaler(&input(&connection(&server), &pairs)).await;
    let sample = tokio::time::timeout(Duration::from_millis(300), scaler.sample());
    assert!(sample.await.is_err(), "there is always another page");
    assert!(server.requests()[1].starts_with("GET /$Resources/Queues?$skip=100&$top=100&"));
}

#[tokio::test]
async fn answers_have_their_kinds_and_what_is_missing_is_never_zero() {
    let server = TestServer::start(Reply::Body(200, String::new())).await;
    let scaler = scaler(&input(&connection(&server), &[("queueName", "orders")])).await;
    let error = "<Error><Code>401</Code><Detail>The signature is wrong. TrackingId:12</Detail></Error>";
    for (status, body, expected) in [
        // How the service says that there is no such queue.
        (200, feed(&[]), ErrorKind::NotFound),
        (404, String::new(), ErrorKind::NotFound),
        (401, error.to_owned(), ErrorKind::Unauthorized),
        (429, String::new(), ErrorKind::Throttled),
        (503, String::new(), ErrorKind::Unavailable),
        (200, String::new(), ErrorKind::Invalid),
        (200, "<html></html>".to_owned(), ErrorKind::Invalid),
        (
            200,
            "<entry><title>orders</title></entry>".to_owned(),
            ErrorKind::Invalid,
        ),
    ] {
        server.reply(Reply::Body(status, body.clone()));
        let error = scaler.sample().await.unwrap_err();
        assert_eq!(error.kind(), expected, "{status} {body}: {error}");
        assert!(!format!("{error:?}").contains("TrackingId"), "{error:?}");
    }
}

#[tokio::test]
async fn a_workload_identity_logs_in_for_service_bus() {
    let server = TestServer::start(Reply::Body(200, String::new())).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "service-account-token").unwrap();
    let workload = WorkloadIdentity {
        client_id: Some("app".to_owned()),
        tenant_id: Some("tenant".to_owned()),
        authority_host: Some(server.url("/")),
        token_file: Some(file.path().to_owned()),
    };
    let context = context().with(AzureEnvironment::new(workload));
    let pairs = [
        ("queueName", "orders"),
        ("namespace", "shop"),
        ("cloud", "AzureChinaCloud"),
    ];
    let mut input = input("", &pairs);
    input.settings.pod_identity = Some(PodIdentity {
        provider: "azure-workload".to_owned(),
        ..PodIdentity::default()
    });
    let (trigger, _) = metadata::parse::<ServiceBusTrigger>(&input).unwrap();
    let mut scaler = trigger.connect(&context).await.unwrap();
    assert_eq!(
        scaler.namespace.base.as_str(),
        "https://shop.servicebus.chinacloudapi.cn/"
    );
    scaler.namespace.base = server.url("/").parse().unwrap();
    let token = "{\"access_token\":\"t0ken\",\"expires_in\":3600}";
    server.reply(Reply::Body(200, token.to_owned()));
    // The token is no queue.
    assert_eq!(scaler.sample().await.unwrap_err().kind(), ErrorKind::Invalid);
    server.reply(Reply::Body(200, entry("orders", 6.0)));
    assert_eq!(scaler.sample().await.unwrap().values[0].value, 6.0);
    let requests = server.requests();
    assert_eq!(requests.len(), 3, "one login");
    assert!(
        requests[0].contains("scope=https%3A%2F%2Fservicebus.azure.net%2F.default"),
        "{}",
        requests[0]
    );
    assert!(
        requests[2].contains("authorization: Bearer t0ken\r\n"),
        "{}",
        requests[2]
    );
}

#[test]
fn keys_follow_the_rules_of_keda() {
    let good =
        "Endpoint=sb://shop.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey=hunter2hunter2";
    let (trigger, _) =
        metadata::parse::<ServiceBusTrigger>(&input(good, &[("queueName", "orders")])).unwrap();
    assert_eq!((trigger.message_count, trigger.operation.as_str()), (5, "sum"));
    let MetricSpec::External { target, .. } = &trigger.metrics()[0] else {
        panic!("an external metric")
    };
    assert_eq!(*target, MetricTarget::AverageValue(Quantity::from_units(5)));
    assert_eq!(
        trigger.namespace().unwrap().base.as_str(),
        "https://shop.servicebus.windows.net/"
    );
    let identity = |provider: &str, pairs: &[(&str, &str)]| {
        let mut input = input("", pairs);
        input.metadata.insert("queueName".into(), "orders".into());
        input.settings.pod_identity = Some(PodIdentity {
            provider: provider.to_owned(),
            ..PodIdentity::default()
        });
        input
    };
    let named = ("queueName", "orders");
    for (input, expected) in [
        (input(good, &[]), "no service bus entity type set"),
        (
            input(good, &[("subscriptionName", "s")]),
            "no service bus entity type set",
        ),
        (
            input(good, &[named, ("subscriptionName", "s")]),
            "subscription name provided with queue name",
        ),
        (
            input(good, &[named, ("topicName", "t")]),
            "both topic and queue name metadata provided",
        ),
        (
            input(good, &[("topicName", "t")]),
            "no subscription name provided with topic name",
        ),
        (
            input(good, &[("queueName", "a["), ("useRegex", "true")]),
            "queueName is not a valid regular expression",
        ),
        (
            input(good, &[("queueName", "a)(b"), ("useRegex", "true")]),
            "queueName is not a valid regular expression",
        ),
        (input(good, &[named, ("operation", "median")]), "operation"),
        (input(good, &[named, ("messageCount", "0")]), "messageCount"),
        (input("", &[named]), "no connection setting given"),
        (input("hunter2", &[named]), "not a connection string"),
        (
            input("Endpoint=sb://shop/;SharedAccessKeyName=x", &[named]),
            "connection has no SharedAccessKey",
        ),
        (
            identity("azure-workload", &[]),
            "namespace are required when using pod identity",
        ),
        (
            identity("azure-workload", &[("namespace", "evil.example/")]),
            "is not the name of one",
        ),
        (
            identity("gcp", &[("namespace", "shop")]),
            "expected azure-workload or none",
        ),
    ] {
        let problems = metadata::parse::<ServiceBusTrigger>(&input).unwrap_err();
        assert!(problems.to_string().contains(expected), "{expected}: {problems}");
        assert!(!problems.to_string().contains("hunter2"), "{problems}");
    }
}
