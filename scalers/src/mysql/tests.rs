//! The metadata: every key, every problem at once.

use scaler_api::{MetricTarget, Quantity, TriggerInput, metadata};

use super::{address::Tls, *};

fn input(pairs: &[(&str, &str)], secrets: &[(&str, &str)]) -> TriggerInput {
    let text = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    let secret = |(key, value): &(&str, &str)| ((*key).to_owned(), Secret::new(*value));
    TriggerInput {
        metadata: pairs.iter().map(text).collect(),
        authentication: secrets.iter().map(secret).collect(),
        ..TriggerInput::default()
    }
}

const QUERY: [(&str, &str); 2] = [("query", "SELECT 1"), ("queryValue", "4.5")];

#[test]
fn a_connection_string_is_that_of_gos_driver() {
    let address = |text: &str| Address::parse(&Secret::new(text));
    for (text, expected) in [
        ("u:p@tcp(h:1)/d", ("h", 1, Some("u"), Some("p"), "d", Tls::Off)),
        (
            "u:p@ss:/w@tcp(h)/d?parseTime=true&tls=true",
            ("h", 3306, Some("u"), Some("p@ss:/w"), "d", Tls::On),
        ),
        (
            "u@tcp([::1]:1)/?tls=skip-verify",
            ("::1", 1, Some("u"), None, "", Tls::AnyCertificate),
        ),
        ("/d", ("127.0.0.1", 3306, None, None, "d", Tls::Off)),
    ] {
        let found = address(text).unwrap();
        let found = (
            &*found.host,
            found.port,
            found.user.as_deref(),
            found.password.as_deref(),
            &*found.database,
            found.tls,
        );
        assert_eq!(found, expected, "{text}");
    }
    for (text, expected) in [
        ("hunter2", "not of the form"),
        ("u:hunter2@unix(/a)/d", "the network must be tcp"),
        ("u:hunter2@tcp(h:x)/d", "port is \"x\""),
        (
            "u:hunter2@tcp(h)/d?tls=preferred",
            "tls is \"preferred\", expected one of true, false, skip-verify",
        ),
    ] {
        let error = address(text).map(|_| ()).unwrap_err().to_string();
        assert!(
            error.contains(expected) && !error.contains("hunter2"),
            "{text}: {error}"
        );
    }
}

#[test]
fn the_metric_is_named_after_the_database() {
    let parts = [
        ("host", "h"),
        ("port", "1"),
        ("username", "u"),
        ("dbName", "my.shop"),
    ];
    let of_parts = input(&[&QUERY[..], &parts].concat(), &[("password", "p")]);
    let of_string = input(&QUERY, &[("connectionString", "u:p@tcp(h:1)/my.shop?tls=true")]);
    for input in [of_parts, of_string] {
        let (trigger, _) = metadata::parse::<MysqlTrigger>(&input).unwrap();
        let metric = &trigger.metrics()[0];
        assert_eq!(metric.external_name(), Some("mysql-my-shop"));
        assert_eq!(
            *metric.target(),
            MetricTarget::AverageValue(Quantity::from_millis(4500))
        );
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let found = metadata::parse::<MysqlTrigger>(&input(&[("query", "q"), ("queryValue", "0")], &[]));
    let found = found.unwrap_err().to_string();
    for expected in [
        "no host given",
        "no port given",
        "no username given",
        "no dbName given",
        "no password given",
        "queryValue must be greater than 0, got 0",
    ] {
        assert!(found.contains(expected), "{expected:?} is not in {found}");
    }
    let found = metadata::parse::<MysqlTrigger>(&input(&[], &[]))
        .unwrap_err()
        .to_string();
    for expected in [
        "missing required parameter \"query\"",
        "missing required parameter \"queryValue\"",
    ] {
        assert!(found.contains(expected), "{expected:?} is not in {found}");
    }
}
