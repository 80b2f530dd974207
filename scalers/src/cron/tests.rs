//! Windows, names and refusals.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use scaler_api::{MetricTarget, TokioClock, TriggerInput, metadata};

use super::*;

fn input(timezone: &str, start: &str, end: &str, replicas: &str) -> TriggerInput {
    let pairs = [
        ("timezone", timezone),
        ("start", start),
        ("end", end),
        ("desiredReplicas", replicas),
    ];
    let metadata: BTreeMap<String, String> = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    TriggerInput {
        metadata,
        ..TriggerInput::default()
    }
}

fn parse(timezone: &str, start: &str, end: &str) -> CronTrigger {
    metadata::parse::<CronTrigger>(&input(timezone, start, end, "10"))
        .expect("the metadata is good")
        .0
}

#[test]
fn section_2_1_the_metric_is_named_and_aimed_as_in_keda() {
    for (timezone, start, end, expected) in [
        (
            "Etc/UTC",
            "0 0 * * Thu",
            "59 23 * * Thu",
            "cron-Etc-UTC-00xxThu-5923xxThu",
        ),
        (
            "Asia/Kolkata",
            "30 * * * *",
            "45 * * * *",
            "cron-Asia-Kolkata-30xxxx-45xxxx",
        ),
        (
            "UTC",
            "*/2 ? * * 1,2",
            "0 9 1-5 * *",
            "cron-UTC-xSl2Qmxx1Cm2-091-5xx",
        ),
    ] {
        let metrics = parse(timezone, start, end).metrics();
        assert_eq!(metrics[0].external_name(), Some(expected));
        assert_eq!(
            *metrics[0].target(),
            MetricTarget::AverageValue(Quantity::from_units(1))
        );
    }
}

#[test]
fn windows_open_and_close_to_the_second() {
    const DAY: (&str, &str) = ("0 8 * * *", "0 18 * * *");
    const NIGHT: (&str, &str) = ("0 22 * * *", "0 6 * * *");
    const OFFICE: (&str, &str) = ("0 8 * * 1-5", "0 18 * * 1-5");
    const WEEKEND: (&str, &str) = ("0 20 * * FRI", "0 6 * * MON");
    const SKIPPED: (&str, &str) = ("30 2 * * *", "0 5 * * *");
    const TWICE: (&str, &str) = ("30 2 * * *", "45 2 * * *");
    // 2026-01-05 is a Monday. Berlin goes forward on 29 March at 02:00 and back on 25 October at 03:00.
    let cases = [
        ("UTC", DAY, "2026-01-05T07:59:59+00:00", false),
        ("UTC", DAY, "2026-01-05T08:00:00+00:00", true),
        ("UTC", DAY, "2026-01-05T17:59:59+00:00", true),
        ("UTC", DAY, "2026-01-05T18:00:00+00:00", false),
        ("Asia/Tokyo", DAY, "2026-01-05T00:00:00+00:00", true),
        ("Asia/Tokyo", DAY, "2026-01-05T12:00:00+00:00", false),
        ("UTC", NIGHT, "2026-01-05T21:59:00+00:00", false),
        ("UTC", NIGHT, "2026-01-05T23:00:00+00:00", true),
        ("UTC", NIGHT, "2026-01-06T00:00:00+00:00", true),
        ("UTC", NIGHT, "2026-01-06T05:59:00+00:00", true),
        ("UTC", NIGHT, "2026-01-06T06:00:00+00:00", false),
        ("UTC", OFFICE, "2026-01-09T17:00:00+00:00", true),
        ("UTC", OFFICE, "2026-01-10T12:00:00+00:00", false),
        ("UTC", OFFICE, "2026-01-12T08:00:00+00:00", true),
        ("UTC", WEEKEND, "2026-01-09T19:00:00+00:00", false),
        ("UTC", WEEKEND, "2026-01-11T12:00:00+00:00", true),
        ("UTC", WEEKEND, "2026-01-12T06:00:00+00:00", false),
        ("Europe/Berlin", DAY, "2026-03-28T07:00:00+00:00", true),
        ("Europe/Berlin", DAY, "2026-03-29T06:00:00+00:00", true),
        ("Europe/Berlin", DAY, "2026-03-29T05:59:59+00:00", false),
        ("Europe/Berlin", SKIPPED, "2026-03-29T00:59:00+00:00", false),
        ("Europe/Berlin", SKIPPED, "2026-03-29T01:00:00+00:00", true),
        ("Europe/Berlin", SKIPPED, "2026-03-29T03:00:00+00:00", false),
        ("Europe/Berlin", TWICE, "2026-10-25T00:40:00+00:00", true),
        ("Europe/Berlin", TWICE, "2026-10-25T00:45:00+00:00", false),
        ("Europe/Berlin", TWICE, "2026-10-25T01:40:00+00:00", false),
    ];
    for (timezone, (start, end), now, expected) in cases {
        let window = parse(timezone, start, end).window().unwrap();
        let now = now
            .parse::<jiff::Timestamp>()
            .unwrap()
            .to_zoned(window.timezone.clone());
        assert_eq!(
            window.contains(&now).unwrap(),
            expected,
            "{start} to {end} at {now}"
        );
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let problems =
        metadata::parse::<CronTrigger>(&input("Mars/Olympus", "@daily", "@daily", "0")).unwrap_err();
    let problems = problems.to_string();
    for expected in [
        "unable to load timezone \"Mars/Olympus\"",
        "error parsing start schedule \"@daily\"",
        "error parsing end schedule \"@daily\"",
        "start and end can not have exactly same time input",
        "desiredReplicas must be greater than 0, got 0",
    ] {
        assert!(problems.contains(expected), "{expected:?} is not in {problems}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_value_follows_virtual_time() {
    let clock = TokioClock::starting_at("2026-01-05T07:00:00Z".parse().unwrap());
    let context = Context::new().with_clock(Arc::new(clock));
    let scaler = parse("UTC", "0 8 * * *", "0 18 * * *")
        .connect(&context)
        .await
        .unwrap();
    let name = "cron-UTC-08xxx-018xxx";
    assert_eq!(scaler.sample().await.unwrap(), Sample::single(name, 0.0, false));
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(scaler.sample().await.unwrap(), Sample::single(name, 10.0, true));
    tokio::time::sleep(Duration::from_secs(10 * 3600)).await;
    assert_eq!(scaler.sample().await.unwrap(), Sample::single(name, 0.0, false));
}
