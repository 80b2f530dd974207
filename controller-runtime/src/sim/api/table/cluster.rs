//! Rows of everything else.

use jiff::Timestamp;
use serde_json::Value;

use super::{Column, age_of, name, or_none, shown, wide};
use crate::sim::api::{selectors::labels_text, value};

pub(super) const PLAIN: &[Column] = &[shown("Name", "string"), shown("Created At", "date")];

pub(super) fn plain(object: &Value, _: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        value::text(object, &["metadata", "creationTimestamp"]).into(),
    ]
}

pub(super) const NAMESPACE: &[Column] = &[
    shown("Name", "string"),
    shown("Status", "string"),
    shown("Age", "string"),
];

pub(super) fn namespace(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        value::text(object, &["status", "phase"]).into(),
        age_of(object, now),
    ]
}

pub(super) const SERVICE: &[Column] = &[
    shown("Name", "string"),
    shown("Type", "string"),
    shown("Cluster-IP", "string"),
    shown("External-IP", "string"),
    shown("Port(s)", "string"),
    shown("Age", "string"),
    wide("Selector"),
];

pub(super) fn service(object: &Value, now: Timestamp) -> Vec<Value> {
    let external = value::text(object, &["spec", "externalName"]);
    let ports: Vec<String> = value::items(object, &["spec", "ports"])
        .iter()
        .map(|port| {
            let number = value::int(port, &["port"]).unwrap_or(0);
            let protocol = value::text(port, &["protocol"]);
            match value::int(port, &["nodePort"]) {
                Some(node) => format!("{number}:{node}/{protocol}"),
                None => format!("{number}/{protocol}"),
            }
        })
        .collect();
    let selector = value::at(object, &["spec", "selector"]).unwrap_or(&Value::Null);
    vec![
        name(object),
        value::text(object, &["spec", "type"]).into(),
        or_none(value::text(object, &["spec", "clusterIP"])),
        or_none(external),
        or_none(&ports.join(",")),
        age_of(object, now),
        or_none(&labels_text(selector)),
    ]
}

pub(super) const SECRET: &[Column] = &[
    shown("Name", "string"),
    shown("Type", "string"),
    shown("Data", "string"),
    shown("Age", "string"),
];

fn size(object: &Value, field: &str) -> usize {
    object
        .get(field)
        .and_then(Value::as_object)
        .map_or(0, serde_json::Map::len)
}

pub(super) fn secret(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        value::text(object, &["type"]).into(),
        size(object, "data").into(),
        age_of(object, now),
    ]
}

pub(super) const CONFIG_MAP: &[Column] = &[
    shown("Name", "string"),
    shown("Data", "string"),
    shown("Age", "string"),
];

pub(super) fn config_map(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        (size(object, "data") + size(object, "binaryData")).into(),
        age_of(object, now),
    ]
}

pub(super) const SERVICE_ACCOUNT: &[Column] = &[
    shown("Name", "string"),
    shown("Secrets", "string"),
    shown("Age", "string"),
];

pub(super) fn service_account(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        value::items(object, &["secrets"]).len().into(),
        age_of(object, now),
    ]
}

pub(super) const BUDGET: &[Column] = &[
    shown("Name", "string"),
    shown("Min Available", "string"),
    shown("Max Unavailable", "string"),
    shown("Allowed Disruptions", "integer"),
    shown("Age", "string"),
];

pub(super) fn budget(object: &Value, now: Timestamp) -> Vec<Value> {
    let bound = |field: &str| -> Value {
        match value::at(object, &["spec", field]) {
            Some(Value::String(text)) => text.as_str().into(),
            Some(found) => found.to_string().into(),
            None => "N/A".into(),
        }
    };
    vec![
        name(object),
        bound("minAvailable"),
        bound("maxUnavailable"),
        value::int(object, &["status", "disruptionsAllowed"])
            .unwrap_or(0)
            .into(),
        age_of(object, now),
    ]
}

pub(super) const LEASE: &[Column] = &[
    shown("Name", "string"),
    shown("Holder", "string"),
    shown("Age", "string"),
];

pub(super) fn lease(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        value::text(object, &["spec", "holderIdentity"]).into(),
        age_of(object, now),
    ]
}

pub(super) const API_SERVICE: &[Column] = &[
    shown("Name", "string"),
    shown("Service", "string"),
    shown("Available", "string"),
    shown("Age", "string"),
];

pub(super) fn api_service(object: &Value, now: Timestamp) -> Vec<Value> {
    let service = match value::at(object, &["spec", "service"]) {
        Some(found) if !found.is_null() => {
            format!(
                "{}/{}",
                value::text(found, &["namespace"]),
                value::text(found, &["name"])
            )
        }
        _ => "Local".to_owned(),
    };
    let condition = value::items(object, &["status", "conditions"])
        .iter()
        .find(|condition| condition["type"] == "Available");
    let available = match condition {
        None => "Unknown".to_owned(),
        Some(condition) if condition["status"] == "True" => "True".to_owned(),
        Some(condition) => {
            format!(
                "{} ({})",
                value::text(condition, &["status"]),
                value::text(condition, &["reason"])
            )
        }
    };
    vec![
        name(object),
        service.into(),
        available.into(),
        age_of(object, now),
    ]
}

pub(super) const PRIORITY_CLASS: &[Column] = &[
    shown("Name", "string"),
    shown("Value", "integer"),
    shown("Global-Default", "boolean"),
    shown("Age", "string"),
    shown("PreemptionPolicy", "string"),
];

pub(super) fn priority_class(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        object["value"].clone(),
        (object["globalDefault"] == true).into(),
        age_of(object, now),
        value::text(object, &["preemptionPolicy"]).into(),
    ]
}

pub(super) const STORAGE_CLASS: &[Column] = &[
    shown("Name", "string"),
    shown("Provisioner", "string"),
    shown("ReclaimPolicy", "string"),
    shown("VolumeBindingMode", "string"),
    shown("AllowVolumeExpansion", "string"),
    shown("Age", "string"),
];

pub(super) fn storage_class(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        value::text(object, &["provisioner"]).into(),
        value::text(object, &["reclaimPolicy"]).into(),
        value::text(object, &["volumeBindingMode"]).into(),
        (object["allowVolumeExpansion"] == true).into(),
        age_of(object, now),
    ]
}
