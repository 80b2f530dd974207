//! Pods, and templates of pods, before they are read as such.

use scaler_api::Quantity;
use serde_json::Value;

use super::{
    amounts::Amounts,
    document::{Document, Problem, brief},
};
use crate::resources::ResourceList;

const KIND: &str = "Pod";

/// Checks what a pod states at `path`; amounts given as numbers become text.
pub(super) fn check_spec(
    document: &mut Document,
    path: &[&str],
    problems: &mut Vec<Problem>,
    notes: &mut Vec<Problem>,
) {
    let mut object = std::mem::take(&mut document.object);
    // Labels of messages need the object's head.
    document.object = serde_json::json!({ "kind": object["kind"], "metadata": object["metadata"] });
    let mut nothing = Value::Null;
    let pointer = format!("/{}", path.join("/"));
    let at = object.pointer_mut(&pointer).unwrap_or(&mut nothing);
    let field = path.join(".");
    let mut amounts = Amounts {
        document: &*document,
        kind: KIND,
        problems,
    };
    let zeroes = spec(&mut amounts, &field, at);
    for field in zeroes {
        notes.push(document.problem(
            KIND,
            field,
            "is 0: it takes no room of this, and any node has that",
        ));
    }
    document.object = object;
}

/// The fields that are zero.
fn spec(amounts: &mut Amounts<'_>, field: &str, spec: &mut Value) -> Vec<String> {
    let mut zeroes = Vec::new();
    if !spec.is_object() {
        amounts.problem(field, format!("is {}, expected a pod's spec", brief(spec)));
        return zeroes;
    }
    let containers = &spec["containers"];
    if containers.as_array().is_none_or(Vec::is_empty) {
        let message = format!("is {}, expected at least one container", brief(containers));
        amounts.problem(format!("{field}.containers"), message);
    }
    for list in ["containers", "initContainers"] {
        let Some(containers) = spec.get_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        for (index, container) in containers.iter_mut().enumerate() {
            let field = format!("{field}.{list}[{index}]");
            if let Some(resources) = container.get_mut("resources") {
                zeroes.extend(requests(amounts, &format!("{field}.resources"), resources));
            }
            ports(amounts, &field, &container["ports"]);
        }
    }
    if let Some(resources) = spec.get_mut("resources") {
        zeroes.extend(requests(amounts, &format!("{field}.resources"), resources));
    }
    if let Some(overhead) = spec.get_mut("overhead") {
        amounts.map(&format!("{field}.overhead"), overhead);
    }
    spreads(amounts, field, &spec["topologySpreadConstraints"]);
    zeroes
}

fn requests(amounts: &mut Amounts<'_>, field: &str, resources: &mut Value) -> Vec<String> {
    let mut read = |name: &str| -> Vec<(String, Quantity)> {
        let field = format!("{field}.{name}");
        let found = resources.get_mut(name);
        found.map_or_else(Vec::new, |map| amounts.map(&field, map))
    };
    let (requests, limits) = (read("requests"), read("limits"));
    let field = format!("{field}.requests");
    amounts.contradiction(&field, (&requests, "requests"), (&limits, "limits"));
    let zero = requests.iter().filter(|(_, amount)| amount.is_zero());
    zero.map(|(name, _)| format!("{field}.{name}")).collect()
}

fn ports(amounts: &mut Amounts<'_>, field: &str, ports: &Value) {
    for (index, port) in ports.as_array().into_iter().flatten().enumerate() {
        let host_port = &port["hostPort"];
        let is_port = host_port
            .as_i64()
            .is_some_and(|port| (0..=65_535).contains(&port));
        if !host_port.is_null() && !is_port {
            let message = format!("is {}, expected a port from 1 to 65535", brief(host_port));
            amounts.problem(format!("{field}.ports[{index}].hostPort"), message);
        }
    }
}

fn spreads(amounts: &mut Amounts<'_>, field: &str, spreads: &Value) {
    for (index, spread) in spreads.as_array().into_iter().flatten().enumerate() {
        let field = format!("{field}.topologySpreadConstraints[{index}]");
        let max_skew = &spread["maxSkew"];
        if max_skew.as_i64().is_none_or(|skew| skew < 1) {
            let message = format!("is {}, expected a number from 1", brief(max_skew));
            amounts.problem(format!("{field}.maxSkew"), message);
        }
        let min_domains = &spread["minDomains"];
        if !min_domains.is_null() && min_domains.as_i64().is_none_or(|least| least < 1) {
            let message = format!("is {}, expected a number from 1", brief(min_domains));
            amounts.problem(format!("{field}.minDomains"), message);
        }
        let when = &spread["whenUnsatisfiable"];
        if !matches!(when.as_str(), Some("DoNotSchedule" | "ScheduleAnyway")) {
            let message = format!("is {}, expected DoNotSchedule or ScheduleAnyway", brief(when));
            amounts.problem(format!("{field}.whenUnsatisfiable"), message);
        }
    }
}

/// Amounts as a list.
pub(super) fn list(amounts: &[(String, Quantity)]) -> ResourceList {
    amounts.iter().cloned().collect()
}
