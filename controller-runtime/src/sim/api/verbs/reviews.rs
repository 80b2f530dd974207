//! Resources that are answered and forgotten: everybody is known, and may do everything.

use http::Response;
use serde_json::{Value, json};

use super::Call;
use crate::sim::api::{ApiBody, reply, state::State, status::ApiError, value};

/// Serves a POST of a review, or of a Binding by its old path.
pub(super) fn answer(state: &mut State, call: &Call) -> Result<Response<ApiBody>, ApiError> {
    let mut review = super::create::decode(call, call.json()?)?;
    if call.resource.plural == "bindings" {
        return bind(state, call, &review);
    }
    let user = json!({"username": call.user, "groups": ["system:masters", "system:authenticated"]});
    let status = match call.resource.kind.as_str() {
        "TokenReview" => {
            let authenticated = !value::text(&review, &["spec", "token"]).is_empty();
            if authenticated {
                json!({"authenticated": true, "user": user, "audiences": value::at(&review, &["spec", "audiences"])})
            } else {
                json!({"user": {}})
            }
        }
        "SelfSubjectReview" => json!({"userInfo": user}),
        "SelfSubjectRulesReview" => json!({
            "incomplete": false,
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
        }),
        _ => json!({"allowed": true}),
    };
    value::set(&mut review, &["status"], status);
    super::super::defaults::drop_nulls(&mut review);
    Ok(reply::json(201, &review))
}

fn bind(state: &mut State, call: &Call, binding: &Value) -> Result<Response<ApiBody>, ApiError> {
    let Some(pods) = state.registry.get("", "pods").cloned() else {
        return Err(ApiError::method_not_allowed());
    };
    let mut call = call.clone();
    call.version = pods.versions[0].clone();
    call.resource = pods;
    call.target.name = Some(value::name(binding).to_owned());
    super::pods::bind(state, &call)
}
