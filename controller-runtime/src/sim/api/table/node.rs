//! Rows of nodes.

use jiff::Timestamp;
use serde_json::Value;

use super::{Column, age_of, name, or_none, shown, wide};
use crate::sim::api::value;

pub(super) const COLUMNS: &[Column] = &[
    shown("Name", "string"),
    shown("Status", "string"),
    shown("Roles", "string"),
    shown("Age", "string"),
    shown("Version", "string"),
    wide("Internal-IP"),
    wide("External-IP"),
    wide("OS-Image"),
    wide("Kernel-Version"),
    wide("Container-Runtime"),
];

pub(super) fn cells(node: &Value, now: Timestamp) -> Vec<Value> {
    let info = |field: &str| {
        let text = value::text(node, &["status", "nodeInfo", field]);
        if text.is_empty() {
            "<unknown>".into()
        } else {
            text.into()
        }
    };
    vec![
        name(node),
        status(node).into(),
        or_none(&roles(node)),
        age_of(node, now),
        value::text(node, &["status", "nodeInfo", "kubeletVersion"]).into(),
        or_none(address(node, "InternalIP")),
        or_none(address(node, "ExternalIP")),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

fn status(node: &Value) -> String {
    let ready = value::items(node, &["status", "conditions"])
        .iter()
        .find(|one| one["type"] == "Ready");
    let mut word = match ready.map(|one| one["status"] == "True") {
        Some(true) => "Ready",
        Some(false) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if value::at(node, &["spec", "unschedulable"]).is_some_and(|found| found == true) {
        word.push_str(",SchedulingDisabled");
    }
    word
}

fn roles(node: &Value) -> String {
    let labels = value::at(node, &["metadata", "labels"])
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    let mut roles: Vec<&str> = labels
        .filter_map(|(key, text)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => text.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    roles.join(",")
}

fn address<'a>(node: &'a Value, kind: &str) -> &'a str {
    let addresses = value::items(node, &["status", "addresses"]);
    addresses
        .iter()
        .find(|one| one["type"] == kind)
        .map_or("", |one| value::text(one, &["address"]))
}
