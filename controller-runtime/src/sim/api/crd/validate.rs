//! Validation against a structural schema, worded as the API server words it.

use serde_json::Value;

use super::schema::{Additional, Schema, Type};
use crate::sim::api::field::FieldError;

/// Every violation of the schema by `value`, which stands at `path` (empty for the whole object). What is as it was in
/// `old` is not looked at again, so that objects from before a stricter schema can be changed elsewhere.
pub(crate) fn validate(
    schema: &Schema,
    value: &Value,
    old: Option<&Value>,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    if old == Some(value) {
        return;
    }
    if value.is_null() {
        if !schema.nullable && (schema.kind.is_some() || schema.int_or_string) {
            type_error(schema, "null", path, errors);
        }
        return;
    }
    if schema.int_or_string {
        if !value.is_string() && !Type::Integer.admits(value) {
            type_error(schema, found(value), path, errors);
            return;
        }
    } else if let Some(kind) = schema.kind
        && !kind.admits(value)
    {
        type_error(schema, found(value), path, errors);
        return;
    }
    check_enum(schema, value, path, errors);
    match value {
        Value::Number(_) => number(schema, value, path, errors),
        Value::String(text) => string(schema, text, path, errors),
        Value::Array(items) => array(schema, items, old, path, errors),
        Value::Object(_) => object(schema, value, old, path, errors),
        _ => {}
    }
    junctors(schema, value, path, errors);
}

fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn type_error(schema: &Schema, found: &str, path: &str, errors: &mut Vec<FieldError>) {
    let wanted = if schema.int_or_string {
        "integer,string"
    } else {
        schema.kind.map_or("object", Type::as_str)
    };
    let detail = format!("{path} in body must be of type {wanted}: \"{found}\"");
    errors.push(FieldError::type_invalid(shown(path), found, detail));
}

/// The whole object is named so that the error has a field.
fn shown(path: &str) -> &str {
    if path.is_empty() { "<nil>" } else { path }
}

fn invalid(path: &str, value: &Value, rule: &str, errors: &mut Vec<FieldError>) {
    errors.push(FieldError::invalid(
        shown(path),
        value,
        format!("{path} in body {rule}"),
    ));
}

fn check_enum(schema: &Schema, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if schema.allowed.is_empty() || schema.allowed.contains(value) {
        return;
    }
    let words: Vec<String> = schema
        .allowed
        .iter()
        .map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned))
        .collect();
    errors.push(FieldError::not_supported(
        shown(path),
        value,
        words.iter().map(String::as_str),
    ));
}

fn number(schema: &Schema, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(number) = value.as_f64() else { return };
    let bounds = &schema.bounds;
    if let Some(bound) = bounds.minimum {
        if number < bound {
            let word = if bounds.exclusive_minimum {
                "greater than"
            } else {
                "greater than or equal to"
            };
            invalid(path, value, &format!("should be {word} {bound}"), errors);
        } else if bounds.exclusive_minimum && number <= bound {
            invalid(path, value, &format!("should be greater than {bound}"), errors);
        }
    }
    if let Some(bound) = bounds.maximum {
        if number > bound {
            let word = if bounds.exclusive_maximum {
                "less than"
            } else {
                "less than or equal to"
            };
            invalid(path, value, &format!("should be {word} {bound}"), errors);
        } else if bounds.exclusive_maximum && number >= bound {
            invalid(path, value, &format!("should be less than {bound}"), errors);
        }
    }
    if let Some(factor) = bounds.multiple_of.filter(|&factor| factor > 0.0)
        && (number / factor).fract() != 0.0
    {
        invalid(path, value, &format!("should be a multiple of {factor}"), errors);
    }
    let range = match schema.format.as_str() {
        "int32" => Some((f64::from(i32::MIN), f64::from(i32::MAX))),
        _ => None,
    };
    if range.is_some_and(|(least, most)| number < least || number > most) {
        let detail = format!("{path} in body must be of type int32: \"{value}\"");
        errors.push(FieldError::invalid(shown(path), value, detail));
    }
}

fn string(schema: &Schema, text: &str, path: &str, errors: &mut Vec<FieldError>) {
    let value = Value::from(text);
    let length = text.chars().count() as u64;
    if let Some(least) = schema.bounds.min_length.filter(|&least| length < least) {
        invalid(
            path,
            &value,
            &format!("should be at least {least} chars long"),
            errors,
        );
    }
    if let Some(most) = schema.bounds.max_length.filter(|&most| length > most) {
        errors.push(FieldError::too_long(
            shown(path),
            usize::try_from(most).unwrap_or(usize::MAX),
        ));
    }
    if let Some(pattern) = &schema.pattern
        && pattern.regex.as_ref().is_some_and(|regex| !regex.is_match(text))
    {
        invalid(path, &value, &format!("should match '{}'", pattern.text), errors);
    }
    let malformed = match schema.format.as_str() {
        "date-time" => text.parse::<jiff::Timestamp>().is_err(),
        "date" => text.parse::<jiff::civil::Date>().is_err(),
        "byte" => crate::sim::api::paging::from_base64(text).is_none(),
        _ => false,
    };
    if malformed {
        let format = &schema.format;
        invalid(
            path,
            &value,
            &format!("must be of type {format}: \"{text}\""),
            errors,
        );
    }
}

/// What stood in a list in the place of `item`, where its keys say so.
pub(super) fn counterpart<'a>(schema: &Schema, item: &Value, old: Option<&'a Value>) -> Option<&'a Value> {
    if schema.list_type.as_deref() != Some("map") {
        return None;
    }
    let keys = &schema.list_map_keys;
    let before = old?.as_array()?.iter();
    let mut same = before.filter(|before| keys.iter().all(|key| before.get(key) == item.get(key)));
    same.next()
}

fn array(schema: &Schema, items: &[Value], old: Option<&Value>, path: &str, errors: &mut Vec<FieldError>) {
    let count = items.len();
    if let Some(least) = schema.bounds.min_items.filter(|&least| (count as u64) < least) {
        invalid(
            path,
            &count.into(),
            &format!("should have at least {least} items"),
            errors,
        );
    }
    if let Some(most) = schema.bounds.max_items.filter(|&most| count as u64 > most) {
        errors.push(FieldError::too_many(
            shown(path),
            count,
            usize::try_from(most).unwrap_or(usize::MAX),
        ));
    }
    if let Some(inner) = &schema.items {
        for (index, item) in items.iter().enumerate() {
            let old = counterpart(schema, item, old);
            validate(inner, item, old, &format!("{path}[{index}]"), errors);
        }
    }
    let identity = |item: &Value| match schema.list_type.as_deref() {
        Some("set") => Some(item.clone()),
        Some("map") => {
            let keys = schema.list_map_keys.iter();
            Some(
                keys.map(|key| (key.clone(), item.get(key).cloned().unwrap_or_default()))
                    .collect(),
            )
        }
        _ => None,
    };
    let mut seen: Vec<Value> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let Some(identity) = identity(item) else { return };
        if seen.contains(&identity) {
            errors.push(FieldError::duplicate(format!("{path}[{index}]"), &identity));
        } else {
            seen.push(identity);
        }
    }
}

fn object(schema: &Schema, value: &Value, old: Option<&Value>, path: &str, errors: &mut Vec<FieldError>) {
    let Some(map) = value.as_object() else { return };
    let child = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    let count = map.len();
    if let Some(least) = schema
        .bounds
        .min_properties
        .filter(|&least| (count as u64) < least)
    {
        invalid(
            path,
            &count.into(),
            &format!("should have at least {least} properties"),
            errors,
        );
    }
    if let Some(most) = schema.bounds.max_properties.filter(|&most| count as u64 > most) {
        errors.push(FieldError::too_many(
            shown(path),
            count,
            usize::try_from(most).unwrap_or(usize::MAX),
        ));
    }
    for (name, member) in map {
        if path.is_empty() && name == "metadata" {
            continue;
        }
        let inner = match (schema.properties.get(name), &schema.additional) {
            (Some(inner), _) => inner,
            (None, Additional::Schema(inner)) => inner,
            _ => continue,
        };
        let old = old.and_then(|old| old.get(name));
        validate(inner, member, old, &child(name), errors);
    }
    for name in &schema.required {
        if !map.contains_key(name) {
            errors.push(FieldError::required(child(name), ""));
        }
    }
}

fn holds(schema: &Schema, value: &Value, path: &str) -> bool {
    let mut errors = Vec::new();
    validate(schema, value, None, path, &mut errors);
    errors.is_empty()
}

fn junctors(schema: &Schema, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for inner in &schema.all_of {
        validate(inner, value, None, path, errors);
    }
    let blank = Value::from("");
    let mut refuse = |text: String| errors.push(FieldError::invalid(shown(path), &blank, text));
    // The integer and string alternatives that accompany int-or-string were checked with it.
    if !schema.any_of.is_empty()
        && !schema.int_or_string
        && !schema.any_of.iter().any(|inner| holds(inner, value, path))
    {
        refuse(format!("{path:?} must validate at least one schema (anyOf)"));
    }
    if !schema.one_of.is_empty() {
        let valid = schema
            .one_of
            .iter()
            .filter(|inner| holds(inner, value, path))
            .count();
        if valid != 1 {
            let found = if valid == 0 {
                "none valid".to_owned()
            } else {
                format!("{valid} valid alternatives")
            };
            refuse(format!(
                "{path:?} must validate one and only one schema (oneOf). Found {found}"
            ));
        }
    }
    if schema.not.as_ref().is_some_and(|inner| holds(inner, value, path)) {
        refuse(format!("{path:?} must not validate the schema (not)"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn violations_read_as_the_real_server_writes_them() {
        let cases = [
            (
                json!({"type": "integer", "minimum": 1}),
                json!(0),
                "f: Invalid value: 0: f in body should be greater than or equal to 1",
            ),
            (
                json!({"type": "integer", "maximum": 9}),
                json!(10),
                "f: Invalid value: 10: f in body should be less than or equal to 9",
            ),
            (
                json!({"type": "integer"}),
                json!("x"),
                "f: Invalid value: \"string\": f in body must be of type integer: \"string\"",
            ),
            (
                json!({"type": "string"}),
                json!(null),
                "f: Invalid value: \"null\": f in body must be of type string: \"null\"",
            ),
            (
                json!({"type": "string", "enum": ["A", "B"]}),
                json!("C"),
                "f: Unsupported value: \"C\": supported values: \"A\", \"B\"",
            ),
            (
                json!({"type": "string", "pattern": "^a+$"}),
                json!("b"),
                "f: Invalid value: \"b\": f in body should match '^a+$'",
            ),
            (
                json!({"type": "string", "minLength": 1}),
                json!(""),
                "f: Invalid value: \"\": f in body should be at least 1 chars long",
            ),
            (
                json!({"type": "string", "maxLength": 1}),
                json!("ab"),
                "f: Too long: may not be more than 1 bytes",
            ),
            (
                json!({"type": "array", "minItems": 1}),
                json!([]),
                "f: Invalid value: 0: f in body should have at least 1 items",
            ),
            (
                json!({"type": "array", "maxItems": 1}),
                json!([1, 2]),
                "f: Too many: 2: must have at most 1 item",
            ),
            (
                json!({"type": "object", "required": ["a"]}),
                json!({}),
                "f.a: Required value",
            ),
            (
                json!({"type": "array", "items": {"type": "object", "properties": {"a": {"type": "boolean"}}}}),
                json!([{"a": 1}]),
                "f[0].a: Invalid value: \"integer\": f[0].a in body must be of type boolean: \"integer\"",
            ),
            (
                json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}),
                json!(["a", "a"]),
                "f[1]: Duplicate value: \"a\"",
            ),
            (
                json!({"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
                json!({}),
                "f: Invalid value: \"\": \"f\" must validate one and only one schema (oneOf). Found none valid",
            ),
        ];
        for (schema, value, expected) in cases {
            let mut errors = Vec::new();
            validate(&Schema::parse(&schema), &value, None, "f", &mut errors);
            let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(texts, [expected]);
        }
    }

    #[test]
    fn valid_values_pass() {
        let schema = json!({"type": "object", "properties": {
            "n": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "s": {"type": "string", "nullable": true},
            "m": {"type": "object", "additionalProperties": {"type": "integer"}},
        }});
        for value in [json!({"n": 1, "s": null}), json!({"n": "25%", "m": {"a": 1}})] {
            let mut errors = Vec::new();
            validate(&Schema::parse(&schema), &value, None, "", &mut errors);
            assert_eq!(errors, []);
        }
    }

    #[test]
    fn what_is_as_it_was_is_not_looked_at_again() {
        let size = json!({"type": "object", "properties": {"name": {"type": "string"}, "size": {"type": "integer", "maximum": 9}}});
        let schema = json!({"type": "object", "properties": {
            "name": {"type": "string", "maxLength": 1},
            "any": {"type": "object", "additionalProperties": {"type": "integer", "maximum": 9}},
            "map": {"type": "array", "items": size, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
            "list": {"type": "array", "items": {"type": "integer", "maximum": 9}},
        }});
        let old = json!({"name": "long", "any": {"a": 10}, "map": [{"name": "a", "size": 10}], "list": [10]});
        let cases: [(Value, &[&str]); 7] = [
            (json!({}), &[]),
            (json!({"name": "longer"}), &["name"]),
            (json!({"any": {"a": 10, "b": 1}}), &[]),
            (json!({"any": {"a": 11}}), &["any.a"]),
            (
                json!({"map": [{"name": "b", "size": 1}, {"name": "a", "size": 10}]}),
                &[],
            ),
            (json!({"map": [{"name": "b", "size": 10}]}), &["map[0].size"]),
            // The items of a list without keys cannot be told apart.
            (json!({"list": [10, 1]}), &["list[0]"]),
        ];
        for (patch, expected) in cases {
            let mut new = old.clone();
            json_patch::merge(&mut new, &patch);
            let mut errors = Vec::new();
            validate(&Schema::parse(&schema), &new, Some(&old), "", &mut errors);
            let fields: Vec<_> = errors
                .iter()
                .map(|error| error.to_string().split(':').next().unwrap_or_default().to_owned())
                .collect();
            assert_eq!(fields, expected, "{patch}");
        }
    }
}
