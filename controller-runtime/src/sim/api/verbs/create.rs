//! `create`.

use std::sync::Arc;

use http::Response;
use serde_json::Value;

use super::{Call, key, update::Manager};
use crate::sim::api::{
    ApiBody, convert, crd, defaults,
    field::FieldError,
    managed,
    state::State,
    status::{ApiError, Subject},
    store::Entry,
    validation, value,
};

/// Serves a POST.
pub(super) fn post(state: &mut State, call: &Call) -> Result<Response<ApiBody>, ApiError> {
    let object = call.json()?;
    let entry = create(state, call, object)?;
    Ok(call.reply(state, 201, &entry))
}

/// Creates an object, tracked as a plain creation.
///
/// # Errors
/// The refusal.
pub(super) fn create(state: &mut State, call: &Call, object: Value) -> Result<Arc<Entry>, ApiError> {
    create_as(state, call, object, &Manager::update(call), false)
}

/// Creates an object on behalf of a field manager; `named` is false where the name may be generated.
pub(super) fn create_as(
    state: &mut State,
    call: &Call,
    object: Value,
    manager: &Manager,
    exact: bool,
) -> Result<Arc<Entry>, ApiError> {
    let resource = &call.resource;
    let mut object = decode(call, object)?;
    check_namespace(call, &mut object)?;
    if value::name(&object).is_empty() && !exact {
        let base = value::text(&object, &["metadata", "generateName"]).to_owned();
        if !base.is_empty() {
            let name = state.random.name(&base);
            value::set(&mut object, &["metadata", "name"], name);
        }
    }
    admit_namespace(state, call, &object)?;
    let revision = value::text(&object, &["metadata", "resourceVersion"]);
    if !revision.is_empty() && revision != "0" {
        return Err(ApiError::new(
            500,
            "",
            "resourceVersion should not be set on objects to be created",
        ));
    }
    reset(state, call, &mut object);
    defaults::apply(resource, &mut object);
    defaults::count_template(resource, None, &mut object);
    managed::created(state, call, manager, &mut object);
    defaults::admit(state, resource, &mut object)?;
    let mut errors = validation::create(resource, &object);
    errors.extend(crd::validate(state, resource, &call.version.name, &object, None));
    if !errors.is_empty() {
        return Err(ApiError::invalid(
            resource.kind_subject(),
            value::name(&object),
            &errors,
        ));
    }
    let name = value::name(&object).to_owned();
    let key = key(resource, call.target.namespace.as_deref(), &name);
    if state.store(resource)?.get(&key).is_some() {
        return Err(ApiError::already_exists(resource.subject(), &name));
    }
    if call.dry_run() {
        return Ok(Entry::new(key.into(), 0, object));
    }
    Ok(state.insert(resource, &key, object))
}

/// The client's object in its stored form.
pub(super) fn decode(call: &Call, mut object: Value) -> Result<Value, ApiError> {
    let resource = &call.resource;
    if !object.is_object() {
        return Err(ApiError::bad_request(
            "the object provided is unrecognized (must be of type object)",
        ));
    }
    let expected = call.api_version();
    let (api_version, kind) = (
        value::text(&object, &["apiVersion"]),
        value::text(&object, &["kind"]),
    );
    if resource.extension.is_some() && kind.is_empty() {
        let message = format!("Object 'Kind' is missing in '{object}'");
        return Err(ApiError::bad_request(message));
    }
    if resource.extension.is_some() && !kind.is_empty() && kind != resource.kind && api_version == expected {
        let error = FieldError::invalid("kind", &kind.into(), format!("must be {}", resource.kind));
        let subject = Subject {
            group: &resource.group,
            name: kind,
        };
        return Err(ApiError::invalid(subject, value::name(&object), &[error]));
    }
    if !kind.is_empty() && kind != resource.kind {
        // The package of Go's internal type.
        let package = match resource.group.split('.').next() {
            Some("") | None => "core",
            Some(group) => group,
        };
        let message = format!(
            "{kind} in version \"{}\" cannot be handled as a {}: converting ({}.{kind}) to ({package}.{}): unknown \
             conversion",
            call.version.name,
            resource.kind,
            api_version.rsplit('/').next().unwrap_or_default(),
            resource.kind
        );
        return Err(ApiError::bad_request(message));
    }
    let group = |api_version: &str| {
        api_version
            .split_once('/')
            .map_or("", |(group, _)| group)
            .to_owned()
    };
    if resource.extension.is_none() && !api_version.is_empty() && group(api_version) != resource.group {
        let (kind, version) = (&resource.kind, &call.version.name);
        return Err(ApiError::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: no kind \"{kind}\" is registered for version \
             \"{api_version}\" in scheme \"pkg/runtime/scheme.go:111\""
        )));
    }
    if !api_version.is_empty() && api_version != expected {
        let message = format!(
            "the API version in the data ({api_version}) does not match the expected API version ({expected})"
        );
        return Err(ApiError::bad_request(message));
    }
    value::set(&mut object, &["apiVersion"], expected);
    value::set(&mut object, &["kind"], resource.kind.as_str());
    validation::check_types(resource, &call.version.name, &object)?;
    strict(call, &mut object)?;
    value::object_at(&mut object, &["metadata"]);
    if let Some(metadata) = value::at_mut(&mut object, &["metadata"]) {
        defaults::drop_nulls(metadata);
        defaults::drop_empty(metadata);
    }
    if resource.extension.is_none() {
        defaults::drop_nulls(&mut object);
        defaults::drop_empty_lists(resource, &mut object);
    }
    crd::prune_and_default(resource, &call.version.name, &mut object);
    let object = convert::to_storage(resource, &call.version.name, object);
    Ok(object)
}

/// Drops fields that the kind does not have, and warns of them or refuses them, as the request wants it.
fn strict(call: &Call, object: &mut Value) -> Result<(), ApiError> {
    let version = &call.version.name;
    let mut unknown = validation::prune_unknown(&call.resource, version, object);
    let wanted = call.query.get("fieldValidation").unwrap_or("Warn");
    if wanted == "Ignore" || call.body.is_empty() {
        return Ok(());
    }
    unknown.extend(crd::unknown(&call.resource, version, object));
    let problems: Vec<String> = unknown
        .iter()
        .map(|path| format!("unknown field {path:?}"))
        .collect();
    if wanted == "Strict" && !problems.is_empty() {
        let kind = &call.resource.kind;
        return Err(ApiError::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: strict decoding error: {}",
            problems.join(", ")
        )));
    }
    problems.into_iter().for_each(|problem| call.warn(problem));
    Ok(())
}

/// The namespace in the object must be the one in the path.
pub(super) fn check_namespace(call: &Call, object: &mut Value) -> Result<(), ApiError> {
    let found = value::namespace(object);
    let Some(namespace) = &call.target.namespace else {
        if call.resource.namespaced {
            return Err(ApiError::method_not_allowed());
        }
        if !found.is_empty() {
            value::remove(object, &["metadata", "namespace"]);
        }
        return Ok(());
    };
    if !found.is_empty() && found != namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    value::set(object, &["metadata", "namespace"], namespace.as_str());
    Ok(())
}

/// New objects need a namespace that exists and is not on its way out.
fn admit_namespace(state: &State, call: &Call, object: &Value) -> Result<(), ApiError> {
    let Some(namespace) = call
        .target
        .namespace
        .as_deref()
        .filter(|_| call.resource.namespaced)
    else {
        return Ok(());
    };
    let namespaces = Subject {
        group: "",
        name: "namespaces",
    };
    let Some(entry) = state.builtin("", "namespaces", namespace) else {
        return Err(ApiError::not_found(namespaces, namespace));
    };
    if !value::is_deleting(&entry.value) {
        return Ok(());
    }
    let message =
        format!("unable to create new content in namespace {namespace} because it is being terminated");
    Err(
        ApiError::forbidden(call.resource.subject(), value::name(object), &message).with_cause(
            "NamespaceTerminating",
            format!("namespace {namespace} is being terminated"),
            "metadata.namespace",
        ),
    )
}

/// What the server alone decides about a new object.
fn reset(state: &mut State, call: &Call, object: &mut Value) {
    let uid = state.random.uid();
    let now = state.timestamp();
    let metadata = value::object_at(object, &["metadata"]);
    for field in [
        "resourceVersion",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ] {
        metadata.remove(field);
    }
    metadata.insert("uid".to_owned(), uid.into());
    metadata.insert("creationTimestamp".to_owned(), now.into());
    if call.resource.traits.generation || call.resource.extension.is_some() {
        metadata.insert("generation".to_owned(), 1.into());
    }
    // Nodes and pods register with what they bring, where a strategy says so.
    if call.version.status && !call.resource.is("", "nodes") {
        value::remove(object, &["status"]);
    }
}
