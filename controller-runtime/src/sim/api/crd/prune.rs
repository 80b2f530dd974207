//! Pruning of unknown fields and filling in of defaults.

use serde_json::{Map, Value};

use super::schema::{Additional, Schema};

/// Drops what the schema does not specify. `root` objects keep their type and metadata.
pub(crate) fn prune(schema: &Schema, value: &mut Value, root: bool) {
    match value {
        Value::Object(map) => prune_map(schema, map, root || schema.embedded),
        Value::Array(items) => {
            if let Some(inner) = &schema.items {
                for item in items {
                    prune(inner, item, false);
                }
            }
        }
        _ => {}
    }
}

fn prune_map(schema: &Schema, map: &mut Map<String, Value>, typed: bool) {
    let keeps_all = schema.preserve_unknown || matches!(schema.additional, Additional::Allowed);
    map.retain(|key, member| {
        if typed && matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
            return true;
        }
        match schema.member(key) {
            Some(inner) => {
                prune(inner, member, false);
                true
            }
            None => keeps_all,
        }
    });
}

/// The paths of what the schema does not specify.
pub(crate) fn unknown(schema: &Schema, value: &Value, path: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let keeps_all = schema.preserve_unknown || matches!(schema.additional, Additional::Allowed);
            let typed = path.is_empty() || schema.embedded;
            for (key, member) in map {
                if typed && matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
                    continue;
                }
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                match schema.member(key) {
                    Some(inner) => unknown(inner, member, &path, out),
                    None if keeps_all => {}
                    None => out.push(path),
                }
            }
        }
        Value::Array(items) => {
            if let Some(inner) = &schema.items {
                for (index, item) in items.iter().enumerate() {
                    unknown(inner, item, &format!("{path}[{index}]"), out);
                }
            }
        }
        _ => {}
    }
}

/// Drops nulls where null is not allowed and nothing is there by default.
pub(crate) fn drop_nulls(schema: &Schema, value: &mut Value, root: bool) {
    match value {
        Value::Object(map) => map.retain(|key, member| {
            if root && matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
                return true;
            }
            let Some(inner) = schema.member(key) else {
                return true;
            };
            if member.is_null() {
                return inner.nullable || inner.default.is_some() || inner.kind.is_none();
            }
            drop_nulls(inner, member, false);
            true
        }),
        Value::Array(items) => {
            if let Some(inner) = &schema.items {
                for item in items {
                    drop_nulls(inner, item, false);
                }
            }
        }
        _ => {}
    }
}

/// Fills in defaults. A null where null is not allowed counts as missing.
pub(crate) fn default(schema: &Schema, value: &mut Value, root: bool) {
    match value {
        Value::Object(map) => {
            for (name, inner) in &schema.properties {
                if root && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                    continue;
                }
                let missing = match map.get(name) {
                    None => true,
                    Some(Value::Null) => !inner.nullable,
                    Some(_) => false,
                };
                if let (true, Some(default)) = (missing, &inner.default) {
                    map.insert(name.clone(), default.clone());
                }
                if let Some(member) = map.get_mut(name) {
                    default_inner(inner, member);
                }
            }
            if let Additional::Schema(inner) = &schema.additional {
                for (name, member) in map.iter_mut() {
                    if !schema.properties.contains_key(name) {
                        default_inner(inner, member);
                    }
                }
            }
        }
        Value::Array(items) => {
            if let Some(inner) = &schema.items {
                for item in items {
                    default_inner(inner, item);
                }
            }
        }
        _ => {}
    }
}

fn default_inner(schema: &Schema, value: &mut Value) {
    default(schema, value, false);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Schema {
        Schema::parse(&json!({"type": "object", "properties": {
            "spec": {"type": "object", "default": {}, "properties": {
                "count": {"type": "integer", "default": 3},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {
                    "on": {"type": "boolean", "default": true},
                }}},
                "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "string", "default": "x"}}}},
                "maybe": {"type": "string", "nullable": true, "default": "d"},
            }},
        }}))
    }

    #[test]
    fn unknown_fields_go_and_defaults_come() {
        let mut object = json!({
            "apiVersion": "g/v1",
            "kind": "K",
            "metadata": {"name": "n"},
            "extra": 1,
            "spec": {
                "count": null,
                "unknown": 1,
                "free": {"any": {"thing": 1}},
                "map": {"k": {"junk": 1}},
                "list": [{}, {"a": "y", "b": 1}],
                "maybe": null,
            },
        });
        prune(&schema(), &mut object, true);
        default(&schema(), &mut object, true);
        assert_eq!(
            object,
            json!({
                "apiVersion": "g/v1",
                "kind": "K",
                "metadata": {"name": "n"},
                "spec": {
                    "count": 3,
                    "free": {"any": {"thing": 1}},
                    "map": {"k": {"on": true}},
                    "list": [{"a": "x"}, {"a": "y"}],
                    "maybe": null,
                },
            })
        );
        let mut empty = json!({});
        default(&schema(), &mut empty, true);
        assert_eq!(empty, json!({"spec": {"count": 3, "maybe": "d"}}));
    }
}
