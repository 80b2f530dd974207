//! `update`: what a client may change, what stays, and when an object ends by it.

use std::sync::Arc;

use http::Response;
use serde_json::Value;

use super::{Call, create};
use crate::sim::api::{
    ApiBody, crd, defaults, field::FieldError, managed, resources::Resource, state::State, status::ApiError,
    store::Entry, validation, value,
};

/// The part of an object that a request may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Everything but the status, where that is a subresource.
    Main,
    /// The status alone.
    Status,
    /// A namespace's `spec.finalizers`.
    Finalize,
}

/// Who writes, for `metadata.managedFields`.
#[derive(Clone, Debug)]
pub(crate) struct Manager {
    pub(crate) name: String,
    pub(crate) apply: bool,
    pub(crate) subresource: String,
    /// The configuration that is applied to a new object.
    pub(crate) applied: Option<Value>,
}

impl Manager {
    /// The manager of a plain write.
    pub(crate) fn update(call: &Call) -> Self {
        let subresource = call.subresource().to_owned();
        Self {
            name: call.manager.clone(),
            apply: false,
            subresource,
            applied: None,
        }
    }

    /// The manager of an apply.
    pub(crate) fn apply(call: &Call) -> Self {
        Self {
            apply: true,
            ..Self::update(call)
        }
    }
}

/// What a write came to.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) entry: Arc<Entry>,
    /// 201 if the object is new.
    pub(crate) code: u16,
}

/// Serves a PUT.
pub(super) fn put(state: &mut State, call: &Call, part: Part) -> Result<Response<ApiBody>, ApiError> {
    let mut object = create::decode(call, call.json()?)?;
    let name = call.name()?;
    let found = value::name(&object);
    if found.is_empty() {
        value::set(&mut object, &["metadata", "name"], name);
    } else if found != name {
        let message = format!("the name of the object ({found}) does not match the name on the URL ({name})");
        return Err(ApiError::bad_request(message));
    }
    create::check_namespace(call, &mut object)?;
    let existing = match call.existing(state) {
        Err(missing)
            if missing.code == 404 && part == Part::Main && call.resource.traits.create_on_update =>
        {
            value::remove(&mut object, &["metadata", "resourceVersion"]);
            let entry = create::create(state, call, wire(call, &object))?;
            return Ok(call.reply(state, 201, &entry));
        }
        existing => existing?,
    };
    if value::text(&object, &["metadata", "resourceVersion"]).is_empty() {
        if call.resource.traits.needs_resource_version || call.resource.extension.is_some() {
            let error = FieldError::invalid(
                "metadata.resourceVersion",
                &0.into(),
                "must be specified for an update",
            );
            return Err(ApiError::invalid(call.resource.subject(), name, &[error]));
        }
        value::copy(&existing.value, &mut object, &["metadata", "resourceVersion"]);
    }
    let written = write(state, call, &existing, object, part, &Manager::update(call))?;
    Ok(call.reply(state, written.code, &written.entry))
}

/// Back to the client's version, for a path that decodes again.
fn wire(call: &Call, object: &Value) -> Value {
    crate::sim::api::convert::from_storage(&call.resource, &call.version.name, object).into_owned()
}

/// Writes `object`, given in its stored form and carrying the resourceVersion it was read at, over `existing`.
///
/// # Errors
/// 409 if it was read at another version or of another uid, 422 if it is invalid.
pub(crate) fn write(
    state: &mut State,
    call: &Call,
    existing: &Arc<Entry>,
    mut object: Value,
    part: Part,
    manager: &Manager,
) -> Result<Written, ApiError> {
    let resource = call.resource.clone();
    check_identity(&resource, existing, &object)?;
    shape(call, existing, &mut object, part);
    // A node's allocatable follows its capacity, and both stand in the status.
    if part == Part::Main || resource.is("", "nodes") {
        defaults::apply(&resource, &mut object);
    }
    let ending = value::text(&object, &["metadata", "deletionTimestamp"]).to_owned();
    keep_metadata(&existing.value, &mut object);
    if part == Part::Main {
        count_generation(call, &existing.value, &mut object);
        defaults::count_template(&resource, Some(&existing.value), &mut object);
    }
    let mut errors = validation::update(&resource, &existing.value, &object, part);
    if !ending.is_empty() && ending != value::text(&existing.value, &["metadata", "deletionTimestamp"]) {
        let field = "metadata.deletionTimestamp";
        errors.push(FieldError::invalid(field, &ending.into(), "field is immutable"));
    }
    errors.extend(crd::validate(
        state,
        &resource,
        &call.version.name,
        &object,
        Some(&existing.value),
    ));
    if !errors.is_empty() {
        return Err(ApiError::invalid(
            resource.kind_subject(),
            value::name(&object),
            &errors,
        ));
    }
    managed::updated(state, call, manager, &existing.value, &mut object);
    if object == *existing.value {
        return Ok(Written {
            entry: existing.clone(),
            code: 200,
        });
    }
    if call.dry_run() {
        let entry = Entry::new(existing.key.clone(), existing.revision, object);
        return Ok(Written { entry, code: 200 });
    }
    Ok(Written {
        entry: settle(state, &resource, existing, object),
        code: 200,
    })
}

/// The object must be the one that was read.
fn check_identity(resource: &Resource, existing: &Entry, object: &Value) -> Result<(), ApiError> {
    let name = value::name(&existing.value);
    let (uid, known) = (value::uid(object), value::uid(&existing.value));
    if !uid.is_empty() && uid != known {
        let place = if resource.extension.is_some() {
            format!("{}/{}", resource.group, resource.plural)
        } else {
            resource.plural.clone()
        };
        let error = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{place}/{}, ResourceVersion: 0, AdditionalErrorMsg: \
             Precondition failed: UID in precondition: {uid}, UID in object meta: {known}",
            existing.key
        );
        return Err(ApiError::conflict(resource.subject(), name, &error));
    }
    let revision = value::text(object, &["metadata", "resourceVersion"]);
    let known = value::text(&existing.value, &["metadata", "resourceVersion"]);
    if !revision.is_empty() && revision != known {
        return Err(ApiError::modified(resource.subject(), name));
    }
    Ok(())
}

/// Takes from `object` only the part that the request may change.
fn shape(call: &Call, existing: &Entry, object: &mut Value, part: Part) {
    let old = &existing.value;
    match part {
        Part::Main => {
            if call.version.status {
                value::copy(old, object, &["status"]);
            }
        }
        Part::Status => shape_status(call, old, object),
        Part::Finalize => {
            let finalizers = value::at(object, &["spec", "finalizers"]).cloned();
            *object = Value::clone(old);
            match finalizers {
                Some(finalizers) => value::set(object, &["spec", "finalizers"], finalizers),
                None => {
                    value::remove(object, &["spec", "finalizers"]);
                }
            }
        }
    }
}

/// A write of the status leaves everything else as it was; of a built-in's metadata it may change what its strategy lets.
fn shape_status(call: &Call, old: &Value, object: &mut Value) {
    let names = |object: &Value| -> Vec<String> {
        let members = object.as_object().into_iter().flatten().map(|(key, _)| key);
        members
            .filter(|key| !matches!(key.as_str(), "status" | "metadata"))
            .cloned()
            .collect()
    };
    for key in names(object).iter().chain(&names(old)) {
        value::copy(old, object, &[key]);
    }
    if call.resource.extension.is_some() {
        let fields = value::remove(object, &["metadata", "managedFields"]);
        value::copy(old, object, &["metadata"]);
        if let Some(fields) = fields {
            value::set(object, &["metadata", "managedFields"], fields);
        }
    } else if call.resource.is("apps", "deployments") {
        value::copy(old, object, &["metadata", "labels"]);
    } else if call.resource.is("", "pods") {
        value::copy(old, object, &["metadata", "ownerReferences"]);
    }
}

/// What no client changes.
fn keep_metadata(old: &Value, object: &mut Value) {
    for field in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
        "namespace",
        "name",
        "generateName",
    ] {
        value::copy(old, object, &["metadata", field]);
    }
    value::remove(object, &["metadata", "selfLink"]);
    if value::at(object, &["metadata", "managedFields"]).is_none() {
        value::copy(old, object, &["metadata", "managedFields"]);
    }
}

/// A changed desired state counts one up.
fn count_generation(call: &Call, old: &Value, object: &mut Value) {
    if !call.resource.traits.generation && call.resource.extension.is_none() {
        return;
    }
    let changed = if call.resource.extension.is_some() {
        custom_changed(call, old, object)
    } else if value::at(old, &["spec"]).is_some() || value::at(object, &["spec"]).is_some() {
        value::at(old, &["spec"]) != value::at(object, &["spec"])
    } else {
        custom_changed(call, old, object)
    };
    if changed {
        let generation = value::int(old, &["metadata", "generation"]).unwrap_or(0);
        value::set(object, &["metadata", "generation"], generation + 1);
    }
}

/// Whether anything but the metadata, and the status where it is a subresource, differs.
fn custom_changed(call: &Call, old: &Value, new: &Value) -> bool {
    let relevant = |key: &str| match key {
        "metadata" | "apiVersion" | "kind" => false,
        "status" => !call.version.status,
        _ => true,
    };
    let differs = |one: &Value, other: &Value| {
        let members = one.as_object().into_iter().flatten();
        members
            .filter(|(key, _)| relevant(key))
            .any(|(key, member)| other.get(key) != Some(member))
    };
    differs(old, new) || differs(new, old)
}

/// Commits a new state; an object whose deletion waited only for what is gone now ends with it.
pub(crate) fn settle(
    state: &mut State,
    resource: &Resource,
    existing: &Arc<Entry>,
    object: Value,
) -> Arc<Entry> {
    if is_finished(resource, &object) {
        state.remove(resource, existing);
        return Entry::new(existing.key.clone(), existing.revision, object);
    }
    state.replace(resource, existing, object)
}

/// Whether nothing holds a deletion up any more.
pub(crate) fn is_finished(resource: &Resource, object: &Value) -> bool {
    let emptied = !resource.is("", "namespaces") || value::items(object, &["spec", "finalizers"]).is_empty();
    value::is_deleting(object)
        && value::finalizers(object).next().is_none()
        && value::int(object, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0) == 0
        && emptied
}

/// Takes the collector's finalizer off a namespace that is empty.
pub(crate) fn finalize(state: &mut State, namespace: &str) {
    let Some(resource) = state.registry.get("", "namespaces").cloned() else {
        return;
    };
    let Some(existing) = state.builtin("", "namespaces", namespace).cloned() else {
        return;
    };
    let mut object = Value::clone(&existing.value);
    value::set(&mut object, &["spec"], serde_json::json!({}));
    settle(state, &resource, &existing, object);
}
