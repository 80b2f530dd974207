//! Validation of pods and pod templates.

use scaler_api::Quantity;
use serde_json::Value;

use crate::sim::api::{field::FieldError, value};

/// Problems of annotations that mean something on a pod.
pub(super) fn annotations(pod: &Value, errors: &mut Vec<FieldError>) {
    const COST: &str = "controller.kubernetes.io/pod-deletion-cost";
    let Some(cost) = value::at(pod, &["metadata", "annotations", COST]) else {
        return;
    };
    let text = cost.as_str().unwrap_or_default();
    let digits = text.strip_prefix('-').unwrap_or(text);
    let padded = digits.starts_with(['0', '+']) && text != "0";
    if padded || text.parse::<i32>().is_err() {
        let field = format!("metadata.annotations[{COST}]");
        errors.push(FieldError::invalid(field, cost, "must be a 32bit integer"));
    }
}

/// Problems of the pod spec at `path`, which is called `field`.
pub(super) fn spec(object: &Value, path: &[&str], field: &str, errors: &mut Vec<FieldError>) {
    let Some(spec) = value::at(object, path) else {
        errors.push(FieldError::required(field, ""));
        return;
    };
    let containers = value::items(spec, &["containers"]);
    if containers.is_empty() {
        errors.push(FieldError::required(format!("{field}.containers"), ""));
    }
    let mut names: Vec<&str> = Vec::new();
    for list in ["containers", "initContainers"] {
        for (index, container) in value::items(spec, &[list]).iter().enumerate() {
            let field = format!("{field}.{list}[{index}]");
            let name = value::text(container, &["name"]);
            if name.is_empty() {
                errors.push(FieldError::required(format!("{field}.name"), ""));
            } else if names.contains(&name) {
                errors.push(FieldError::duplicate(format!("{field}.name"), &name.into()));
            }
            names.push(name);
            if value::text(container, &["image"]).is_empty() {
                errors.push(FieldError::required(format!("{field}.image"), ""));
            }
            resources(container, &field, errors);
        }
    }
    let policy = value::at(spec, &["restartPolicy"]).unwrap_or(&Value::Null);
    let known = ["Always", "OnFailure", "Never"];
    if !known.iter().any(|known| policy == known) {
        errors.push(FieldError::not_supported(
            format!("{field}.restartPolicy"),
            policy,
            known,
        ));
    }
}

fn resources(container: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let amount = |list: &str, name: &str| -> Option<Quantity> {
        value::text(container, &["resources", list, name]).parse().ok()
    };
    for list in ["limits", "requests"] {
        let amounts = value::at(container, &["resources", list]).and_then(Value::as_object);
        for (name, text) in amounts.into_iter().flatten() {
            let field = format!("{field}.resources.{list}[{name}]");
            let Some(quantity) = text.as_str().and_then(|text| text.parse::<Quantity>().ok()) else {
                let detail = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
                errors.push(FieldError::invalid(field, text, detail));
                continue;
            };
            if quantity < Quantity::ZERO {
                errors.push(FieldError::invalid(
                    field,
                    text,
                    "must be greater than or equal to 0",
                ));
            } else if list == "requests" && amount("limits", name).is_some_and(|limit| quantity > limit) {
                let limit = value::text(container, &["resources", "limits", name]);
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                errors.push(FieldError::invalid(
                    field.replace(&format!("[{name}]"), ""),
                    text,
                    detail,
                ));
            }
        }
    }
}

/// Of a pod's spec, little changes after its creation.
pub(super) fn update(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let essence = |pod: &Value| {
        let mut spec = value::at(pod, &["spec"]).cloned().unwrap_or_default();
        for list in ["containers", "initContainers"] {
            if let Some(Value::Array(containers)) = spec.get_mut(list) {
                for container in containers {
                    value::remove(container, &["image"]);
                    value::remove(container, &["resources"]);
                }
            }
        }
        for field in [
            "activeDeadlineSeconds",
            "tolerations",
            "terminationGracePeriodSeconds",
            "schedulingGates",
        ] {
            value::remove(&mut spec, &[field]);
        }
        spec
    };
    if essence(old) == essence(new) {
        return;
    }
    errors.push(FieldError::forbidden(
        "spec",
        "pod updates may not change fields other than \
         `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only \
         additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
         previously negative)",
    ));
}
