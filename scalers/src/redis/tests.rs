//! The metadata: every key, every problem at once.

use scaler_api::{MetricTarget, Quantity, Secret, Trigger, TriggerInput, metadata};

use super::*;

fn input(pairs: &[(&str, &str)], secrets: &[(&str, &str)]) -> TriggerInput {
    let text = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let secret = |(key, value): &(&str, &str)| ((*key).to_owned(), Secret::new(*value));
    TriggerInput {
        metadata: pairs.iter().map(text).collect(),
        authentication: secrets.iter().map(secret).collect(),
        environment: [("ADDRESS".to_owned(), "env:1".to_owned())].into(),
        ..TriggerInput::default()
    }
}

fn problems<T: Trigger>(pairs: &[(&str, &str)], secrets: &[(&str, &str)]) -> String {
    metadata::parse::<T>(&input(pairs, secrets))
        .map(|(trigger, _)| format!("none: {trigger:?}"))
        .unwrap_or_else(|problems| problems.to_string())
}

fn key<T: Trigger>(pairs: &[(&str, &str)], secrets: &[(&str, &str)]) -> String {
    let (trigger, warnings) = metadata::parse::<T>(&input(pairs, secrets)).unwrap();
    assert!(warnings.warnings().is_empty(), "{warnings}");
    trigger.source_key().as_str().to_owned()
}

#[test]
fn section_5_4_the_address_comes_from_the_first_of_its_sources() {
    let list = ("listName", "l");
    for (pairs, secrets, expected) in [
        (
            vec![("address", "a:1"), ("addressFromEnv", "ADDRESS")],
            vec![("address", "b:1")],
            "a:1",
        ),
        (
            vec![("addressFromEnv", "ADDRESS")],
            vec![("address", "b:1")],
            "b:1",
        ),
        (vec![("addressFromEnv", "ADDRESS")], vec![], "env:1"),
        (vec![("addresses", "c:1,d:2")], vec![], "c:1,d:2"),
        (vec![("host", "h"), ("port", "1")], vec![], "h:1"),
        (vec![("hosts", "::1,i"), ("ports", "1,2")], vec![], "[::1]:1,i:2"),
    ] {
        let pairs = [&[list][..], &pairs].concat();
        let found = key::<RedisTrigger>(&pairs, &secrets);
        assert!(found.contains(&format!("|addresses={expected}|")), "{found}");
    }
}

#[test]
fn names_and_targets_are_those_of_keda() {
    let list = input(&[("address", "a:1"), ("listName", "my:list/1")], &[]);
    let (list, _) = metadata::parse::<RedisTrigger>(&list).unwrap();
    let metric = &list.metrics()[0];
    assert_eq!(metric.external_name(), Some("redis-my-list-1"));
    assert_eq!(
        *metric.target(),
        MetricTarget::AverageValue(Quantity::from_units(5))
    );
    for (pairs, target) in [
        (vec![("streamLength", "7")], 7),
        (vec![("consumerGroup", "g")], 5),
        (
            vec![
                ("consumerGroup", "g"),
                ("pendingEntriesCount", "15"),
                ("lagCount", "0"),
            ],
            15,
        ),
        (vec![("consumerGroup", "g"), ("lagCount", "12")], 12),
    ] {
        let pairs = [&[("address", "a:1"), ("stream", "s.1")][..], &pairs].concat();
        let (stream, _) = metadata::parse::<RedisStreamsTrigger>(&input(&pairs, &[])).unwrap();
        let metric = &stream.metrics()[0];
        assert_eq!(metric.external_name(), Some("redis-streams-s-1"));
        assert_eq!(
            *metric.target(),
            MetricTarget::AverageValue(Quantity::from_units(target)),
            "{pairs:?}"
        );
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let pairs = [
        ("hosts", "a,b"),
        ("ports", "1"),
        ("listLength", "0"),
        ("enableTLS", "true"),
        ("databaseIndex", "-1"),
        ("listName", "l"),
    ];
    let secrets = [("tls", "enable"), ("ca", "hunter2"), ("cert", "hunter2")];
    let found = problems::<RedisTrigger>(&pairs, &secrets);
    for expected in [
        "number of hosts should be equal to the number of ports",
        "listLength must be greater than 0, got 0",
        "unable to set `tls` in both ScaledObject and TriggerAuthentication",
        "databaseIndex must not be negative, got -1",
        "ca is not a certificate in PEM",
        "key must be provided with cert",
    ] {
        assert!(found.contains(expected), "{expected:?} is not in {found}");
    }
    assert!(!found.contains("hunter2"), "{found}");
    let secrets = [
        ("cert", "hunter2"),
        ("key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nhunter2"),
        ("keyPassword", "hunter2"),
    ];
    let found = problems::<RedisTrigger>(&[("listName", "l"), ("address", "a:1")], &secrets);
    assert!(found.contains("key is not a key in PEM"), "{found}");
    assert!(!found.contains("hunter2"), "{found}");
}

#[test]
fn what_is_missing_or_of_another_variant_is_told() {
    for (found, expected) in [
        (
            problems::<RedisTrigger>(&[("listName", "l")], &[]),
            "no addresses or hosts given",
        ),
        (
            problems::<RedisTrigger>(&[("address", "a:1")], &[]),
            "missing required parameter \"listName\" in [triggerMetadata]",
        ),
        (
            problems::<RedisStreamsTrigger>(&[("address", "a:1")], &[]),
            "missing required parameter \"stream\"",
        ),
        (
            problems::<RedisTrigger>(&[("address", "a"), ("listName", "l")], &[]),
            "address \"a\" is not of the form host:port",
        ),
        (
            problems::<RedisSentinelTrigger>(&[("address", "a:1"), ("listName", "l")], &[]),
            "missing required parameter \"sentinelMaster\"",
        ),
        (
            problems::<RedisTrigger>(&[("address", "a:1"), ("listName", "l")], &[("tls", "on")]),
            "one of enable, disable",
        ),
    ] {
        assert!(found.contains(expected), "{expected:?} is not in {found}");
    }
    let cluster = input(
        &[("address", "a:1"), ("listName", "l"), ("databaseIndex", "1")],
        &[],
    );
    let (_, warnings) = metadata::parse::<RedisClusterTrigger>(&cluster).unwrap();
    assert!(
        warnings.to_string().contains("\"databaseIndex\" is unknown"),
        "{warnings}"
    );
}

#[test]
fn what_is_read_is_told_apart_and_credentials_are_not_shown() {
    let base = [("address", "a:1"), ("listName", "l")];
    let one = key::<RedisTrigger>(&base, &[("password", "hunter2")]);
    assert!(!one.contains("hunter2"));
    let others = [
        key::<RedisTrigger>(&base, &[("password", "other")]),
        key::<RedisTrigger>(&base, &[("password", "hunter2"), ("tls", "enable")]),
        key::<RedisTrigger>(
            &[base[0], base[1], ("databaseIndex", "1")],
            &[("password", "hunter2")],
        ),
        key::<RedisClusterTrigger>(&base, &[("password", "hunter2")]),
    ];
    assert!(!others.contains(&one), "{one}");
    let target = [base[0], base[1], ("listLength", "9")];
    assert_eq!(
        key::<RedisTrigger>(&target, &[("password", "hunter2")]),
        one,
        "a target is not read"
    );
}
