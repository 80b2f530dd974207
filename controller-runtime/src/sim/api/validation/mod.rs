//! Validation of metadata, and of built-in kinds.

mod autoscaling;
mod names;
mod pod;
mod types;
mod unknown;
mod workload;

use serde_json::Value;

pub(crate) use self::{types::check as check_types, unknown::prune as prune_unknown};

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
        ("", "pods") => {
            pod::annotations(object, errors);
            pod::spec(object, &["spec"], "spec", errors);
        }
        ("apps", _) if resource.plural != "controllerrevisions" => workload::workload(object, errors),
        ("batch", "jobs") => workload::job(object, errors),
        ("autoscaling", _) if resource.extension.is_none() => autoscaling::autoscaler(object, errors),
        ("policy", "poddisruptionbudgets") => budget(object, errors),
        ("", "services") => service(object, errors),
        ("", "configmaps") => config_map(object, errors),
        ("", "events") => event(object, errors),
        ("batch", "cronjobs") if value::text(object, &["spec", "schedule"]).is_empty() => {
            errors.push(FieldError::required("spec.schedule", ""));
        }
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

const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

fn config_map(object: &Value, errors: &mut Vec<FieldError>) {
    let keys = |field: &str| -> Vec<String> {
        let data = value::at(object, &[field]).and_then(Value::as_object);
        data.into_iter().flatten().map(|(key, _)| key.clone()).collect()
    };
    let (texts, bytes) = (keys("data"), keys("binaryData"));
    for (field, keys, others, name) in [
        ("data", &texts, &bytes, "binaryData"),
        ("binaryData", &bytes, &texts, "data"),
    ] {
        for key in keys {
            let known = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
            let path = format!("{field}[{key}]");
            if key.is_empty() || !key.chars().all(known) {
                errors.push(FieldError::invalid(&path, &key.as_str().into(), CONFIG_KEY));
            }
            if field == "data" && others.contains(key) {
                let detail = format!("duplicate of key present in {name}");
                errors.push(FieldError::invalid(path, &key.as_str().into(), detail));
            }
        }
    }
}

fn event(object: &Value, errors: &mut Vec<FieldError>) {
    let about = value::text(object, &["involvedObject", "namespace"]);
    let own = value::namespace(object);
    if about != own && !(about.is_empty() && own == "default") {
        let detail = "does not match event.namespace";
        errors.push(FieldError::invalid(
            "involvedObject.namespace",
            &about.into(),
            detail,
        ));
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
            (&["spec", "completions"], "spec.completions"),
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
        ("", "secrets") => {
            sealed(old, new, &["data", "immutable"], errors);
            &[(&["type"], "type")]
        }
        ("", "configmaps") => {
            sealed(old, new, &["data", "binaryData", "immutable"], errors);
            return;
        }
        ("", "services") => {
            address(old, new, errors);
            return;
        }
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => {
            if old["roleRef"] != new["roleRef"] {
                errors.push(FieldError::invalid(
                    "roleRef",
                    &new["roleRef"],
                    "cannot change roleRef",
                ));
            }
            return;
        }
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

/// What was declared immutable.
fn sealed(old: &Value, new: &Value, fields: &[&str], errors: &mut Vec<FieldError>) {
    if old["immutable"] != true {
        return;
    }
    for field in fields {
        if old.get(field) != new.get(field) {
            let detail = "field is immutable when `immutable` is set";
            errors.push(FieldError::forbidden(*field, detail));
        }
    }
}

/// A service keeps its address while it is of a type that has one.
fn address(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let external = |service: &Value| value::text(service, &["spec", "type"]) == "ExternalName";
    let before = value::text(old, &["spec", "clusterIP"]);
    let after = value::text(new, &["spec", "clusterIP"]);
    if external(old) || external(new) || before.is_empty() || before == after {
        return;
    }
    let found = value::at(new, &["spec", "clusterIPs"])
        .cloned()
        .unwrap_or_else(|| after.into());
    errors.push(FieldError::invalid(
        "spec.clusterIPs[0]",
        &found,
        "may not change once set",
    ));
}
