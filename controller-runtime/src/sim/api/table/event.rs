//! Rows of events.

use jiff::Timestamp;
use serde_json::Value;

use super::{Column, age, name, shown, wide};
use crate::sim::api::value;

pub(super) const COLUMNS: &[Column] = &[
    shown("Last Seen", "string"),
    shown("Type", "string"),
    shown("Reason", "string"),
    shown("Object", "string"),
    wide("Subobject"),
    wide("Source"),
    shown("Message", "string"),
    wide("First Seen"),
    wide("Count"),
    wide("Name"),
];

/// Names of the members that differ between the core group and `events.k8s.io`.
struct Names {
    about: &'static str,
    message: &'static str,
    source: &'static str,
    first: &'static str,
    last: &'static str,
    count: &'static str,
    reporter: &'static str,
}

pub(super) fn cells(event: &Value, now: Timestamp) -> Vec<Value> {
    let names = Names {
        about: "involvedObject",
        message: "message",
        source: "source",
        first: "firstTimestamp",
        last: "lastTimestamp",
        count: "count",
        reporter: "reportingComponent",
    };
    row(event, &names, now)
}

pub(super) fn new_cells(event: &Value, now: Timestamp) -> Vec<Value> {
    let names = Names {
        about: "regarding",
        message: "note",
        source: "deprecatedSource",
        first: "deprecatedFirstTimestamp",
        last: "deprecatedLastTimestamp",
        count: "deprecatedCount",
        reporter: "reportingController",
    };
    row(event, &names, now)
}

fn row(event: &Value, names: &Names, now: Timestamp) -> Vec<Value> {
    let text = |path: &[&str]| value::text(event, path);
    let first_set = |candidates: &[&str]| {
        candidates
            .iter()
            .find(|text| !text.is_empty())
            .map_or_else(|| "<unknown>".to_owned(), |text| age(text, now))
    };
    let first = first_set(&[text(&[names.first]), text(&["eventTime"])]);
    let series = value::at(event, &["series"]);
    let count = series
        .and_then(|series| value::int(series, &["count"]))
        .or_else(|| value::int(event, &[names.count]));
    let last = match series {
        Some(_) => first_set(&[text(&["series", "lastObservedTime"])]),
        None => first_set(&[text(&[names.last]), text(&[names.first]), text(&["eventTime"])]),
    };
    let last = match count.filter(|&count| count > 1) {
        Some(count) => format!("{last} (x{count} over {first})"),
        None => last,
    };
    let kind = text(&[names.about, "kind"]).to_lowercase();
    let component = text(&[names.source, "component"]);
    let component = if component.is_empty() {
        text(&[names.reporter])
    } else {
        component
    };
    let host = text(&[names.source, "host"]);
    let source = if host.is_empty() {
        component.to_owned()
    } else {
        format!("{component}, {host}")
    };
    vec![
        last.into(),
        text(&["type"]).into(),
        text(&["reason"]).into(),
        format!("{kind}/{}", text(&[names.about, "name"])).into(),
        text(&[names.about, "fieldPath"]).into(),
        source.into(),
        text(&[names.message]).trim().into(),
        first.into(),
        count.unwrap_or(1).max(1).to_string().into(),
        name(event),
    ]
}
