//! `delete` and `deletecollection`: preconditions, grace, finalizers, propagation.

use std::sync::Arc;

use http::Response;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{Call, filter, options, parse, update::is_finished};
use crate::sim::api::{
    ApiBody,
    field::FieldError,
    paging::Page,
    reply,
    resources::Resource,
    state::{self, State},
    status::ApiError,
    store::Entry,
    value,
};

/// What becomes of the dependents of a deleted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// They go after their owner.
    Background,
    /// They go before their owner.
    Foreground,
    /// They stay, without their owner.
    Orphan,
}

/// How to delete.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) uid: Option<String>,
    pub(crate) revision: Option<String>,
    pub(crate) propagation: Option<Propagation>,
    pub(crate) grace: Option<i64>,
    pub(crate) dry_run: bool,
}

/// What a deletion came to.
#[derive(Debug)]
pub(crate) struct Deleted {
    pub(crate) entry: Arc<Entry>,
    /// It is gone already, not waiting for grace or finalizers.
    pub(crate) gone: bool,
}

pub(crate) const ORPHAN: &str = "orphan";
pub(crate) const FOREGROUND: &str = "foregroundDeletion";

impl DeleteOptions {
    /// Reads the request's body and, over it, its query.
    fn from_call(call: &Call) -> Result<Self, ApiError> {
        let body = if call.body.is_empty() {
            Value::Null
        } else {
            parse(&call.body)?
        };
        let text = |path: &[&str]| {
            let found = value::text(&body, path);
            (!found.is_empty()).then(|| found.to_owned())
        };
        let propagation = call
            .query
            .get("propagationPolicy")
            .map(str::to_owned)
            .or(text(&["propagationPolicy"]));
        let orphan = value::at(&body, &["orphanDependents"]).and_then(Value::as_bool);
        let mut errors = Vec::new();
        if let (Some(policy), Some(_)) = (&propagation, orphan) {
            let detail = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(FieldError::invalid(
                "propagationPolicy",
                &policy.as_str().into(),
                detail,
            ));
        }
        let propagation = match (propagation.as_deref(), orphan) {
            (Some("Background"), _) => Some(Propagation::Background),
            (Some("Foreground"), _) => Some(Propagation::Foreground),
            (Some("Orphan"), _) | (None, Some(true)) => Some(Propagation::Orphan),
            (None, Some(false)) => Some(Propagation::Background),
            (None, None) => None,
            (Some(other), _) => {
                let known = ["Foreground", "Background", "Orphan", "nil"];
                errors.push(FieldError::not_supported(
                    "propagationPolicy",
                    &other.into(),
                    known,
                ));
                None
            }
        };
        options::refuse("DeleteOptions", &errors)?;
        let grace = call
            .query
            .get("gracePeriodSeconds")
            .and_then(|text| text.parse().ok());
        Ok(Self {
            uid: text(&["preconditions", "uid"]),
            revision: text(&["preconditions", "resourceVersion"]),
            propagation,
            grace: grace.or_else(|| value::int(&body, &["gracePeriodSeconds"])),
            dry_run: call.dry_run() || !value::items(&body, &["dryRun"]).is_empty(),
        })
    }
}

/// Serves a DELETE of one object.
pub(super) fn delete(state: &mut State, call: &Call) -> Result<Response<ApiBody>, ApiError> {
    let options = DeleteOptions::from_call(call)?;
    let existing = call.existing(state)?;
    warn_of_orphans(call, &options);
    let deleted = delete_entry(state, &call.resource, &existing, &options)?;
    if deleted.gone && !call.resource.traits.returns_deleted {
        return Ok(reply::json(200, &gone(&call.resource, &existing.value)));
    }
    Ok(call.reply(state, 200, &deleted.entry))
}

/// Clients that do not say what is to become of a Job's pods are told that those stay.
fn warn_of_orphans(call: &Call, options: &DeleteOptions) {
    if call.resource.is("batch", "jobs") && options.propagation.is_none() {
        call.warn(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them \
             or set propagationPolicy=Orphan to suppress this warning"
                .to_owned(),
        );
    }
}

fn gone(resource: &Resource, object: &Value) -> Value {
    let mut details = json!({
        "name": value::name(object),
        "kind": resource.plural,
        "uid": value::uid(object),
    });
    if !resource.group.is_empty() {
        details["group"] = resource.group.as_str().into();
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

/// Serves a DELETE of a collection.
pub(super) fn delete_collection(state: &mut State, call: &Call) -> Result<Response<ApiBody>, ApiError> {
    let options = DeleteOptions::from_call(call)?;
    warn_of_orphans(call, &options);
    let filter = filter(call)?;
    let entries: Vec<_> = state.store(&call.resource)?.list(&filter).cloned().collect();
    for entry in &entries {
        // An object may have gone with one before it.
        if let Some(current) = state.store(&call.resource)?.get(&entry.key).cloned() {
            delete_entry(state, &call.resource, &current, &options)?;
        }
    }
    let page = Page {
        revision: state.revision,
        entries,
        next: None,
        remaining: 0,
    };
    Ok(reply::json_bytes(
        200,
        call.encoder().list(&page, false, state.now),
    ))
}

/// Deletes an object, or begins to.
///
/// # Errors
/// 409 if a precondition does not hold, 403 for namespaces that stay.
pub(crate) fn delete_entry(
    state: &mut State,
    resource: &Arc<Resource>,
    existing: &Arc<Entry>,
    options: &DeleteOptions,
) -> Result<Deleted, ApiError> {
    check(resource, existing, options)?;
    let old = &existing.value;
    let mut object = Value::clone(old);
    set_finalizers(resource, &mut object, options);
    let grace = if resource.is("", "pods") {
        pod_grace(old, options.grace)
    } else {
        0
    };
    if value::is_deleting(old) {
        shorten(state, &mut object, grace, options.grace.is_some());
    } else {
        let at = state
            .now
            .saturating_add(SignedDuration::from_secs(grace))
            .unwrap_or(state.now);
        value::set(
            &mut object,
            &["metadata", "deletionTimestamp"],
            state::timestamp(at),
        );
        // What a namespace holds takes the time that it takes.
        if !resource.is("", "namespaces") {
            value::set(&mut object, &["metadata", "deletionGracePeriodSeconds"], grace);
        }
        if let Some(generation) = value::int(old, &["metadata", "generation"]).filter(|&count| count > 0) {
            value::set(&mut object, &["metadata", "generation"], generation + 1);
        }
        if resource.is("", "namespaces") {
            value::set(&mut object, &["status", "phase"], "Terminating");
        }
    }
    let finished = is_finished(resource, &object);
    if options.dry_run {
        let entry = Entry::new(existing.key.clone(), existing.revision, object);
        return Ok(Deleted {
            entry,
            gone: finished,
        });
    }
    if finished {
        return Ok(Deleted {
            entry: state.remove(resource, existing),
            gone: true,
        });
    }
    if object == **old {
        return Ok(Deleted {
            entry: existing.clone(),
            gone: false,
        });
    }
    Ok(Deleted {
        entry: state.replace(resource, existing, object),
        gone: false,
    })
}

fn check(resource: &Resource, existing: &Entry, options: &DeleteOptions) -> Result<(), ApiError> {
    let object = &existing.value;
    let name = value::name(object);
    let conflict = |what: &str, wanted: &str, found: &str, guess: &str| {
        let error = format!(
            "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). The object might \
             have been {guess}"
        );
        Err(ApiError::conflict(resource.kind_subject(), name, &error))
    };
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != value::uid(object)) {
        return conflict("UID", uid, value::uid(object), "deleted and then recreated");
    }
    let revision = value::text(object, &["metadata", "resourceVersion"]);
    if let Some(wanted) = options.revision.as_deref().filter(|wanted| *wanted != revision) {
        return conflict("ResourceVersion", wanted, revision, "modified");
    }
    let lasting = ["default", "kube-system", "kube-public"];
    if resource.is("", "namespaces") && lasting.contains(&name) {
        return Err(ApiError::forbidden(
            resource.subject(),
            name,
            "this namespace may not be deleted",
        ));
    }
    Ok(())
}

/// The finalizers by which the garbage collector learns of the propagation policy.
fn set_finalizers(resource: &Resource, object: &mut Value, options: &DeleteOptions) {
    let has = |name: &str| value::finalizers(object).any(|found| found == name);
    let (had_orphan, had_foreground) = (has(ORPHAN), has(FOREGROUND));
    let policy = match options.propagation {
        Some(policy) => policy,
        None if had_orphan => Propagation::Orphan,
        None if had_foreground => Propagation::Foreground,
        None if resource.traits.orphans_by_default => Propagation::Orphan,
        None => Propagation::Background,
    };
    let (orphan, foreground) = (policy == Propagation::Orphan, policy == Propagation::Foreground);
    if (orphan, foreground) == (had_orphan, had_foreground) {
        return;
    }
    let mut finalizers: Vec<Value> = value::finalizers(object)
        .filter(|name| *name != ORPHAN && *name != FOREGROUND)
        .map(Value::from)
        .collect();
    if orphan {
        finalizers.push(ORPHAN.into());
    }
    if foreground {
        finalizers.push(FOREGROUND.into());
    }
    if finalizers.is_empty() {
        value::remove(object, &["metadata", "finalizers"]);
    } else {
        value::set(object, &["metadata", "finalizers"], finalizers);
    }
}

/// Seconds that a pod is given to stop: none if nothing runs.
fn pod_grace(pod: &Value, asked: Option<i64>) -> i64 {
    let own = value::int(pod, &["spec", "terminationGracePeriodSeconds"]).unwrap_or(0);
    let unbound = value::text(pod, &["spec", "nodeName"]).is_empty();
    let ended = matches!(value::text(pod, &["status", "phase"]), "Failed" | "Succeeded");
    if unbound || ended {
        return 0;
    }
    let period = asked.unwrap_or(own);
    if period < 0 { 1 } else { period }
}

/// A deletion that has begun can only be made to end earlier.
fn shorten(state: &State, object: &mut Value, grace: i64, asked: bool) {
    let left = value::int(object, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0);
    if grace >= left || !(asked || grace == 0) {
        return;
    }
    let end = value::text(object, &["metadata", "deletionTimestamp"])
        .parse()
        .unwrap_or(state.now);
    let end = end
        .saturating_sub(SignedDuration::from_secs(left - grace))
        .unwrap_or(end);
    value::set(object, &["metadata", "deletionTimestamp"], state::timestamp(end));
    value::set(object, &["metadata", "deletionGracePeriodSeconds"], grace);
}
