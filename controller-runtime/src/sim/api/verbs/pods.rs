//! Subresources of pods: binding and log.

use http::Response;
use serde_json::{Value, json};

use super::Call;
use crate::sim::api::{
    ApiBody,
    field::FieldError,
    reply,
    state::State,
    status::{ApiError, Subject},
    value,
};

/// Serves a POST of a Binding: assigns the pod to a node.
pub(super) fn bind(state: &mut State, call: &Call) -> Result<Response<ApiBody>, ApiError> {
    let pod = call.existing(state)?;
    let name = call.name()?;
    let body = call.json()?;
    let node = value::text(&body, &["target", "name"]);
    let kind = value::text(&body, &["target", "kind"]);
    let mut errors = Vec::new();
    if !matches!(kind, "" | "Node") {
        let known = ["Node", "<empty>"];
        errors.push(FieldError::not_supported("target.kind", &json!(kind), known).to_string());
    }
    if node.is_empty() {
        errors.push(FieldError::required("target.name", "").to_string());
    }
    match errors.as_slice() {
        [] => {}
        [one] => return Err(ApiError::new(500, "", one.clone())),
        many => return Err(ApiError::new(500, "", format!("[{}]", many.join(", ")))),
    }
    let binding = Subject {
        group: "",
        name: "pods/binding",
    };
    if value::is_deleting(&pod.value) {
        let error = format!("pod {name} is being deleted, cannot be assigned to a host");
        return Err(ApiError::conflict(binding, name, &error));
    }
    let bound = value::text(&pod.value, &["spec", "nodeName"]);
    if !bound.is_empty() {
        let error = format!("pod {name} is already assigned to node \"{bound}\"");
        return Err(ApiError::conflict(binding, name, &error));
    }
    let mut object = Value::clone(&pod.value);
    value::set(&mut object, &["spec", "nodeName"], node);
    value::remove(&mut object, &["status", "nominatedNodeName"]);
    for (key, text) in value::at(&body, &["metadata", "annotations"])
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        value::set(&mut object, &["metadata", "annotations", key], text.clone());
    }
    let condition = json!({
        "type": "PodScheduled",
        "status": "True",
        "lastProbeTime": null,
        "lastTransitionTime": state.timestamp(),
    });
    let conditions = value::object_at(&mut object, &["status"])
        .entry("conditions")
        .or_insert_with(|| json!([]));
    if let Some(conditions) = conditions.as_array_mut() {
        conditions.retain(|known| known["type"] != "PodScheduled");
        conditions.push(condition);
    }
    if !call.dry_run() {
        state.replace(&call.resource, &pod, object);
    }
    let status =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(reply::json(201, &status))
}

/// Nothing is ever logged here.
pub(super) fn log(state: &State, call: &Call) -> Result<Response<ApiBody>, ApiError> {
    let pod = call.existing(state)?;
    if let Some(wanted) = call.query.get("container") {
        let lists = ["containers", "initContainers", "ephemeralContainers"];
        let known = lists
            .iter()
            .flat_map(|list| value::items(&pod.value, &["spec", list]));
        if !known.into_iter().any(|container| container["name"] == wanted) {
            let message = format!("container {wanted} is not valid for pod {}", call.name()?);
            return Err(ApiError::bad_request(message));
        }
    }
    let unbound = value::text(&pod.value, &["spec", "nodeName"]).is_empty();
    Ok(reply::text(if unbound { 204 } else { 200 }, ""))
}
