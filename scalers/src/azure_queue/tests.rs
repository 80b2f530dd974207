//! The rules of keda.md §2.1 and of `azure-queue`, byte for byte, and the suite that every scaler passes.

use std::{sync::Mutex, time::Duration};

use scaler_api::{
    MetricTarget, PodIdentity, TokioClock, TriggerInput,
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

/// `hunter2hunter2` in base64.
const KEY: &str = "aHVudGVyMmh1bnRlcjI=";

fn input(connection: &str, pairs: &[(&str, &str)]) -> TriggerInput {
    let mut input = TriggerInput::default();
    let given = [("queueName", "orders"), ("activationQueueLength", "5")];
    for (key, value) in given.iter().chain(pairs) {
        input.metadata.insert((*key).to_owned(), (*value).to_owned());
    }
    if !connection.is_empty() {
        input
            .authentication
            .insert("connection".to_owned(), Secret::new(connection));
    }
    input
}

fn connection(server: &TestServer, key: &str) -> String {
    format!(
        "AccountName=shop;AccountKey={key};QueueEndpoint={}",
        server.url("/")
    )
}

fn count(messages: f64) -> Reply {
    let header = format!("x-ms-approximate-messages-count: {messages}");
    Reply::Header(200, Box::leak(header.into_boxed_str()), String::new())
}

struct Account {
    server: TestServer,
    value: Mutex<f64>,
}

#[async_trait]
impl Harness for Account {
    type Trigger = AzureQueueTrigger;

    fn input(&self) -> TriggerInput {
        input(&connection(&self.server, KEY), &[])
    }

    fn secrets(&self) -> Vec<String> {
        vec![KEY.to_owned(), "hunter2hunter2".to_owned()]
    }

    async fn set_value(&self, value: f64) {
        *self.value.lock().unwrap() = value;
        self.server.reply(count(value));
    }

    async fn set_outage(&self, outage: Option<Outage>) {
        self.server.reply(match outage {
            None => count(*self.value.lock().unwrap()),
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
    Context::new()
        .with(HttpEnvironment::new())
        .with_timeout(Duration::from_millis(1500))
}

#[tokio::test]
async fn it_conforms() {
    let server = TestServer::start(count(0.0)).await;
    let account = Account {
        server,
        value: Mutex::default(),
    };
    conformance::assert_conforms(&account).await;
}

#[test]
fn what_a_key_signs_is_what_the_documentation_of_storage_says() {
    let url = "https://shop.queue.core.windows.net/orders/messages?peekonly=true&numofmessages=32";
    let text = account::string_to_sign(
        "shop",
        &url.parse().unwrap(),
        "Thu, 01 Jan 2026 00:00:00 GMT",
        "2021-12-02",
    );
    let expected = "GET\n\n\n\n\n\n\n\n\n\n\n\n\
                    x-ms-date:Thu, 01 Jan 2026 00:00:00 GMT\n\
                    x-ms-version:2021-12-02\n\
                    /shop/orders/messages\n\
                    numofmessages:32\n\
                    peekonly:true";
    assert_eq!(text, expected);
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(account::date(now), "Thu, 01 Jan 2026 00:00:00 GMT");
}

async fn scaler(input: &TriggerInput, context: &Context) -> AzureQueueScaler {
    let (trigger, _) = metadata::parse::<AzureQueueTrigger>(input).unwrap();
    trigger.connect(context).await.unwrap()
}

#[tokio::test]
async fn a_request_carries_its_date_version_and_signature() {
    let server = TestServer::start(count(6.0)).await;
    let clock = TokioClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    let context = context().with_clock(std::sync::Arc::new(clock));
    let scaler = scaler(&input(&connection(&server, KEY), &[]), &context).await;
    let sample = scaler.sample().await.unwrap();
    assert_eq!((sample.values[0].value, sample.active), (6.0, true));
    assert_eq!(sample.values[0].name, "azure-queue-orders");
    let request = server.last_request();
    let text = "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Thu, 01 Jan 2026 00:00:00 GMT\nx-ms-version:2021-12-02\n/shop/orders\n\
                comp:metadata";
    let signature = azure::mac(b"hunter2hunter2", text);
    for expected in [
        "GET /orders?comp=metadata HTTP/1.1\r\n".to_owned(),
        "x-ms-date: Thu, 01 Jan 2026 00:00:00 GMT\r\n".to_owned(),
        "x-ms-version: 2021-12-02\r\n".to_owned(),
        format!("authorization: SharedKey shop:{signature}\r\n"),
    ] {
        assert!(request.contains(&expected), "{expected:?} is not in {request}");
    }
}

#[tokio::test]
async fn fewer_than_32_visible_messages_count_alone() {
    let server = TestServer::start(count(99.0)).await;
    let list = |count: usize| {
        let message = "<QueueMessage><MessageText>&lt;QueueMessage&gt;</MessageText></QueueMessage>";
        format!(
            "<?xml version=\"1.0\"?><QueueMessagesList>{}</QueueMessagesList>",
            message.repeat(count)
        )
    };
    let visible = [("queueLengthStrategy", "visibleonly")];
    let scaler = scaler(&input(&connection(&server, KEY), &visible), &context()).await;
    for (messages, expected, requests) in [(0, 0.0, 1), (31, 31.0, 1), (32, 99.0, 2)] {
        let before = server.requests().len();
        server.reply(Reply::Header(
            200,
            "x-ms-approximate-messages-count: 99",
            list(messages),
        ));
        assert_eq!(scaler.sample().await.unwrap().values[0].value, expected);
        assert_eq!(server.requests().len() - before, requests, "{messages}");
    }
    let peek = "GET /orders/messages?peekonly=true&numofmessages=32 HTTP/1.1\r\n";
    assert!(server.requests()[0].contains(peek), "{}", server.requests()[0]);
    server.reply(Reply::Body(200, "<html>".to_owned()));
    assert_eq!(scaler.sample().await.unwrap_err().kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn codes_have_their_kinds() {
    let server = TestServer::start(count(0.0)).await;
    let scaler = scaler(&input(&connection(&server, KEY), &[]), &context()).await;
    for (status, header, expected) in [
        (404, "x-ms-error-code: QueueNotFound", ErrorKind::NotFound),
        (
            403,
            "x-ms-error-code: AuthenticationFailed",
            ErrorKind::Unauthorized,
        ),
        (503, "x-ms-error-code: ServerBusy", ErrorKind::Throttled),
        (500, "x-ms-error-code: InternalError", ErrorKind::Unavailable),
        (200, "x-other: 1", ErrorKind::Invalid),
    ] {
        server.reply(Reply::Header(status, header, String::new()));
        let error = scaler.sample().await.unwrap_err();
        assert_eq!(error.kind(), expected, "{header}: {error}");
    }
}

#[tokio::test]
async fn a_signature_of_the_connection_stands_in_the_query() {
    let server = TestServer::start(count(1.0)).await;
    let text = format!(
        "QueueEndpoint={};SharedAccessSignature=?sv=2021&sig=a%2Fb",
        server.url("/")
    );
    scaler(&input(&text, &[]), &context())
        .await
        .sample()
        .await
        .unwrap();
    let request = server.last_request();
    assert!(
        request.starts_with("GET /orders?comp=metadata&sv=2021&sig=a%2Fb HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(!request.contains("authorization"), "{request}");
}

#[tokio::test]
async fn a_workload_identity_logs_in_once_for_all_its_queues() {
    let server = TestServer::start(Reply::Header(
        200,
        "x-ms-approximate-messages-count: 7",
        "{\"access_token\":\"t0ken\",\"expires_in\":3600}".to_owned(),
    ))
    .await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "service-account-token").unwrap();
    let workload = WorkloadIdentity {
        client_id: Some("app".to_owned()),
        tenant_id: Some("tenant".to_owned()),
        authority_host: Some(server.url("/")),
        token_file: Some(file.path().to_owned()),
    };
    let context = context().with(AzureEnvironment::new(workload));
    let mut input = input("", &[("accountName", "shop")]);
    input.settings.pod_identity = Some(PodIdentity {
        provider: "azure-workload".to_owned(),
        identity_id: Some("other-app".to_owned()),
        ..PodIdentity::default()
    });
    let mut account = scaler(&input, &context).await;
    let url = account.account.url("orders", Wanted::Properties).unwrap();
    assert_eq!(
        url.as_str(),
        "https://shop.queue.core.windows.net/orders?comp=metadata"
    );
    // The same account, where the test can see it.
    account.account.set_endpoint(server.url("/").parse().unwrap());
    for _ in 0..3 {
        assert_eq!(account.sample().await.unwrap().values[0].value, 7.0);
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 4);
    assert!(
        requests[0].starts_with("POST /tenant/oauth2/v2.0/token HTTP/1.1\r\n"),
        "{}",
        requests[0]
    );
    let form = "grant_type=client_credentials&client_id=other-app&scope=https%3A%2F%2Fstorage.azure.com%2F.default&\
                client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&\
                client_assertion=service-account-token";
    assert!(requests[0].ends_with(form), "{}", requests[0]);
    assert!(
        requests[1].contains("authorization: Bearer t0ken\r\n"),
        "{}",
        requests[1]
    );
}

#[test]
fn keys_follow_the_rules_of_keda() {
    let good = format!("AccountName=shop;AccountKey={KEY}");
    let (trigger, _) = metadata::parse::<AzureQueueTrigger>(&input(&good, &[])).unwrap();
    assert_eq!(
        (trigger.queue_length, trigger.queue_length_strategy.as_str()),
        (5, "all")
    );
    let MetricSpec::External { name, target } = &trigger.metrics()[0] else {
        panic!("an external metric")
    };
    assert_eq!(name, "azure-queue-orders");
    assert_eq!(*target, MetricTarget::AverageValue(Quantity::from_units(5)));
    let url = trigger
        .account()
        .unwrap()
        .url("orders", Wanted::Properties)
        .unwrap();
    assert_eq!(
        url.as_str(),
        "https://shop.queue.core.windows.net/orders?comp=metadata"
    );
    let identity = |provider: &str, pairs: &[(&str, &str)]| {
        let mut input = input("", pairs);
        input.settings.pod_identity = Some(PodIdentity {
            provider: provider.to_owned(),
            ..PodIdentity::default()
        });
        input
    };
    for (input, expected) in [
        (input("", &[]), "no connection setting given"),
        (input("hunter2", &[]), "not a connection string"),
        (input("AccountName=shop", &[]), "neither AccountKey nor"),
        (
            input("AccountName=shop;AccountKey=%", &[]),
            "AccountKey of connection is not base64",
        ),
        (input(&good, &[("queueLength", "0")]), "queueLength"),
        (
            input(&good, &[("queueLengthStrategy", "some")]),
            "queueLengthStrategy",
        ),
        (input(&good, &[("queueName", "../other")]), "queueName"),
        (
            input(&good, &[("cloud", "AzureMoonCloud")]),
            "invalid cloud environment",
        ),
        (
            input(&good, &[("cloud", "Private")]),
            "endpointSuffix must be provided",
        ),
        (identity("azure-workload", &[]), "no accountName given"),
        (
            identity("aws", &[("accountName", "shop")]),
            "expected azure-workload or none",
        ),
    ] {
        let problems = metadata::parse::<AzureQueueTrigger>(&input).unwrap_err();
        assert!(problems.to_string().contains(expected), "{expected}: {problems}");
        assert!(!problems.to_string().contains("hunter2"), "{problems}");
    }
}
