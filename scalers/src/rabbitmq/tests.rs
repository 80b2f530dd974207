//! The metadata: every key, every problem at once.

use scaler_api::{MetricTarget, Quantity, TriggerInput, metadata};

use super::*;

fn input(pairs: &[(&str, &str)], secrets: &[(&str, &str)]) -> TriggerInput {
    let text = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let secret = |(key, value): &(&str, &str)| ((*key).to_owned(), Secret::new(*value));
    TriggerInput {
        metadata: pairs.iter().map(text).collect(),
        authentication: secrets.iter().map(secret).collect(),
        ..TriggerInput::default()
    }
}

const AMQP: [(&str, &str); 2] = [("queueName", "a b/c"), ("host", "amqp://u:p%40@h/v%2F1")];
const HTTP: [(&str, &str); 2] = [("queueName", "q"), ("host", "https://h:15671/")];

fn parse(pairs: &[(&str, &str)]) -> Result<RabbitmqTrigger, String> {
    let parsed = metadata::parse::<RabbitmqTrigger>(&input(pairs, &[]));
    parsed
        .map(|(trigger, _)| trigger)
        .map_err(|problems| problems.to_string())
}

#[test]
fn the_target_is_that_of_mode_and_value_or_of_the_old_key() {
    for (pairs, expected) in [
        (vec![], Ok((Mode::QueueLength, 20.0))),
        (vec![("queueLength", "7")], Ok((Mode::QueueLength, 7.0))),
        (
            vec![("mode", "MessageRate"), ("value", "1.5")],
            Ok((Mode::MessageRate, 1.5)),
        ),
        (vec![("mode", "MessageRate")], Err("value must be specified")),
        (vec![("value", "1")], Err("mode must be specified")),
        (
            vec![("mode", "Length"), ("value", "1")],
            Err("trigger mode Length must be one of QueueLength"),
        ),
        (
            vec![("mode", "QueueLength"), ("queueLength", "1")],
            Err("queueLength is deprecated"),
        ),
        (
            vec![("mode", "QueueLength"), ("value", "-1")],
            Err("value must be greater than 0, got -1"),
        ),
    ] {
        match (parse(&[&HTTP[..], &pairs].concat()), expected) {
            (Ok(trigger), Ok(expected)) => assert_eq!(trigger.mode(), Ok(expected), "{pairs:?}"),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
            (found, _) => panic!("{pairs:?}: {found:?}"),
        }
    }
    let metric = &parse(&AMQP).unwrap().metrics()[0];
    assert_eq!(metric.external_name(), Some("rabbitmq-a+b-2Fc"));
    assert_eq!(
        *metric.target(),
        MetricTarget::AverageValue(Quantity::from_units(20))
    );
}

#[test]
fn credentials_are_those_given_those_of_the_host_or_a_guests() {
    let of = |pairs: &[(&str, &str)], secrets: &[(&str, &str)]| {
        let (trigger, _) = metadata::parse::<RabbitmqTrigger>(&input(pairs, secrets)).unwrap();
        let (username, password) = trigger.credentials(&trigger.url().unwrap());
        (username, password.expose().to_owned())
    };
    let given = [("username", "a"), ("password", "b")];
    assert_eq!(of(&AMQP, &given), ("a".to_owned(), "b".to_owned()));
    assert_eq!(of(&AMQP, &[]), ("u".to_owned(), "p@".to_owned()));
    assert_eq!(of(&HTTP, &[]), ("guest".to_owned(), "guest".to_owned()));
}

#[test]
fn all_problems_are_reported_at_once_and_hide_the_password() {
    let pairs = [
        ("queueName", "q"),
        ("host", "amqp://u:hunter2@h/"),
        ("mode", "MessageRate"),
        ("value", "1"),
        ("useRegex", "true"),
        ("excludeUnacknowledged", "true"),
        ("timeout", "1s"),
        ("pageSize", "0"),
    ];
    let secrets = [
        ("username", "a"),
        ("key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nhunter2"),
        ("clientID", "c"),
        ("workloadIdentityResource", "r"),
        ("keyPassword", "hunter2"),
    ];
    let found = metadata::parse::<RabbitmqTrigger>(&input(&pairs, &secrets))
        .unwrap_err()
        .to_string();
    for expected in [
        "protocol amqp not supported; must be HTTP to use trigger mode MessageRate",
        "configure useRegex=true only with HTTP protocol",
        "configure excludeUnacknowledged=true only with HTTP protocol",
        "AMQP protocol doesn't support custom timeouts",
        "pageSize should be 1 or greater",
        "username and password must be given together",
        "both key and certificate must be provided",
        "OAuth2 requires oauthTokenURI, clientID and clientSecret",
        "workload identity is not supported for the AMQP protocol",
        "key is not a key in PEM",
    ] {
        assert!(found.contains(expected), "{expected:?} is not in {found}");
    }
    assert!(!found.contains("hunter2"), "{found}");
    for (host, expected) in [
        ("ftp://u:hunter2@h", "unknown host URL scheme: `ftp`"),
        ("u:hunter2@h:no", "host"),
    ] {
        let found = parse(&[("queueName", "q"), ("host", host)]).unwrap_err();
        assert!(found.contains(expected) && !found.contains("hunter2"), "{found}");
    }
    let found = parse(&[&HTTP[..], &[("protocol", "amqp")]].concat()).unwrap_err();
    assert!(found.contains("which is none of the protocol amqp"), "{found}");
}

#[tokio::test]
async fn a_workload_identity_asks_the_management_api_with_a_token() {
    use crate::{
        azure::{AzureEnvironment, WorkloadIdentity},
        http::{
            HttpEnvironment,
            test_server::{Reply, TestServer},
        },
    };
    use scaler_api::{PodIdentity, Scaler as _};

    // A token and a queue in one, of which each request reads its own.
    let body = r#"{"access_token": "t0ken", "expires_in": 3600, "messages": 6}"#;
    let server = TestServer::start(Reply::Body(200, body.to_owned())).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "service-account-token").unwrap();
    let workload = WorkloadIdentity {
        client_id: Some("app".to_owned()),
        tenant_id: Some("tenant".to_owned()),
        authority_host: Some(server.url("/")),
        token_file: Some(file.path().to_owned()),
    };
    let context = Context::new()
        .with(HttpEnvironment::new())
        .with(AzureEnvironment::new(workload));
    let host = server.url("/shop");
    let pairs = [("queueName", "orders"), ("host", host.as_str())];
    let mut input = input(&pairs, &[("workloadIdentityResource", "api://rabbit/")]);
    input.settings.pod_identity = Some(PodIdentity {
        provider: "azure-workload".to_owned(),
        identity_id: Some("other".to_owned()),
        ..PodIdentity::default()
    });
    let (trigger, _) = metadata::parse::<RabbitmqTrigger>(&input).unwrap();
    let scaler = trigger.connect(&context).await.unwrap();
    for _ in 0..2 {
        assert_eq!(scaler.sample().await.unwrap().values[0].value, 6.0);
    }
    let requests = server.requests();
    assert_eq!(requests.len(), 3, "one login");
    assert!(
        requests[0].contains("scope=api%3A%2F%2Frabbit%2F.default"),
        "{}",
        requests[0]
    );
    assert!(requests[0].contains("client_id=other"), "{}", requests[0]);
    assert!(
        requests[1].starts_with("GET /api/queues/shop/orders "),
        "{}",
        requests[1]
    );
    assert!(
        requests[1].contains("authorization: Bearer t0ken\r\n"),
        "{}",
        requests[1]
    );
    server.require("Bearer newer");
    let error = scaler.sample().await.unwrap_err();
    assert_eq!(error.kind(), scaler_api::ErrorKind::Unauthorized, "{error}");
}
