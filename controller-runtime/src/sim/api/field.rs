//! Errors about single fields, worded as `k8s.io/apimachinery/pkg/util/validation/field` words them.

use std::fmt;

use serde_json::Value;

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FieldError {
    pub(crate) kind: Kind,
    pub(crate) field: String,
    /// The offending value as it is printed; empty where none is.
    value: String,
    detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Required,
    Invalid,
    TypeInvalid,
    NotSupported,
    Forbidden,
    Duplicate,
    TooLong,
    TooMany,
}

/// Go's `%q`-like form of strings and the JSON form of everything else.
pub(crate) fn printed(value: &Value) -> String {
    match value {
        Value::Object(_) | Value::Array(_) => value.to_string(),
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

impl FieldError {
    fn new(kind: Kind, field: impl Into<String>, value: String, detail: impl Into<String>) -> Self {
        Self {
            kind,
            field: field.into(),
            value,
            detail: detail.into(),
        }
    }

    pub(crate) fn required(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Kind::Required, field, String::new(), detail)
    }

    pub(crate) fn invalid(field: impl Into<String>, value: &Value, detail: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, field, printed(value), detail)
    }

    /// A map or a list breaks a rule: its value is not printed.
    pub(crate) fn invalid_whole(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, field, String::new(), detail)
    }

    pub(crate) fn type_invalid(field: impl Into<String>, found: &str, detail: impl Into<String>) -> Self {
        Self::new(Kind::TypeInvalid, field, format!("{found:?}"), detail)
    }

    pub(crate) fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Kind::Forbidden, field, String::new(), detail)
    }

    pub(crate) fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self::new(Kind::Duplicate, field, printed(value), "")
    }

    pub(crate) fn too_long(field: impl Into<String>, bytes: usize) -> Self {
        Self::new(
            Kind::TooLong,
            field,
            String::new(),
            format!("may not be more than {bytes} bytes"),
        )
    }

    pub(crate) fn too_many(field: impl Into<String>, found: usize, most: usize) -> Self {
        Self::new(
            Kind::TooMany,
            field,
            found.to_string(),
            format!(
                "must have at most {most} {}",
                if most == 1 { "item" } else { "items" }
            ),
        )
    }

    pub(crate) fn not_supported<'a>(
        field: impl Into<String>,
        value: &Value,
        supported: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let supported: Vec<String> = supported.into_iter().map(|text| format!("{text:?}")).collect();
        let detail = format!("supported values: {}", supported.join(", "));
        Self::new(Kind::NotSupported, field, printed(value), detail)
    }

    pub(crate) fn reason(&self) -> &'static str {
        match self.kind {
            Kind::Required => "FieldValueRequired",
            Kind::Invalid => "FieldValueInvalid",
            Kind::TypeInvalid => "FieldValueTypeInvalid",
            Kind::NotSupported => "FieldValueNotSupported",
            Kind::Forbidden => "FieldValueForbidden",
            Kind::Duplicate => "FieldValueDuplicate",
            Kind::TooLong => "FieldValueTooLong",
            Kind::TooMany => "FieldValueTooMany",
        }
    }

    /// The error without the field's name.
    pub(crate) fn body(&self) -> String {
        let title = match self.kind {
            Kind::Required => "Required value",
            Kind::Invalid | Kind::TypeInvalid => "Invalid value",
            Kind::NotSupported => "Unsupported value",
            Kind::Forbidden => "Forbidden",
            Kind::Duplicate => "Duplicate value",
            Kind::TooLong => "Too long",
            Kind::TooMany => "Too many",
        };
        let mut text = title.to_owned();
        if !self.value.is_empty() {
            text.push_str(": ");
            text.push_str(&self.value);
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bodies_follow_the_field_package() {
        let cases = [
            (FieldError::required("a", ""), "a: Required value"),
            (
                FieldError::invalid("a", &json!("x y"), "must be a name"),
                "a: Invalid value: \"x y\": must be a name",
            ),
            (
                FieldError::not_supported("a", &json!("Z"), ["X", "Y"]),
                "a: Unsupported value: \"Z\": supported values: \"X\", \"Y\"",
            ),
            (
                FieldError::forbidden("a", "may not change"),
                "a: Forbidden: may not change",
            ),
            (
                FieldError::duplicate("a[1]", &json!("n")),
                "a[1]: Duplicate value: \"n\"",
            ),
            (
                FieldError::too_many("a", 4, 3),
                "a: Too many: 4: must have at most 3 items",
            ),
        ];
        for (error, expected) in cases {
            assert_eq!(error.to_string(), expected);
        }
    }
}
