//! Rows of custom resources, by their additional printer columns.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{age, age_of, jsonpath, name};
use crate::sim::api::crd::Column;

pub(super) fn definitions(columns: &[Column]) -> Vec<Value> {
    let name = json!({"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0});
    if columns.is_empty() {
        let age = json!({"name": "Age", "type": "date", "format": "", "description": "", "priority": 0});
        return vec![name, age];
    }
    let definition = |column: &Column| {
        json!({
            "name": column.name,
            "type": column.kind,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        })
    };
    std::iter::once(name)
        .chain(columns.iter().map(definition))
        .collect()
}

pub(super) fn cells(columns: &[Column], object: &Value, now: Timestamp) -> Vec<Value> {
    if columns.is_empty() {
        return vec![name(object), age_of(object, now)];
    }
    std::iter::once(name(object))
        .chain(columns.iter().map(|column| cell(column, object, now)))
        .collect()
}

fn cell(column: &Column, object: &Value, now: Timestamp) -> Value {
    let Some(found) = jsonpath::find(object, &column.path).into_iter().next() else {
        return Value::Null;
    };
    match (column.kind.as_str(), found) {
        (_, Value::Null) => Value::Null,
        ("date", Value::String(text)) => age(text, now).into(),
        ("integer", Value::Number(_)) | ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => {
            found.clone()
        }
        ("string", Value::String(_)) => found.clone(),
        ("string", other) => other.to_string().into(),
        _ => Value::Null,
    }
}
