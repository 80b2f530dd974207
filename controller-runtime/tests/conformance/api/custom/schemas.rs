//! What a schema makes of objects: defaults, pruning, validation, rules.

use serde_json::json;

use super::{Kind, fields, list_map};
use crate::harness::{Cluster, cases, contains, same};

cases![
    defaults_are_filled_in,
    unknown_fields_are_pruned,
    unknown_fields_are_warned_of,
    unknown_fields_are_kept_where_the_schema_says,
    an_embedded_object_keeps_its_metadata,
    a_wrong_type_is_refused,
    an_enumeration_is_kept_to,
    a_pattern_is_kept_to,
    bounds_are_kept_to,
    required_fields_are_required,
    null_needs_permission,
    an_integer_or_a_string_is_either,
    a_list_of_a_set_has_no_duplicates,
    a_list_of_a_map_has_different_keys,
    a_rule_is_evaluated,
    a_transition_rule_compares_with_before,
    a_rule_names_its_message_reason_and_field,
];

async fn defaults_are_filled_in(c: &Cluster) -> anyhow::Result<()> {
    let schema = json!({"type": "object", "default": {}, "properties": {
        "size": {"type": "integer", "default": 3},
        "inner": {"type": "object", "properties": {"word": {"type": "string", "default": "hello"}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"on": {"type": "boolean", "default": true}}}},
        "given": {"type": "string", "default": "x"},
    }});
    let kind = Kind::new(c, schema).establish(c).await?;
    let made = kind
        .create(
            c,
            "a",
            json!({"inner": {}, "list": [{}, {"on": false}], "given": "y"}),
        )
        .await?;
    same(
        made["spec"].clone(),
        json!({"size": 3, "inner": {"word": "hello"}, "list": [{"on": true}, {"on": false}], "given": "y"}),
    )?;
    let bare = json!({"apiVersion": kind.version(), "kind": "Gadget", "metadata": {"name": "b"}});
    let made = c.post(&kind.path(c, "gadgets"), &bare).await?.with_code(201)?;
    same(made["spec"].clone(), json!({"size": 3, "given": "x"}))
}

async fn unknown_fields_are_pruned(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, fields(json!({"known": {"type": "string"}, "map": {"type": "object", "additionalProperties": {"type": "integer"}}}))).establish(c).await?;
    let made = kind
        .create(
            c,
            "a",
            json!({"known": "x", "unknown": {"deep": 1}, "map": {"any": 1}}),
        )
        .await?;
    same(made["spec"].clone(), json!({"known": "x", "map": {"any": 1}}))
}

async fn unknown_fields_are_warned_of(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, fields(json!({"known": {"type": "string"}})))
        .establish(c)
        .await?;
    let object = kind.object("a", json!({"known": "x", "unknown": 1}));
    let answer = c.post(&kind.path(c, "gadgets"), &object).await?;
    same(
        answer.warnings(),
        vec!["unknown field \"spec.unknown\"".to_owned()],
    )?;
    answer.with_code(201)?;
    let object = kind.object("b", json!({"known": "x", "unknown": 1}));
    c.post(&kind.path(c, "gadgets?fieldValidation=Strict"), &object).await?.refused(
        400,
        "BadRequest",
        "Gadget in version \"v1\" cannot be handled as a Gadget: strict decoding error: unknown field \"spec.unknown\"",
    )?;
    let answer = c
        .post(&kind.path(c, "gadgets?fieldValidation=Ignore"), &object)
        .await?;
    same(answer.warnings(), vec![])
}

async fn unknown_fields_are_kept_where_the_schema_says(c: &Cluster) -> anyhow::Result<()> {
    let schema = fields(
        json!({"open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"closed": {"type": "object", "properties": {"known": {"type": "string"}}}}}}),
    );
    let kind = Kind::new(c, schema).establish(c).await?;
    let made = kind
        .create(
            c,
            "a",
            json!({"open": {"any": {"thing": [1]}, "closed": {"known": "x", "unknown": 1}}}),
        )
        .await?;
    same(
        made["spec"].clone(),
        json!({"open": {"any": {"thing": [1]}, "closed": {"known": "x"}}}),
    )
}

async fn an_embedded_object_keeps_its_metadata(c: &Cluster) -> anyhow::Result<()> {
    let schema = fields(
        json!({"template": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object", "properties": {"x": {"type": "integer"}}}}}}),
    );
    let kind = Kind::new(c, schema).establish(c).await?;
    let template = json!({"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "t", "labels": {"a": "b"}}, "spec": {"x": 1, "y": 2}});
    let made = kind.create(c, "a", json!({"template": template})).await?;
    same(
        made["spec"]["template"].clone(),
        json!({"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "t", "labels": {"a": "b"}}, "spec": {"x": 1}}),
    )
}

async fn a_wrong_type_is_refused(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, fields(json!({"size": {"type": "integer"}, "on": {"type": "boolean"}, "list": {"type": "array", "items": {"type": "string"}}}))).establish(c).await?;
    let status = kind
        .refuses(
            c,
            json!({"size": "big"}),
            "spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\"",
        )
        .await?;
    contains(
        &status,
        json!({"details": {"causes": [{"reason": "FieldValueTypeInvalid", "field": "spec.size"}]}}),
    )?;
    kind.refuses(
        c,
        json!({"on": 1}),
        "spec.on: Invalid value: \"integer\": spec.on in body must be of type boolean: \"integer\"",
    )
    .await?;
    kind.refuses(
        c,
        json!({"size": 1.5}),
        "spec.size: Invalid value: \"number\": spec.size in body must be of type integer: \"number\"",
    )
    .await?;
    kind.refuses(
        c,
        json!({"list": [1]}),
        "spec.list[0]: Invalid value: \"integer\": spec.list[0] in body must be of type string: \"integer\"",
    )
    .await?;
    kind.refuses(
        c,
        json!([]),
        "spec: Invalid value: \"array\": spec in body must be of type object: \"array\"",
    )
    .await?;
    Ok(())
}

async fn an_enumeration_is_kept_to(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(
        c,
        fields(json!({"color": {"type": "string", "enum": ["red", "green"]}})),
    )
    .establish(c)
    .await?;
    let status = kind
        .refuses(
            c,
            json!({"color": "blue"}),
            "spec.color: Unsupported value: \"blue\": supported values: \"red\", \"green\"",
        )
        .await?;
    contains(
        &status,
        json!({"details": {"causes": [{"reason": "FieldValueNotSupported", "field": "spec.color"}]}}),
    )?;
    kind.create(c, "a", json!({"color": "red"})).await?;
    Ok(())
}

async fn a_pattern_is_kept_to(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, fields(json!({"name": {"type": "string", "pattern": "^[a-z]+$"}, "when": {"type": "string", "format": "date-time"}}))).establish(c).await?;
    kind.refuses(
        c,
        json!({"name": "A1"}),
        "spec.name: Invalid value: \"A1\": spec.name in body should match '^[a-z]+$'",
    )
    .await?;
    kind.refuses(
        c,
        json!({"when": "noon"}),
        "spec.when: Invalid value: \"noon\": spec.when in body must be of type date-time: \"noon\"",
    )
    .await?;
    kind.create(c, "a", json!({"name": "abc", "when": "2026-01-01T00:00:00Z"}))
        .await?;
    Ok(())
}

async fn bounds_are_kept_to(c: &Cluster) -> anyhow::Result<()> {
    let schema = fields(json!({
        "number": {"type": "integer", "minimum": 1, "maximum": 9},
        "open": {"type": "number", "minimum": 0, "exclusiveMinimum": true},
        "even": {"type": "integer", "multipleOf": 2},
        "word": {"type": "string", "minLength": 2, "maxLength": 4},
        "list": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "integer"}},
        "map": {"type": "object", "maxProperties": 1, "additionalProperties": {"type": "string"}},
    }));
    let kind = Kind::new(c, schema).establish(c).await?;
    for (spec, errors) in [
        (
            json!({"number": 0}),
            "spec.number: Invalid value: 0: spec.number in body should be greater than or equal to 1",
        ),
        (
            json!({"number": 10}),
            "spec.number: Invalid value: 10: spec.number in body should be less than or equal to 9",
        ),
        (
            json!({"open": 0}),
            "spec.open: Invalid value: 0: spec.open in body should be greater than 0",
        ),
        (
            json!({"even": 3}),
            "spec.even: Invalid value: 3: spec.even in body should be a multiple of 2",
        ),
        (
            json!({"word": "a"}),
            "spec.word: Invalid value: \"a\": spec.word in body should be at least 2 chars long",
        ),
        (
            json!({"word": "abcde"}),
            "spec.word: Too long: may not be more than 4 bytes",
        ),
        (
            json!({"list": []}),
            "spec.list: Invalid value: 0: spec.list in body should have at least 1 items",
        ),
        (
            json!({"list": [1, 2, 3]}),
            "spec.list: Too many: 3: must have at most 2 items",
        ),
        (
            json!({"map": {"a": "", "b": ""}}),
            "spec.map: Too many: 2: must have at most 1 item",
        ),
    ] {
        kind.refuses(c, spec, errors).await?;
    }
    kind.create(
        c,
        "a",
        json!({"number": 9, "open": 0.5, "even": 4, "word": "abcd", "list": [1, 2], "map": {"a": ""}}),
    )
    .await?;
    Ok(())
}

async fn required_fields_are_required(c: &Cluster) -> anyhow::Result<()> {
    let mut schema = fields(
        json!({"one": {"type": "string"}, "two": {"type": "object", "required": ["inner"], "properties": {"inner": {"type": "string"}}}, "three": {"type": "integer", "minimum": 1}}),
    );
    schema["required"] = json!(["one", "two"]);
    let kind = Kind::new(c, schema).establish(c).await?;
    kind.refuses(
        c,
        json!({"two": {}}),
        "[spec.two.inner: Required value, spec.one: Required value]",
    )
    .await?;
    kind.refuses(
        c,
        json!({"two": {"inner": "x"}, "three": 0}),
        "[spec.three: Invalid value: 0: spec.three in body should be greater than or equal to 1, spec.one: Required value]",
    )
    .await?;
    Ok(())
}

async fn null_needs_permission(c: &Cluster) -> anyhow::Result<()> {
    let schema = fields(
        json!({"may": {"type": "string", "nullable": true}, "mayNot": {"type": "string"}, "filled": {"type": "string", "default": "x"}}),
    );
    let kind = Kind::new(c, schema).establish(c).await?;
    let made = kind
        .create(c, "a", json!({"may": null, "filled": null, "mayNot": null}))
        .await?;
    // What may not be null is taken as absent.
    same(made["spec"].clone(), json!({"may": null, "filled": "x"}))
}

async fn an_integer_or_a_string_is_either(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, fields(json!({"max": {"x-kubernetes-int-or-string": true}})))
        .establish(c)
        .await?;
    kind.create(c, "one", json!({"max": 1})).await?;
    kind.create(c, "two", json!({"max": "25%"})).await?;
    kind.refuses(
        c,
        json!({"max": true}),
        "spec.max: Invalid value: \"boolean\": spec.max in body must be of type integer,string: \"boolean\"",
    )
    .await?;
    Ok(())
}

async fn a_list_of_a_set_has_no_duplicates(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(
        c,
        fields(
            json!({"tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}}),
        ),
    )
    .establish(c)
    .await?;
    kind.refuses(
        c,
        json!({"tags": ["a", "b", "a"]}),
        "spec.tags[2]: Duplicate value: \"a\"",
    )
    .await?;
    Ok(())
}

async fn a_list_of_a_map_has_different_keys(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, list_map()).establish(c).await?;
    kind.refuses(
        c,
        json!({"parts": [{"name": "a", "size": 1}, {"name": "a", "size": 2}]}),
        "spec.parts[1]: Duplicate value: {\"name\":\"a\"}",
    )
    .await?;
    Ok(())
}

async fn a_rule_is_evaluated(c: &Cluster) -> anyhow::Result<()> {
    let mut schema = fields(json!({
        "min": {"type": "integer"}, "max": {"type": "integer"},
        "names": {"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 20}, "x-kubernetes-validations": [{"rule": "self.all(x, x.startsWith('a'))"}]},
        "kind": {"type": "string", "x-kubernetes-validations": [{"rule": "self in ['one', 'two']"}]},
    }));
    schema["x-kubernetes-validations"] =
        json!([{"rule": "!has(self.min) || !has(self.max) || self.min <= self.max"}]);
    let kind = Kind::new(c, schema).establish(c).await?;
    kind.create(
        c,
        "fine",
        json!({"min": 1, "max": 2, "names": ["ab", "ac"], "kind": "two"}),
    )
    .await?;
    kind.refuses(
        c,
        json!({"min": 3, "max": 2}),
        "spec: Invalid value: failed rule: !has(self.min) || !has(self.max) || self.min <= self.max",
    )
    .await?;
    kind.refuses(
        c,
        json!({"names": ["ab", "b"]}),
        "spec.names: Invalid value: failed rule: self.all(x, x.startsWith('a'))",
    )
    .await?;
    kind.refuses(
        c,
        json!({"kind": "three"}),
        "spec.kind: Invalid value: \"three\": failed rule: self in ['one', 'two']",
    )
    .await?;
    Ok(())
}

async fn a_transition_rule_compares_with_before(c: &Cluster) -> anyhow::Result<()> {
    let schema = fields(
        json!({"name": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "name is immutable"}]}}),
    );
    let kind = Kind::new(c, schema).establish(c).await?;
    kind.create(c, "a", json!({"name": "x"})).await?;
    c.merge(&kind.path(c, "gadgets/a"), &json!({"spec": {"name": "y"}}))
        .await?
        .refused(
            422,
            "Invalid",
            &format!(
                "Gadget.{} \"a\" is invalid: spec.name: Invalid value: \"y\": name is immutable",
                kind.group
            ),
        )?;
    c.merge(
        &kind.path(c, "gadgets/a"),
        &json!({"spec": {"name": "x"}, "metadata": {"labels": {"a": "b"}}}),
    )
    .await?
    .with_code(200)?;
    Ok(())
}

async fn a_rule_names_its_message_reason_and_field(c: &Cluster) -> anyhow::Result<()> {
    let mut schema = fields(json!({"size": {"type": "integer"}}));
    schema["x-kubernetes-validations"] = json!([{
        "rule": "self.size < 10", "messageExpression": "self.size > 100 ? 'size is huge' : 'size is too big'", "reason": "FieldValueForbidden", "fieldPath": ".size",
    }]);
    let kind = Kind::new(c, schema).establish(c).await?;
    let status = kind
        .refuses(c, json!({"size": 12}), "spec.size: Forbidden: size is too big")
        .await?;
    contains(
        &status,
        json!({"details": {"causes": [{"reason": "FieldValueForbidden", "field": "spec.size"}]}}),
    )
}
