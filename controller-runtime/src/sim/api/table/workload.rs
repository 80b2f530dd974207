//! Rows of what makes pods.

use jiff::Timestamp;
use serde_json::Value;

use super::{Column, age, age_of, containers, duration::human, name, or_none, shown, wide};
use crate::sim::api::{
    selectors::{LabelSelector, labels_text},
    value,
};

pub(super) const DEPLOYMENT: &[Column] = &[
    shown("Name", "string"),
    shown("Ready", "string"),
    shown("Up-to-date", "string"),
    shown("Available", "string"),
    shown("Age", "string"),
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

pub(super) const REPLICA_SET: &[Column] = &[
    shown("Name", "string"),
    shown("Desired", "integer"),
    shown("Current", "integer"),
    shown("Ready", "integer"),
    shown("Age", "string"),
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

pub(super) const DAEMON_SET: &[Column] = &[
    shown("Name", "string"),
    shown("Desired", "integer"),
    shown("Current", "integer"),
    shown("Ready", "integer"),
    shown("Up-to-date", "integer"),
    shown("Available", "integer"),
    shown("Node Selector", "string"),
    shown("Age", "string"),
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

pub(super) const STATEFUL_SET: &[Column] = &[
    shown("Name", "string"),
    shown("Ready", "string"),
    shown("Age", "string"),
    wide("Containers"),
    wide("Images"),
];

pub(super) const JOB: &[Column] = &[
    shown("Name", "string"),
    shown("Status", "string"),
    shown("Completions", "string"),
    shown("Duration", "string"),
    shown("Age", "string"),
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

pub(super) const CRON_JOB: &[Column] = &[
    shown("Name", "string"),
    shown("Schedule", "string"),
    shown("Timezone", "string"),
    shown("Suspend", "boolean"),
    shown("Active", "integer"),
    shown("Last Schedule", "string"),
    shown("Age", "string"),
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

const TEMPLATE: &[&str] = &["spec", "template", "spec", "containers"];

fn count(object: &Value, field: &str) -> i64 {
    value::int(object, &["status", field]).unwrap_or(0)
}

fn desired(object: &Value) -> i64 {
    value::int(object, &["spec", "replicas"]).unwrap_or(1)
}

fn selector(object: &Value) -> Value {
    let selector = value::at(object, &["spec", "selector"]).unwrap_or(&Value::Null);
    let text = if object["kind"] == "ReplicationController" {
        labels_text(selector)
    } else {
        LabelSelector::from_object(selector)
            .map(|selector| selector.to_string())
            .unwrap_or_default()
    };
    or_none(&text)
}

/// The cells of `-o wide` behind those of the kind.
fn with_template(mut cells: Vec<Value>, object: &Value, selected: bool) -> Vec<Value> {
    cells.extend(containers(object, TEMPLATE));
    if selected {
        cells.push(selector(object));
    }
    cells
}

pub(super) fn deployment(object: &Value, now: Timestamp) -> Vec<Value> {
    let cells = vec![
        name(object),
        format!("{}/{}", count(object, "readyReplicas"), desired(object)).into(),
        count(object, "updatedReplicas").into(),
        count(object, "availableReplicas").into(),
        age_of(object, now),
    ];
    with_template(cells, object, true)
}

pub(super) fn replica_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let cells = vec![
        name(object),
        desired(object).into(),
        count(object, "replicas").into(),
        count(object, "readyReplicas").into(),
        age_of(object, now),
    ];
    with_template(cells, object, true)
}

pub(super) fn daemon_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let nodes = value::at(object, &["spec", "template", "spec", "nodeSelector"]).unwrap_or(&Value::Null);
    let cells = vec![
        name(object),
        count(object, "desiredNumberScheduled").into(),
        count(object, "currentNumberScheduled").into(),
        count(object, "numberReady").into(),
        count(object, "updatedNumberScheduled").into(),
        count(object, "numberAvailable").into(),
        or_none(&labels_text(nodes)),
        age_of(object, now),
    ];
    with_template(cells, object, true)
}

pub(super) fn stateful_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let ready = format!("{}/{}", count(object, "readyReplicas"), desired(object));
    with_template(
        vec![name(object), ready.into(), age_of(object, now)],
        object,
        false,
    )
}

pub(super) fn job(object: &Value, now: Timestamp) -> Vec<Value> {
    let succeeded = count(object, "succeeded");
    let completions = match (
        value::int(object, &["spec", "completions"]),
        value::int(object, &["spec", "parallelism"]),
    ) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, Some(parallel)) if parallel > 1 => format!("{succeeded}/1 of {parallel}"),
        _ => format!("{succeeded}/1"),
    };
    let start = value::text(object, &["status", "startTime"]);
    let end = value::text(object, &["status", "completionTime"]);
    let duration = match (start.parse::<Timestamp>(), end.parse::<Timestamp>()) {
        (Err(_), _) => String::new(),
        (Ok(start), Ok(end)) => human(end.duration_since(start).as_secs()),
        (Ok(start), Err(_)) => human(now.duration_since(start).as_secs()),
    };
    let cells = vec![
        name(object),
        job_status(object).into(),
        completions.into(),
        duration.into(),
        age_of(object, now),
    ];
    with_template(cells, object, true)
}

fn job_status(job: &Value) -> &'static str {
    let has = |kind: &str| {
        let conditions = value::items(job, &["status", "conditions"]);
        conditions
            .iter()
            .any(|one| one["type"] == kind && one["status"] == "True")
    };
    if has("Complete") {
        "Complete"
    } else if has("Failed") {
        "Failed"
    } else if value::is_deleting(job) {
        "Terminating"
    } else if has("Suspended") {
        "Suspended"
    } else if has("FailureTarget") {
        "FailureTarget"
    } else if has("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

pub(super) fn cron_job(object: &Value, now: Timestamp) -> Vec<Value> {
    let zone = value::text(object, &["spec", "timeZone"]);
    let last = value::text(object, &["status", "lastScheduleTime"]);
    let mut cells = vec![
        name(object),
        value::text(object, &["spec", "schedule"]).into(),
        or_none(zone),
        value::at(object, &["spec", "suspend"])
            .cloned()
            .unwrap_or(Value::Bool(false)),
        value::items(object, &["status", "active"]).len().into(),
        if last.is_empty() {
            "<none>".into()
        } else {
            age(last, now).into()
        },
        age_of(object, now),
    ];
    cells.extend(containers(
        object,
        &["spec", "jobTemplate", "spec", "template", "spec", "containers"],
    ));
    cells.push("<none>".into());
    cells
}
