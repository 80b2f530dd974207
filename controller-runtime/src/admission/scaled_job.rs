//! The rules for a ScaledJob by itself.

use kube::ResourceExt as _;
use scaler_api::{Registry, keda::ScaledJob};

use super::{
    Findings, Severity,
    triggers::{self, TRIGGERS},
};

/// Every rule: they are about the triggers alone.
#[must_use]
pub fn check(job: &ScaledJob, registry: &Registry) -> Findings {
    let mut findings = Findings::about(format!(
        "ScaledJob {}/{}",
        job.namespace().unwrap_or_default(),
        job.name_any()
    ));
    triggers::check(&job.spec.triggers, registry, &mut findings);
    for (index, trigger) in job.spec.triggers.iter().enumerate() {
        let given = trigger.metric_type.as_deref().unwrap_or_default();
        if !given.is_empty() {
            let field = format!("spec.triggers[{index}].metricType");
            let message = format!("is {given:?}, expected none: Jobs have no HPA");
            findings.add(Severity::Error, TRIGGERS, field, given, message);
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn section_7_a_list_of_triggers_is_checked_as_a_scaled_objects_is() {
        let known = json!({"type": "known", "metadata": {}});
        let with = |field: &str, value: Value| {
            let mut trigger = known.clone();
            trigger[field] = value;
            trigger
        };
        let cases = [
            (json!([known]), vec![]),
            (json!([]), vec!["spec.triggers"]),
            (
                json!([with("name", "a".into()), with("name", "a".into())]),
                vec!["spec.triggers[1].name"],
            ),
            (
                json!([with("metricType", "Value".into())]),
                vec!["spec.triggers[0].metricType"],
            ),
            (
                json!([with("type", "knwon".into())]),
                vec!["spec.triggers[0].type"],
            ),
            (
                json!([{"type": "cron", "metadata": {}, "useCachedMetrics": true}]),
                vec!["spec.triggers[0].useCachedMetrics"],
            ),
        ];
        let mut registry = Registry::new();
        for known in ["cron", "known"] {
            registry.register_unavailable(known, "nothing");
        }
        for (triggers, expected) in cases {
            let job: ScaledJob = serde_json::from_value(json!({
                "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob",
                "metadata": {"name": "work", "namespace": "shop"},
                "spec": {"jobTargetRef": {"template": {}}, "triggers": triggers},
            }))
            .unwrap();
            let findings = check(&job, &registry);
            // No type is built in here, which is said of every trigger that is otherwise right.
            let found: Vec<_> = findings
                .all()
                .iter()
                .filter(|finding| {
                    !finding.field.ends_with(".type") || finding.message.contains("did you mean")
                })
                .map(|finding| finding.field.as_str())
                .collect();
            assert_eq!(found, expected, "{triggers}");
        }
    }
}
