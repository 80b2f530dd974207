//! Schemas that cannot be derived: defaults of objects, CEL rules on lists, resource maps.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::{Budget, ConsolidationPolicy, NillableDuration, labels};

/// `spec.disruption`, with its defaults: of the object, and of each field in it.
pub(super) fn disruption(generator: &mut SchemaGenerator) -> Schema {
    let budget = Budget::json_schema(generator);
    let policy = ConsolidationPolicy::json_schema(generator);
    let after = NillableDuration::json_schema(generator);
    let described = |schema: Schema, text: &str, default: Value| {
        let mut schema = schema.to_value();
        schema["description"] = json!(text);
        schema["default"] = default;
        schema
    };
    json_schema!({
        "type": "object",
        "description": "When nodes of the pool may go",
        "properties": {
            "consolidateAfter": described(after, "How long a node must see no pod come or go before consolidation looks at it", json!("0s")),
            "consolidationPolicy": {
                "type": "string",
                "description": "Which nodes consolidation looks at",
                "default": "WhenEmptyOrUnderutilized",
                "enum": enum_words(&policy.to_value()),
            },
            "budgets": {
                "type": "array",
                "description": "How many nodes may go at once",
                "default": [{ "nodes": "10%" }],
                "maxItems": 50,
                "items": budget,
            },
        },
    })
}

/// The words of a derived enum schema, whether it is `enum` or `oneOf` with one `const` each.
fn enum_words(schema: &Value) -> Value {
    if let Some(words) = schema.get("enum") {
        return words.clone();
    }
    let variants = schema
        .get("oneOf")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let words = variants
        .iter()
        .flat_map(|variant| match (variant.get("const"), variant.get("enum")) {
            (Some(word), _) => vec![word.clone()],
            (None, Some(Value::Array(words))) => words.clone(),
            _ => Vec::new(),
        });
    Value::Array(words.collect())
}

/// `budgets[].duration`: hours and minutes only.
pub(super) fn budget_duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "description": "How long the budget holds, in hours and minutes",
        "pattern": "^((([0-9]+(h|m))|([0-9]+h[0-9]+m))(0s)?)$",
    })
}

const LABEL_VALUE: &str = "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$";
const QUALIFIED_NAME: &str = "^([a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?(\\.[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?)*/)?([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$";

/// Core taints.
pub(super) fn taints(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "items": {
            "type": "object",
            "required": ["key", "effect"],
            "properties": {
                "key": { "type": "string", "minLength": 1, "pattern": QUALIFIED_NAME },
                "value": { "type": "string", "pattern": QUALIFIED_NAME },
                "effect": { "type": "string", "enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"] },
                "timeAdded": { "type": "string", "format": "date-time" },
            },
        },
    })
}

/// Labels of a pool's template.
pub(super) fn template_labels(_: &mut SchemaGenerator) -> Schema {
    let mut rules = vec![rule(
        "self.all(x, x != 'karpenter.sh/nodepool')",
        "label \"karpenter.sh/nodepool\" is restricted",
    )];
    rules.push(rule(
        "self.all(x, x != 'kubernetes.io/hostname')",
        "label \"kubernetes.io/hostname\" is restricted",
    ));
    for (group, allowed, message) in restricted_domains() {
        rules.push(rule(
            &format!("self.all(x, x in [{allowed}] || !x.find('^([^/]+)').endsWith('{group}'))"),
            &message,
        ));
    }
    json_schema!({
        "type": "object",
        "maxProperties": 100,
        "additionalProperties": { "type": "string", "maxLength": 63, "pattern": LABEL_VALUE },
        "x-kubernetes-validations": rules,
    })
}

/// Requirements of a pool's template: what may not be asked for is refused.
pub(super) fn pool_requirements(generator: &mut SchemaGenerator) -> Schema {
    let mut key_rules = vec![
        rule(
            "self != 'karpenter.sh/nodepool'",
            "label \"karpenter.sh/nodepool\" is restricted",
        ),
        rule(
            "self != 'kubernetes.io/hostname'",
            "label \"kubernetes.io/hostname\" is restricted",
        ),
    ];
    for (group, allowed, message) in restricted_domains() {
        key_rules.push(rule(
            &format!("self in [{allowed}] || !self.find('^([^/]+)').endsWith('{group}')"),
            &message,
        ));
    }
    requirements(generator, &key_rules)
}

/// Requirements of a claim: they may name anything.
pub(super) fn claim_requirements(generator: &mut SchemaGenerator) -> Schema {
    requirements(generator, &[])
}

fn requirements(_: &mut SchemaGenerator, key_rules: &[Value]) -> Schema {
    let mut key = json!({ "type": "string", "maxLength": 316, "pattern": QUALIFIED_NAME });
    if !key_rules.is_empty() {
        key["x-kubernetes-validations"] = json!(key_rules);
    }
    json_schema!({
        "type": "array",
        "description": "What may be bought",
        "maxItems": 100,
        "items": {
            "type": "object",
            "required": ["key", "operator"],
            "properties": {
                "key": key,
                "operator": { "type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt", "Gte", "Lte"] },
                "values": { "type": "array", "items": { "type": "string", "maxLength": 63, "pattern": LABEL_VALUE } },
                "minValues": { "type": "integer", "minimum": 1, "maximum": 50 },
            },
        },
        "x-kubernetes-validations": [
            rule("self.all(x, x.operator == 'In' ? has(x.values) && x.values.size() != 0 : true)", "requirements with operator 'In' must have a value defined"),
            rule("self.all(x, x.operator in ['Gt', 'Lt', 'Gte', 'Lte'] ? (has(x.values) && x.values.size() == 1 && int(x.values[0]) >= 0) : true)", "requirements operator 'Gt', 'Lt', 'Gte' or 'Lte' must have a single non-negative integer value"),
            rule("self.all(x, (x.operator == 'In' && has(x.minValues)) ? x.values.size() >= x.minValues : true)", "requirements with 'minValues' must have at least that many values specified in the 'values' field"),
        ],
    })
}

/// Group, allowed keys as CEL list items, message.
fn restricted_domains() -> Vec<(&'static str, String, String)> {
    let list = |group: &str, names: &[&str]| {
        names
            .iter()
            .map(|name| format!("'{group}/{name}'"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let message = |group: &str| format!("label domain \"{group}\" is restricted");
    vec![
        (
            labels::GROUP,
            list(labels::GROUP, &["capacity-type", "nodepool"]),
            message(labels::GROUP),
        ),
        (
            labels::AWS_GROUP,
            list(labels::AWS_GROUP, labels::AWS_WELL_KNOWN),
            message(labels::AWS_GROUP),
        ),
    ]
}

fn rule(rule: &str, message: &str) -> Value {
    json!({ "rule": rule, "message": message })
}

/// Conditions; their reason is one word.
pub(super) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "description": "What is known about the object, one for each type",
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "status", "type"],
            "properties": {
                "type": { "type": "string", "maxLength": 316, "pattern": QUALIFIED_NAME },
                "status": { "type": "string", "enum": ["True", "False", "Unknown"] },
                "reason": { "type": "string", "maxLength": 1024, "pattern": "^([A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?|)$" },
                "message": { "type": "string", "maxLength": 32768 },
                "observedGeneration": { "type": "integer", "format": "int64", "minimum": 0 },
                "lastTransitionTime": { "type": "string", "format": "date-time" },
            },
        },
    })
}

/// An object whose fields are not checked here.
pub(super) fn open_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}
