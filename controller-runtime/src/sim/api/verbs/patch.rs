//! `patch`: JSON patch, merge patch, strategic merge patch and server-side apply.

use std::sync::Arc;

use http::Response;
use serde_json::Value;

use super::{
    Call, create,
    update::{Manager, Part, Written, write},
};
use crate::sim::api::{
    ApiBody, convert, crd, defaults, managed,
    patch::{apply as apply_patch, strategic},
    state::State,
    status::ApiError,
    store::Entry,
    validation, value,
};

const JSON: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// Serves a PATCH.
pub(super) fn patch(state: &mut State, call: &Call, part: Part) -> Result<Response<ApiBody>, ApiError> {
    let media = call.content_type.split(';').next().unwrap_or_default().trim();
    let written = match media {
        APPLY => {
            let forced = call.query.get("force") == Some("true");
            if call.query.get("fieldManager").is_none() {
                return Err(field_manager_required());
            }
            apply(state, call, part, super::yaml(&call.body)?, forced)?
        }
        JSON | MERGE => change(state, call, part, media)?,
        STRATEGIC if call.resource.extension.is_none() => change(state, call, part, media)?,
        _ if call.resource.extension.is_some() => {
            return Err(ApiError::unsupported_media_type(&[JSON, MERGE, APPLY].join(", ")));
        }
        _ => {
            let message = "415: Unsupported Media Type";
            return Err(ApiError::new(415, "UnsupportedMediaType", message).with_details());
        }
    };
    Ok(call.reply(state, written.code, &written.entry))
}

fn field_manager_required() -> ApiError {
    let error = crate::sim::api::field::FieldError::required("fieldManager", "is required for apply patch");
    let subject = crate::sim::api::status::Subject {
        group: "meta.k8s.io",
        name: "PatchOptions",
    };
    ApiError::invalid(subject, "", &[error])
}

/// A patch other than apply.
fn change(state: &mut State, call: &Call, part: Part, media: &str) -> Result<Written, ApiError> {
    let existing = call.existing(state)?;
    let body = super::parse(&call.body)
        .map_err(|error| ApiError::bad_request(format!("error decoding patch: {}", error.message)))?;
    let current = convert::from_storage(&call.resource, &call.version.name, &existing.value).into_owned();
    let object = patched(current, &body, media)?;
    finish(state, call, &existing, object, part, &Manager::update(call))
}

/// The object with the patch applied.
pub(super) fn patched(mut current: Value, body: &Value, media: &str) -> Result<Value, ApiError> {
    match media {
        JSON => {
            if body.is_object() {
                return Err(ApiError::bad_request(
                    "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
                ));
            }
            let operations: json_patch::Patch = serde_json::from_value(body.clone())
                .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
            json_patch::patch(&mut current, &operations).map_err(|_| {
                let message = "the server rejected our request due to an error in our request";
                ApiError::new(422, "Invalid", message).with_details()
            })?;
        }
        _ if !body.is_object() => {
            return Err(ApiError::bad_request(
                "error decoding patch: a patch must be an object",
            ));
        }
        STRATEGIC => strategic::merge(&mut current, body).map_err(ApiError::bad_request)?,
        _ => json_patch::merge(&mut current, body),
    }
    Ok(current)
}

/// Writes a patched object, given in the client's version.
fn finish(
    state: &mut State,
    call: &Call,
    existing: &Arc<Entry>,
    object: Value,
    part: Part,
    manager: &Manager,
) -> Result<Written, ApiError> {
    let name = call.name()?;
    let found = value::name(&object);
    if found != name {
        let message = format!("the name of the object ({found}) does not match the name on the URL ({name})");
        return Err(ApiError::bad_request(message));
    }
    let printed = object.to_string();
    let mut object = create::decode(call, object).map_err(|error| undecodable(error, printed))?;
    create::check_namespace(call, &mut object)?;
    if value::text(&object, &["metadata", "resourceVersion"]).is_empty() {
        value::copy(&existing.value, &mut object, &["metadata", "resourceVersion"]);
    }
    write(state, call, existing, object, part, manager)
}

/// A patched object that cannot be decoded is the patch's fault.
fn undecodable(error: ApiError, object: String) -> ApiError {
    const MARK: &str = " cannot be handled as a ";
    let Some((_, problem)) = error
        .message
        .split_once(MARK)
        .and_then(|(_, rest)| rest.split_once(": "))
    else {
        return error;
    };
    let subject = crate::sim::api::status::Subject { group: "", name: "" };
    let error = crate::sim::api::field::FieldError::invalid("patch", &object.into(), problem);
    ApiError::invalid(subject, "", &[error])
}

/// Server-side apply: creates the object if it is missing.
///
/// # Errors
/// 409 if another manager owns a field with another value, unless `forced`.
pub(crate) fn apply(
    state: &mut State,
    call: &Call,
    part: Part,
    config: Value,
    forced: bool,
) -> Result<Written, ApiError> {
    let name = call.name()?;
    check_config(call, &config, name)?;
    let manager = Manager::apply(call);
    let mut config = config;
    if call.resource.extension.is_none() {
        defaults::drop_nulls(&mut config);
    } else {
        crd::prune(&call.resource, &call.version.name, &mut config);
    }
    let Ok(existing) = call.existing(state) else {
        if part != Part::Main {
            return Err(ApiError::not_found(call.resource.subject(), name));
        }
        let uid = value::uid(&config);
        if !uid.is_empty() {
            let error = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            return Err(ApiError::conflict(call.resource.subject(), name, &error));
        }
        let manager = Manager {
            applied: Some(config.clone()),
            ..manager
        };
        let mut object = config;
        value::set(&mut object, &["metadata", "name"], name);
        let entry = create::create_as(state, call, object, &manager, true)?;
        return Ok(Written { entry, code: 201 });
    };
    let current = convert::from_storage(&call.resource, &call.version.name, &existing.value);
    let schema = managed::schema(call);
    let owners = managed::read(&existing.value);
    let before = managed::before_first_apply(call, &existing.value, owners);
    let applied = apply_patch::apply(
        &schema,
        &current,
        &config,
        before,
        &managed::identity(call, &manager),
        forced,
    )
    .map_err(|conflicts| managed::conflict(&conflicts))?;
    let mut object = applied.object;
    managed::write(&mut object, applied.owners, &state.timestamp());
    let written = finish(state, call, &existing, object, part, &manager)?;
    Ok(written)
}

fn check_config(call: &Call, config: &Value, name: &str) -> Result<(), ApiError> {
    if !config.is_object() {
        return Err(ApiError::bad_request(
            "error decoding YAML: the applied configuration must be an object",
        ));
    }
    let (api_version, kind) = (
        value::text(config, &["apiVersion"]),
        value::text(config, &["kind"]),
    );
    if api_version != call.api_version() || kind != call.resource.kind {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let message = format!("invalid object type: {group}/{version}, Kind={kind}");
        return Err(ApiError::bad_request(message));
    }
    let unknown = validation::prune_unknown(&call.resource, &call.version.name, &mut config.clone());
    if !unknown.is_empty() && !call.body.is_empty() {
        let problems: Vec<String> = unknown
            .iter()
            .map(|path| format!(".{path}: field not declared in schema"))
            .collect();
        let problems = match problems.as_slice() {
            [one] => one.clone(),
            many => format!("errors:\n  {}", many.join("\n  ")),
        };
        let namespace = call.target.namespace.as_deref().unwrap_or_default();
        let message = format!(
            "failed to create typed patch object ({namespace}/{name}; {api_version}, Kind={kind}): {problems}"
        );
        return Err(ApiError::new(500, "", message));
    }
    if value::at(config, &["metadata", "managedFields"])
        .is_some_and(|fields| !fields.is_null() && fields.as_array().is_none_or(|list| !list.is_empty()))
    {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    let found = value::name(config);
    if !found.is_empty() && found != name {
        let message = format!("the name of the object ({found}) does not match the name on the URL ({name})");
        return Err(ApiError::bad_request(message));
    }
    Ok(())
}
