//! Validation of metadata, and of built-in kinds.

mod autoscaling;
mod names;
mod pod;
mod types;
mod workload;

use serde_json::Value;

pub(crate) use self::types::check as check_types;

use super::{crd, field::FieldError, resources::Resource, value, verbs::Part};

/// Problems of a new object.
pub(crate) fn create(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let mut errors = names::metadata(resource, object);
    kind(resource, object, &mut errors);
    errors
}

/// Problems of a changed object.
pub(crate) fn update(resource: &Resource, old: &Value, new: &Value, part: Part) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if part != Part::Main {
        return errors;
    }
    names::labels(new, &mut errors);
    names::finalizers(old, new, &mut errors);
    kind(resource, new, &mut errors);
    if errors.is_empty() {
        immutable(resource, old, new, &mut errors);
    }
    errors
}

fn kind(resource: &Resource, object: &Value, errors: &mut Vec<FieldError>) {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => pod::spec(object, &["spec"], "spec", errors),
        ("apps", _) if resource.plural != "controllerrevisions" => workload::workload(object, errors),
        ("batch", "jobs") => workload::job(object, errors),
        ("autoscaling", _) if resource.extension.is_none() => autoscaling::autoscaler(object, errors),
        ("policy", "poddisruptionbudgets") => budget(object, errors),
        ("", "services") => service(object, errors),
        ("coordination.k8s.io", _) => {
            for field in ["leaseDurationSeconds", "leaseTransitions"] {
                let least = i64::from(field == "leaseDurationSeconds");
                if let Some(number) = value::int(object, &["spec", field]).filter(|&number| number < least) {
                    let detail = format!("must be greater than {}", least - 1);
                    errors.push(FieldError::invalid(
                        format!("spec.{field}"),
                        &number.into(),
                        detail,
                    ));
                }
            }
        }
        (crd::GROUP, _) => errors.extend(crd::check(object)),
        _ => {}
    }
}

fn budget(object: &Value, errors: &mut Vec<FieldError>) {
    let given = |field: &str| value::at(object, &["spec", field]);
    if given("minAvailable").is_some() && given("maxUnavailable").is_some() {
        let spec = value::at(object, &["spec"]).unwrap_or(&Value::Null);
        errors.push(FieldError::invalid(
            "spec",
            spec,
            "minAvailable and maxUnavailable cannot be both set",
        ));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        if let Some(found) = given(field) {
            workload::count_or_percent(found, &format!("spec.{field}"), errors);
        }
    }
}

fn service(object: &Value, errors: &mut Vec<FieldError>) {
    let kind = value::text(object, &["spec", "type"]);
    let headless = value::text(object, &["spec", "clusterIP"]) == "None";
    if kind != "ExternalName" && !headless && value::items(object, &["spec", "ports"]).is_empty() {
        errors.push(FieldError::required("spec.ports", ""));
    }
    if kind == "ExternalName" && value::text(object, &["spec", "externalName"]).is_empty() {
        errors.push(FieldError::required("spec.externalName", ""));
    }
}

fn immutable(resource: &Resource, old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let frozen: &[(&[&str], &str)] = match (resource.group.as_str(), resource.plural.as_str()) {
        ("apps", "deployments" | "replicasets" | "daemonsets") => &[(&["spec", "selector"], "spec.selector")],
        ("batch", "jobs") => &[
            (&["spec", "completionMode"], "spec.completionMode"),
            (&["spec", "selector"], "spec.selector"),
            (&["spec", "template"], "spec.template"),
        ],
        ("apps", "statefulsets") => {
            workload::stateful_set_update(old, new, errors);
            return;
        }
        ("", "pods") => {
            pod::update(old, new, errors);
            return;
        }
        ("scheduling.k8s.io", "priorityclasses") => &[(&["value"], "value")],
        ("", "secrets") => &[(&["type"], "type")],
        (crd::GROUP, _) => &[
            (&["spec", "group"], "spec.group"),
            (&["spec", "names", "plural"], "spec.names.plural"),
            (&["spec", "names", "kind"], "spec.names.kind"),
            (&["spec", "scope"], "spec.scope"),
        ],
        _ => &[],
    };
    for (path, field) in frozen {
        if value::at(old, path) != value::at(new, path) {
            let found = value::at(new, path).unwrap_or(&Value::Null);
            errors.push(FieldError::invalid(*field, found, "field is immutable"));
        }
    }
}
