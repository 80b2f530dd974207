//! The rules of keda.md §2.1 and of CloudWatch.

use scaler_api::{
    ErrorKind, MetricTarget, Quantity, TriggerInput, conformance, conformance::Harness as _, metadata,
};
use serde_json::json;

use super::*;
use crate::{aws::test_service::TestService, http::test_server::Reply};

const METADATA: [(&str, &str); 4] = [
    ("expression", "SUM(METRICS())"),
    ("targetMetricValue", "5"),
    ("minMetricValue", "0"),
    ("activationTargetMetricValue", "2.5"),
];

fn answer(value: f64) -> String {
    format!("{{\"MetricDataResults\":[{{\"Id\":\"q1\",\"Values\":[{value}],\"StatusCode\":\"Complete\"}}]}}")
}

#[tokio::test]
async fn it_conforms() {
    let service = TestService::<CloudwatchTrigger>::start(&METADATA, 2.5, answer).await;
    conformance::assert_conforms(&service).await;
}

#[tokio::test]
async fn requests_are_signed_calls_of_the_json_protocol_and_codes_have_their_kinds() {
    let service = TestService::<CloudwatchTrigger>::start(&METADATA, 2.5, answer).await;
    let (trigger, _) = metadata::parse::<CloudwatchTrigger>(&service.input()).unwrap();
    let start = "2026-01-01T00:07:00Z".parse().unwrap();
    let clock = std::sync::Arc::new(scaler_api::TokioClock::starting_at(start));
    let scaler = trigger
        .connect(&service.context().with_clock(clock))
        .await
        .unwrap();
    scaler.sample().await.unwrap();
    let request = service.server.last_request();
    for expected in [
        "POST / HTTP/1.1\r\n",
        "content-type: application/x-amz-json-1.0\r\n",
        "x-amz-target: GraniteServiceVersion20100801.GetMetricData\r\n",
        "x-amz-date: 20260101T000700Z\r\n",
        "x-amz-security-token: t0ken\r\n",
        "Credential=AKIAGOOD/20260101/eu-west-1/monitoring/aws4_request",
    ] {
        assert!(request.contains(expected), "{expected:?} is not in {request}");
    }
    let body = request.split("\r\n\r\n").nth(1).unwrap();
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let end = 1_767_225_900;
    let expected = json!({
        "StartTime": end - 300,
        "EndTime": end,
        "ScanBy": "TimestampDescending",
        "MetricDataQueries": [{"Id": "q1", "Expression": "SUM(METRICS())", "Period": 300}],
    });
    assert_eq!(body, expected);
    for (status, code, expected) in [
        (400, "InvalidParameterValue", ErrorKind::Invalid),
        (400, "Throttling", ErrorKind::Throttled),
        (403, "InvalidClientTokenId", ErrorKind::Unauthorized),
        (403, "SignatureDoesNotMatch", ErrorKind::Unauthorized),
        (500, "InternalServiceFault", ErrorKind::Unavailable),
    ] {
        let body = format!("{{\"__type\":\"com.amazonaws.cloudwatch#{code}\",\"message\":\"no\"}}");
        service.server.reply(Reply::Body(status, body));
        let error = scaler.sample().await.unwrap_err();
        assert_eq!(error.kind(), expected, "{code}: {error}");
    }
}

fn input(pairs: &[(&str, &str)]) -> TriggerInput {
    let mut input = TriggerInput::default();
    let given = [
        ("namespace", "Shop"),
        ("metricName", "Orders"),
        ("dimensionName", "Queue; Country"),
        ("dimensionValue", "orders;it"),
        ("targetMetricValue", "2.5"),
        ("minMetricValue", "0"),
        ("awsRegion", "eu-west-1"),
        ("identityOwner", "operator"),
    ];
    for (key, value) in given.iter().chain(pairs) {
        input.metadata.insert((*key).to_owned(), (*value).to_owned());
    }
    input.metadata.retain(|_, value| !value.is_empty());
    input
}

fn trigger(pairs: &[(&str, &str)]) -> CloudwatchTrigger {
    metadata::parse(&input(pairs)).unwrap().0
}

#[test]
fn keys_have_the_defaults_of_keda() {
    let trigger = trigger(&[]);
    assert_eq!(
        (
            trigger.metric_collection_time,
            trigger.metric_stat_period,
            trigger.metric_end_time_offset
        ),
        (300, 300, 0)
    );
    assert_eq!(
        (trigger.metric_stat.as_str(), trigger.ignore_null_values),
        ("Average", true)
    );
    let MetricSpec::External { name, target } = &trigger.metrics()[0] else {
        panic!("an external metric")
    };
    assert_eq!(name, "aws-cloudwatch");
    assert_eq!(*target, MetricTarget::AverageValue(Quantity::from_millis(2500)));
}

#[test]
fn keys_follow_the_rules_of_keda() {
    let refused = [
        (&[("namespace", "")][..], "namespace not given"),
        (&[("metricName", "")], "metricName not given"),
        (&[("dimensionName", "")], "dimensionName not given"),
        (&[("dimensionValue", "")], "dimensionValue not given"),
        (&[("dimensionValue", "orders")], "are not matching in size"),
        (
            &[("metricUnit", "Furlong")],
            "metricUnit \"Furlong\" is not one of",
        ),
        (
            &[("metricStatPeriod", "0")],
            "one of 1, 5, 10, 30, or a multiple of 60",
        ),
        (&[("metricStatPeriod", "20")], "got 20"),
        (&[("metricStatPeriod", "90")], "got 90"),
        (
            &[("metricCollectionTime", "250")],
            "a multiple of metricStatPeriod(300)",
        ),
        (
            &[("metricCollectionTime", "-300")],
            "metricCollectionTime must be greater than 0",
        ),
        (&[("minMetricValue", "")], "minMetricValue"),
        (&[("minMetricValue", "NaN")], "minMetricValue"),
        (&[("targetMetricValue", "0")], "targetMetricValue"),
        (&[("awsRegion", "")], "awsRegion"),
    ];
    for (pairs, expected) in refused {
        let problems = metadata::parse::<CloudwatchTrigger>(&input(pairs)).unwrap_err();
        assert!(problems.to_string().contains(expected), "{pairs:?}: {problems}");
    }
    for period in ["1", "5", "10", "30", "60"] {
        trigger(&[("metricStatPeriod", period)]);
    }
    // An expression names its metrics itself.
    trigger(&[
        ("namespace", ""),
        ("metricName", ""),
        ("dimensionName", ""),
        ("dimensionValue", ""),
        ("expression", "SELECT MAX(x) FROM y"),
    ]);
}

#[test]
fn the_window_ends_at_a_period_and_lasts_the_collection_time() {
    for (now, period, offset, time, expected) in [
        (1_000_000, 300, 0, 300, (999_600, 999_900)),
        (1_000_000, 60, 0, 600, (999_360, 999_960)),
        (1_000_000, 60, 100, 600, (999_300, 999_900)),
        (1_000_000, 1, 0, 0, (1_000_000, 1_000_000)),
        // Seven minutes do not divide the time from the year 1 to 1970: the periods of Go are not those of Unix time.
        (1_000_000, 420, 0, 420, (999_540, 999_960)),
    ] {
        assert_eq!(
            query::window(now, period, offset, time),
            expected,
            "{now} {period} {offset}"
        );
    }
}

#[test]
fn a_metric_is_asked_for_with_its_dimensions() {
    let trigger = trigger(&[("metricUnit", "Count"), ("metricStat", "p99")]);
    let asked = query::request(&trigger, 1_000_000);
    let expected = json!([{
        "Id": "c1",
        "ReturnData": true,
        "MetricStat": {
            "Metric": {
                "Namespace": "Shop",
                "MetricName": "Orders",
                "Dimensions": [
                    {"Name": "Queue", "Value": "orders"},
                    {"Name": "Country", "Value": "it"},
                ],
            },
            "Period": 300,
            "Stat": "p99",
            "Unit": "Count",
        },
    }]);
    assert_eq!(asked["MetricDataQueries"], expected);
}

#[test]
fn the_newest_value_counts_and_what_could_not_be_read_is_no_value() {
    let newest = |results: serde_json::Value, instead| {
        query::newest(&json!({"MetricDataResults": results}), instead).map_err(|error| error.kind())
    };
    let empty = |status: &str| json!([{"Values": [], "StatusCode": status}]);
    assert_eq!(newest(json!([{"Values": [7.5, 3.0]}]), None), Ok(7.5));
    assert_eq!(newest(json!([{"Values": [7]}]), None), Ok(7.0));
    assert_eq!(newest(empty("Complete"), Some(2.0)), Ok(2.0));
    assert_eq!(newest(json!([]), Some(2.0)), Ok(2.0));
    assert_eq!(newest(json!([]), None), Err(ErrorKind::NotFound));
    assert_eq!(newest(empty("Complete"), None), Err(ErrorKind::NotFound));
    assert_eq!(
        newest(empty("InternalError"), Some(2.0)),
        Err(ErrorKind::Unavailable)
    );
    assert_eq!(
        newest(empty("Forbidden"), Some(2.0)),
        Err(ErrorKind::Unauthorized)
    );
    assert_eq!(
        newest(json!([{"Values": ["many"]}]), Some(2.0)),
        Err(ErrorKind::Invalid)
    );
    assert_eq!(newest(json!(null), Some(2.0)), Err(ErrorKind::Invalid));
}
