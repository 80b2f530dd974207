//! The metadata: every key, every problem at once.

use scaler_api::{MetricTarget, Quantity, TriggerInput, metadata};
use tokio_postgres::config::SslMode;

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

const QUERY: [(&str, &str); 2] = [("query", "SELECT 1"), ("targetQueryValue", "4.5")];

fn address(connection: &str) -> Result<Address, Error> {
    Address::parse(&Secret::new(connection), Some(&Secret::new("other")))
}

#[test]
fn a_connection_is_a_url_or_a_list_and_its_tls_is_that_of_postgresqls_clients() {
    for (connection, server, mode, is_unsafe, any_name) in [
        (
            "postgres://u:p%40@h:1/d?sslmode=require&application_name=x",
            "h:1",
            SslMode::Require,
            true,
            true,
        ),
        ("postgresql://u@h/d", "h:5432", SslMode::Prefer, true, true),
        (
            "host=h port=1 user=u password='a b' sslmode=verify-full",
            "h:1",
            SslMode::Require,
            false,
            false,
        ),
        (
            "sslmode = 'verify-ca' host=h user=u",
            "h:5432",
            SslMode::Require,
            false,
            true,
        ),
        (
            "host=h user=u sslmode=allow",
            "h:5432",
            SslMode::Disable,
            true,
            true,
        ),
    ] {
        let found = address(connection).unwrap();
        assert_eq!(found.servers, [server], "{connection}");
        assert_eq!(found.config.get_ssl_mode(), mode, "{connection}");
        assert_eq!(
            (found.tls.unsafe_ssl, found.tls.any_name),
            (is_unsafe, any_name),
            "{connection}"
        );
    }
    let password = |connection: &str| {
        address(connection)
            .unwrap()
            .config
            .get_password()
            .map(<[u8]>::to_vec)
    };
    assert_eq!(password("host=h user=u password='a b'"), Some(b"a b".to_vec()));
    assert_eq!(password("host=h user=u"), Some(b"other".to_vec()));
    for (connection, expected) in [
        ("host=h hunter2", "neither a URL"),
        ("user=u", "no host given"),
        ("host=h sslmode=on", "sslmode is \"on\", expected one of disable"),
        ("host=h sslrootcert=/nowhere", "sslrootcert cannot be read"),
        ("host=h sslcert=/a", "both sslcert and sslkey are required"),
        (
            "host=h sslcert=/nowhere sslkey=/nowhere",
            "sslcert cannot be read",
        ),
    ] {
        let error = address(connection).map(|_| ()).unwrap_err().to_string();
        assert!(
            error.contains(expected) && !error.contains("hunter2"),
            "{connection}: {error}"
        );
    }
}

#[test]
fn the_metric_has_a_constant_name_and_a_fractional_target() {
    let input = input(&QUERY, &[("connection", "host=h user=u")]);
    let (trigger, _) = metadata::parse::<PostgresqlTrigger>(&input).unwrap();
    let metric = &trigger.metrics()[0];
    assert_eq!(metric.external_name(), Some("postgresql"));
    assert_eq!(
        *metric.target(),
        MetricTarget::AverageValue(Quantity::from_millis(4500))
    );
}

#[test]
fn all_problems_are_reported_at_once() {
    let mut input = input(&[("query", "q"), ("targetQueryValue", "0"), ("host", "h")], &[]);
    input.settings.pod_identity = Some(scaler_api::PodIdentity {
        provider: "aws".into(),
        ..scaler_api::PodIdentity::default()
    });
    let found = metadata::parse::<PostgresqlTrigger>(&input)
        .unwrap_err()
        .to_string();
    for expected in [
        "no port given",
        "no userName given",
        "no dbName given",
        "no sslmode given",
        "targetQueryValue must be greater than 0, got 0",
        "podIdentity.provider \"aws\" is not supported here, expected azure-workload or none",
    ] {
        assert!(found.contains(expected), "{expected:?} is not in {found}");
    }
    let found = metadata::parse::<PostgresqlTrigger>(&self::input(&[], &[]))
        .unwrap_err()
        .to_string();
    assert!(
        found.contains("missing required parameter \"query\" in [triggerMetadata]"),
        "{found}"
    );
}

#[test]
fn a_target_may_be_left_out_where_the_value_feeds_a_formula() {
    let mut input = input(&QUERY[..1], &[("connection", "host=h user=u")]);
    let problems = metadata::parse::<PostgresqlTrigger>(&input)
        .unwrap_err()
        .to_string();
    assert!(
        problems.contains("targetQueryValue must be greater than 0"),
        "{problems}"
    );
    input.settings.as_metric_source = true;
    metadata::parse::<PostgresqlTrigger>(&input).unwrap();
}
