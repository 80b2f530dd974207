//! The rules for a ScaledObject by itself.

use kube::ResourceExt as _;
use scaler_api::{
    MetricType, Registry,
    keda::{FallbackBehavior, ScaleTrigger, ScaledObject},
};

pub use super::triggers::{is_resource, parse_trigger};
use super::{
    Findings, Severity,
    triggers::{self, TRIGGERS},
};
use crate::scaled_object::modifiers::Modifiers;

/// Longest name that fits into a label.
const LONGEST_NAME: usize = 63;

/// Every rule that needs nothing but the object and the known trigger types.
#[must_use]
pub fn check(object: &ScaledObject, registry: &Registry) -> Findings {
    let mut findings = about(object);
    names(object, &mut findings);
    target(object, &mut findings);
    replicas(object, &mut findings);
    triggers::check(&object.spec.triggers, registry, &mut findings);
    for (index, trigger) in object.spec.triggers.iter().enumerate() {
        metric_type(
            trigger,
            &format!("spec.triggers[{index}].metricType"),
            &mut findings,
        );
    }
    wakes(object, &mut findings);
    fallback(object, &mut findings);
    modifiers(object, &mut findings);
    irrelevant(object, &mut findings);
    findings
}

/// An empty list of findings about `object`.
#[must_use]
pub fn about(object: &ScaledObject) -> Findings {
    Findings::about(format!(
        "ScaledObject {}/{}",
        object.namespace().unwrap_or_default(),
        object.name_any()
    ))
}

/// The class of the rule that something has to wake a workload which may sleep.
pub const SCALE_TO_ZERO: &str = "scale-to-zero-requirements-not-met";
const REPLICAS: &str = "incorrect-replicas";
const FALLBACK: &str = "incorrect-fallback";
const MODIFIERS: &str = "scaling-modifiers";
const MODIFIERS_FALLBACK: &str = "scaling-modifiers-fallback";

fn names(object: &ScaledObject, findings: &mut Findings) {
    let (name, hpa_name) = (object.name_any(), object.hpa_name());
    for (reason, field, name) in [
        ("name-too-long", "metadata.name", name),
        (
            "hpa-name-too-long",
            "spec.advanced.horizontalPodAutoscalerConfig.name",
            hpa_name,
        ),
    ] {
        if name.len() > LONGEST_NAME {
            let length = name.len();
            let message = format!("{name:?} has {length} characters, expected at most {LONGEST_NAME}");
            findings.add(Severity::AdmissionError, reason, field, name, message);
        }
    }
}

fn target(object: &ScaledObject, findings: &mut Findings) {
    let target = &object.spec.scale_target_ref;
    if target.name.is_empty() {
        let message = "is empty, expected the name of the workload to scale";
        findings.add(
            Severity::Error,
            "incorrect-target",
            "spec.scaleTargetRef.name",
            "",
            message,
        );
    }
    if target.api_version().split('/').count() > 2 {
        let version = target.api_version();
        let message = format!("{version:?} is no API version, expected \"group/version\" or \"version\"");
        findings.add(
            Severity::Error,
            "incorrect-target",
            "spec.scaleTargetRef.apiVersion",
            version,
            message,
        );
    }
}

fn replicas(object: &ScaledObject, findings: &mut Findings) {
    let spec = &object.spec;
    let (min, max) = (spec.min_replica_count(), spec.max_replica_count());
    for (field, value, least) in [
        ("minReplicaCount", spec.min_replica_count, 0),
        ("idleReplicaCount", spec.idle_replica_count, 0),
        ("maxReplicaCount", spec.max_replica_count, 1),
        ("pollingInterval", spec.polling_interval, 1),
        ("cooldownPeriod", spec.cooldown_period, 0),
        ("initialCooldownPeriod", spec.initial_cooldown_period, 0),
    ] {
        if let Some(value) = value.filter(|value| *value < least) {
            let message = format!("is {value}, expected at least {least}");
            findings.add(Severity::Error, REPLICAS, format!("spec.{field}"), value, message);
        }
    }
    if min > max {
        let message = format!("is {min}, expected at most maxReplicaCount, which is {max}");
        findings.add(Severity::Error, REPLICAS, "spec.minReplicaCount", min, message);
    }
    let Some(idle) = spec.idle_replica_count else {
        return;
    };
    if idle > min {
        let message = format!("is {idle}, expected less than minReplicaCount, which is {min}");
        findings.add(Severity::Error, REPLICAS, "spec.idleReplicaCount", idle, message);
    } else if idle == min {
        let message = format!("is {idle} as minReplicaCount is, so it makes no difference");
        findings.add(
            Severity::Warning,
            REPLICAS,
            "spec.idleReplicaCount",
            idle,
            message,
        );
    }
}

/// Triggers that cannot wake a workload, and a workload that may sleep.
fn wakes(object: &ScaledObject, findings: &mut Findings) {
    let triggers = &object.spec.triggers;
    let only_resources = !triggers.is_empty() && triggers.iter().all(is_resource);
    if only_resources && object.spec.min_replica_count() == 0 {
        let message = "is 0 and every trigger is cpu or memory, which cannot wake a workload from 0; expected at \
                       least 1, or a trigger of another type";
        let reason = SCALE_TO_ZERO;
        findings.add(
            Severity::AdmissionError,
            reason,
            "spec.minReplicaCount",
            0,
            message,
        );
    }
}

fn metric_type(trigger: &ScaleTrigger, field: &str, findings: &mut Findings) {
    let given = trigger.metric_type.as_deref().unwrap_or_default();
    match trigger.metric_type() {
        Err(error) => findings.add(Severity::Error, TRIGGERS, field, given, error.message()),
        Ok(MetricType::Utilization) if !is_resource(trigger) => {
            let message = "'Utilization' metric type is unsupported for external metrics, allowed values are 'Value' \
                           or 'AverageValue'";
            findings.add(Severity::Error, TRIGGERS, field, given, message);
        }
        Ok(_) => {}
    }
}

fn fallback(object: &ScaledObject, findings: &mut Findings) {
    let Some(fallback) = &object.spec.fallback else {
        return;
    };
    for (field, value) in [
        ("failureThreshold", fallback.failure_threshold),
        ("replicas", fallback.replicas),
    ] {
        if value < 0 {
            let message = format!("is {value}, expected at least 0");
            findings.add(
                Severity::Error,
                FALLBACK,
                format!("spec.fallback.{field}"),
                value,
                message,
            );
        }
    }
    match fallback.behavior() {
        Err(error) => {
            findings.add(
                Severity::Error,
                FALLBACK,
                "spec.fallback.behavior",
                &fallback.behavior,
                error.message(),
            );
        }
        Ok(FallbackBehavior::ScalingModifiers) if object.spec.scaling_modifiers().is_none() => {
            let message = "is scalingModifiers, which needs spec.advanced.scalingModifiers.formula";
            findings.add(
                Severity::Error,
                MODIFIERS_FALLBACK,
                "spec.fallback.behavior",
                &fallback.behavior,
                message,
            );
        }
        Ok(_) => {}
    }
    if !object.spec.triggers.is_empty() && object.spec.triggers.iter().all(is_resource) {
        let message = "every trigger is cpu or memory, which have no fallback";
        findings.add(Severity::AdmissionError, FALLBACK, "spec.fallback", "", message);
    }
}

/// The formula, its numbers, and the names of the triggers that it is about.
fn modifiers(object: &ScaledObject, findings: &mut Findings) {
    const FIELD: &str = "spec.advanced.scalingModifiers";
    if object.spec.scaling_modifiers().is_none() {
        return;
    }
    for problem in Modifiers::of(&object.spec).err().unwrap_or_default() {
        let field = format!("{FIELD}.{}", problem.field);
        findings.add(Severity::Error, MODIFIERS, field, problem.value, problem.message);
    }
    for (index, trigger) in object.spec.triggers.iter().enumerate() {
        let field = format!("spec.triggers[{index}].name");
        if !is_resource(trigger) && trigger.name.as_deref().unwrap_or_default().is_empty() {
            let message = "is empty, expected a name by which scalingModifiers.formula can call the trigger";
            findings.add(Severity::Error, MODIFIERS, field, "", message);
        } else if is_resource(trigger) && trigger.metadata.contains_key("containerName") {
            let message = "names a container, whose metric is dropped while scalingModifiers are used";
            let field = format!("spec.triggers[{index}].metadata.containerName");
            findings.add(Severity::Warning, MODIFIERS, field, "", message);
        }
    }
}

/// Settings of the step to zero in objects that never take it.
fn irrelevant(object: &ScaledObject, findings: &mut Findings) {
    let spec = &object.spec;
    if spec.min_replica_count() == 0 || spec.idle_replica_count.is_some() {
        return;
    }
    let cached = spec.triggers.iter().any(ScaleTrigger::use_cached_metrics);
    let why = "has no effect: minReplicaCount is above 0 and there is no idleReplicaCount";
    if let Some(interval) = spec.polling_interval.filter(|_| !cached) {
        findings.add(Severity::Warning, REPLICAS, "spec.pollingInterval", interval, why);
    }
    if let Some(period) = spec.cooldown_period {
        findings.add(Severity::Warning, REPLICAS, "spec.cooldownPeriod", period, why);
    }
}

#[cfg(test)]
mod tests {
    //! keda.md §7, and design: idle == min.
    use serde_json::{Value, json};

    use super::*;

    fn object(spec: &Value) -> ScaledObject {
        let mut value = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"scaleTargetRef": {"name": "web"}, "triggers": [{"type": "known", "metadata": {}}]},
        });
        for (key, given) in spec.as_object().unwrap() {
            value["spec"][key] = given.clone();
        }
        serde_json::from_value(value).unwrap()
    }

    fn registry() -> Registry {
        let mut registry = Registry::new();
        for known in ["cpu", "memory", "cron", "known"] {
            registry.register_unavailable(known, "nothing");
        }
        registry
    }

    /// Fields and severities, without the triggers' types, none of which is built in here.
    fn found(spec: &Value) -> Vec<(String, Severity)> {
        let findings = check(&object(spec), &registry());
        let rest = findings
            .all()
            .iter()
            .filter(|finding| !finding.field.ends_with(".type"));
        rest.map(|finding| (finding.field.clone(), finding.severity))
            .collect()
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "a table")]
    fn each_row_of_section_7_is_refused_where_it_says() {
        use Severity::{AdmissionError, Error, Warning};
        let trigger = |kind: &str, more: Value| {
            let mut trigger = json!({"type": kind, "metadata": {}});
            trigger
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            trigger
        };
        let cpu = trigger("cpu", json!({"metricType": "Utilization"}));
        let cases = [
            (json!({}), vec![]),
            (
                json!({"minReplicaCount": 3, "maxReplicaCount": 2}),
                vec![("spec.minReplicaCount", Error)],
            ),
            (
                json!({"minReplicaCount": 101}),
                vec![("spec.minReplicaCount", Error)],
            ),
            (
                json!({"maxReplicaCount": 0}),
                vec![("spec.maxReplicaCount", Error)],
            ),
            (
                json!({"idleReplicaCount": 0, "minReplicaCount": 0}),
                vec![("spec.idleReplicaCount", Warning)],
            ),
            (
                json!({"idleReplicaCount": 0}),
                vec![("spec.idleReplicaCount", Warning)],
            ),
            (
                json!({"idleReplicaCount": 2, "minReplicaCount": 2}),
                vec![("spec.idleReplicaCount", Warning)],
            ),
            (json!({"idleReplicaCount": 1, "minReplicaCount": 2}), vec![]),
            (
                json!({"idleReplicaCount": 3, "minReplicaCount": 2}),
                vec![("spec.idleReplicaCount", Error)],
            ),
            (
                json!({"pollingInterval": 0}),
                vec![("spec.pollingInterval", Error)],
            ),
            (
                json!({"scaleTargetRef": {"name": ""}}),
                vec![("spec.scaleTargetRef.name", Error)],
            ),
            (json!({"triggers": []}), vec![("spec.triggers", Error)]),
            (
                json!({"triggers": [trigger("known", json!({"name": "a"})), trigger("known", json!({"name": "a"}))]}),
                vec![("spec.triggers[1].name", Error)],
            ),
            (
                json!({"triggers": [trigger("known", json!({"useCachedMetrics": true}))]}),
                vec![],
            ),
            (
                json!({"triggers": [trigger("cron", json!({"useCachedMetrics": true}))]}),
                vec![("spec.triggers[0].useCachedMetrics", Error)],
            ),
            (
                json!({"triggers": [trigger("known", json!({"metricType": "Utilization"}))]}),
                vec![("spec.triggers[0].metricType", Error)],
            ),
            (
                json!({"triggers": [trigger("known", json!({"metricType": "Values"}))]}),
                vec![("spec.triggers[0].metricType", Error)],
            ),
            (
                json!({"triggers": [trigger("known", json!({"authenticationRef": {"name": "", "kind": "Secret"}}))]}),
                vec![
                    ("spec.triggers[0].authenticationRef.name", Error),
                    ("spec.triggers[0].authenticationRef.kind", Error),
                ],
            ),
            (
                json!({"triggers": [cpu]}),
                vec![("spec.minReplicaCount", AdmissionError)],
            ),
            (json!({"triggers": [cpu], "minReplicaCount": 1}), vec![]),
            (json!({"triggers": [cpu, trigger("known", json!({}))]}), vec![]),
            (
                json!({"triggers": [cpu], "minReplicaCount": 1, "fallback": {"failureThreshold": 1, "replicas": 1}}),
                vec![("spec.fallback", AdmissionError)],
            ),
            (
                json!({"fallback": {"failureThreshold": -1, "replicas": -2, "behavior": "perhaps"}}),
                vec![
                    ("spec.fallback.failureThreshold", Error),
                    ("spec.fallback.replicas", Error),
                    ("spec.fallback.behavior", Error),
                ],
            ),
            (
                json!({"fallback": {"failureThreshold": 5, "replicas": 2}}),
                vec![],
            ),
            (
                json!({"advanced": {"scalingModifiers": {"formula": "a + b", "target": "0"}}}),
                vec![
                    ("spec.advanced.scalingModifiers.formula", Error),
                    ("spec.advanced.scalingModifiers.target", Error),
                    ("spec.triggers[0].name", Error),
                ],
            ),
            (
                json!({
                    "advanced": {"scalingModifiers": {"formula": "a", "target": "2"}},
                    "triggers": [
                        {"type": "known", "name": "a", "metadata": {}},
                        {"type": "cpu", "metadata": {"containerName": "app"}},
                    ],
                }),
                vec![("spec.triggers[1].metadata.containerName", Warning)],
            ),
            (
                json!({"fallback": {"failureThreshold": 1, "replicas": 1, "behavior": "scalingModifiers"}}),
                vec![("spec.fallback.behavior", Error)],
            ),
            (
                json!({"minReplicaCount": 1, "pollingInterval": 5, "cooldownPeriod": 5}),
                vec![
                    ("spec.pollingInterval", Warning),
                    ("spec.cooldownPeriod", Warning),
                ],
            ),
            (json!({"pollingInterval": 5, "cooldownPeriod": 5}), vec![]),
        ];
        for (spec, expected) in cases {
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(field, severity)| (field.to_owned(), severity))
                .collect();
            assert_eq!(found(&spec), expected, "{spec}");
        }
    }

    #[test]
    fn section_7_long_names_are_refused_at_admission() {
        let mut object = object(&json!({}));
        object.metadata.name = Some("x".repeat(64));
        let fields: Vec<_> = check(&object, &registry())
            .at_least(Severity::AdmissionError)
            .filter(|finding| !finding.field.ends_with(".type"))
            .map(|finding| finding.reason)
            .collect();
        assert_eq!(fields, ["name-too-long", "hpa-name-too-long"]);
    }

    #[test]
    fn section_7_an_unknown_type_names_the_nearest_known_one_and_stands_beside_other_problems() {
        let findings = check(
            &object(&json!({"minReplicaCount": 200, "triggers": [{"type": "crom", "metadata": {}}]})),
            &registry(),
        );
        assert!(!findings.allow_running());
        let words = findings.in_words(Severity::Error);
        assert!(
            words.contains("spec.minReplicaCount: is 200, expected at most maxReplicaCount, which is 100"),
            "{words}"
        );
        assert!(
            words.contains("spec.triggers[0].type: no scaler found for type: crom (did you mean \"cron\"?)"),
            "{words}"
        );
        assert_eq!(findings.all()[0].object, "ScaledObject shop/web");
    }
}
