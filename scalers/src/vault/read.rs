//! What stands at a path, by the kinds of engines.

use std::time::Duration;

use scaler_api::{Secret, secret_store::blocks::VaultSecret};
use serde_json::{Map, Value, json};

/// What stands at a path.
#[derive(Clone)]
pub(super) struct Place {
    data: Option<Map<String, Value>>,
    path: String,
    /// How long it may be given out; none where it is not leased.
    pub(super) ask_again: Option<Duration>,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Place")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Place {
    /// From an answer of the server at `now`, in seconds of Unix time.
    pub(super) fn of(answer: &Value, now: i64) -> Self {
        let data = answer["data"].as_object().cloned();
        let is_leased = answer["lease_id"].as_str().is_some_and(|id| !id.is_empty());
        let lease = answer["lease_duration"].as_u64().filter(|_| is_leased);
        // A certificate without a lease tells its own end.
        let end = data
            .as_ref()
            .and_then(|data| data.get("expiration"))
            .and_then(Value::as_i64);
        let issued = data.as_ref().and_then(|data| data.get("certificate"));
        let left = issued.zip(end).and_then(|(_, end)| u64::try_from(end - now).ok());
        let lives = lease.or(left);
        Self {
            data,
            path: String::new(),
            ask_again: lives.map(|seconds| Duration::from_secs(seconds).mul_f64(2.0 / 3.0)),
        }
    }

    /// Where nothing stands.
    pub(super) fn nothing(path: &str) -> Self {
        Self {
            data: None,
            path: path.to_owned(),
            ask_again: None,
        }
    }
}

/// The body by which a certificate is asked for; none where nothing is to be issued.
pub(super) fn certificate(secret: &VaultSecret) -> Option<Map<String, Value>> {
    if secret.type_.as_deref() != Some("pki") {
        return None;
    }
    let asked = secret.pki_data.clone().unwrap_or_default();
    let fields = [
        ("common_name", asked.common_name),
        ("alt_names", asked.alt_names),
        ("ip_sans", asked.ip_sans),
        ("uri_sans", asked.uri_sans),
        ("other_sans", asked.other_sans),
        ("ttl", asked.ttl),
        ("format", asked.format),
    ];
    let given = fields.into_iter().filter_map(|(name, value)| {
        let value = value.filter(|value| !value.is_empty())?;
        Some((name.to_owned(), json!(value)))
    });
    Some(given.collect())
}

/// The value of one key. Without a type, a nested object `data` is what KV version 2 answers.
pub(super) fn value_of(place: &Place, secret: &VaultSecret) -> Result<Secret, String> {
    let (path, key) = (&secret.path, &secret.key);
    let Some(data) = &place.data else {
        return Err(format!("there is nothing at {path:?}"));
    };
    let nested = data.get("data").and_then(Value::as_object);
    let fields = match secret.type_.as_deref().unwrap_or_default() {
        "secret" | "pki" => data,
        "secretV2" => nested.ok_or_else(|| format!("{path:?} is not of KV version 2"))?,
        _ => nested.unwrap_or(data),
    };
    match fields.get(key) {
        None | Some(Value::Null) => Err(format!("{path:?} has no key {key:?}")),
        Some(Value::String(text)) => Ok(Secret::new(text)),
        // A chain of certificates.
        Some(Value::Array(lines)) if lines.iter().all(Value::is_string) => {
            let lines: Vec<_> = lines.iter().filter_map(Value::as_str).collect();
            Ok(Secret::new(lines.join("\n")))
        }
        Some(other) => Ok(Secret::new(other.to_string())),
    }
}
