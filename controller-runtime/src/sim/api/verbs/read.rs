//! `get` and `list`.

use std::sync::Arc;

use http::Response;

use super::{Call, filter, revision};
use crate::sim::api::{
    ApiBody,
    paging::Page,
    reply,
    state::State,
    status::ApiError,
    store::{Entry, Filter},
};

/// Answers with the object that the path names.
pub(super) fn get(state: &State, call: &Call) -> Result<Response<ApiBody>, ApiError> {
    let entry = call.existing(state)?;
    Ok(call.reply(state, 200, &entry))
}

/// Answers with the selected objects, in pages if asked to.
pub(super) fn list(state: &mut State, call: &Call) -> Result<Response<ApiBody>, ApiError> {
    super::options::check_list(call)?;
    let filter = filter(call)?;
    let asked = revision(&call.query)
        .map_err(|error| ApiError::bad_request(format!("invalid resource version: {}", error.message)))?;
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
        let (revision, entries) = at_version(state, call, &filter, asked)?;
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

/// The selected objects at the version that was asked for, and that version.
fn at_version(
    state: &State,
    call: &Call,
    filter: &Filter,
    asked: Option<u64>,
) -> Result<(u64, Vec<Arc<Entry>>), ApiError> {
    let store = state.store(&call.resource)?;
    let asked = asked.unwrap_or(0);
    if asked > state.revision {
        return Err(ApiError::too_large_resource_version(asked, state.revision));
    }
    if call.query.get("resourceVersionMatch") != Some("Exact") {
        return Ok((state.revision, store.list(filter).cloned().collect()));
    }
    let Some(entries) = store.list_at(filter, asked) else {
        return Err(ApiError::expired(format!(
            "The resourceVersion for the provided list is too old: {asked}"
        )));
    };
    Ok((asked, entries))
}
