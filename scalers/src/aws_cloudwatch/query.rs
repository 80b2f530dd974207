//! What CloudWatch is asked, and what its answer is worth.

use scaler_api::{Error, ErrorKind, Problems};
use serde_json::{Value, json};

use super::CloudwatchTrigger;

/// Seconds from the year 1, where Go's time begins, to 1970.
const GO_EPOCH: i64 = 62_135_596_800;

/// The units of CloudWatch.
pub(super) const UNITS: [&str; 27] = [
    "Seconds",
    "Microseconds",
    "Milliseconds",
    "Bytes",
    "Kilobytes",
    "Megabytes",
    "Gigabytes",
    "Terabytes",
    "Bits",
    "Kilobits",
    "Megabits",
    "Gigabits",
    "Terabits",
    "Percent",
    "Count",
    "Bytes/Second",
    "Kilobytes/Second",
    "Megabytes/Second",
    "Gigabytes/Second",
    "Terabytes/Second",
    "Bits/Second",
    "Kilobits/Second",
    "Megabits/Second",
    "Gigabits/Second",
    "Terabits/Second",
    "Count/Second",
    "None",
];

/// The elements of a list with semicolons.
pub(super) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(';').map(str::trim)
}

/// The rules of CloudWatch on periods, which KEDA checks beforehand.
pub(super) fn check_times(period: i64, time: i64, offset: i64, problems: &mut Problems) {
    let is_period = match period {
        ..60 => matches!(period, 1 | 5 | 10 | 30),
        _ => period % 60 == 0 && i32::try_from(period).is_ok(),
    };
    if !is_period {
        let message =
            format!("metricStatPeriod must be one of 1, 5, 10, 30, or a multiple of 60, got {period}");
        problems.error("metricStatPeriod", period.to_string(), message);
    } else if time < 0 || time % period != 0 {
        let message = format!(
            "metricCollectionTime must be greater than 0 and a multiple of metricStatPeriod({period}), got {time}"
        );
        problems.error("metricCollectionTime", time.to_string(), message);
    }
    for (field, value) in [("metricCollectionTime", time), ("metricEndTimeOffset", offset)] {
        // Ten years: sums stay within what a time can be.
        if value.unsigned_abs() > 315_360_000 {
            let message = format!("{field} must be less than ten years, got {value}");
            problems.error(field, value.to_string(), message);
        }
    }
}

/// From when to when, in seconds of Unix time: the end is `offset` before now, at the beginning of a period as Go counts them,
/// from the year 1.
pub(super) fn window(now: i64, period: i64, offset: i64, time: i64) -> (i64, i64) {
    let end = now - offset + GO_EPOCH;
    let end = end - end.rem_euclid(period.max(1)) - GO_EPOCH;
    (end - time, end)
}

/// The body of a request at `now`.
pub(super) fn request(trigger: &CloudwatchTrigger, now: i64) -> Value {
    let period = trigger.metric_stat_period;
    let (start, end) = window(
        now,
        period,
        trigger.metric_end_time_offset,
        trigger.metric_collection_time,
    );
    json!({
        "StartTime": start,
        "EndTime": end,
        "ScanBy": "TimestampDescending",
        "MetricDataQueries": [query(trigger)],
    })
}

fn query(trigger: &CloudwatchTrigger) -> Value {
    let period = trigger.metric_stat_period;
    if let Some(expression) = &trigger.expression {
        return json!({"Id": "q1", "Expression": expression, "Period": period});
    }
    let names = list(trigger.dimension_name.as_deref().unwrap_or_default());
    let values = list(trigger.dimension_value.as_deref().unwrap_or_default());
    let dimensions = names
        .zip(values)
        .map(|(name, value)| json!({"Name": name, "Value": value}));
    let mut stat = json!({
        "Metric": {
            "Namespace": trigger.namespace,
            "MetricName": trigger.metric_name,
            "Dimensions": dimensions.collect::<Vec<_>>(),
        },
        "Period": period,
        "Stat": trigger.metric_stat,
    });
    if let Some(unit) = &trigger.metric_unit {
        stat["Unit"] = unit.as_str().into();
    }
    json!({"Id": "c1", "MetricStat": stat, "ReturnData": true})
}

/// The newest value of an answer, or `instead` if there is none.
pub(super) fn newest(answer: &Value, instead: Option<f64>) -> Result<f64, Error> {
    let results = answer["MetricDataResults"]
        .as_array()
        .ok_or_else(|| Error::invalid("the answer of CloudWatch has no results"))?;
    let result = results.first().unwrap_or(&Value::Null);
    if let Some(value) = result["Values"].get(0) {
        let number = value.as_f64().filter(|number| number.is_finite());
        return number.ok_or_else(|| Error::invalid(format!("CloudWatch has the value {value}")));
    }
    let failed = |kind, message: &'static str| {
        let texts = result["Messages"].as_array().into_iter().flatten();
        let texts: Vec<_> = texts.filter_map(|message| message["Value"].as_str()).collect();
        let error = Error::new(kind, message);
        match texts.is_empty() {
            true => error,
            false => error.with_source(texts.join("; ")),
        }
    };
    match result["StatusCode"].as_str() {
        Some("Forbidden") => Err(failed(
            ErrorKind::Unauthorized,
            "CloudWatch may not show the metric",
        )),
        Some("InternalError" | "PartialData") => Err(failed(
            ErrorKind::Unavailable,
            "CloudWatch could not read the metric",
        )),
        _ => instead.ok_or_else(|| failed(ErrorKind::NotFound, "CloudWatch has no value of the metric")),
    }
}
