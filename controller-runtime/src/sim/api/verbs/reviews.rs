//! Resources that are answered and forgotten: everybody is known, and may do everything.

use http::Response;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::Call;
use crate::sim::api::{
    ApiBody,
    paging::{base64, from_base64},
    reply,
    state::{self, State},
    status::ApiError,
    value,
};

/// Serves a POST of a review, or of a Binding by its old path.
pub(super) fn answer(state: &mut State, call: &Call) -> Result<Response<ApiBody>, ApiError> {
    let mut review = super::create::decode(call, call.json()?)?;
    if call.resource.plural == "bindings" {
        return bind(state, call, &review);
    }
    let user = json!({"username": call.user, "groups": ["system:masters", "system:authenticated"]});
    let status = match call.resource.kind.as_str() {
        "TokenReview" => match owner_of(state, value::text(&review, &["spec", "token"])) {
            Some(user) => json!({
                "authenticated": true,
                "user": user,
                "audiences": value::at(&review, &["spec", "audiences"]),
            }),
            None => json!({"user": {}, "error": "invalid bearer token"}),
        },
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

const ACCOUNT: &str = "system:serviceaccount:";

/// Serves a POST of a TokenRequest: a token that this server knows again until it expires.
pub(super) fn token(state: &mut State, call: &Call) -> Result<Response<ApiBody>, ApiError> {
    let account = call.existing(state)?;
    let mut request = call.json()?;
    value::default(&mut request, &["apiVersion"], "authentication.k8s.io/v1");
    value::default(&mut request, &["kind"], "TokenRequest");
    value::default(&mut request, &["spec", "expirationSeconds"], 3600);
    let seconds = value::int(&request, &["spec", "expirationSeconds"]).unwrap_or(3600);
    let end = state
        .now
        .saturating_add(SignedDuration::from_secs(seconds))
        .unwrap_or(state.now);
    let (namespace, name) = (value::namespace(&account.value), value::name(&account.value));
    let claims = json!({
        "sub": format!("{ACCOUNT}{namespace}:{name}"),
        "uid": value::uid(&account.value),
        "iat": state.now.as_second(),
        "exp": end.as_second(),
    });
    let part = |value: &Value| {
        let text = base64(value.to_string().as_bytes());
        text.trim_end_matches('=').replace('+', "-").replace('/', "_")
    };
    let token = format!("{}.{}.embedded", part(&json!({"alg": "none"})), part(&claims));
    let status = json!({"token": token, "expirationTimestamp": state::timestamp(end)});
    value::set(&mut request, &["status"], status);
    Ok(reply::json(201, &request))
}

/// Who a token belongs to, if this server made it, its account is still there and its time is not over.
fn owner_of(state: &State, token: &str) -> Option<Value> {
    let claims = token.split('.').nth(1)?.replace('-', "+").replace('_', "/");
    let padding = "=".repeat((4 - claims.len() % 4) % 4);
    let claims: Value = serde_json::from_slice(&from_base64(&format!("{claims}{padding}"))?).ok()?;
    let user = claims["sub"].as_str()?;
    let (namespace, name) = user.strip_prefix(ACCOUNT)?.split_once(':')?;
    let account = state.builtin("", "serviceaccounts", &format!("{namespace}/{name}"))?;
    let valid =
        claims["uid"] == value::uid(&account.value) && claims["exp"].as_i64()? > state.now.as_second();
    let groups = [
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
        "system:authenticated".to_owned(),
    ];
    valid.then(|| json!({"username": user, "uid": claims["uid"], "groups": groups}))
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
