//! Where a node is, and what it says when it refuses.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::Url;
use serde_json::Value;

/// The URL of a deployment of Elastic Cloud, whose id is `name:base64(host$deployment$...)`.
pub(super) fn of_cloud(id: &str) -> Result<String, String> {
    let bad = || format!("cloudID {id:?} is no id of a deployment, expected name:base64 text");
    let (_, encoded) = id.rsplit_once(':').ok_or_else(bad)?;
    let decoded = STANDARD.decode(encoded.trim()).map_err(|_| bad())?;
    let decoded = String::from_utf8(decoded).map_err(|_| bad())?;
    let mut parts = decoded.split('$');
    match (parts.next(), parts.next()) {
        (Some(host), Some(deployment)) if !host.is_empty() && !deployment.is_empty() => {
            Ok(format!("https://{deployment}.{host}"))
        }
        _ => Err(bad()),
    }
}

/// `path` at a node, whose URL may have a path of its own.
pub(super) fn at(mut node: Url, path: &str) -> Url {
    let base = node.path().trim_end_matches('/').to_owned();
    node.set_path(&format!("{base}/{path}"));
    node.set_query(None);
    node
}

/// The reason in the body of a refusal.
pub(super) fn reason(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let error = &body["error"];
    let reason = error["reason"].as_str().or(error.as_str())?;
    Some(reason.to_owned())
}
