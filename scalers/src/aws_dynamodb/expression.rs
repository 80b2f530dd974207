//! Names and values of DynamoDB's expressions, from the JSON of the metadata.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::{primitives::Blob, types::AttributeValue};
use serde_json::Value;

/// `expressionAttributeNames`: an object of strings, not empty.
pub(super) fn names(text: &str) -> Result<BTreeMap<String, String>, String> {
    let expected = || {
        "expressionAttributeNames is invalid: expected a JSON object of strings that is not empty".to_owned()
    };
    let names: BTreeMap<String, String> = serde_json::from_str(text).map_err(|_| expected())?;
    if names.is_empty() {
        return Err(expected());
    }
    Ok(names)
}

/// `expressionAttributeValues`: an object of values with their types.
pub(super) fn values(text: &str) -> Result<BTreeMap<String, AttributeValue>, String> {
    let object: BTreeMap<String, Value> = serde_json::from_str(text)
        .map_err(|error| format!("expressionAttributeValues is invalid: expected a JSON object: {error}"))?;
    let typed = |(name, typed): (String, Value)| match value(&typed) {
        Ok(value) => Ok((name, value)),
        Err(message) => Err(format!("expressionAttributeValues is invalid: {name}: {message}")),
    };
    object.into_iter().map(typed).collect()
}

/// One value, `{"S": "open"}`.
fn value(typed: &Value) -> Result<AttributeValue, String> {
    let one = typed.as_object().filter(|object| object.len() == 1);
    let Some((kind, value)) = one.and_then(|object| object.iter().next()) else {
        return Err("expected an object with one type, such as {\"S\": \"open\"}".to_owned());
    };
    let text = |value: &Value| {
        let text = value.as_str().map(str::to_owned);
        text.ok_or_else(|| format!("{kind} must be text"))
    };
    let elements = || {
        let elements = value.as_array();
        elements.ok_or_else(|| format!("{kind} must be a list"))
    };
    Ok(match kind.as_str() {
        "S" => AttributeValue::S(text(value)?),
        "N" => AttributeValue::N(text(value)?),
        // As it stands: KEDA does not decode it either.
        "B" => AttributeValue::B(Blob::new(text(value)?)),
        "BOOL" => AttributeValue::Bool(value.as_bool().ok_or("BOOL must be true or false")?),
        "NULL" => AttributeValue::Null(true),
        "SS" => AttributeValue::Ss(elements()?.iter().map(text).collect::<Result<_, _>>()?),
        "NS" => AttributeValue::Ns(elements()?.iter().map(text).collect::<Result<_, _>>()?),
        "L" => AttributeValue::L(elements()?.iter().map(self::value).collect::<Result<_, _>>()?),
        "M" => {
            let object = value.as_object().ok_or("M must be an object")?;
            let entries = object
                .iter()
                .map(|(name, typed)| Ok((name.clone(), self::value(typed)?)));
            AttributeValue::M(entries.collect::<Result<_, String>>()?)
        }
        other => {
            return Err(format!(
                "unsupported data type {other:?}, expected one of S, N, B, BOOL, NULL, L, M, SS, NS"
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_an_object_of_strings() {
        assert_eq!(names(r##"{"#s": "state"}"##).unwrap()["#s"], "state");
        for text in ["", "{}", "[]", r##"{"#s": 1}"##, "#s=state"] {
            let message = names(text).unwrap_err();
            assert!(message.contains("expected a JSON object of strings"), "{message}");
        }
    }

    #[test]
    fn values_have_the_types_of_dynamodb() {
        let one = |text: &str| {
            let mut found = values(&format!("{{\":v\": {text}}}"))?;
            Ok::<_, String>(found.remove(":v").unwrap())
        };
        let s = |text: &str| AttributeValue::S(text.into());
        let cases = [
            (r#"{"S": "open"}"#, s("open")),
            (r#"{"N": "5"}"#, AttributeValue::N("5".into())),
            (r#"{"B": "YQ=="}"#, AttributeValue::B(Blob::new("YQ=="))),
            (r#"{"BOOL": false}"#, AttributeValue::Bool(false)),
            (r#"{"NULL": true}"#, AttributeValue::Null(true)),
            (r#"{"SS": ["a"]}"#, AttributeValue::Ss(vec!["a".into()])),
            (
                r#"{"L": [{"S": "a"}, {"N": "1"}]}"#,
                AttributeValue::L(vec![s("a"), AttributeValue::N("1".into())]),
            ),
            (
                r#"{"M": {"k": {"S": "v"}}}"#,
                AttributeValue::M([("k".to_owned(), s("v"))].into()),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(one(text).unwrap(), expected, "{text}");
        }
        for (text, expected) in [
            (r#"{"N": 5}"#, "N must be text"),
            (r#"{"S": ["a"]}"#, "S must be text"),
            (r#"{"BOOL": "true"}"#, "BOOL must be true or false"),
            (r#"{"X": "a"}"#, "unsupported data type \"X\""),
            (r#"{"L": [{"N": 1}]}"#, "N must be text"),
            (r#"{"S": "a", "N": "1"}"#, "an object with one type"),
            (r#""open""#, "an object with one type"),
        ] {
            let message = one(text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
        assert!(values("open").unwrap_err().contains("expected a JSON object"));
    }
}
