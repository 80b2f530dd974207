//! Rows of HorizontalPodAutoscalers.

use jiff::Timestamp;
use serde_json::Value;

use super::{Column, age_of, name, shown};
use crate::sim::api::value;

pub(super) const COLUMNS: &[Column] = &[
    shown("Name", "string"),
    shown("Reference", "string"),
    shown("Targets", "string"),
    shown("MinPods", "string"),
    shown("MaxPods", "integer"),
    shown("Replicas", "integer"),
    shown("Age", "string"),
];

/// More metrics than these are only counted.
const MOST: usize = 2;

pub(super) fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    row(object, &targets(object), now)
}

/// `autoscaling/v1` knows of CPU only.
pub(super) fn cells_v1(object: &Value, now: Timestamp) -> Vec<Value> {
    let percent = |path: &[&str]| value::int(object, path).map(|percent| format!("{percent}%"));
    let current = percent(&["status", "currentCPUUtilizationPercentage"]);
    let targets = match percent(&["spec", "targetCPUUtilizationPercentage"]) {
        Some(target) => format!("{}/{target}", current.unwrap_or_else(|| "<unknown>".to_owned())),
        None => "<unknown>".to_owned(),
    };
    row(object, &targets, now)
}

fn row(object: &Value, targets: &str, now: Timestamp) -> Vec<Value> {
    let target = |field: &str| value::text(object, &["spec", "scaleTargetRef", field]);
    let min =
        value::int(object, &["spec", "minReplicas"]).map_or("<unset>".to_owned(), |min| min.to_string());
    vec![
        name(object),
        format!("{}/{}", target("kind"), target("name")).into(),
        targets.into(),
        min.into(),
        value::int(object, &["spec", "maxReplicas"]).unwrap_or(0).into(),
        value::int(object, &["status", "currentReplicas"])
            .unwrap_or(0)
            .into(),
        age_of(object, now),
    ]
}

fn targets(object: &Value) -> String {
    let metrics = value::items(object, &["spec", "metrics"]);
    if metrics.is_empty() {
        return "<none>".to_owned();
    }
    let statuses = value::items(object, &["status", "currentMetrics"]);
    let text = |(index, metric)| target(metric, statuses.get(index).unwrap_or(&Value::Null));
    let shown: Vec<String> = metrics.iter().enumerate().take(MOST).map(text).collect();
    let list = shown.join(", ");
    match metrics.len() - shown.len() {
        0 => list,
        more => format!("{list} + {more} more..."),
    }
}

fn target(metric: &Value, status: &Value) -> String {
    let member = match value::text(metric, &["type"]) {
        "External" => "external",
        "Object" => "object",
        "Pods" => "pods",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let of = |object: &Value, group: &str, field: &str| -> Option<String> {
        let found = value::at(object, &[member, group, field])?;
        Some(found.as_str().map_or_else(|| found.to_string(), str::to_owned))
    };
    let unknown = || "<unknown>".to_owned();
    let both = |field: &str| {
        let current = of(status, "current", field).unwrap_or_else(unknown);
        Some(format!("{current}/{}", of(metric, "target", field)?))
    };
    match member {
        "external" | "object" => both("averageValue")
            .map(|text| format!("{text} (avg)"))
            .or_else(|| both("value"))
            .unwrap_or_else(unknown),
        "pods" => both("averageValue").unwrap_or_else(unknown),
        _ => {
            let name = value::text(metric, &[member, "name"]);
            let percent = |text: String| {
                if text == "<unknown>" {
                    text
                } else {
                    format!("{text}%")
                }
            };
            let text = both("averageValue").unwrap_or_else(|| {
                let current = of(status, "current", "averageUtilization").unwrap_or_else(unknown);
                let target =
                    of(metric, "target", "averageUtilization").map_or_else(|| "<auto>".to_owned(), percent);
                format!("{}/{target}", percent(current))
            });
            format!("{name}: {text}")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn targets_show_current_over_wanted() {
        let external = json!({"type": "External", "external": {"target": {"averageValue": "5"}}});
        let cpu =
            json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}});
        let cases = [
            (
                json!({"spec": {"metrics": [external]}, "status": {"currentMetrics": [
                    {"type": "External", "external": {"current": {"averageValue": "3"}}},
                ]}}),
                "3/5 (avg)",
            ),
            (json!({"spec": {"metrics": [external]}}), "<unknown>/5 (avg)"),
            (json!({"spec": {"metrics": [cpu]}}), "cpu: <unknown>/80%"),
            (
                json!({"spec": {"metrics": [cpu, external, external]}}),
                "cpu: <unknown>/80%, <unknown>/5 (avg) + 1 more...",
            ),
            (json!({"spec": {}}), "<none>"),
        ];
        for (object, expected) in cases {
            assert_eq!(targets(&object), expected);
        }
    }
}
