//! `autoscaling/v1`: a target of CPU utilisation, and annotations for everything else.

use serde_json::{Map, Value, json};

use crate::sim::api::value;

/// Annotations in which v1 keeps what it has no field for.
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";

/// Where v1 keeps a member of a metric: path in v2, name in v1.
type Names = &'static [(&'static [&'static str], &'static str)];

/// The members of each type of metric, in the specification.
const SPECS: &[(&str, Names)] = &[
    (
        "external",
        &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "metricSelector"),
            (&["target", "value"], "targetValue"),
            (&["target", "averageValue"], "targetAverageValue"),
        ],
    ),
    (
        "object",
        &[
            (&["describedObject"], "target"),
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["target", "value"], "targetValue"),
            (&["target", "averageValue"], "averageValue"),
        ],
    ),
    (
        "pods",
        &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["target", "averageValue"], "targetAverageValue"),
        ],
    ),
    ("resource", RESOURCE),
    ("containerResource", RESOURCE),
];
const RESOURCE: Names = &[
    (&["name"], "name"),
    (&["container"], "container"),
    (&["target", "averageUtilization"], "targetAverageUtilization"),
    (&["target", "averageValue"], "targetAverageValue"),
];

/// The members of each type of metric, in the status.
const STATUSES: &[(&str, Names)] = &[
    (
        "external",
        &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "metricSelector"),
            (&["current", "value"], "currentValue"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
    ),
    (
        "object",
        &[
            (&["describedObject"], "target"),
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["current", "value"], "currentValue"),
            (&["current", "averageValue"], "averageValue"),
        ],
    ),
    (
        "pods",
        &[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["current", "averageValue"], "currentAverageValue"),
        ],
    ),
    ("resource", CURRENT_RESOURCE),
    ("containerResource", CURRENT_RESOURCE),
];
const CURRENT_RESOURCE: Names = &[
    (&["name"], "name"),
    (&["container"], "container"),
    (&["current", "averageUtilization"], "currentAverageUtilization"),
    (&["current", "averageValue"], "currentAverageValue"),
];

/// The object in v1.
pub(super) fn to_v1(stored: &Value) -> Value {
    let mut object = stored.clone();
    value::set(&mut object, &["apiVersion"], "autoscaling/v1");
    for key in [METRICS, BEHAVIOR, CONDITIONS, CURRENT] {
        value::remove(&mut object, &["metadata", "annotations", key]);
    }
    let annotate = |object: &mut Value, key: &str, kept: &Value| {
        value::set(object, &["metadata", "annotations", key], kept.to_string());
    };
    let metrics = value::remove(&mut object, &["spec", "metrics"]);
    let (cpu, others): (Vec<Value>, Vec<Value>) = match metrics {
        Some(Value::Array(metrics)) => metrics.into_iter().partition(is_cpu_utilization),
        _ => (Vec::new(), Vec::new()),
    };
    if let Some(percent) = cpu
        .first()
        .and_then(|metric| value::int(metric, &["resource", "target", "averageUtilization"]))
    {
        value::set(&mut object, &["spec", "targetCPUUtilizationPercentage"], percent);
    }
    if !others.is_empty() {
        let old: Vec<Value> = others.iter().map(|metric| metric_to_v1(metric, SPECS)).collect();
        annotate(&mut object, METRICS, &Value::Array(old));
    }
    if let Some(Value::Array(current)) = value::remove(&mut object, &["status", "currentMetrics"])
        && !current.is_empty()
    {
        let cpu = current
            .iter()
            .filter(|metric| value::text(metric, &["resource", "name"]) == "cpu")
            .find_map(|metric| value::int(metric, &["resource", "current", "averageUtilization"]));
        if let Some(percent) = cpu {
            value::set(
                &mut object,
                &["status", "currentCPUUtilizationPercentage"],
                percent,
            );
        }
        let old: Vec<Value> = current.iter().map(status_to_v1).collect();
        annotate(&mut object, CURRENT, &Value::Array(old));
    }
    if let Some(behavior) = value::remove(&mut object, &["spec", "behavior"]).filter(Value::is_object) {
        annotate(&mut object, BEHAVIOR, &behavior_to_v1(&behavior));
    }
    if let Some(conditions) = value::remove(&mut object, &["status", "conditions"]).filter(Value::is_array) {
        annotate(&mut object, CONDITIONS, &conditions);
    }
    object
}

/// The stored form of an object in v1.
pub(super) fn from_v1(mut object: Value) -> Value {
    value::set(&mut object, &["apiVersion"], "autoscaling/v2");
    let take = |object: &mut Value, key: &str| -> Option<Value> {
        let text = value::remove(object, &["metadata", "annotations", key])?;
        serde_json::from_str(text.as_str()?).ok()
    };
    let mut metrics = Vec::new();
    if let Some(Value::Array(others)) = take(&mut object, METRICS) {
        metrics.extend(
            others
                .iter()
                .map(|metric| metric_from_v1(metric, SPECS, "target")),
        );
    }
    if let Some(percent) = value::remove(&mut object, &["spec", "targetCPUUtilizationPercentage"])
        && percent.is_number()
    {
        metrics.push(json!({
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}},
        }));
    }
    if !metrics.is_empty() {
        value::set(&mut object, &["spec", "metrics"], Value::Array(metrics));
    }
    value::remove(&mut object, &["status", "currentCPUUtilizationPercentage"]);
    if let Some(Value::Array(current)) = take(&mut object, CURRENT) {
        let current: Vec<Value> = current
            .iter()
            .map(|metric| metric_from_v1(metric, STATUSES, "current"))
            .collect();
        value::set(&mut object, &["status", "currentMetrics"], Value::Array(current));
    }
    if let Some(behavior) = take(&mut object, BEHAVIOR) {
        value::set(&mut object, &["spec", "behavior"], renamed(&behavior, lower));
    }
    if let Some(conditions) = take(&mut object, CONDITIONS) {
        value::set(&mut object, &["status", "conditions"], conditions);
    }
    object
}

fn is_cpu_utilization(metric: &Value) -> bool {
    value::text(metric, &["resource", "name"]) == "cpu"
        && value::at(metric, &["resource", "target", "averageUtilization"]).is_some_and(Value::is_number)
}

fn metric_to_v1(metric: &Value, types: &[(&str, Names)]) -> Value {
    let mut old = Map::new();
    old.insert("type".to_owned(), metric["type"].clone());
    for (source, names) in types.iter().filter(|(source, _)| metric[source].is_object()) {
        let mut members = Map::new();
        for (path, name) in *names {
            if let Some(member) = value::at(&metric[source], path).filter(|member| !member.is_null()) {
                members.insert((*name).to_owned(), member.clone());
            }
        }
        old.insert((*source).to_owned(), Value::Object(members));
    }
    Value::Object(old)
}

/// v1 has a value even where there is none.
fn status_to_v1(metric: &Value) -> Value {
    let mut old = metric_to_v1(metric, STATUSES);
    for (source, field) in [
        ("external", "currentValue"),
        ("object", "currentValue"),
        ("pods", "currentAverageValue"),
        ("resource", "currentAverageValue"),
        ("containerResource", "currentAverageValue"),
    ] {
        if old[source].is_object() && old[source][field].is_null() {
            old[source][field] = json!("0");
        }
    }
    old
}

fn metric_from_v1(old: &Value, types: &[(&str, Names)], of: &str) -> Value {
    let mut metric = json!({"type": old["type"]});
    for (source, names) in types.iter().filter(|(source, _)| old[source].is_object()) {
        let mut members = json!({});
        for (path, name) in *names {
            let member = &old[source][name];
            let filler = of == "current" && member == "0" && old[source]["currentAverageValue"].is_string();
            if !member.is_null() && (!filler || *name != "currentValue") {
                value::set(&mut members, path, member.clone());
            }
        }
        if of == "target" {
            let kind = if members["target"]["averageUtilization"].is_number() {
                "Utilization"
            } else if members["target"]["averageValue"].is_string() {
                "AverageValue"
            } else {
                "Value"
            };
            value::set(&mut members, &["target", "type"], kind);
        }
        metric[*source] = members;
    }
    metric
}

/// The names of Go's fields, which is what upstream happens to print here, and with those that are not set.
fn behavior_to_v1(behavior: &Value) -> Value {
    let mut behavior = behavior.clone();
    for direction in ["scaleUp", "scaleDown"] {
        let rules = &mut behavior[direction];
        if rules.is_object() {
            for field in [
                "stabilizationWindowSeconds",
                "selectPolicy",
                "policies",
                "tolerance",
            ] {
                if rules[field].is_null() {
                    rules[field] = Value::Null;
                }
            }
        }
    }
    renamed(&behavior, upper)
}

/// With other names of members; members that are null and were null stay away on the way back.
fn renamed(value: &Value, rename: fn(&str) -> String) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(key, member)| !member.is_null() || rename(key) != lower(key))
            .map(|(key, member)| (rename(key), renamed(member, rename)))
            .collect(),
        Value::Array(items) => items.iter().map(|item| renamed(item, rename)).collect(),
        value => value.clone(),
    }
}

fn upper(name: &str) -> String {
    let mut letters = name.chars();
    letters
        .next()
        .map(|first| first.to_ascii_uppercase())
        .into_iter()
        .chain(letters)
        .collect()
}

fn lower(name: &str) -> String {
    let mut letters = name.chars();
    letters
        .next()
        .map(|first| first.to_ascii_lowercase())
        .into_iter()
        .chain(letters)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn autoscalers_keep_in_v1_what_it_has_no_field_for() {
        let stored = json!({
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "h", "annotations": {}},
            "spec": {
                "maxReplicas": 3,
                "behavior": {"scaleDown": {"selectPolicy": "Disabled"}},
                "metrics": [
                    {"type": "External", "external": {"metric": {"name": "q"}, "target": {"type": "Value", "value": "3"}}},
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}},
                ],
            },
            "status": {
                "currentMetrics": [
                    {"type": "External", "external": {"metric": {"name": "q"}, "current": {"averageValue": "1"}}},
                ],
            },
        });
        let old = to_v1(&stored);
        assert_eq!(old["spec"]["targetCPUUtilizationPercentage"], 60);
        let annotation = |key: &str| -> Value {
            serde_json::from_str(old["metadata"]["annotations"][key].as_str().unwrap()).unwrap()
        };
        assert_eq!(
            annotation(METRICS),
            json!([{"type": "External", "external": {"metricName": "q", "targetValue": "3"}}])
        );
        assert_eq!(
            annotation(BEHAVIOR),
            json!({
                "ScaleUp": null,
                "ScaleDown": {
                    "Policies": null, "SelectPolicy": "Disabled", "StabilizationWindowSeconds": null, "Tolerance": null,
                },
            })
        );
        assert_eq!(from_v1(old), stored);
    }
}
