//! The metadata.

use scaler_api::{MetricTarget, MetricType, Secret, TriggerInput, metadata};

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
    ("bootstrapServers", "a:9092,b:9093"),
    ("consumerGroup", "my.group"),
    ("topic", "my.topic"),
];

/// The good ones and others.
fn with(pairs: &[(&str, &str)]) -> Vec<(&'static str, String)> {
    let mut all: BTreeMap<&'static str, String> = GOOD.map(|(key, value)| (key, value.to_owned())).into();
    for (key, value) in pairs {
        let key = fields::FIELDS
            .iter()
            .find(|field| field.name == *key)
            .unwrap()
            .name;
        all.insert(key, (*value).to_owned());
    }
    all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

fn parse(pairs: &[(&str, &str)], secrets: &[(&str, &str)]) -> Result<(KafkaTrigger, Problems), Problems> {
    let all = with(pairs);
    let all: Vec<(&str, &str)> = all.iter().map(|(key, value)| (*key, value.as_str())).collect();
    metadata::parse(&input(&all, secrets))
}

#[test]
fn the_defaults_are_those_of_keda() {
    let (trigger, warnings) = parse(&[], &[]).unwrap();
    assert!(warnings.warnings().is_empty());
    assert_eq!(
        trigger.rules(),
        Rules {
            threshold: 10,
            activation: 0,
            reset: OffsetReset::Latest,
            zero_on_invalid_offset: false,
            allow_idle_consumers: false,
            exclude_persistent: false,
            limit_to_lagging: false,
            even: false,
        }
    );
    assert_eq!(trigger.version, "1.0.0");
    assert!(trigger.full_metadata);
    assert!(trigger.authentication.tls().is_none());
    let metric = &trigger.metrics()[0];
    assert_eq!(
        *metric.target(),
        MetricTarget::AverageValue(Quantity::from_units(10))
    );
}

#[test]
fn the_metric_is_called_after_the_topic_or_the_group() {
    for (topic, name) in [
        ("my.topic", "kafka-my-topic"),
        ("one,two", "kafka-one,two"),
        ("", "kafka-my-group-topics"),
    ] {
        let (trigger, _) = parse(&[("topic", topic)], &[]).unwrap();
        assert_eq!(trigger.metrics()[0].external_name(), Some(name));
    }
    let (trigger, _) = metadata::parse::<ApacheKafkaTrigger>(&input(&GOOD, &[])).unwrap();
    assert_eq!(trigger.metrics()[0].external_name(), Some("kafka-my-topic"));
    assert_eq!(ApacheKafkaTrigger::TYPE, "apache-kafka");
}

#[test]
fn names_come_from_the_environment_too() {
    let mut input = input(
        &[
            ("bootstrapServersFromEnv", "SERVERS"),
            ("consumerGroupFromEnv", "GROUP"),
            ("topicFromEnv", "TOPIC"),
        ],
        &[],
    );
    for (name, value) in [("SERVERS", "a:1,b:2"), ("GROUP", "g"), ("TOPIC", "t")] {
        input.environment.insert(name.to_owned(), value.to_owned());
    }
    let (trigger, _) = metadata::parse::<KafkaTrigger>(&input).unwrap();
    assert_eq!(trigger.bootstrap_servers, ["a:1", "b:2"]);
    assert_eq!(
        (trigger.consumer_group.as_str(), &*trigger.topic),
        ("g", &["t".to_owned()][..])
    );
}

#[test]
fn partitions_are_numbers_and_ranges() {
    for (text, expected) in [
        ("1,2,10-12", Some(vec![1, 2, 10, 11, 12])),
        (" 3 - 4 , 0 ", Some(vec![0, 3, 4])),
        ("7", Some(vec![7])),
        ("4-3", None),
        ("a", None),
        ("1,,2", None),
        ("-1", None),
        ("0-2000000000", None),
    ] {
        let numbers = numbers(text)
            .ok()
            .map(|numbers| numbers.into_iter().collect::<Vec<_>>());
        assert_eq!(numbers, expected, "{text}");
    }
    let (trigger, warnings) = parse(&[("topic", ""), ("partitionLimitation", "x")], &[]).unwrap();
    assert_eq!(trigger.only(), Ok(None));
    assert!(
        warnings.warnings()[0]
            .message
            .contains("of no effect without topic")
    );
}

#[test]
fn versions_are_read_as_keda_reads_them() {
    for (text, expected) in [
        ("1.0.0", true),
        ("0.11.0.2", true),
        ("4.1.0", true),
        ("1.0", false),
        ("0.11.0", false),
        ("1.0.0.0", false),
        ("v1.0.0", false),
        ("", false),
    ] {
        assert_eq!(is_version(text), expected, "{text}");
    }
}

type Pairs = &'static [(&'static str, &'static str)];
const LOGIN: Pairs = &[("username", "u"), ("password", "hunter2")];
/// keda.md §5.3: every rule, by metadata and authentication, and what the message says.
const REFUSED: &[(Pairs, Pairs, &str)] = &[
    (&[("bootstrapServers", "")], &[], "\"bootstrapServers\""),
    (&[("bootstrapServers", "a:9092,b")], &[], "\"b\" is not host:port"),
    (&[("bootstrapServers", "http://a:9092")], &[], "is not host:port"),
    (&[("consumerGroup", "")], &[], "\"consumerGroup\""),
    (
        &[("topic", "one two")],
        &[],
        "\"one two\" is not the name of a topic",
    ),
    (
        &[("lagThreshold", "0")],
        &[],
        "lagThreshold must be greater than 0, got 0",
    ),
    (&[("lagThreshold", "many")], &[], "lagThreshold"),
    (
        &[("activationLagThreshold", "-1")],
        &[],
        "must not be negative, got -1",
    ),
    (&[("offsetResetPolicy", "newest")], &[], "one of latest, earliest"),
    (&[("version", "1.x")], &[], "\"1.x\" is not a version"),
    (
        &[("partitionLimitation", "1-x")],
        &[],
        "\"1-x\" is neither a partition nor a range",
    ),
    (
        &[
            ("allowIdleConsumers", "true"),
            ("limitToPartitionsWithLag", "true"),
        ],
        &[],
        "allowIdleConsumers and limitToPartitionsWithLag cannot be set simultaneously",
    ),
    (
        &[
            ("limitToPartitionsWithLag", "true"),
            ("ensureEvenDistributionOfPartitions", "true"),
        ],
        &[],
        "limitToPartitionsWithLag and ensureEvenDistributionOfPartitions cannot be set simultaneously",
    ),
    (
        &[("topic", ""), ("limitToPartitionsWithLag", "true")],
        &[],
        "topic must be specified when using limitToPartitionsWithLag true",
    ),
    (
        &[("topic", ""), ("ensureEvenDistributionOfPartitions", "true")],
        &[],
        "topic must be specified when using ensureEvenDistributionOfPartitions true",
    ),
    (
        &[("topic", ""), ("fullMetadata", "false")],
        &[],
        "topic must be specified when using fullMetadata false",
    ),
    (&[("tls", "on")], &[], "one of enable, disable"),
    (
        &[],
        &[("tls", "enable"), ("cert", "hunter2")],
        "key must be provided with cert",
    ),
    (
        &[],
        &[("tls", "enable"), ("key", "hunter2")],
        "cert must be provided with key",
    ),
    (
        &[],
        &[("tls", "enable"), ("ca", "hunter2")],
        "ca is not a certificate",
    ),
    (
        &[],
        &[
            ("tls", "enable"),
            ("cert", "hunter2"),
            ("key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nhunter2"),
            ("keyPassword", "hunter2"),
        ],
        "key is not a key in PEM",
    ),
    (&[("sasl", "scram")], &[], "one of none, plaintext, scram_sha256"),
    (
        &[],
        &[("sasl", "gssapi")],
        "sasl gssapi (Kerberos) is not supported, expected none",
    ),
    (&[("sasl", "plaintext")], &[], "no username given"),
    (
        &[("sasl", "scram_sha512")],
        &[("username", "u")],
        "no password given",
    ),
    (
        &[("sasl", "oauthbearer")],
        LOGIN,
        "no oauthTokenEndpointUri given",
    ),
    (
        &[("sasl", "oauthbearer"), ("saslTokenProvider", "azure")],
        LOGIN,
        "one of bearer, aws_msk_iam",
    ),
    (
        &[("sasl", "oauthbearer")],
        &[
            ("oauthTokenEndpointUri", "ftp://x"),
            ("username", "u"),
            ("password", "p"),
        ],
        "not a URL of http or https",
    ),
    (
        &[("sasl", "oauthbearer")],
        &[
            ("oauthTokenEndpointUri", "http://x"),
            ("username", "u"),
            ("password", "p"),
            ("oauthExtensions", "a"),
        ],
        "\"a\" is not name=value",
    ),
    (&[("sasl", "aws_msk_iam")], &[], "TLS is required for MSK"),
    (
        &[("sasl", "aws_msk_iam"), ("tls", "enable")],
        &[],
        "no awsRegion given",
    ),
    (
        &[("sasl", "oauthbearer"), ("saslTokenProvider", "aws_msk_iam")],
        &[],
        "TLS is required for MSK",
    ),
];

#[test]
fn every_rule_has_its_message() {
    for (pairs, secrets, expected) in REFUSED {
        let found = parse(pairs, secrets).unwrap_err().to_string();
        assert!(found.contains(expected), "{expected:?} is not in {found}");
        assert!(!found.contains("hunter2"), "{found}");
    }
    let mut utilization = input(&GOOD, &[]);
    utilization.settings.metric_type = MetricType::Utilization;
    let found = metadata::parse::<KafkaTrigger>(&utilization)
        .unwrap_err()
        .to_string();
    assert!(found.contains("unsupported for external metrics"), "{found}");
}

#[cfg(feature = "kafka-msk-iam")]
#[test]
fn a_login_by_iam_wants_the_credentials_that_aws_triggers_want() {
    let iam = [
        ("sasl", "aws_msk_iam"),
        ("tls", "enable"),
        ("awsRegion", "eu-west-1"),
    ];
    let found = parse(&iam, &[]).unwrap_err().to_string();
    assert!(found.contains("awsAccessKeyID not found"), "{found}");
    let keys = [("awsAccessKeyId", "AKIA"), ("awsSecretAccessKey", "hunter2")];
    parse(&iam, &keys).unwrap();
    let operator = [&iam[..], &[("identityOwner", "operator")]].concat();
    parse(&operator, &[]).unwrap();
}

#[cfg(not(feature = "kafka-msk-iam"))]
#[test]
fn a_login_by_iam_says_which_feature_it_needs() {
    let iam = [
        ("sasl", "aws_msk_iam"),
        ("tls", "enable"),
        ("awsRegion", "eu-west-1"),
    ];
    let found = parse(&iam, &[]).unwrap_err().to_string();
    assert!(found.contains("the feature `kafka-msk-iam`"), "{found}");
}

#[test]
fn the_source_is_everything_that_decides_what_a_sample_says() {
    let key =
        |pairs: &[(&str, &str)], secrets: &[(&str, &str)]| parse(pairs, secrets).unwrap().0.source_key();
    let plain = key(&[], &[]);
    assert_eq!(plain, key(&[], &[]));
    let login = [("sasl", "plaintext"), ("username", "u"), ("password", "hunter2")];
    for (pairs, secrets) in [
        (&[("lagThreshold", "11")][..], &[][..]),
        (&[("activationLagThreshold", "11")], &[]),
        (&[("bootstrapServers", "a:1")], &[]),
        (&[("consumerGroup", "g")], &[]),
        (&[("topic", "")], &[]),
        (&[("partitionLimitation", "1")], &[]),
        (&[("excludePersistentLag", "true")], &[]),
        (&[("tls", "enable")], &[]),
        (&[], &login[..]),
    ] {
        let other = key(pairs, secrets);
        assert_ne!(plain, other, "{pairs:?}");
        assert!(!other.as_str().contains("hunter2"), "{other:?}");
    }
}
