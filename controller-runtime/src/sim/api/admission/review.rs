//! `admission.k8s.io/v1` on the wire, and what people read of it.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{is_dry_run, matching::Operation};
use crate::sim::api::{Call, status::ApiError, value};

/// The question as an AdmissionReview.
pub(super) fn request(uid: &str, operation: Operation, call: &Call, object: &Value, old: &Value) -> Bytes {
    let resource = &call.resource;
    let (group, version) = (&resource.group, &call.version.name);
    let shown = if object.is_null() { old } else { object };
    // A subresource such as scale has a kind of its own.
    let (kind_group, kind_version) = value::text(shown, &["apiVersion"])
        .rsplit_once('/')
        .unwrap_or(("", version.as_str()));
    let kind = json!({
        "group": kind_group, "version": kind_version, "kind": value::text(shown, &["kind"]),
    });
    let named = json!({"group": group, "version": version, "resource": resource.plural});
    let mut request = json!({
        "uid": uid,
        "kind": kind,
        "resource": named,
        "requestKind": kind,
        "requestResource": named,
        "name": call.target.name.as_deref().unwrap_or(value::name(shown)),
        "operation": operation.name(),
        "userInfo": {"username": call.user, "groups": ["system:masters", "system:authenticated"]},
        "object": object,
        "oldObject": old,
        "dryRun": is_dry_run(call),
        "options": null,
    });
    if let Some(namespace) = &call.target.namespace {
        request["namespace"] = namespace.as_str().into();
    } else if resource.is("", "namespaces") {
        request["namespace"] = value::name(shown).into();
    }
    if let Some(subresource) = &call.target.subresource {
        request["subResource"] = subresource.as_str().into();
        request["requestSubResource"] = subresource.as_str().into();
    }
    let review = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request});
    review.to_string().into()
}

/// Where a webhook is asked.
pub(super) fn url(webhook: &Value, seconds: i64) -> String {
    let config = &webhook["clientConfig"];
    if let Some(url) = config["url"].as_str() {
        return format!("{url}?timeout={seconds}s");
    }
    let service = &config["service"];
    let (name, namespace) = (
        value::text(service, &["name"]),
        value::text(service, &["namespace"]),
    );
    let port = value::int(service, &["port"]).unwrap_or(443);
    let path = value::text(service, &["path"]).trim_start_matches('/');
    format!("https://{name}.{namespace}.svc:{port}/{path}?timeout={seconds}s")
}

/// A refusal as the client gets it.
pub(super) fn refusal(name: &str, status: &Value) -> ApiError {
    let denied = format!("admission webhook \"{name}\" denied the request");
    let (message, reason) = (
        value::text(status, &["message"]),
        value::text(status, &["reason"]),
    );
    let message = match (message, reason) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    let code = value::int(status, &["code"]).and_then(|code| u16::try_from(code).ok());
    ApiError::new(code.filter(|code| *code >= 400).unwrap_or(400), reason, message)
}
