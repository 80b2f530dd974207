//! Validation of HorizontalPodAutoscalers.

use serde_json::Value;

use crate::sim::api::{field::FieldError, value};

/// Problems of an autoscaler in its v2 form.
pub(super) fn autoscaler(object: &Value, errors: &mut Vec<FieldError>) {
    let min = value::int(object, &["spec", "minReplicas"]).unwrap_or(1);
    let max = value::int(object, &["spec", "maxReplicas"]).unwrap_or(0);
    if min < 1 {
        errors.push(FieldError::invalid(
            "spec.minReplicas",
            &min.into(),
            "must be greater than or equal to 1",
        ));
    }
    if max < 1 {
        errors.push(FieldError::invalid(
            "spec.maxReplicas",
            &max.into(),
            "must be greater than 0",
        ));
    }
    if max < min {
        let detail = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid("spec.maxReplicas", &max.into(), detail));
    }
    for field in ["kind", "name"] {
        if value::text(object, &["spec", "scaleTargetRef", field]).is_empty() {
            errors.push(FieldError::required(format!("spec.scaleTargetRef.{field}"), ""));
        }
    }
    let metrics = value::items(object, &["spec", "metrics"]);
    let outside = |metric: &Value| metric["type"] == "Object" || metric["type"] == "External";
    if min == 0 && !metrics.iter().any(outside) {
        let detail =
            "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(FieldError::forbidden("spec.metrics", detail));
    }
    for (index, metric) in metrics.iter().enumerate() {
        self::metric(metric, &format!("spec.metrics[{index}]"), errors);
    }
    for direction in ["scaleUp", "scaleDown"] {
        if let Some(rules) = value::at(object, &["spec", "behavior", direction]) {
            scaling_rules(rules, &format!("spec.behavior.{direction}"), errors);
        }
    }
}

const KINDS: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

fn metric(metric: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let kind = value::text(metric, &["type"]);
    let Some((_, member)) = KINDS.iter().find(|(name, _)| *name == kind) else {
        let found = value::at(metric, &["type"]).cloned().unwrap_or_else(|| "".into());
        if kind.is_empty() {
            errors.push(FieldError::required(
                format!("{field}.type"),
                "must specify a metric source type",
            ));
        } else {
            let names = KINDS.iter().map(|(name, _)| *name);
            errors.push(FieldError::not_supported(format!("{field}.type"), &found, names));
        }
        return;
    };
    let Some(source) = metric.get(*member) else {
        let detail = "must populate information for the given metric source";
        errors.push(FieldError::required(format!("{field}.{member}"), detail));
        return;
    };
    let field = format!("{field}.{member}");
    if matches!(*member, "external" | "object" | "pods")
        && value::text(source, &["metric", "name"]).is_empty()
    {
        errors.push(FieldError::required(
            format!("{field}.metric.name"),
            "must specify a metric name",
        ));
    }
    target(source, member, &field, errors);
}

fn target(source: &Value, member: &str, field: &str, errors: &mut Vec<FieldError>) {
    let given = |name: &str| value::at(source, &["target", name]);
    let field = format!("{field}.target");
    let kind = value::text(source, &["target", "type"]);
    if kind.is_empty() {
        errors.push(FieldError::required(
            format!("{field}.type"),
            "must specify a metric target type",
        ));
    } else if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        let detail = "must be either Utilization, Value, or AverageValue";
        errors.push(FieldError::invalid(format!("{field}.type"), &kind.into(), detail));
    }
    for name in ["value", "averageValue"] {
        let positive = given(name).is_none_or(|found| {
            let text = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
            text.parse::<scaler_api::Quantity>()
                .is_ok_and(|quantity| quantity > scaler_api::Quantity::ZERO)
        });
        if !positive {
            let found = given(name).unwrap_or(&Value::Null);
            errors.push(FieldError::invalid(
                format!("{field}.{name}"),
                found,
                "must be positive",
            ));
        }
    }
    match member {
        "external" | "object" => match (given("value"), given("averageValue")) {
            (None, None) => errors.push(FieldError::required(
                format!("{field}.averageValue"),
                "must set either a target value for metric or a per-pod target",
            )),
            (Some(_), Some(_)) if member == "external" => errors.push(FieldError::forbidden(
                format!("{field}.value"),
                "may not set both a target value for metric and a per-pod target",
            )),
            _ => {}
        },
        "pods" if given("averageValue").is_none() => {
            let detail = "must specify a positive target averageValue";
            errors.push(FieldError::required(format!("{field}.averageValue"), detail));
        }
        "resource" | "containerResource" => {
            if let Some(percent) = given("averageUtilization")
                .and_then(Value::as_i64)
                .filter(|&percent| percent < 1)
            {
                let detail = "must be greater than 0";
                errors.push(FieldError::invalid(
                    format!("{field}.averageUtilization"),
                    &percent.into(),
                    detail,
                ));
            }
            if given("averageUtilization").is_none() && given("averageValue").is_none() {
                let detail = "must set either a target raw value or a target utilization";
                errors.push(FieldError::required(
                    format!("{field}.averageUtilization"),
                    detail,
                ));
            }
        }
        _ => {}
    }
}

fn scaling_rules(rules: &Value, field: &str, errors: &mut Vec<FieldError>) {
    if let Some(window) = value::int(rules, &["stabilizationWindowSeconds"]) {
        let field = format!("{field}.stabilizationWindowSeconds");
        if window < 0 {
            errors.push(FieldError::invalid(
                field,
                &window.into(),
                "must be greater than or equal to zero",
            ));
        } else if window > 3600 {
            errors.push(FieldError::invalid(
                field,
                &window.into(),
                "must be less than or equal to 3600",
            ));
        }
    }
    let select = value::at(rules, &["selectPolicy"]).unwrap_or(&Value::Null);
    if !select.is_null() && !["Disabled", "Max", "Min"].iter().any(|known| select == known) {
        let field = format!("{field}.selectPolicy");
        errors.push(FieldError::not_supported(
            field,
            select,
            ["Disabled", "Max", "Min"],
        ));
    }
    for (index, policy) in value::items(rules, &["policies"]).iter().enumerate() {
        let field = format!("{field}.policies[{index}]");
        let kind = value::at(policy, &["type"]).unwrap_or(&Value::Null);
        if kind != "Percent" && kind != "Pods" {
            errors.push(FieldError::not_supported(
                format!("{field}.type"),
                kind,
                ["Percent", "Pods"],
            ));
        }
        let amount = value::int(policy, &["value"]).unwrap_or(0);
        if amount <= 0 {
            errors.push(FieldError::invalid(
                format!("{field}.value"),
                &amount.into(),
                "must be greater than zero",
            ));
        }
        let period = value::int(policy, &["periodSeconds"]).unwrap_or(0);
        let field = format!("{field}.periodSeconds");
        if period <= 0 {
            errors.push(FieldError::invalid(
                field,
                &period.into(),
                "must be greater than zero",
            ));
        } else if period > 1800 {
            errors.push(FieldError::invalid(
                field,
                &period.into(),
                "must be less than or equal to 1800",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn problems_of_autoscalers_are_all_reported() {
        let object = json!({"spec": {
            "minReplicas": 0,
            "maxReplicas": 0,
            "scaleTargetRef": {"kind": "Deployment", "name": "d"},
            "metrics": [
                {"type": "External", "external": {"metric": {"name": "q"}, "target": {"type": "Value", "value": "0"}}},
                {"type": "Odd"},
            ],
            "behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 9000}]}},
        }});
        let mut errors = Vec::new();
        autoscaler(&object, &mut errors);
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
                "spec.maxReplicas: Invalid value: 0: must be greater than 0",
                "spec.metrics[0].external.target.value: Invalid value: \"0\": must be positive",
                "spec.metrics[1].type: Unsupported value: \"Odd\": supported values: \"ContainerResource\", \"External\", \
                 \"Object\", \"Pods\", \"Resource\"",
                "spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 9000: must be less than or equal to 1800",
            ]
        );
    }
}
