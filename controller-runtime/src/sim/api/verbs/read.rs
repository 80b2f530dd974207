//! `get` and `list`.

use http::Response;

use super::{Call, filter, revision};
use crate::sim::api::{ApiBody, paging::Page, reply, state::State, status::ApiError};

/// Answers with the object that the path names.
pub(super) fn get(state: &State, call: &Call) -> Result<Response<ApiBody>, ApiError> {
    let entry = call.existing(state)?;
    Ok(call.reply(state, 200, &entry))
}

/// Answers with the selected objects, in pages if asked to.
pub(super) fn list(state: &mut State, call: &Call) -> Result<Response<ApiBody>, ApiError> {
    let filter = filter(call)?;
    let asked = revision(&call.query)?;
    let limit = call
        .query
        .get("limit")
        .and_then(|text| text.parse::<usize>().ok())
        .unwrap_or(0);
    let counted = filter.labels.is_empty() && call.query.get("fieldSelector").is_none();
    let page = if let Some(token) = call.query.get("continue") {
        if asked.is_some_and(|revision| revision > 0) {
            return Err(ApiError::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        state.snapshots.resume(token, limit)?
    } else {
        check_version(state, call, asked)?;
        let entries = state.store(&call.resource)?.list(&filter).cloned().collect();
        let revision = state.revision;
        if limit == 0 {
            Page {
                revision,
                entries,
                next: None,
                remaining: 0,
            }
        } else {
            state.snapshots.open(revision, entries, limit)
        }
    };
    Ok(reply::json_bytes(
        200,
        call.encoder().list(&page, counted, state.now),
    ))
}

/// Only the latest state can be listed, so an exact older version has expired and a newer one does not exist yet.
fn check_version(state: &State, call: &Call, asked: Option<u64>) -> Result<(), ApiError> {
    let matching = call.query.get("resourceVersionMatch");
    let Some(asked) = asked else {
        if matching.is_some() {
            return Err(ApiError::bad_request(
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        return Ok(());
    };
    if asked > state.revision {
        return Err(ApiError::too_large_resource_version(asked, state.revision));
    }
    let store = state.store(&call.resource)?;
    if matching == Some("Exact") && asked > 0 {
        let changed = store
            .since(asked)
            .is_none_or(|mut events| events.next().is_some());
        if changed {
            return Err(ApiError::expired(format!(
                "The resourceVersion for the provided list is too old: {asked}"
            )));
        }
    }
    Ok(())
}
