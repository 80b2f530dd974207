//! One trigger with every kind of field.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Deserialize;

use super::*;
use crate::{
    Context, Error, Field, MetricSpec, Quantity, Sample, Scaler, Secret, Source, SourceKey, TriggerSettings,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Queue {
    #[serde(rename = "queueURL")]
    queue_url: String,
    queue_length: i64,
    factor: Option<f64>,
    percent: Option<u8>,
    enabled: Option<bool>,
    timeout: Option<GoDuration>,
    hosts: Option<Vec<String>>,
    ports: Option<Vec<u16>>,
    headers: Option<BTreeMap<String, String>>,
    mode: Mode,
    modes: Option<Vec<Mode>>,
    limit: Option<Quantity>,
    login: Login,
    #[serde(skip)]
    settings: TriggerSettings,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct Login {
    username: Option<String>,
    password: Option<Secret>,
    pin: Option<i64>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
enum Mode {
    QueueLength,
    MessageRate,
}

#[derive(Debug)]
struct Nothing;

#[async_trait]
impl Scaler for Nothing {
    async fn sample(&self) -> Result<Sample, Error> {
        Ok(Sample::single("nothing", 0.0, false))
    }
}

const EVERYWHERE: &[Source] = &[Source::Authentication, Source::Metadata, Source::Environment];
const OUTSIDE: &[Source] = &[Source::Metadata, Source::Environment];

static FIELDS: [Field; 15] = [
    Field::new("queueURL", "The queue.").required().from(OUTSIDE),
    Field::new("queueLength", "Messages per replica.")
        .default("5")
        .aliases(&["length"]),
    Field::new("factor", "A factor."),
    Field::new("percent", "A share."),
    Field::new("enabled", "A switch."),
    Field::new("timeout", "A time."),
    Field::new("hosts", "Hosts.").aliases(&["host"]),
    Field::new("ports", "Ports."),
    Field::new("headers", "Headers."),
    Field::new("mode", "A mode.").default("queueLength"),
    Field::new("modes", "Modes."),
    Field::new("limit", "A limit."),
    Field::new("username", "A user.")
        .from(EVERYWHERE)
        .allowed(&["alice", "bob"]),
    Field::new("password", "A password.")
        .from(&[Source::Authentication])
        .secret(),
    Field::new("pin", "A number.").from(EVERYWHERE),
];

impl Trigger for Queue {
    const TYPE: &'static str = "queue";
    type Scaler = Nothing;

    fn fields() -> &'static [Field] {
        &FIELDS
    }

    fn example() -> &'static str {
        "queueURL: https://queue\n"
    }

    fn check(&self, problems: &mut Problems) {
        if self.queue_length <= 0 {
            problems.error(
                "queueLength",
                self.queue_length.to_string(),
                "parameter \"queueLength\" must be above 0",
            );
        }
        if self.settings.name == "forbidden" {
            problems.error("", "", "the name is forbidden");
        }
    }

    fn settings(&mut self, settings: &TriggerSettings) {
        self.settings = settings.clone();
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        Vec::new()
    }

    fn source_key(&self) -> SourceKey {
        SourceKey::new(Self::TYPE)
    }

    async fn connect(self, _: &Context) -> Result<Nothing, Error> {
        Ok(Nothing)
    }
}

fn strings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn input(metadata: &[(&str, &str)]) -> TriggerInput {
    TriggerInput {
        metadata: strings(metadata),
        ..TriggerInput::default()
    }
}

/// The minimum and something else.
fn with(metadata: &[(&str, &str)]) -> TriggerInput {
    let mut input = input(&[("queueURL", "https://queue")]);
    input.metadata.extend(strings(metadata));
    input
}

fn accepted(input: &TriggerInput) -> Queue {
    match parse::<Queue>(input) {
        Ok((queue, warnings)) => {
            assert!(warnings.warnings().is_empty(), "{warnings}");
            queue
        }
        Err(problems) => panic!("{problems}"),
    }
}

fn errors(input: &TriggerInput) -> Vec<String> {
    let problems = parse::<Queue>(input).expect_err("it must be refused");
    problems.errors().iter().map(ToString::to_string).collect()
}

fn warnings(input: &TriggerInput) -> Vec<String> {
    let (_, problems) = parse::<Queue>(input).unwrap_or_else(|problems| panic!("{problems}"));
    problems.warnings().iter().map(ToString::to_string).collect()
}

#[test]
fn text_becomes_what_the_field_is() {
    let queue = accepted(&with(&[
        ("queueLength", " 7 "),
        ("factor", "1.5"),
        ("percent", "255"),
        ("enabled", "T"),
        ("timeout", "1m30s"),
        ("hosts", "a, b,c"),
        ("ports", "1,2"),
        ("headers", "a=1, b=x=y"),
        ("mode", "messageRate"),
        ("modes", "messageRate,queueLength"),
        ("limit", "64Mi"),
        ("username", "alice"),
    ]));
    assert_eq!(
        (queue.queue_length, queue.factor, queue.percent, queue.enabled),
        (7, Some(1.5), Some(255), Some(true))
    );
    assert_eq!(queue.timeout.unwrap().as_secs(), 90);
    assert_eq!(queue.hosts.unwrap(), ["a", "b", "c"]);
    assert_eq!(queue.ports.unwrap(), [1, 2]);
    assert_eq!(queue.headers.unwrap(), strings(&[("a", "1"), ("b", "x=y")]));
    assert_eq!(
        (queue.mode, queue.modes.unwrap()),
        (Mode::MessageRate, vec![Mode::MessageRate, Mode::QueueLength])
    );
    assert_eq!(queue.limit.unwrap().to_string(), "64Mi");
    assert_eq!(queue.login.username.as_deref(), Some("alice"));
}

#[test]
fn defaults_stand_in_for_what_is_absent_or_empty() {
    let queue = accepted(&with(&[("queueLength", "  "), ("factor", "")]));
    assert_eq!(
        (queue.queue_length, queue.factor, queue.mode),
        (5, None, Mode::QueueLength)
    );
    assert_eq!(
        queue.login,
        Login {
            username: None,
            password: None,
            pin: None
        }
    );
}

#[test]
fn sources_are_asked_in_their_order() {
    let mut input = with(&[("username", "bob"), ("pinFromEnv", "PIN")]);
    input.environment = strings(&[("PIN", "12")]);
    let login = accepted(&input).login;
    assert_eq!((login.username.as_deref(), login.pin), (Some("bob"), Some(12)));

    input
        .authentication
        .insert("username".into(), Secret::new(" alice\n"));
    input.authentication.insert("pin".into(), Secret::new(""));
    let login = accepted(&input).login;
    assert_eq!((login.username.as_deref(), login.pin), (Some("alice"), Some(12)));

    input.metadata.remove("queueURL");
    input.metadata.insert("queueURLFromEnv".into(), "QUEUE".into());
    input
        .environment
        .insert("QUEUE".into(), "https://from-env".into());
    assert_eq!(accepted(&input).queue_url, "https://from-env");
}

#[test]
fn other_spellings_are_read_and_the_name_wins() {
    assert_eq!(accepted(&with(&[("length", "9")])).queue_length, 9);
    let both = with(&[("length", "9"), ("queueLength", "8")]);
    assert_eq!(parse::<Queue>(&both).unwrap().0.queue_length, 8);
    assert_eq!(
        warnings(&both),
        ["parameter \"length\" means the same as \"queueLength\", which is used"]
    );
}

#[test]
fn a_missing_parameter_is_named_with_its_sources() {
    assert_eq!(
        errors(&input(&[])),
        ["missing required parameter \"queueURL\" in [triggerMetadata resolvedEnv]"]
    );
    assert_eq!(
        errors(&input(&[("queueURLFromEnv", "QUEUE")])),
        [
            "missing required parameter \"queueURL\" in [triggerMetadata resolvedEnv]: queueURLFromEnv names the environment variable \"QUEUE\", which has no value"
        ]
    );
}

#[test]
fn errors_name_key_value_and_expectation() {
    for (key, value, message) in [
        ("queueLength", "many", "expected a whole number"),
        ("queueLength", "1.5", "expected a whole number"),
        (
            "queueLength",
            "99999999999999999999",
            "expected a whole number from -9223372036854775808 to 9223372036854775807",
        ),
        ("percent", "256", "expected a whole number from 0 to 255"),
        ("percent", "-1", "expected a whole number from 0 to 255"),
        ("factor", "x", "expected a number"),
        ("factor", "NaN", "expected a number"),
        ("enabled", "yes", "expected true or false"),
        (
            "timeout",
            "soon",
            "expected a duration such as 30s or 1h15m, or a number of milliseconds",
        ),
        ("ports", "1,x", "\"x\" in it: expected a whole number"),
        ("headers", "a", "\"a\" in it: expected key=value"),
        ("mode", "rate", "expected one of queueLength, messageRate"),
        (
            "modes",
            "messageRate,rate",
            "\"rate\" in it: expected one of queueLength, messageRate",
        ),
        ("username", "carol", "expected one of alice, bob"),
    ] {
        let expected = format!("parameter {key:?} is {value:?}: {message}");
        assert_eq!(errors(&with(&[(key, value)])), [expected]);
    }
    assert!(errors(&with(&[("limit", "64MB")]))[0].contains("\"64MB\" is not a quantity"));
}

#[test]
fn all_problems_are_reported_at_once() {
    let bad = input(&[
        ("queueLength", "many"),
        ("percent", "x"),
        ("mode", "rate"),
        ("ports", "x"),
        ("headers", "x"),
        ("timeout", "x"),
        ("username", "carol"),
        ("queueLenght", "1"),
    ]);
    let problems = parse::<Queue>(&bad).unwrap_err();
    let fields: Vec<&str> = problems
        .errors()
        .iter()
        .map(|problem| problem.field.as_str())
        .collect();
    assert_eq!(
        fields,
        [
            "queueURL",
            "queueLength",
            "percent",
            "timeout",
            "ports",
            "headers",
            "mode",
            "username"
        ]
    );
    assert_eq!(problems.errors()[1].value, "many");
    assert_eq!(problems.warnings()[0].field, "queueLenght");
}

#[test]
fn rules_across_fields_see_defaults_but_nothing_made_up() {
    // A value that cannot be read is replaced by its default, so other rules are checked too.
    let mut bad = with(&[("queueLength", "many")]);
    bad.settings.name = "forbidden".into();
    assert_eq!(errors(&bad).len(), 2);
    // Without a queue there is a placeholder, and no rule may trip over it.
    let mut bad = input(&[]);
    bad.settings.name = "forbidden".into();
    assert_eq!(errors(&bad).len(), 1);
    assert_eq!(
        errors(&with(&[("queueLength", "0")])),
        ["parameter \"queueLength\" must be above 0"]
    );
}

#[test]
fn unknown_keys_are_warnings_with_the_nearest_name() {
    for (key, message) in [
        (
            "queueLenght",
            "parameter \"queueLenght\" is unknown (did you mean \"queueLength\"?)",
        ),
        (
            "queueUrlFromEnv",
            "parameter \"queueUrlFromEnv\" is unknown (did you mean \"queueURLFromEnv\"?)",
        ),
        ("somethingElse", "parameter \"somethingElse\" is unknown"),
        (
            "password",
            "parameter \"password\" is not read from the metadata, it belongs into a TriggerAuthentication",
        ),
    ] {
        assert_eq!(warnings(&with(&[(key, "1")])), [message]);
    }
}

#[test]
fn credentials_appear_in_no_problem() {
    let mut bad = with(&[("pinFromEnv", "PIN")]);
    bad.environment = strings(&[("PIN", "hunter2")]);
    bad.authentication
        .insert("username".into(), Secret::new("hunter2"));
    bad.authentication
        .insert("password".into(), Secret::new("hunter2"));
    let problems = parse::<Queue>(&bad).unwrap_err();
    assert!(
        !format!("{problems} {problems:?}").contains("hunter2"),
        "{problems:?}"
    );
    assert_eq!(
        errors(&bad),
        [
            "parameter \"username\" is ***: expected one of alice, bob",
            "parameter \"pin\" is ***: expected a whole number"
        ]
    );
}

#[test]
fn the_registry_parses_by_type() {
    let mut registry = crate::Registry::new();
    registry.register::<Queue>();
    let parsed = registry.parse("queue", &with(&[("queueLenght", "1")])).unwrap();
    assert_eq!(
        (parsed.trigger.trigger_type(), parsed.warnings.warnings().len()),
        ("queue", 1)
    );
    let problems = registry.parse("qeue", &with(&[])).unwrap_err();
    assert!(
        problems.to_string().contains("did you mean \"queue\"?"),
        "{problems}"
    );
}
