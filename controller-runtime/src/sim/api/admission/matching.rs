//! Whether a webhook wants to hear of a write.

use http::Method;
use serde_json::Value;

use crate::sim::api::{Call, selectors::LabelSelector, state::State, status::ApiError, value};

/// What a write does to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Create,
    Update,
    Delete,
}

impl Operation {
    /// What a request does, if it writes a single object that is kept.
    pub(super) fn of(state: &State, method: &Method, call: &Call) -> Option<Self> {
        let store = state.store(&call.resource).ok()?;
        let target = &call.target;
        // Others do something rather than write something.
        if !matches!(target.subresource.as_deref(), None | Some("status" | "scale")) {
            return None;
        }
        let exists = target.name.as_deref().is_some_and(|name| {
            let namespace = target.namespace.as_deref();
            let key = crate::sim::api::verbs::key(&call.resource, namespace, name);
            store.get(&key).is_some()
        });
        match (method.as_str(), &target.name, exists) {
            ("POST", ..) => Some(Self::Create),
            ("PUT" | "PATCH", Some(_), true) => Some(Self::Update),
            // Either it creates, or it is refused anyway.
            ("PUT" | "PATCH", Some(_), false) => Some(Self::Create),
            ("DELETE", Some(_), true) => Some(Self::Delete),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// Whether one of a webhook's rules covers the write.
pub(super) fn covers(webhook: &Value, operation: Operation, call: &Call) -> bool {
    let equivalent = value::text(webhook, &["matchPolicy"]) != "Exact";
    value::items(webhook, &["rules"])
        .iter()
        .any(|rule| rule_covers(rule, operation, call, equivalent))
}

fn rule_covers(rule: &Value, operation: Operation, call: &Call, equivalent: bool) -> bool {
    let lists = |field: &str, wanted: &str| {
        let listed = value::items(rule, &[field]).iter().filter_map(Value::as_str);
        listed.into_iter().any(|listed| listed == "*" || listed == wanted)
    };
    let resource = &call.resource;
    let of_version = lists("apiVersions", &call.version.name)
        || (equivalent
            && resource
                .versions
                .iter()
                .any(|version| lists("apiVersions", &version.name)));
    let in_scope = match value::text(rule, &["scope"]) {
        "Namespaced" => resource.namespaced,
        "Cluster" => !resource.namespaced,
        _ => true,
    };
    let subresource = call.target.subresource.as_deref().unwrap_or_default();
    let mut resources = value::items(rule, &["resources"])
        .iter()
        .filter_map(Value::as_str);
    let is_named = resources.any(|listed| match listed.split_once('/') {
        None => subresource.is_empty() && (listed == "*" || listed == resource.plural),
        Some((main, sub)) => {
            (main == "*" || main == resource.plural)
                && (sub == subresource || (sub == "*" && (main == "*" || !subresource.is_empty())))
        }
    });
    lists("operations", operation.name())
        && lists("apiGroups", &resource.group)
        && of_version
        && in_scope
        && is_named
}

/// Whether a webhook's selectors select the object and its namespace.
///
/// # Errors
/// 500 if a selector cannot be read.
pub(super) fn selects(
    state: &State,
    webhook: &Value,
    call: &Call,
    object: &Value,
    old: &Value,
) -> Result<bool, ApiError> {
    let selector =
        |field: &str| LabelSelector::from_object(&webhook[field]).map_err(|error| ApiError::internal(&error));
    let objects = selector("objectSelector")?;
    let namespaces = selector("namespaceSelector")?;
    let is_selected = |object: &Value| !object.is_null() && objects.matches(object);
    if !objects.is_empty() && !is_selected(object) && !is_selected(old) {
        return Ok(false);
    }
    if call.resource.is("", "namespaces") {
        let namespace = if object.is_null() { old } else { object };
        return Ok(namespaces.matches(namespace));
    }
    // What is in no namespace is in everybody's.
    let Some(namespace) = call
        .target
        .namespace
        .as_deref()
        .filter(|_| call.resource.namespaced)
    else {
        return Ok(true);
    };
    let found = state.builtin("", "namespaces", namespace);
    Ok(found.is_none_or(|namespace| namespaces.matches(&namespace.value)))
}
