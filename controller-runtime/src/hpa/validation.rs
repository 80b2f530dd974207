//! Which specifications the API server lets in.

use super::{
    Config,
    spec::{Metric, Policy, ScalingRules, Spec, Target},
};

/// What is wrong with `spec`, each with its field; empty if it is valid.
///
/// `previous_min` is the `minReplicas` of the object that is being updated: whoever has 0 may keep it while
/// [`Config::scale_to_zero`] is off.
#[must_use]
pub fn validate(spec: &Spec, previous_min: Option<i32>, config: &Config) -> Vec<String> {
    let mut problems = Vec::new();
    let (min, max) = (spec.min_replicas(), spec.max_replicas);
    let lowest = if config.scale_to_zero || previous_min == Some(0) {
        0
    } else {
        1
    };
    let has_total = spec
        .metrics
        .iter()
        .any(|metric| matches!(metric, Metric::Object(_) | Metric::External(_)));
    if min < lowest {
        problems.push(format!(
            "spec.minReplicas: {min} must be greater than or equal to {lowest}"
        ));
    } else if min == 0 && !has_total {
        problems.push(
            "spec.metrics: must specify at least one Object or External metric to support scaling to zero \
                       replicas"
                .to_owned(),
        );
    }
    if max < 1 {
        problems.push(format!("spec.maxReplicas: {max} must be greater than 0"));
    }
    if max < min {
        problems.push(format!(
            "spec.maxReplicas: {max} must be greater than or equal to minReplicas, which is {min}"
        ));
    }
    for (index, metric) in spec.metrics.iter().enumerate() {
        problems.extend(metric_problem(metric).map(|problem| format!("spec.metrics[{index}].{problem}")));
    }
    if let Some(behavior) = &spec.behavior {
        for (direction, rules) in [
            ("scaleUp", &behavior.scale_up),
            ("scaleDown", &behavior.scale_down),
        ] {
            let found = rules_problems(rules);
            problems.extend(
                found
                    .into_iter()
                    .map(|problem| format!("spec.behavior.{direction}.{problem}")),
            );
        }
    }
    problems
}

fn metric_problem(metric: &Metric) -> Option<String> {
    let (field, target, allowed) = match metric {
        Metric::External(metric) => ("external", &metric.target, &["value", "averageValue"][..]),
        Metric::Object(metric) => ("object", &metric.target, &["value", "averageValue"][..]),
        Metric::Pods(metric) => ("pods", &metric.target, &["averageValue"][..]),
        Metric::Resource(metric) => ("resource", &metric.target, RESOURCE),
        Metric::ContainerResource(metric) => ("containerResource", &metric.target, RESOURCE),
        Metric::Unknown(metric_type) => {
            let types = "ContainerResource, External, Object, Pods, Resource";
            return Some(format!("type: {metric_type:?} is not one of {types}"));
        }
    };
    let Target {
        value,
        average_value,
        average_utilization,
        ..
    } = *target;
    let set: Vec<_> = [
        ("value", value),
        ("averageValue", average_value),
        ("averageUtilization", average_utilization.map(i64::from)),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect();
    match set[..] {
        [(name, value)] if allowed.contains(&name) => {
            (value <= 0).then(|| format!("{field}.target.{name}: must be positive"))
        }
        _ => {
            let set: Vec<_> = set.iter().map(|(name, _)| *name).collect();
            Some(format!(
                "{field}.target: must set exactly one of {allowed:?}, but sets {set:?}"
            ))
        }
    }
}

const RESOURCE: &[&str] = &["averageUtilization", "averageValue"];
const MAX_PERIOD_SECONDS: i32 = 1800;
const MAX_WINDOW_SECONDS: i32 = 3600;

fn rules_problems(rules: &ScalingRules) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(window) = rules
        .stabilization_window_seconds
        .filter(|window| !(0..=MAX_WINDOW_SECONDS).contains(window))
    {
        problems.push(format!(
            "stabilizationWindowSeconds: {window} must be from 0 to {MAX_WINDOW_SECONDS}"
        ));
    }
    if rules.tolerance.is_some_and(|tolerance| tolerance < 0.0) {
        problems.push("tolerance: must be greater than or equal to zero".to_owned());
    }
    if rules.policies.is_empty() {
        problems.push("policies: must specify at least one policy".to_owned());
    }
    for (
        index,
        Policy {
            value,
            period_seconds,
            ..
        },
    ) in rules.policies.iter().enumerate()
    {
        if *value <= 0 {
            problems.push(format!(
                "policies[{index}].value: {value} must be greater than zero"
            ));
        }
        if !(1..=MAX_PERIOD_SECONDS).contains(period_seconds) {
            let problem = format!("{period_seconds} must be from 1 to {MAX_PERIOD_SECONDS}");
            problems.push(format!("policies[{index}].periodSeconds: {problem}"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn problems(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let mut value = json!({
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
            "minReplicas": 1,
            "maxReplicas": 3,
            "metrics": [{
                "type": "External",
                "external": { "metric": { "name": "qps" }, "target": { "type": "AverageValue", "averageValue": "5" } },
            }],
        });
        change(&mut value);
        validate(&Spec::from_value(&value).unwrap(), None, &Config::default())
    }

    fn target(target: Value) -> impl FnOnce(&mut Value) {
        |spec| spec["metrics"][0]["external"]["target"] = target
    }

    #[test]
    fn what_is_wrong_is_named_with_its_field() {
        assert_eq!(problems(|_| ()), Vec::<String>::new());
        for (found, expected) in [
            (
                problems(|spec| spec["minReplicas"] = json!(0)),
                "spec.minReplicas: 0 must be",
            ),
            (
                problems(|spec| spec["maxReplicas"] = json!(0)),
                "spec.maxReplicas: 0 must be greater than 0",
            ),
            (
                problems(|spec| spec["minReplicas"] = json!(4)),
                "spec.maxReplicas: 3 must be greater than or equal to",
            ),
            (
                problems(|spec| spec["metrics"][0]["type"] = json!("Cheese")),
                "spec.metrics[0].type: \"Cheese\"",
            ),
            (
                problems(target(
                    json!({ "type": "Value", "value": "1", "averageValue": "1" }),
                )),
                "spec.metrics[0].external.target: must set exactly one of",
            ),
            (
                problems(target(json!({ "type": "Utilization", "averageUtilization": 1 }))),
                "spec.metrics[0].external.target: must set exactly one of",
            ),
            (
                problems(target(json!({ "type": "Value", "value": "0" }))),
                "spec.metrics[0].external.target.value: must be positive",
            ),
            (
                problems(|spec| {
                    let policy = json!({ "type": "Pods", "value": 1, "periodSeconds": 1801 });
                    spec["behavior"] = json!({ "scaleUp": { "policies": [policy] } });
                }),
                "spec.behavior.scaleUp.policies[0].periodSeconds: 1801 must be",
            ),
            (
                problems(|spec| {
                    spec["behavior"] = json!({ "scaleDown": { "stabilizationWindowSeconds": 3601 } })
                }),
                "spec.behavior.scaleDown.stabilizationWindowSeconds: 3601 must be",
            ),
            (
                problems(|spec| spec["behavior"] = json!({ "scaleDown": { "tolerance": "-1" } })),
                "spec.behavior.scaleDown.tolerance: must be",
            ),
        ] {
            assert!(
                found.iter().any(|problem| problem.starts_with(expected)),
                "{expected}: {found:?}"
            );
        }
    }

    #[test]
    fn zero_is_for_those_who_have_it_or_whose_gate_is_on_and_who_can_leave_it() {
        let zero = |metric: Value| {
            let target = json!({ "kind": "Deployment", "name": "web" });
            let spec =
                json!({ "scaleTargetRef": target, "minReplicas": 0, "maxReplicas": 3, "metrics": [metric] });
            Spec::from_value(&spec).unwrap()
        };
        let target = json!({ "type": "Value", "value": "1" });
        let external =
            zero(json!({ "type": "External", "external": { "metric": { "name": "q" }, "target": target } }));
        let target = json!({ "type": "Utilization", "averageUtilization": 50 });
        let cpu = zero(json!({ "type": "Resource", "resource": { "name": "cpu", "target": target } }));
        let off = Config::default();
        let on = Config {
            scale_to_zero: true,
            ..Config::default()
        };
        for (spec, previous, config, valid) in [
            (&external, None, &off, false),
            (&external, Some(1), &off, false),
            (&external, Some(0), &off, true),
            (&external, None, &on, true),
            (&cpu, None, &on, false),
        ] {
            assert_eq!(
                validate(spec, previous, config).is_empty(),
                valid,
                "{spec:?} after {previous:?}"
            );
        }
    }
}
