//! The metadata, and what errors mean.

use scaler_api::{ErrorKind, MetricTarget, Quantity, TriggerInput, metadata};

use super::*;

fn input(pairs: &[(&str, &str)], secrets: &[(&str, &str)]) -> TriggerInput {
    let mut all = vec![
        ("dbName", "shop"),
        ("collection", "my.orders"),
        ("query", r#"{"state":"open"}"#),
        ("queryValue", "2.5"),
    ];
    all.extend(pairs);
    TriggerInput {
        metadata: all
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        authentication: secrets
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Secret::new(*value)))
            .collect(),
        ..TriggerInput::default()
    }
}

fn parse(input: &TriggerInput) -> Result<MongodbTrigger, String> {
    metadata::parse(input)
        .map(|(trigger, _)| trigger)
        .map_err(|problems| problems.to_string())
}

const ADDRESS: (&str, &str) = ("connectionString", "mongodb://u:hunter2@a:1");

#[test]
fn section_2_1_the_metric_is_named_by_the_collection() {
    let trigger = parse(&input(&[], &[ADDRESS])).unwrap();
    let metric = &trigger.metrics()[0];
    assert_eq!(metric.external_name(), Some("mongodb-my-orders"));
    assert_eq!(
        *metric.target(),
        MetricTarget::AverageValue(Quantity::from_millis(2500))
    );
    assert!(!format!("{trigger:?} {:?}", trigger.source_key()).contains("hunter2"));
}

#[test]
fn parts_make_an_address() {
    let user = [("username", "u@b"), ("password", "p:/ss")];
    for (parts, expected) in [
        (
            &[("host", "a"), ("port", "27017")][..],
            "mongodb://u%40b:p%3A%2Fss@a:27017/shop",
        ),
        (
            &[("host", "fd00::1"), ("port", "1")],
            "mongodb://u%40b:p%3A%2Fss@[fd00::1]:1/shop",
        ),
        (
            &[("host", "a.example.com"), ("scheme", "mongodb+srv")],
            "mongodb+srv://u%40b:p%3A%2Fss@a.example.com/shop",
        ),
    ] {
        let trigger = parse(&input(parts, &user)).unwrap();
        assert_eq!(trigger.address().expose(), expected);
    }
}

#[test]
fn rules_across_keys_are_those_of_keda() {
    let tls = |pairs: &[(&'static str, &'static str)]| {
        let mut all = vec![ADDRESS, ("tls", "enable")];
        all.extend(pairs);
        all
    };
    for (pairs, secrets, expected) in [
        (
            &[][..],
            vec![],
            "no host given; no port given; no username given; no password given",
        ),
        (
            &[],
            vec![("connectionString", "http://hunter2")],
            "connectionString makes no address",
        ),
        (&[("query", "{")], vec![ADDRESS], "query is no filter in JSON"),
        (&[("query", "[1]")], vec![ADDRESS], "query is no filter in JSON"),
        (&[("query", "{}")], vec![ADDRESS], "an empty filter"),
        (
            &[("queryValue", "0")],
            vec![ADDRESS],
            "queryValue must be greater than 0",
        ),
        (&[], tls(&[]), "at least one of cert, key, or ca"),
        (&[], tls(&[("cert", "c")]), "both cert and key must be provided"),
        (
            &[],
            tls(&[
                ("cert", "c"),
                ("key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nhunter2"),
                ("keyPassword", "hunter2"),
            ]),
            "key is not a key in PEM",
        ),
    ] {
        let found = parse(&input(pairs, &secrets)).unwrap_err();
        assert!(found.contains(expected), "{expected:?} is not in {found}");
        assert!(!found.contains("hunter2"), "{found}");
    }
}

#[test]
fn a_filter_keeps_its_order_and_its_types() {
    let query =
        r#"{"z":1,"a":{"y":true,"b":{"$oid":"507f1f77bcf86cd799439011"}},"t":{"$date":{"$numberLong":"0"}}}"#;
    let filter = parse(&input(&[("query", query)], &[ADDRESS]))
        .unwrap()
        .filter()
        .unwrap();
    let keys: Vec<_> = filter.keys().collect();
    assert_eq!(keys, ["z", "a", "t"]);
    let inner = filter.get_document("a").unwrap();
    assert!(inner.get_object_id("b").is_ok());
    assert!(filter.get_datetime("t").is_ok());
}

#[tokio::test]
async fn a_certificate_that_is_none_is_told_without_its_text() {
    let secrets = [
        ("connectionString", "mongodb://127.0.0.1:1"),
        ("tls", "enable"),
        ("ca", "hunter2"),
    ];
    let trigger = parse(&input(&[], &secrets)).unwrap();
    rustls::crypto::ring::default_provider().install_default().ok();
    let context = Context::new().with_timeout(std::time::Duration::from_millis(400));
    let scaler = trigger.connect(&context).await.unwrap();
    let error = scaler.sample().await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Unavailable),
        "{error}"
    );
    assert!(!format!("{error} {scaler:?}").contains("hunter2"));
}
