//! JSON Schemas of metadata.

use serde_json::{Map, Value, json};

use super::Reference;
use crate::{Field, Source, metadata::Kind};

/// The words of Go's `strconv.ParseBool`; blanks around any value are cut off.
const BOOLEAN: &str = "^\\s*(1|t|T|TRUE|true|True|0|f|F|FALSE|false|False)?\\s*$";
const INTEGER: &str = "^\\s*([+-]?[0-9]+)?\\s*$";
const NUMBER: &str = "^\\s*([+-]?([0-9]+\\.?[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?)?\\s*$";
const DURATION: &str = "^\\s*(\\+?([0-9]+|([0-9]+\\.?[0-9]*|\\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)?\\s*$";
const MAP: &str = "^\\s*([^,=]*=[^,]*(,[^,=]*=[^,]*|,\\s*)*)?\\s*$";

pub(super) fn of(reference: &Reference) -> Value {
    let mut properties = Map::new();
    let mut all_of = Vec::new();
    let mut required = Vec::new();
    for field in reference.fields() {
        for name in names(field) {
            if field.sources.contains(&Source::Metadata) {
                properties.insert(name.to_owned(), property(field, reference.kind(field.name)));
            }
            if field.sources.contains(&Source::Environment) {
                let description = format!("The environment variable with the value of {name}. {}", field.doc);
                properties.insert(
                    format!("{name}FromEnv"),
                    json!({"type": "string", "description": description}),
                );
            }
        }
        // What may come from a TriggerAuthentication need not stand here.
        if field.required && !field.sources.contains(&Source::Authentication) {
            match keys(field).as_slice() {
                [only] => required.push(only.clone()),
                several => {
                    let several = several.iter().map(|key| json!({"required": [key]}));
                    all_of.push(json!({"anyOf": several.collect::<Vec<_>>()}));
                }
            }
        }
    }
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("metadata of a trigger of type {}", reference.trigger_type()),
        "description": reference.summary(),
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": {"type": "string"},
        "examples": [reference.example_value()["metadata"]],
    });
    if !all_of.is_empty() {
        schema["allOf"] = all_of.into();
    }
    schema
}

fn names(field: &Field) -> impl Iterator<Item = &'static str> {
    std::iter::once(field.name).chain(field.aliases.iter().copied())
}

/// The keys of the metadata of which one must be there.
fn keys(field: &Field) -> Vec<String> {
    let of = |name: &str| {
        field.sources.iter().filter_map({
            let name = name.to_owned();
            move |source| match source {
                Source::Metadata => Some(name.clone()),
                Source::Environment => Some(format!("{name}FromEnv")),
                Source::Authentication => None,
            }
        })
    };
    names(field).flat_map(of).collect()
}

fn property(field: &Field, kind: Kind) -> Value {
    let mut property = json!({"type": "string", "description": field.doc});
    if let Some(default) = field.default {
        property["default"] = default.into();
    }
    if field.secret {
        property["writeOnly"] = true.into();
    }
    let pattern = match kind {
        Kind::Boolean => BOOLEAN,
        Kind::Integer => INTEGER,
        Kind::Number => NUMBER,
        Kind::Duration => DURATION,
        Kind::Map => MAP,
        Kind::List | Kind::Text => "",
    };
    if !field.allowed.is_empty() {
        property["pattern"] = words(field.allowed, kind == Kind::List).into();
        property["examples"] = field.allowed.into();
    } else if !pattern.is_empty() {
        property["pattern"] = pattern.into();
    }
    property
}

/// One of the words, or a list of them; an `enum` would refuse the blanks and the empty text that are accepted.
fn words(allowed: &[&str], is_list: bool) -> String {
    let escape = |word: &&str| {
        let letters = word.chars().flat_map(|letter| {
            let escaped = r"\^$.|?*+()[]{}/".contains(letter).then_some('\\');
            escaped.into_iter().chain([letter])
        });
        letters.collect::<String>()
    };
    let any = allowed.iter().map(escape).collect::<Vec<_>>().join("|");
    if is_list {
        format!("^\\s*({any})?(\\s*,\\s*({any})?)*\\s*$")
    } else {
        format!("^\\s*({any})?\\s*$")
    }
}
