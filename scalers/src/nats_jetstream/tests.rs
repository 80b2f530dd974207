//! The metadata, and what answers mean.

use scaler_api::{ErrorKind, MetricTarget, TriggerInput, metadata};
use serde_json::json;

use super::*;

fn input(pairs: &[(&str, &str)]) -> TriggerInput {
    let text = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    TriggerInput {
        metadata: pairs.iter().map(text).collect(),
        ..TriggerInput::default()
    }
}

const GOOD: [(&str, &str); 4] = [
    ("natsServerMonitoringEndpoint", "nats:8222"),
    ("account", "$G"),
    ("stream", "or.ders"),
    ("consumer", "packers"),
];

#[test]
fn the_metadata_makes_name_target_and_request() {
    let (trigger, _) = metadata::parse::<NatsJetStreamTrigger>(&input(&GOOD)).unwrap();
    let metric = &trigger.metrics()[0];
    assert_eq!(metric.external_name(), Some("nats-jetstream-or-ders"));
    assert_eq!(
        *metric.target(),
        MetricTarget::AverageValue(Quantity::from_units(10))
    );
    let url = trigger.streams_url("nats:8222").unwrap();
    assert_eq!(
        url.as_str(),
        "http://nats:8222/jsz?acc=%24G&accounts=true&config=true&consumers=true"
    );
}

#[test]
fn all_problems_are_reported_at_once() {
    let pairs = [
        ("natsServerMonitoringEndpoint", "a b"),
        ("stream", "s"),
        ("consumer", "c"),
        ("lagThreshold", "0"),
    ];
    let problems = metadata::parse::<NatsJetStreamTrigger>(&input(&pairs))
        .unwrap_err()
        .to_string();
    for expected in [
        "no account name or id given",
        "natsServerMonitoringEndpoint \"http://a b/jsz\" is not a URL",
        "lagThreshold must be greater than 0, got 0",
    ] {
        assert!(problems.contains(expected), "{expected:?} is not in {problems}");
    }
    let problems = metadata::parse::<NatsJetStreamTrigger>(&input(&[]))
        .unwrap_err()
        .to_string();
    for expected in [
        "\"natsServerMonitoringEndpoint\" in [authParams triggerMetadata]",
        "\"stream\"",
        "\"consumer\"",
    ] {
        assert!(problems.contains(expected), "{expected:?} is not in {problems}");
    }
}

fn answer(cluster_size: usize) -> JetStream {
    serde_json::from_value(json!({
        "meta_cluster": {"cluster_size": cluster_size},
        "account_details": [
            {"name": "OTHER", "id": "OTHER", "stream_detail": [{"name": "s", "state": {"last_seq": 99}}]},
            {"name": "APP", "id": "ABC", "stream_detail": [{
                "name": "s", "state": {"last_seq": 40},
                "consumer_detail": [{"name": "c", "num_pending": 5, "num_ack_pending": 2, "cluster": {"leader": "n2"}}],
            }]},
        ],
    }))
    .unwrap()
}

#[test]
fn the_lag_is_what_is_pending_and_what_is_not_acknowledged() {
    let found = |account, stream, consumer| answer(1).find(account, stream, consumer);
    let lag = |lag| Found { lag, leader: None };
    for account in [(Some("APP"), None), (None, Some("ABC")), (Some("ABC"), None)] {
        assert_eq!(found(account, "s", "c").unwrap(), lag(7), "{account:?}");
    }
    for (account, stream, consumer) in [("APP", "x", "c"), ("NOBODY", "s", "c"), ("APP", "s", "nobody")] {
        let error = found((Some(account), None), stream, consumer).unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::NotFound,
            "an empty stream and none are different things"
        );
    }
}

#[test]
fn in_a_cluster_the_leader_of_the_consumer_is_looked_for_among_the_others() {
    let found = answer(3).find((Some("APP"), None), "s", "c").unwrap();
    assert_eq!(found.leader.as_deref(), Some("n2"));
    let server = |value| serde_json::from_value::<Server>(value).unwrap();
    let advertised = server(json!({"connect_urls": ["10.0.0.1:4222", "[::1]:4222"]}));
    assert_eq!(advertised.others("nats:8222"), ["10.0.0.1:8222", "[::1]:8222"]);
    let routes =
        server(json!({"cluster": {"urls": ["nats-0.nats.shop.svc:6222", "nats-1.nats.shop.svc:6222"]}}));
    assert_eq!(
        routes.others("nats.shop.svc:8222"),
        ["nats-0.nats.shop.svc:8222", "nats-1.nats.shop.svc:8222"]
    );
}

#[tokio::test]
async fn in_a_cluster_a_stream_that_the_asked_server_does_not_hold_is_no_stream_that_is_not_there() {
    use crate::http::{
        HttpEnvironment,
        test_server::{Reply, TestServer},
    };
    // A server that holds nothing, and knows of nobody beside it.
    let empty = json!({"meta_cluster": {"cluster_size": 3}, "account_details": [], "server_name": "n1"});
    let server = TestServer::start(Reply::Body(200, empty.to_string())).await;
    let address = server.url("").replace("http://", "");
    let mut pairs = GOOD;
    pairs[0].1 = &address;
    let (trigger, _) = metadata::parse::<NatsJetStreamTrigger>(&input(&pairs)).unwrap();
    let context = Context::new().with(HttpEnvironment::new());
    let scaler = trigger.connect(&context).await.unwrap();
    assert_eq!(scaler.sample().await.unwrap_err().kind(), ErrorKind::NotFound);
    assert!(
        server.last_request().starts_with("GET /varz "),
        "others are looked for"
    );
    // It knows of one that is out, which may be the one that holds it.
    let mut alone = empty.clone();
    alone["connect_urls"] = json!(["[::1]:4222"]);
    server.reply(Reply::Body(200, alone.to_string()));
    assert_eq!(scaler.sample().await.unwrap_err().kind(), ErrorKind::Unavailable);
}
