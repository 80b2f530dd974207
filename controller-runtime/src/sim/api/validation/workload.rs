//! Validation of what makes pods.

use serde_json::Value;

use super::{names::label_map, pod};
use crate::sim::api::{field::FieldError, selectors::LabelSelector, value};

/// Deployments, replica sets, stateful sets and daemon sets.
pub(super) fn workload(object: &Value, errors: &mut Vec<FieldError>) {
    replicas(object, errors);
    let template = value::at(object, &["spec", "template"]);
    let labels = template.and_then(|template| value::at(template, &["metadata", "labels"]));
    match value::at(object, &["spec", "selector"]) {
        None => {
            errors.push(FieldError::required("spec.selector", ""));
            let found = labels.cloned().unwrap_or_default();
            let detail = "`selector` does not match template `labels`";
            errors.push(FieldError::invalid(
                "spec.template.metadata.labels",
                &found,
                detail,
            ));
        }
        Some(selector) => match LabelSelector::from_object(selector) {
            Err(error) => errors.push(FieldError::invalid("spec.selector", selector, error)),
            Ok(parsed) if parsed.is_empty() => {
                let detail = "empty selector is invalid for deployment";
                errors.push(FieldError::invalid("spec.selector", selector, detail));
            }
            Ok(parsed) if !parsed.matches_labels(labels) => {
                let found = labels.cloned().unwrap_or_default();
                let detail = "`selector` does not match template `labels`";
                errors.push(FieldError::invalid(
                    "spec.template.metadata.labels",
                    &found,
                    detail,
                ));
            }
            Ok(_) => {}
        },
    }
    label_map(labels, "spec.template.metadata.labels", errors);
    let path = ["spec", "template", "spec"];
    pod::spec(object, &path, "spec.template.spec", errors);
    let policy = value::at(object, &["spec", "template", "spec", "restartPolicy"]);
    if let Some(policy) = policy.filter(|policy| *policy == "Never" || *policy == "OnFailure") {
        errors.push(FieldError::not_supported(
            "spec.template.spec.restartPolicy",
            policy,
            ["Always"],
        ));
    }
}

fn replicas(object: &Value, errors: &mut Vec<FieldError>) {
    if let Some(count) = value::int(object, &["spec", "replicas"]).filter(|&count| count < 0) {
        errors.push(FieldError::invalid(
            "spec.replicas",
            &count.into(),
            "must be greater than or equal to 0",
        ));
    }
}

/// Jobs.
pub(super) fn job(object: &Value, errors: &mut Vec<FieldError>) {
    pod::spec(
        object,
        &["spec", "template", "spec"],
        "spec.template.spec",
        errors,
    );
    for field in [
        "parallelism",
        "completions",
        "backoffLimit",
        "activeDeadlineSeconds",
    ] {
        if let Some(count) = value::int(object, &["spec", field]).filter(|&count| count < 0) {
            let detail = "must be greater than or equal to 0";
            errors.push(FieldError::invalid(
                format!("spec.{field}"),
                &count.into(),
                detail,
            ));
        }
    }
    let policy = value::at(object, &["spec", "template", "spec", "restartPolicy"]);
    if policy.is_some_and(|policy| policy == "Always") {
        let field = "spec.template.spec.restartPolicy";
        errors.push(FieldError::required(
            field,
            "valid values: \"OnFailure\", \"Never\"",
        ));
    }
}

/// An integer from 0, or a percentage.
pub(super) fn count_or_percent(found: &Value, field: &str, errors: &mut Vec<FieldError>) {
    match found {
        Value::Number(number) if number.as_i64().is_some_and(|number| number < 0) => {
            errors.push(FieldError::invalid(
                field,
                found,
                "must be greater than or equal to 0",
            ));
        }
        Value::String(text) => {
            let percent = text
                .strip_suffix('%')
                .is_some_and(|digits| digits.parse::<u32>().is_ok());
            if !percent {
                let detail = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or \
                              '93%', regex used for validation is '[0-9]+%')";
                errors.push(FieldError::invalid(field, found, detail));
            }
        }
        _ => {}
    }
}

/// Of a stateful set's spec, some fields never change.
pub(super) fn stateful_set_update(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let essence = |object: &Value| {
        let mut spec = value::at(object, &["spec"]).cloned().unwrap_or_default();
        for field in [
            "replicas",
            "ordinals",
            "template",
            "updateStrategy",
            "revisionHistoryLimit",
            "persistentVolumeClaimRetentionPolicy",
            "minReadySeconds",
        ] {
            value::remove(&mut spec, &[field]);
        }
        spec
    };
    if essence(old) != essence(new) {
        errors.push(FieldError::forbidden(
            "spec",
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
             'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        ));
    }
}
