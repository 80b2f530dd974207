//! CustomResourceDefinitions and their objects.

use std::time::Duration;

use serde_json::{Value, json};

use super::objects::{config_map, create, names};
use crate::harness::{Cluster, cases, contains, same, text};

cases![
    a_definition_is_established,
    a_definition_is_discovered,
    a_definition_must_be_named_after_its_resource,
    a_definition_needs_a_structural_schema,
    a_definition_needs_one_storage_version,
    taken_names_are_not_accepted,
    a_deleted_definition_takes_its_objects_along,
    a_custom_object_is_created_and_read,
    a_custom_object_needs_a_kind,
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
    additional_columns_are_printed,
    versions_share_their_objects,
    a_version_that_is_not_served_is_not_found,
    a_status_of_a_custom_object_is_apart,
    the_generation_of_a_custom_object_counts_everything_but_metadata,
    a_custom_object_without_a_status_subresource_has_a_plain_status,
    a_custom_scale_follows_its_paths,
    a_custom_object_is_patched,
    a_custom_object_takes_no_strategic_patch,
    custom_fields_are_applied_by_owner,
    a_custom_list_is_merged_by_its_keys,
    selectable_fields_select,
    a_custom_object_owns_and_is_collected,
    a_custom_object_is_watched,
    a_cluster_scoped_custom_object_has_no_namespace,
    an_update_of_a_custom_object_needs_its_version,
];

const LIMIT: Duration = Duration::from_secs(60);

/// A definition of one case.
struct Kind {
    group: String,
    definition: Value,
}

impl Kind {
    /// `Gadget` in a group that no other case has, with this schema of its spec.
    fn new(c: &Cluster, spec: Value) -> Self {
        let group = format!("{}.example.com", c.unique("g"));
        let schema = json!({"type": "object", "properties": {"spec": spec, "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("gadgets.{group}")},
            "spec": {
                "group": group, "scope": "Namespaced",
                "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList", "shortNames": ["gg"], "categories": ["toys"]},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
            },
        });
        Self { group, definition }
    }

    /// Sets what stands at a pointer below the first version.
    fn with(mut self, member: &str, value: Value) -> Self {
        self.definition["spec"]["versions"][0][member] = value;
        self
    }

    fn add_version(&mut self, version: Value) {
        if let Some(versions) = self.definition["spec"]["versions"].as_array_mut() {
            versions.push(version);
        }
    }

    fn definition_path(&self) -> String {
        format!(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gadgets.{}",
            self.group
        )
    }

    /// Creates the definition and waits until its objects are served.
    async fn establish(self, c: &Cluster) -> anyhow::Result<Self> {
        c.post(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            &self.definition,
        )
        .await?
        .with_code(201)?;
        c.delete_at_end(self.definition_path());
        c.wait_object(
            "the definition is established",
            LIMIT,
            &self.definition_path(),
            |definition| {
                definition["status"]["conditions"].as_array().is_some_and(|all| {
                    all.iter()
                        .any(|one| one["type"] == "Established" && one["status"] == "True")
                })
            },
        )
        .await?;
        let path = format!("/apis/{}/v1/gadgets", self.group);
        c.wait_until("its objects are served", LIMIT, async || {
            Ok(c.get(&path).await?.code == 200)
        })
        .await?;
        Ok(self)
    }

    fn version(&self) -> String {
        format!("{}/v1", self.group)
    }

    fn path(&self, c: &Cluster, rest: &str) -> String {
        c.at(&self.version(), rest)
    }

    fn object(&self, name: &str, spec: Value) -> Value {
        json!({"apiVersion": self.version(), "kind": "Gadget", "metadata": {"name": name}, "spec": spec})
    }

    async fn create(&self, c: &Cluster, name: &str, spec: Value) -> anyhow::Result<Value> {
        c.post(&self.path(c, "gadgets"), &self.object(name, spec))
            .await?
            .with_code(201)
    }

    /// That an object `a` of this spec is invalid, with these errors and no others.
    async fn refuses(&self, c: &Cluster, spec: Value, errors: &str) -> anyhow::Result<Value> {
        c.post(&self.path(c, "gadgets"), &self.object("a", spec))
            .await?
            .refused(
                422,
                "Invalid",
                &format!("Gadget.{} \"a\" is invalid: {errors}", self.group),
            )
    }
}

fn anything() -> Value {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

fn fields(properties: Value) -> Value {
    json!({"type": "object", "properties": properties})
}

async fn a_definition_is_established(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, anything()).establish(c).await?;
    let definition = c.get(&kind.definition_path()).await?.ok()?;
    contains(
        &definition,
        json!({"metadata": {"generation": 1}, "spec": {"conversion": {"strategy": "None"}},
            "status": {"acceptedNames": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList", "shortNames": ["gg"]}, "storedVersions": ["v1"]}}),
    )?;
    let conditions = definition["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    for (kind, reason, message) in [
        ("NamesAccepted", "NoConflicts", "no conflicts found"),
        (
            "Established",
            "InitialNamesAccepted",
            "the initial names have been accepted",
        ),
    ] {
        let found = conditions
            .iter()
            .find(|one| one["type"] == kind)
            .cloned()
            .unwrap_or_default();
        contains(
            &found,
            json!({"status": "True", "reason": reason, "message": message}),
        )?;
    }
    Ok(())
}

async fn a_definition_is_discovered(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, anything())
        .with("subresources", json!({"status": {}}))
        .establish(c)
        .await?;
    let path = format!("/apis/{}/v1", kind.group);
    let list = c
        .wait_object("it is discovered", LIMIT, &path, |list| {
            list["resources"].as_array().is_some_and(|all| all.len() == 2)
        })
        .await?;
    contains(
        &list,
        json!({"groupVersion": kind.version(), "resources": [
            {"name": "gadgets", "singularName": "gadget", "namespaced": true, "kind": "Gadget", "shortNames": ["gg"], "categories": ["toys"],
                "verbs": ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]},
            {"name": "gadgets/status", "kind": "Gadget", "verbs": ["get", "patch", "update"]},
        ]}),
    )?;
    let group = c.get(&format!("/apis/{}", kind.group)).await?.with_code(200)?;
    contains(
        &group,
        json!({"kind": "APIGroup", "name": kind.group, "preferredVersion": {"version": "v1"}}),
    )
}

async fn a_definition_must_be_named_after_its_resource(c: &Cluster) -> anyhow::Result<()> {
    let mut kind = Kind::new(c, anything());
    let wrong = format!("things.{}", kind.group);
    kind.definition["metadata"]["name"] = json!(wrong);
    c.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &kind.definition).await?.refused(
        422,
        "Invalid",
        &format!(
            "CustomResourceDefinition.apiextensions.k8s.io \"{wrong}\" is invalid: metadata.name: Invalid value: \"{wrong}\": must be spec.names.plural+\".\"+spec.group"
        ),
    )?;
    Ok(())
}

async fn a_definition_needs_a_structural_schema(c: &Cluster) -> anyhow::Result<()> {
    let mut kind = Kind::new(c, anything());
    if let Some(version) = kind.definition["spec"]["versions"][0].as_object_mut() {
        version.remove("schema");
    }
    c.post(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        &kind.definition,
    )
    .await?
    .refused_with(
        422,
        "Invalid",
        "spec.versions[0].schema.openAPIV3Schema: Required value",
    )?;
    Ok(())
}

async fn a_definition_needs_one_storage_version(c: &Cluster) -> anyhow::Result<()> {
    let mut kind = Kind::new(c, anything());
    kind.definition["spec"]["versions"][0]["storage"] = json!(false);
    c.post(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        &kind.definition,
    )
    .await?
    .refused_with(
        422,
        "Invalid",
        "must have exactly one version marked as storage version",
    )?;
    Ok(())
}

async fn taken_names_are_not_accepted(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, anything()).establish(c).await?;
    let mut second = kind.definition.clone();
    second["metadata"]["name"] = json!(format!("things.{}", kind.group));
    second["spec"]["names"] =
        json!({"plural": "things", "singular": "thing", "kind": "Gadget", "listKind": "ThingList"});
    c.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &second)
        .await?
        .with_code(201)?;
    let path = format!(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.{}",
        kind.group
    );
    c.delete_at_end(path.clone());
    let found = c
        .wait_object("the names are looked at", LIMIT, &path, |definition| {
            definition["status"]["conditions"]
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one["type"] == "NamesAccepted"))
        })
        .await?;
    let conditions = found["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let of = |kind: &str| {
        conditions
            .iter()
            .find(|one| one["type"] == kind)
            .cloned()
            .unwrap_or_default()
    };
    contains(
        &of("NamesAccepted"),
        json!({"status": "False", "reason": "KindConflict", "message": "\"Gadget\" is already in use"}),
    )?;
    contains(
        &of("Established"),
        json!({"status": "False", "reason": "NotAccepted", "message": "not all names are accepted"}),
    )
}

async fn a_deleted_definition_takes_its_objects_along(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, anything()).establish(c).await?;
    kind.create(c, "a", json!({"x": 1})).await?;
    c.delete(&kind.definition_path()).await?.with_code(200)?;
    c.wait_gone(LIMIT, &kind.definition_path()).await?;
    let path = kind.path(c, "gadgets");
    c.wait_until("its objects are not served", LIMIT, async || {
        Ok(c.get(&path).await?.code == 404)
    })
    .await?;
    let kind = kind.establish(c).await?;
    same(names(&c.get(&kind.path(c, "gadgets")).await?.ok()?), vec![])
}

async fn a_custom_object_is_created_and_read(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, anything()).establish(c).await?;
    let made = kind.create(c, "a", json!({"x": 1})).await?;
    contains(
        &made,
        json!({"apiVersion": kind.version(), "kind": "Gadget", "metadata": {"name": "a", "generation": 1}, "spec": {"x": 1}}),
    )?;
    same(c.get(&kind.path(c, "gadgets/a")).await?.with_code(200)?, made)?;
    let list = c.get(&kind.path(c, "gadgets")).await?.with_code(200)?;
    contains(
        &list,
        json!({"kind": "GadgetList", "apiVersion": kind.version(), "items": [{"kind": "Gadget", "apiVersion": kind.version()}]}),
    )?;
    c.get(&kind.path(c, "gadgets/b")).await?.refused(
        404,
        "NotFound",
        &format!("gadgets.{} \"b\" not found", kind.group),
    )?;
    let status = c.delete(&kind.path(c, "gadgets/a")).await?.with_code(200)?;
    contains(
        &status,
        json!({"kind": "Status", "status": "Success", "details": {"name": "a", "group": kind.group, "kind": "gadgets"}}),
    )
}

async fn a_custom_object_needs_a_kind(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, anything()).establish(c).await?;
    c.post(&kind.path(c, "gadgets"), &json!({"metadata": {"name": "a"}}))
        .await?
        .refused_with(400, "BadRequest", "Object 'Kind' is missing in")?;
    let mut object = kind.object("a", json!({}));
    object["kind"] = json!("Widget");
    c.post(&kind.path(c, "gadgets"), &object).await?.refused(
        422,
        "Invalid",
        &format!(
            "Widget.{} \"a\" is invalid: kind: Invalid value: \"Widget\": must be Gadget",
            kind.group
        ),
    )?;
    let mut object = kind.object("a", json!({}));
    object["apiVersion"] = json!("other.example.com/v1");
    c.post(&kind.path(c, "gadgets"), &object).await?.refused(
        400,
        "BadRequest",
        &format!(
            "the API version in the data (other.example.com/v1) does not match the expected API version ({})",
            kind.version()
        ),
    )?;
    Ok(())
}

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

fn list_map() -> Value {
    fields(
        json!({"parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
        "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "size": {"type": "integer"}}}}}),
    )
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

async fn additional_columns_are_printed(c: &Cluster) -> anyhow::Result<()> {
    let columns = json!([
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size", "description": "how big"},
        {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status", "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]);
    let kind = Kind::new(c, anything())
        .with("additionalPrinterColumns", columns)
        .establish(c)
        .await?;
    let mut object = kind.object("a", json!({"size": 3}));
    object["status"] =
        json!({"conditions": [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]});
    c.post(&kind.path(c, "gadgets"), &object).await?.with_code(201)?;
    let accept = [("accept", "application/json;as=Table;g=meta.k8s.io;v=v1")];
    let table = c
        .ask("GET", &kind.path(c, "gadgets"), &accept, String::new())
        .await?
        .with_code(200)?;
    contains(
        &table,
        json!({"columnDefinitions": [
            {"name": "Name", "type": "string", "format": "name", "priority": 0},
            {"name": "Size", "type": "integer", "priority": 0, "description": "how big"},
            {"name": "Ready", "type": "string", "priority": 1},
            {"name": "Age", "type": "date", "priority": 0},
        ]}),
    )?;
    let cells = &table["rows"][0]["cells"];
    contains(cells, json!(["a", 3, "True", cells[3]]))?;
    let plain = Kind {
        group: kind.group.clone(),
        definition: kind.definition.clone(),
    };
    c.merge(&plain.definition_path(), &json!({"spec": {"versions": [{"name": "v1", "served": true, "storage": true, "schema": kind.definition["spec"]["versions"][0]["schema"]}]}})).await?.with_code(200)?;
    let path = kind.path(c, "gadgets");
    c.wait_until("the columns are the usual ones", LIMIT, async || {
        let table = c.ask("GET", &path, &accept, String::new()).await?.body;
        Ok(table["columnDefinitions"].as_array().map_or(0, Vec::len) == 2
            && table["columnDefinitions"][1]["name"] == "Age")
    })
    .await
}

async fn versions_share_their_objects(c: &Cluster) -> anyhow::Result<()> {
    let mut kind = Kind::new(c, anything());
    let mut beta = kind.definition["spec"]["versions"][0].clone();
    beta["name"] = json!("v1beta1");
    beta["storage"] = json!(false);
    beta["deprecated"] = json!(true);
    kind.add_version(beta);
    let kind = kind.establish(c).await?;
    let made = kind.create(c, "a", json!({"x": 1})).await?;
    let path = c.at(&format!("{}/v1beta1", kind.group), "gadgets/a");
    let answer = c.get(&path).await?;
    same(
        answer.warnings(),
        vec![format!(
            "{}/v1beta1 Gadget is deprecated; use {}/v1 Gadget",
            kind.group, kind.group
        )],
    )?;
    let old = answer.with_code(200)?;
    contains(
        &old,
        json!({"apiVersion": format!("{}/v1beta1", kind.group), "metadata": {"uid": made["metadata"]["uid"]}, "spec": {"x": 1}}),
    )?;
    let after = c.merge(&path, &json!({"spec": {"y": 2}})).await?.with_code(200)?;
    contains(&after, json!({"apiVersion": format!("{}/v1beta1", kind.group)}))?;
    let new = c.get(&kind.path(c, "gadgets/a")).await?.ok()?;
    contains(
        &new,
        json!({"apiVersion": kind.version(), "spec": {"x": 1, "y": 2}}),
    )?;
    let group_path = format!("/apis/{}", kind.group);
    let group = c
        .wait_object("both are discovered", LIMIT, &group_path, |group| {
            group["versions"].as_array().is_some_and(|all| all.len() == 2)
        })
        .await?;
    contains(
        &group,
        json!({"versions": [{"version": "v1"}, {"version": "v1beta1"}], "preferredVersion": {"version": "v1"}}),
    )
}

async fn a_version_that_is_not_served_is_not_found(c: &Cluster) -> anyhow::Result<()> {
    let mut kind = Kind::new(c, anything());
    let mut old = kind.definition["spec"]["versions"][0].clone();
    old["name"] = json!("v1alpha1");
    old["storage"] = json!(false);
    old["served"] = json!(false);
    kind.add_version(old);
    let kind = kind.establish(c).await?;
    same(
        c.get(&c.at(&format!("{}/v1alpha1", kind.group), "gadgets"))
            .await?
            .with_code(404)?,
        json!("404 page not found\n"),
    )?;
    same(
        c.get(&c.at(&kind.version(), "widgets")).await?.with_code(404)?,
        json!("404 page not found\n"),
    )
}

async fn a_status_of_a_custom_object_is_apart(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, anything())
        .with("subresources", json!({"status": {}}))
        .establish(c)
        .await?;
    let mut object = kind.object("a", json!({"x": 1}));
    object["status"] = json!({"phase": "mine"});
    let made = c.post(&kind.path(c, "gadgets"), &object).await?.with_code(201)?;
    contains(&made, json!({"status": null, "metadata": {"generation": 1}}))?;
    let after = c
        .merge(
            &kind.path(c, "gadgets/a/status"),
            &json!({"spec": {"x": 2}, "metadata": {"labels": {"a": "b"}}, "status": {"phase": "Ready"}}),
        )
        .await?
        .with_code(200)?;
    contains(
        &after,
        json!({"spec": {"x": 1}, "status": {"phase": "Ready"}, "metadata": {"generation": 1, "labels": null}}),
    )?;
    let after = c
        .merge(
            &kind.path(c, "gadgets/a"),
            &json!({"spec": {"x": 3}, "status": {"phase": "other"}}),
        )
        .await?
        .with_code(200)?;
    contains(
        &after,
        json!({"spec": {"x": 3}, "status": {"phase": "Ready"}, "metadata": {"generation": 2}}),
    )
}

async fn the_generation_of_a_custom_object_counts_everything_but_metadata(c: &Cluster) -> anyhow::Result<()> {
    let mut kind = Kind::new(c, anything()).with("subresources", json!({"status": {}}));
    kind.definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["extra"] =
        json!({"type": "string"});
    let kind = kind.establish(c).await?;
    kind.create(c, "a", json!({"x": 1})).await?;
    for (patch, generation) in [
        (json!({"metadata": {"labels": {"a": "b"}}}), 1),
        (json!({"extra": "more"}), 2),
        (json!({"spec": {"x": 2}}), 3),
        (json!({"spec": {"x": 2}}), 3),
    ] {
        let after = c
            .merge(&kind.path(c, "gadgets/a"), &patch)
            .await?
            .with_code(200)?;
        contains(&after, json!({"metadata": {"generation": generation}}))?;
    }
    Ok(())
}

async fn a_custom_object_without_a_status_subresource_has_a_plain_status(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, anything()).establish(c).await?;
    let mut object = kind.object("a", json!({}));
    object["status"] = json!({"phase": "mine"});
    let made = c.post(&kind.path(c, "gadgets"), &object).await?.with_code(201)?;
    contains(&made, json!({"status": {"phase": "mine"}}))?;
    let after = c
        .merge(&kind.path(c, "gadgets/a"), &json!({"status": {"phase": "other"}}))
        .await?
        .with_code(200)?;
    contains(
        &after,
        json!({"status": {"phase": "other"}, "metadata": {"generation": 2}}),
    )?;
    c.get(&kind.path(c, "gadgets/a/status")).await?.refused(
        404,
        "NotFound",
        &format!("gadgets.{} \"a\" not found", kind.group),
    )?;
    Ok(())
}

async fn a_custom_scale_follows_its_paths(c: &Cluster) -> anyhow::Result<()> {
    let subresources = json!({"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size", "labelSelectorPath": ".status.selector"}});
    let kind = Kind::new(c, anything())
        .with("subresources", subresources)
        .establish(c)
        .await?;
    let made = kind.create(c, "a", json!({"size": 2})).await?;
    c.merge(
        &kind.path(c, "gadgets/a/status"),
        &json!({"status": {"size": 1, "selector": "app=a"}}),
    )
    .await?
    .with_code(200)?;
    let scale = c.get(&kind.path(c, "gadgets/a/scale")).await?.with_code(200)?;
    contains(
        &scale,
        json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "a", "uid": made["metadata"]["uid"]}, "spec": {"replicas": 2}, "status": {"replicas": 1, "selector": "app=a"}}),
    )?;
    let after = c
        .merge(
            &kind.path(c, "gadgets/a/scale"),
            &json!({"spec": {"replicas": 5}}),
        )
        .await?
        .with_code(200)?;
    contains(&after, json!({"spec": {"replicas": 5}}))?;
    let object = c.get(&kind.path(c, "gadgets/a")).await?.ok()?;
    contains(
        &object,
        json!({"spec": {"size": 5}, "metadata": {"generation": 2}}),
    )
}

async fn a_custom_object_is_patched(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, anything()).establish(c).await?;
    kind.create(c, "a", json!({"x": 1, "list": [1, 2]})).await?;
    let after = c
        .merge(
            &kind.path(c, "gadgets/a"),
            &json!({"spec": {"x": null, "list": [3]}}),
        )
        .await?
        .with_code(200)?;
    same(after["spec"].clone(), json!({"list": [3]}))?;
    let patch = json!([{"op": "add", "path": "/spec/list/-", "value": 4}]);
    let after = c
        .patch("application/json-patch+json", &kind.path(c, "gadgets/a"), &patch)
        .await?
        .with_code(200)?;
    same(after["spec"].clone(), json!({"list": [3, 4]}))
}

async fn a_custom_object_takes_no_strategic_patch(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, anything()).establish(c).await?;
    kind.create(c, "a", json!({})).await?;
    let answer = c
        .patch(
            "application/strategic-merge-patch+json",
            &kind.path(c, "gadgets/a"),
            &json!({"spec": {"x": 1}}),
        )
        .await?;
    answer.refused(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
    )?;
    Ok(())
}

fn owned(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    entries
        .into_iter()
        .find(|entry| entry["manager"] == manager)
        .map_or(Value::Null, |entry| entry["fieldsV1"].clone())
}

async fn custom_fields_are_applied_by_owner(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(
        c,
        fields(json!({"one": {"type": "string"}, "two": {"type": "string"}})),
    )
    .establish(c)
    .await?;
    let path = kind.path(c, "gadgets/a");
    let made = c
        .apply(
            &format!("{path}?fieldManager=me"),
            &kind.object("a", json!({"one": "1"})),
        )
        .await?
        .with_code(201)?;
    same(owned(&made, "me"), json!({"f:spec": {"f:one": {}}}))?;
    let both = c
        .apply(
            &format!("{path}?fieldManager=you"),
            &kind.object("a", json!({"two": "2"})),
        )
        .await?
        .with_code(200)?;
    same(both["spec"].clone(), json!({"one": "1", "two": "2"}))?;
    c.apply(
        &format!("{path}?fieldManager=you"),
        &kind.object("a", json!({"one": "x"})),
    )
    .await?
    .refused(
        409,
        "Conflict",
        "Apply failed with 1 conflict: conflict with \"me\": .spec.one",
    )?;
    Ok(())
}

async fn a_custom_list_is_merged_by_its_keys(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, list_map()).establish(c).await?;
    let path = kind.path(c, "gadgets/a");
    c.apply(
        &format!("{path}?fieldManager=me"),
        &kind.object("a", json!({"parts": [{"name": "a", "size": 1}]})),
    )
    .await?
    .with_code(201)?;
    let both = c
        .apply(
            &format!("{path}?fieldManager=you"),
            &kind.object("a", json!({"parts": [{"name": "b", "size": 2}]})),
        )
        .await?
        .with_code(200)?;
    same(
        both["spec"]["parts"].clone(),
        json!([{"name": "a", "size": 1}, {"name": "b", "size": 2}]),
    )?;
    same(
        owned(&both, "you"),
        json!({"f:spec": {"f:parts": {"k:{\"name\":\"b\"}": {".": {}, "f:name": {}, "f:size": {}}}}}),
    )?;
    let one = c
        .apply(
            &format!("{path}?fieldManager=me"),
            &kind.object("a", json!({"parts": []})),
        )
        .await?
        .with_code(200)?;
    same(one["spec"]["parts"].clone(), json!([{"name": "b", "size": 2}]))
}

async fn selectable_fields_select(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(
        c,
        fields(json!({"color": {"type": "string"}, "size": {"type": "integer"}})),
    )
    .with("selectableFields", json!([{"jsonPath": ".spec.color"}]))
    .establish(c)
    .await?;
    kind.create(c, "a", json!({"color": "red"})).await?;
    kind.create(c, "b", json!({"color": "blue"})).await?;
    let list = c
        .get(&kind.path(c, "gadgets?fieldSelector=spec.color=blue"))
        .await?
        .with_code(200)?;
    same(names(&list), vec!["b"])?;
    c.get(&kind.path(c, "gadgets?fieldSelector=spec.size=1"))
        .await?
        .refused(400, "BadRequest", "field label not supported: spec.size")?;
    same(
        names(
            &c.get(&kind.path(c, "gadgets?fieldSelector=metadata.name=a"))
                .await?
                .ok()?,
        ),
        vec!["a"],
    )
}

async fn a_custom_object_owns_and_is_collected(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, anything()).establish(c).await?;
    let owner = kind.create(c, "owner", json!({})).await?;
    let reference = |owner: &Value| json!([{"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}]);
    let mut map = config_map("child");
    map["metadata"]["ownerReferences"] = reference(&owner);
    create(c, "v1", "configmaps", &map).await?;
    c.delete(&kind.path(c, "gadgets/owner")).await?.with_code(200)?;
    c.wait_gone(Duration::from_secs(150), &c.at("v1", "configmaps/child"))
        .await
}

async fn a_custom_object_is_watched(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, anything()).establish(c).await?;
    kind.create(c, "a", json!({"x": 1})).await?;
    let mut watch = c.watch(&kind.path(c, "gadgets")).await?;
    let added = watch.expect_name("ADDED", "a").await?;
    contains(&added, json!({"kind": "Gadget", "spec": {"x": 1}}))?;
    c.merge(&kind.path(c, "gadgets/a"), &json!({"spec": {"x": 2}}))
        .await?
        .ok()?;
    watch.expect_name("MODIFIED", "a").await?;
    c.delete(&kind.path(c, "gadgets/a")).await?.ok()?;
    watch.expect_name("DELETED", "a").await?;
    Ok(())
}

async fn a_cluster_scoped_custom_object_has_no_namespace(c: &Cluster) -> anyhow::Result<()> {
    let mut kind = Kind::new(c, anything());
    kind.definition["spec"]["scope"] = json!("Cluster");
    let kind = kind.establish(c).await?;
    let path = format!("/apis/{}/v1/gadgets", kind.group);
    let made = c
        .post(&path, &kind.object("a", json!({})))
        .await?
        .with_code(201)?;
    contains(&made, json!({"metadata": {"namespace": null, "name": "a"}}))?;
    same(
        c.get(&kind.path(c, "gadgets")).await?.with_code(404)?,
        json!("404 page not found\n"),
    )
}

async fn an_update_of_a_custom_object_needs_its_version(c: &Cluster) -> anyhow::Result<()> {
    let kind = Kind::new(c, anything()).establish(c).await?;
    let mut made = kind.create(c, "a", json!({"x": 1})).await?;
    c.put(&kind.path(c, "gadgets/a"), &kind.object("a", json!({"x": 2}))).await?.refused(
        422,
        "Invalid",
        &format!("gadgets.{} \"a\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update", kind.group),
    )?;
    made["spec"]["x"] = json!(3);
    let after = c.put(&kind.path(c, "gadgets/a"), &made).await?.with_code(200)?;
    contains(&after, json!({"spec": {"x": 3}, "metadata": {"generation": 2}}))?;
    anyhow::ensure!(text(&after, "/metadata/resourceVersion") != text(&made, "/metadata/resourceVersion"));
    Ok(())
}
