//! Between the stored form of an object and the version that a client speaks.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::{
    resources::{Conversion, Resource},
    value,
};

/// The object in `version` of `resource`.
pub(crate) fn from_storage<'a>(resource: &Resource, version: &str, stored: &'a Value) -> Cow<'a, Value> {
    let api_version = resource.api_version(version);
    match resource.conversion {
        Conversion::Event => Cow::Owned(event_from_core(stored)),
        Conversion::HorizontalPodAutoscaler if version == "v1" => Cow::Owned(autoscaler_to_v1(stored)),
        _ if value::text(stored, &["apiVersion"]) == api_version => Cow::Borrowed(stored),
        _ => {
            let mut object = stored.clone();
            value::set(&mut object, &["apiVersion"], api_version);
            Cow::Owned(object)
        }
    }
}

/// The stored form of an object that a client wrote in `version`.
pub(crate) fn to_storage(resource: &Resource, version: &str, mut object: Value) -> Value {
    match resource.conversion {
        Conversion::Event => event_to_core(&object),
        Conversion::HorizontalPodAutoscaler if version == "v1" => autoscaler_from_v1(object),
        _ => {
            if version != resource.storage_version {
                value::set(
                    &mut object,
                    &["apiVersion"],
                    resource.api_version(&resource.storage_version),
                );
            }
            object
        }
    }
}

/// Members whose names differ: events.k8s.io, then core.
const EVENT_NAMES: [(&str, &str); 7] = [
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

fn renamed(object: &Value, api_version: &str, rename: impl Fn(&str) -> Option<&'static str>) -> Value {
    let mut out = Map::new();
    for (key, member) in object.as_object().into_iter().flatten() {
        let name = rename(key).unwrap_or(key);
        out.insert(name.to_owned(), member.clone());
    }
    out.insert("apiVersion".to_owned(), api_version.into());
    Value::Object(out)
}

fn event_from_core(stored: &Value) -> Value {
    let name = |key: &str| {
        EVENT_NAMES
            .iter()
            .find(|(_, core)| *core == key)
            .map(|(new, _)| *new)
    };
    renamed(stored, "events.k8s.io/v1", name)
}

fn event_to_core(object: &Value) -> Value {
    let name = |key: &str| {
        EVENT_NAMES
            .iter()
            .find(|(new, _)| *new == key)
            .map(|(_, core)| *core)
    };
    renamed(object, "v1", name)
}

/// Annotations in which v1 keeps what it has no field for.
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";

fn is_cpu_utilization(metric: &Value) -> bool {
    value::text(metric, &["resource", "name"]) == "cpu"
        && value::text(metric, &["resource", "target", "type"]) == "Utilization"
}

fn autoscaler_to_v1(stored: &Value) -> Value {
    let mut object = stored.clone();
    value::set(&mut object, &["apiVersion"], "autoscaling/v1");
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
        annotate(&mut object, METRICS, &Value::Array(others));
    }
    for (path, key) in [
        (["spec", "behavior"], BEHAVIOR),
        (["status", "conditions"], CONDITIONS),
        (["status", "currentMetrics"], CURRENT),
    ] {
        if let Some(kept) = value::remove(&mut object, &path) {
            annotate(&mut object, key, &kept);
        }
    }
    object
}

fn autoscaler_from_v1(mut object: Value) -> Value {
    value::set(&mut object, &["apiVersion"], "autoscaling/v2");
    let take = |object: &mut Value, key: &str| -> Option<Value> {
        let text = value::remove(object, &["metadata", "annotations", key])?;
        serde_json::from_str(text.as_str()?).ok()
    };
    let mut metrics = Vec::new();
    if let Some(percent) = value::remove(&mut object, &["spec", "targetCPUUtilizationPercentage"])
        && percent.is_number()
    {
        metrics.push(json!({
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}},
        }));
    }
    if let Some(Value::Array(others)) = take(&mut object, METRICS) {
        metrics.extend(others);
    }
    if !metrics.is_empty() {
        value::set(&mut object, &["spec", "metrics"], Value::Array(metrics));
    }
    for (path, key) in [
        (["spec", "behavior"], BEHAVIOR),
        (["status", "conditions"], CONDITIONS),
        (["status", "currentMetrics"], CURRENT),
    ] {
        if let Some(kept) = take(&mut object, key) {
            value::set(&mut object, &path, kept);
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_convert_there_and_back() {
        let core = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "message": "m",
            "involvedObject": {"kind": "Pod"},
            "reportingComponent": "c",
            "count": 2,
            "reason": "R",
        });
        let new = event_from_core(&core);
        assert_eq!(new["note"], "m");
        assert_eq!(new["regarding"]["kind"], "Pod");
        assert_eq!(new["apiVersion"], "events.k8s.io/v1");
        assert_eq!(event_to_core(&new), core);
    }

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
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}},
                    {"type": "External", "external": {"metric": {"name": "q"}}},
                ],
            },
        });
        let old = autoscaler_to_v1(&stored);
        assert_eq!(old["spec"]["targetCPUUtilizationPercentage"], 60);
        assert!(
            old["metadata"]["annotations"][METRICS]
                .as_str()
                .unwrap()
                .contains("\"q\"")
        );
        assert_eq!(autoscaler_from_v1(old), stored);
    }
}
