//! The metadata, and what answers mean.

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

const GOOD: [(&str, &str); 3] = [
    ("endpoints", "a:1,https://b:2"),
    ("watchKey", "my/key"),
    ("value", "2.5"),
];

#[test]
fn the_metadata_makes_name_target_and_addresses() {
    let (trigger, _) = metadata::parse::<EtcdTrigger>(&input(&GOOD, &[])).unwrap();
    let metric = &trigger.metrics()[0];
    assert_eq!(metric.external_name(), Some("etcd-my-key"));
    assert_eq!(
        *metric.target(),
        MetricTarget::AverageValue(Quantity::from_millis(2500))
    );
    assert_eq!(trigger.url("a:1").unwrap().as_str(), "http://a:1/");
    let (trigger, _) = metadata::parse::<EtcdTrigger>(&input(&GOOD, &[("tls", "enable")])).unwrap();
    assert_eq!(trigger.url("a:1").unwrap().as_str(), "https://a:1/");
}

#[test]
fn all_problems_are_reported_at_once() {
    let pairs = [
        ("endpoints", "a b"),
        ("watchKey", "k"),
        ("value", "0"),
        ("watchProgressNotifyInterval", "0"),
    ];
    let secrets = [
        ("tls", "enable"),
        ("username", "u"),
        ("key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nhunter2"),
        ("ca", "hunter2"),
        ("keyPassword", "hunter2"),
    ];
    let found = metadata::parse::<EtcdTrigger>(&input(&pairs, &secrets))
        .unwrap_err()
        .to_string();
    for expected in [
        "endpoints \"https://a b\" is not a URL",
        "value must be greater than 0, got 0",
        "watchProgressNotifyInterval must be greater than 0, got 0",
        "password must be provided with username",
        "cert must be provided with key",
        "ca is not a PEM certificate",
        "key is not a key in PEM",
    ] {
        assert!(found.contains(expected), "{expected:?} is not in {found}");
    }
    assert!(!found.contains("hunter2"), "{found}");
    let found = metadata::parse::<EtcdTrigger>(&input(&[], &[("tls", "on")]))
        .unwrap_err()
        .to_string();
    for expected in [
        "\"endpoints\"",
        "\"watchKey\"",
        "\"value\"",
        "one of enable, disable",
    ] {
        assert!(found.contains(expected), "{expected:?} is not in {found}");
    }
}

#[test]
fn a_value_is_a_number_and_nothing_else() {
    let answer = |text: &str| json!({"kvs": [{"value": STANDARD.encode(text)}]});
    assert_eq!(number(&answer("12.5")).unwrap(), 12.5);
    for text in ["", "many", "NaN"] {
        assert_eq!(
            number(&answer(text)).unwrap_err().kind(),
            ErrorKind::Invalid,
            "{text}"
        );
    }
    assert_eq!(
        number(&json!({"header": {}})).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}
