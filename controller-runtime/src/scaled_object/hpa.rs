//! The HorizontalPodAutoscaler that a ScaledObject wants.
//!
//! Objects are JSON values here: a field that this build's API version does not know (`tolerance`, in its time) passes
//! through unharmed, and "what is asked for is contained in what is there" is one function.

mod kept;

use std::collections::{BTreeMap, BTreeSet};

use kube::{Resource, ResourceExt as _, core::ObjectMeta};
use scaler_api::{
    MetricSpec, MetricTarget,
    keda::{self, ScaledObject},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use k8s_openapi::{
    api::autoscaling::v2::HorizontalPodAutoscaler, apimachinery::pkg::apis::meta::v1::OwnerReference,
};

pub use kept::{KeptAutoscaler, Text};

/// Which release wrote an HPA.
const VERSION_LABEL: &str = "app.kubernetes.io/version";

/// A HorizontalPodAutoscaler whose specification and status stay JSON.
#[derive(Clone, Debug, Default, Resource, Serialize, Deserialize)]
#[resource(inherit = "HorizontalPodAutoscaler")]
pub struct Autoscaler {
    /// Name, labels, owners.
    pub metadata: ObjectMeta,
    /// What is wanted.
    #[serde(default)]
    pub spec: Value,
    /// What the HPA controller found.
    #[serde(default)]
    pub status: Value,
}

/// What an HPA scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetReference<'a> {
    /// `group/version`.
    pub api_version: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// A metric and the name that it is published under.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedMetric {
    /// With its `s<index>-` prefix for external metrics; `cpu` or `memory` for the others.
    pub name: String,
    /// The metric.
    pub spec: MetricSpec,
}

/// Two triggers publish the same metric, or none publishes any.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMetrics {
    /// The HPA tells metrics apart by their names alone.
    #[error("metricName {0} defined multiple times in ScaledObject")]
    Duplicate(String),
    /// Kubernetes would add a metric of its own, CPU at 80 %.
    #[error("no trigger of the ScaledObject has a metric, expected at least one")]
    None,
}

/// The HPA that `object` wants.
///
/// # Errors
/// [`InvalidMetrics`].
pub fn desired(
    object: &ScaledObject,
    target: TargetReference<'_>,
    metrics: &[NamedMetric],
    keda_version: &str,
) -> Result<Autoscaler, InvalidMetrics> {
    let selector = BTreeMap::from([(keda::SCALED_OBJECT_NAME_LABEL, object.name_any())]);
    let metrics = metric_values(metrics, &json!({"matchLabels": selector}))?;
    let min = object.spec.min_replica_count();
    let mut spec = json!({
        "scaleTargetRef": {"apiVersion": target.api_version, "kind": target.kind, "name": target.name},
        "minReplicas": if min > 0 { min } else { 1 },
        "maxReplicas": object.spec.max_replica_count(),
        "metrics": metrics,
    });
    if let Some(behavior) = behavior(object) {
        spec["behavior"] = behavior;
    }
    let metadata = ObjectMeta {
        name: Some(object.hpa_name()),
        namespace: object.namespace(),
        labels: Some(labels(object, keda_version)),
        annotations: object.metadata.annotations.clone(),
        owner_references: object.controller_owner_ref(&()).map(|owner| {
            vec![OwnerReference {
                block_owner_deletion: Some(true),
                ..owner
            }]
        }),
        ..ObjectMeta::default()
    };
    Ok(Autoscaler {
        metadata,
        spec,
        status: Value::Null,
    })
}

fn labels(object: &ScaledObject, keda_version: &str) -> BTreeMap<String, String> {
    let name: String = object.hpa_name().chars().take(63).collect();
    let excluded: BTreeSet<&str> = object
        .annotations()
        .get(keda::HPA_EXCLUDED_LABELS_ANNOTATION)
        .into_iter()
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .collect();
    let own = [
        ("app.kubernetes.io/name", name),
        (VERSION_LABEL, keda_version.to_owned()),
        ("app.kubernetes.io/part-of", object.name_any()),
        ("app.kubernetes.io/managed-by", keda::MANAGED_BY.to_owned()),
    ];
    let mut labels: BTreeMap<_, _> = own
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    let inherited = object
        .labels()
        .iter()
        .filter(|(key, _)| !excluded.contains(key.as_str()));
    labels.extend(inherited.map(|(key, value)| (key.clone(), value.clone())));
    labels
}

/// The configured behaviour, and what is switched off by the annotations that pause one direction.
fn behavior(object: &ScaledObject) -> Option<Value> {
    let configured = object
        .spec
        .horizontal_pod_autoscaler_config()
        .and_then(|config| config.behavior.as_ref());
    let mut behavior = configured.and_then(|behavior| serde_json::to_value(behavior).ok());
    let paused = [
        ("scaleDown", object.is_scale_in_paused()),
        ("scaleUp", object.is_scale_out_paused()),
    ];
    for (direction, _) in paused.into_iter().filter(|(_, paused)| *paused) {
        let behavior = behavior.get_or_insert_with(|| json!({}));
        if !behavior[direction].is_object() {
            behavior[direction] = json!({});
        }
        behavior[direction]["selectPolicy"] = json!("Disabled");
    }
    behavior
}

/// The metrics in the order of their types' names: ContainerResource, External, Resource.
fn metric_values(metrics: &[NamedMetric], selector: &Value) -> Result<Vec<Value>, InvalidMetrics> {
    if metrics.is_empty() {
        return Err(InvalidMetrics::None);
    }
    let mut names = BTreeSet::new();
    let mut values = Vec::with_capacity(metrics.len());
    for metric in metrics {
        let target = target_value(metric.spec.target());
        values.push(match &metric.spec {
            MetricSpec::Resource { name, .. } => {
                json!({"type": "Resource", "resource": {"name": name, "target": target}})
            }
            MetricSpec::ContainerResource { name, container, .. } => json!({
                "type": "ContainerResource",
                "containerResource": {"name": name, "container": container, "target": target},
            }),
            _ => {
                if !names.insert(metric.name.to_ascii_lowercase()) {
                    return Err(InvalidMetrics::Duplicate(metric.name.clone()));
                }
                json!({
                    "type": "External",
                    "external": {"metric": {"name": metric.name, "selector": selector}, "target": target},
                })
            }
        });
    }
    values.sort_by(|left, right| left["type"].as_str().cmp(&right["type"].as_str()));
    Ok(values)
}

fn target_value(target: &MetricTarget) -> Value {
    match target {
        MetricTarget::Value(value) => json!({"type": "Value", "value": value}),
        MetricTarget::Utilization(percent) => json!({"type": "Utilization", "averageUtilization": percent}),
        MetricTarget::AverageValue(value) => json!({"type": "AverageValue", "averageValue": value}),
        _ => Value::Null,
    }
}

/// Whether `current` lacks anything that `desired` has.
///
/// Labels, annotations and owners are compared by containment, as is the specification except for the list of metrics,
/// which must be as long, and the behaviour, which must be the same once the API server's defaults are filled in. The
/// label of the version says who wrote last; another one alone is no reason to write.
#[must_use]
pub fn needs_update(current: &Autoscaler, desired: &Autoscaler) -> bool {
    let has_all = |current: &BTreeMap<String, String>, desired: &BTreeMap<String, String>| {
        desired.iter().all(|(key, value)| current.get(key) == Some(value))
    };
    let owned = desired.owner_references().iter().all(|owner| {
        current
            .owner_references()
            .iter()
            .any(|known| known.uid == owner.uid && known.controller == owner.controller)
    });
    let mut labels = desired.labels().clone();
    labels.remove(VERSION_LABEL);
    let same_metadata =
        owned && has_all(current.labels(), &labels) && has_all(current.annotations(), desired.annotations());
    let same_behavior =
        with_defaults(current.spec.get("behavior")) == with_defaults(desired.spec.get("behavior"));
    let mut rest = desired.spec.clone();
    if let Some(rest) = rest.as_object_mut() {
        rest.remove("behavior");
    }
    !(same_metadata && same_behavior && contains(&current.spec, &rest))
}

fn contains(current: &Value, desired: &Value) -> bool {
    match (current, desired) {
        (Value::Object(current), Value::Object(desired)) => desired
            .iter()
            .all(|(key, value)| current.get(key).is_some_and(|current| contains(current, value))),
        (Value::Array(current), Value::Array(desired)) => {
            current.len() == desired.len()
                && current
                    .iter()
                    .zip(desired)
                    .all(|(current, desired)| contains(current, desired))
        }
        _ => current == desired,
    }
}

/// The behaviour as the API server stores it.
fn with_defaults(behavior: Option<&Value>) -> Option<Value> {
    let mut behavior = behavior.filter(|behavior| behavior.is_object())?.clone();
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    for (direction, policies) in [
        ("scaleUp", json!([pods, percent])),
        ("scaleDown", json!([percent])),
    ] {
        let rules = behavior[direction].as_object().cloned().unwrap_or_default();
        let mut rules: Map<_, _> = rules.into_iter().filter(|(_, value)| !value.is_null()).collect();
        rules.entry("selectPolicy").or_insert_with(|| json!("Max"));
        if rules
            .get("policies")
            .and_then(Value::as_array)
            .is_none_or(Vec::is_empty)
        {
            rules.insert("policies".to_owned(), policies);
        }
        if direction == "scaleUp" {
            rules
                .entry("stabilizationWindowSeconds")
                .or_insert_with(|| json!(0));
        }
        behavior[direction] = Value::Object(rules);
    }
    Some(behavior)
}

#[cfg(test)]
mod tests;
