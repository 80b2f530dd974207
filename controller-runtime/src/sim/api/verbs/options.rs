//! The options of requests, as the query gives them.

use http::Method;
use serde_json::json;

use super::Call;
use crate::sim::api::{
    field::FieldError,
    status::{ApiError, Subject},
};

/// Refuses options that mean nothing.
///
/// # Errors
/// 422 with every such option.
pub(super) fn check(method: &Method, call: &Call) -> Result<(), ApiError> {
    let kind = match method.as_str() {
        "POST" => "CreateOptions",
        "PUT" => "UpdateOptions",
        "PATCH" => "PatchOptions",
        "DELETE" => "DeleteOptions",
        _ => return Ok(()),
    };
    let mut errors = Vec::new();
    if let Some(dry_run) = call.query.get("dryRun").filter(|text| *text != "All") {
        errors.push(FieldError::not_supported("dryRun", &json!([dry_run]), ["All"]));
    }
    if let Some(validation) = call.query.get("fieldValidation")
        && !matches!(validation, "Ignore" | "Warn" | "Strict")
    {
        let known = ["", "Ignore", "Warn", "Strict"];
        errors.push(FieldError::not_supported(
            "fieldValidation",
            &json!(validation),
            known,
        ));
    }
    refuse(kind, &errors)
}

/// Refuses what contradicts itself in a list's options.
///
/// # Errors
/// 422 with every contradiction.
pub(super) fn check_list(call: &Call) -> Result<(), ApiError> {
    let mut errors = Vec::new();
    let mut forbid = |detail: &str| errors.push(FieldError::forbidden(MATCH, detail));
    let revision = call.query.get("resourceVersion");
    if let Some(found) = call.query.get(MATCH) {
        if revision.is_none() {
            forbid("resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if call.query.get("continue").is_some() {
            forbid("resourceVersionMatch is forbidden when continue is provided");
        }
        if found == "Exact" && revision == Some("0") {
            forbid("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
        if !matches!(found, "Exact" | "NotOlderThan") {
            let known = ["Exact", "NotOlderThan", ""];
            errors.push(FieldError::not_supported(MATCH, &json!(found), known));
        }
    }
    if call.query.get("sendInitialEvents").is_some() {
        errors.push(FieldError::forbidden(
            "sendInitialEvents",
            "sendInitialEvents is forbidden for list",
        ));
    }
    refuse("ListOptions", &errors)
}

/// Refuses what contradicts itself in a watch's options.
///
/// # Errors
/// 422 with every contradiction.
pub(super) fn check_watch(call: &Call) -> Result<(), ApiError> {
    let mut errors = Vec::new();
    let found = call.query.get(MATCH);
    let streaming = call.query.get("sendInitialEvents").is_some();
    if streaming && found != Some("NotOlderThan") {
        errors.push(FieldError::forbidden(
            MATCH,
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ));
    }
    if let Some(found) = found {
        if !streaming {
            errors.push(FieldError::forbidden(
                MATCH,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        if found != "NotOlderThan" {
            errors.push(FieldError::not_supported(MATCH, &json!(found), ["NotOlderThan"]));
        }
        if call.query.get("continue").is_some() {
            let detail = "resourceVersionMatch is forbidden when continue is provided";
            errors.push(FieldError::forbidden(MATCH, detail));
        }
    }
    refuse("ListOptions", &errors)
}

const MATCH: &str = "resourceVersionMatch";

/// The 422 of options of a kind, if anything is wrong with them.
///
/// # Errors
/// That 422.
pub(super) fn refuse(kind: &str, errors: &[FieldError]) -> Result<(), ApiError> {
    if errors.is_empty() {
        return Ok(());
    }
    let subject = Subject {
        group: "meta.k8s.io",
        name: kind,
    };
    Err(ApiError::invalid(subject, "", errors))
}
