//! Finding one value in JSON by a GJSON path.

use std::panic;

use serde::de::IgnoredAny;

/// What a path leads to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Found {
    Number(f64),
    Text(String),
    /// JSON's null, or nothing at all.
    Nothing,
    Boolean,
    List,
    Object,
}

impl Found {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::Nothing => "nothing",
            Self::Boolean => "a boolean",
            Self::List => "a list",
            Self::Object => "an object",
        }
    }
}

/// Follows `location`, which is a field's value.
///
/// # Errors
/// If the answer is no JSON, or the path cannot be followed.
pub(crate) fn find(answer: &str, location: &str) -> Result<Found, String> {
    // The path language assumes valid JSON, and bounds no nesting; this does both.
    serde_json::from_str::<IgnoredAny>(answer).map_err(|error| format!("the answer is not JSON: {error}"))?;
    // A path is anybody's text, and its interpreter was not written for enemies.
    panic::catch_unwind(|| {
        let value = gjson::get(answer, location);
        match value.kind() {
            gjson::Kind::Number => Found::Number(value.f64()),
            gjson::Kind::String => Found::Text(value.str().to_owned()),
            gjson::Kind::Null => Found::Nothing,
            gjson::Kind::True | gjson::Kind::False => Found::Boolean,
            gjson::Kind::Array => Found::List,
            gjson::Kind::Object => Found::Object,
        }
    })
    .map_err(|_| format!("valueLocation {location:?} cannot be followed in this answer"))
}
