//! The scale subresource: `autoscaling/v1` Scale over any kind that declares one.

use std::sync::Arc;

use http::Response;
use serde_json::{Value, json};

use super::{
    Call, patch as patches,
    update::{Manager, Part, write},
};
use crate::sim::api::{
    ApiBody,
    field::FieldError,
    reply,
    resources::ScalePaths,
    selectors::{LabelSelector, labels_text},
    state::State,
    status::{ApiError, Subject},
    store::Entry,
    value,
};

const SCALE: Subject<'static> = Subject {
    group: "autoscaling",
    name: "Scale",
};

/// Answers with the object's scale.
pub(super) fn get(state: &State, call: &Call) -> Result<Response<ApiBody>, ApiError> {
    let entry = call.existing(state)?;
    Ok(reply::json(200, &scale_of(call, &entry)?))
}

/// Serves a PUT of a Scale.
pub(super) fn put(state: &mut State, call: &Call) -> Result<Response<ApiBody>, ApiError> {
    let existing = call.existing(state)?;
    write_scale(state, call, &existing, &call.json()?)
}

/// Serves a PATCH of a Scale.
pub(super) fn patch(state: &mut State, call: &Call) -> Result<Response<ApiBody>, ApiError> {
    let existing = call.existing(state)?;
    let media = call.content_type.split(';').next().unwrap_or_default().trim();
    let mut scale = scale_of(call, &existing)?;
    let body = super::parse(&call.body)?;
    if media.starts_with("application/apply-patch") {
        value::copy(&body, &mut scale, &["spec", "replicas"]);
    } else {
        scale = patches::patched(scale, &body, media)?;
    }
    write_scale(state, call, &existing, &scale)
}

fn paths(call: &Call) -> Result<&ScalePaths, ApiError> {
    call.version
        .scale
        .as_ref()
        .ok_or_else(ApiError::method_not_allowed)
}

fn steps(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).collect()
}

fn scale_of(call: &Call, entry: &Entry) -> Result<Value, ApiError> {
    let paths = paths(call)?;
    let object = &entry.value;
    let replicas = value::int(object, &steps(&paths.spec_replicas));
    if replicas.is_none() && call.resource.extension.is_some() {
        let path = format!(".{}", paths.spec_replicas.join("."));
        return Err(ApiError::internal(format!(
            "the spec replicas field \"{path}\" does not exist"
        )));
    }
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(found) = value::at(object, &["metadata", field]) {
            metadata[field] = found.clone();
        }
    }
    let mut spec = json!({});
    if let Some(count) = replicas.filter(|&count| count != 0) {
        spec["replicas"] = count.into();
    }
    let current = value::int(object, &steps(&paths.status_replicas)).unwrap_or(0);
    let mut status = json!({"replicas": current});
    let selector = selector(paths, object);
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    Ok(json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": spec,
        "status": status,
    }))
}

fn selector(paths: &ScalePaths, object: &Value) -> String {
    if let Some(path) = &paths.selector {
        return value::text(object, &steps(path)).to_owned();
    }
    let Some(selector) = value::at(object, &["spec", "selector"]) else {
        return String::new();
    };
    if object["kind"] == "ReplicationController" {
        return labels_text(selector);
    }
    LabelSelector::from_object(selector)
        .map(|selector| selector.to_string())
        .unwrap_or_default()
}

/// Writes the replicas of a Scale into its object.
fn write_scale(
    state: &mut State,
    call: &Call,
    existing: &Arc<Entry>,
    scale: &Value,
) -> Result<Response<ApiBody>, ApiError> {
    let paths = paths(call)?;
    let name = call.name()?;
    let replicas = match value::at(scale, &["spec", "replicas"]) {
        None | Some(Value::Null) => 0,
        Some(found) => found.as_i64().ok_or_else(|| {
            ApiError::bad_request(format!(
                "Scale in version \"v1\" cannot be handled as a Scale: json: cannot unmarshal {found} into Go struct \
                 field ScaleSpec.spec.replicas of type int32"
            ))
        })?,
    };
    if replicas < 0 {
        let error = FieldError::invalid(
            "spec.replicas",
            &replicas.into(),
            "must be greater than or equal to 0",
        );
        return Err(ApiError::invalid(SCALE, name, &[error]));
    }
    let mut object = Value::clone(&existing.value);
    value::set(&mut object, &steps(&paths.spec_replicas), replicas);
    for field in ["resourceVersion", "uid"] {
        let given = value::text(scale, &["metadata", field]);
        if !given.is_empty() {
            value::set(&mut object, &["metadata", field], given);
        }
    }
    let written = write(state, call, existing, object, Part::Main, &Manager::update(call))?;
    Ok(reply::json(200, &scale_of(call, &written.entry)?))
}
