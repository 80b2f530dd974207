//! The structural schema of a custom resource.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use crate::sim::api::value;

/// A schema node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schema {
    pub(crate) kind: Option<Type>,
    pub(crate) properties: BTreeMap<String, Schema>,
    pub(crate) additional: Additional,
    pub(crate) items: Option<Box<Schema>>,
    pub(crate) required: Vec<String>,
    pub(crate) allowed: Vec<Value>,
    pub(crate) bounds: Bounds,
    pub(crate) pattern: Option<Pattern>,
    pub(crate) format: String,
    pub(crate) nullable: bool,
    pub(crate) default: Option<Value>,
    pub(crate) int_or_string: bool,
    pub(crate) preserve_unknown: bool,
    pub(crate) embedded: bool,
    pub(crate) list_type: Option<String>,
    pub(crate) list_map_keys: Vec<String>,
    pub(crate) map_type: Option<String>,
    pub(crate) all_of: Vec<Schema>,
    pub(crate) any_of: Vec<Schema>,
    pub(crate) one_of: Vec<Schema>,
    pub(crate) not: Option<Box<Schema>>,
    pub(crate) rules: Vec<Rule>,
}

/// The JSON types that a schema may demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

impl Type {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => return None,
        })
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }

    pub(crate) fn admits(self, value: &Value) -> bool {
        match self {
            Self::Object => value.is_object(),
            Self::Array => value.is_array(),
            Self::String => value.is_string(),
            Self::Integer => {
                value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
            }
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
        }
    }
}

/// What members beyond `properties` are.
#[derive(Clone, Debug, Default)]
pub(crate) enum Additional {
    /// Unknown, hence pruned.
    #[default]
    Unspecified,
    /// Anything.
    Allowed,
    /// Each meets this schema.
    Schema(Box<Schema>),
}

/// Limits on numbers and sizes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) minimum: Option<f64>,
    pub(crate) maximum: Option<f64>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) exclusive_maximum: bool,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) min_length: Option<u64>,
    pub(crate) max_length: Option<u64>,
    pub(crate) min_items: Option<u64>,
    pub(crate) max_items: Option<u64>,
    pub(crate) min_properties: Option<u64>,
    pub(crate) max_properties: Option<u64>,
}

/// A regular expression with its text; one that does not compile admits everything.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    pub(crate) text: String,
    pub(crate) regex: Option<Regex>,
}

/// A CEL rule of `x-kubernetes-validations`.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The expression.
    pub rule: String,
    /// What to say where it does not hold.
    pub message: String,
    /// An expression that makes the message.
    pub message_expression: String,
    /// The reason of the error, e.g. `FieldValueForbidden`; empty for `FieldValueInvalid`.
    pub reason: String,
    /// The field that the error names, from where the rule stands, e.g. `.size`; empty for where it stands.
    pub field_path: String,
}

impl Rule {
    /// Whether it compares a value with what stood there before: such a rule does not hold for what is new.
    pub(crate) fn compares(&self) -> bool {
        self.rule.contains("oldSelf")
    }
}

impl Schema {
    /// Reads an `openAPIV3Schema`.
    pub(crate) fn parse(schema: &Value) -> Self {
        let flag = |key: &str| schema.get(key).and_then(Value::as_bool).unwrap_or(false);
        let text = |key: &str| schema.get(key).and_then(Value::as_str).map(str::to_owned);
        let list = |key: &str| value::items(schema, &[key]).iter().map(Self::parse).collect();
        let words = |key: &str| {
            value::items(schema, &[key])
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        };
        let properties = schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        Self {
            kind: schema.get("type").and_then(Value::as_str).and_then(Type::parse),
            properties: properties
                .map(|(name, schema)| (name.clone(), Self::parse(schema)))
                .collect(),
            additional: match schema.get("additionalProperties") {
                Some(Value::Bool(true)) => Additional::Allowed,
                Some(inner @ Value::Object(_)) => Additional::Schema(Box::new(Self::parse(inner))),
                _ => Additional::Unspecified,
            },
            items: schema
                .get("items")
                .filter(|items| items.is_object())
                .map(|items| Box::new(Self::parse(items))),
            required: words("required"),
            allowed: value::items(schema, &["enum"]).to_vec(),
            bounds: Bounds::parse(schema),
            pattern: text("pattern").map(|text| Pattern {
                regex: Regex::new(&text).ok(),
                text,
            }),
            format: text("format").unwrap_or_default(),
            nullable: flag("nullable"),
            default: schema.get("default").cloned(),
            int_or_string: flag("x-kubernetes-int-or-string"),
            preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            list_type: text("x-kubernetes-list-type"),
            list_map_keys: words("x-kubernetes-list-map-keys"),
            map_type: text("x-kubernetes-map-type"),
            all_of: list("allOf"),
            any_of: list("anyOf"),
            one_of: list("oneOf"),
            not: schema.get("not").map(|not| Box::new(Self::parse(not))),
            rules: value::items(schema, &["x-kubernetes-validations"])
                .iter()
                .map(Rule::parse)
                .collect(),
        }
    }

    /// The schema of the member `key`.
    pub(crate) fn member(&self, key: &str) -> Option<&Self> {
        self.properties.get(key).or(match &self.additional {
            Additional::Schema(schema) => Some(schema),
            _ => None,
        })
    }

    /// Whether any rule stands here or below.
    pub(crate) fn has_rules(&self) -> bool {
        !self.rules.is_empty()
            || self.properties.values().any(Self::has_rules)
            || self.items.as_ref().is_some_and(|items| items.has_rules())
            || matches!(&self.additional, Additional::Schema(schema) if schema.has_rules())
    }
}

impl Bounds {
    fn parse(schema: &Value) -> Self {
        let number = |key: &str| schema.get(key).and_then(Value::as_f64);
        let size = |key: &str| schema.get(key).and_then(Value::as_u64);
        let flag = |key: &str| schema.get(key).and_then(Value::as_bool).unwrap_or(false);
        Self {
            minimum: number("minimum"),
            maximum: number("maximum"),
            exclusive_minimum: flag("exclusiveMinimum"),
            exclusive_maximum: flag("exclusiveMaximum"),
            multiple_of: schema.get("multipleOf").and_then(Value::as_f64),
            min_length: size("minLength"),
            max_length: size("maxLength"),
            min_items: size("minItems"),
            max_items: size("maxItems"),
            min_properties: size("minProperties"),
            max_properties: size("maxProperties"),
        }
    }
}

impl Rule {
    fn parse(rule: &Value) -> Self {
        let text = |key: &str| value::text(rule, &[key]).to_owned();
        Self {
            rule: text("rule"),
            message: text("message"),
            message_expression: text("messageExpression"),
            reason: text("reason"),
            field_path: text("fieldPath"),
        }
    }
}
