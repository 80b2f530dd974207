//! CustomResourceDefinitions: what they add to the API, and what they demand of objects.

mod cel;
mod definitions;
mod prune;
mod schema;
mod validate;

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde_json::{Value, json};

pub(crate) use self::cel::CelRules;
pub use self::definitions::{Definitions, Violation};
pub use self::schema::Rule;
pub(crate) use self::schema::Schema;
use super::{
    field::FieldError,
    old,
    resources::{Conversion, Resource, ScalePaths, Traits, Version},
    state::State,
    store::{Event, Store, Verb},
    value,
};

pub(crate) const GROUP: &str = "apiextensions.k8s.io";
pub(crate) const PLURAL: &str = "customresourcedefinitions";
/// Holds a definition until its objects are gone.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Evaluates the CEL rules of schemas.
pub trait RuleEvaluator: fmt::Debug + Send + Sync {
    /// The rules that `value` breaks, where `old` is what stood there before, with the message for the field.
    fn check<'a>(&self, rules: &[&'a Rule], value: &Value, old: Option<&Value>) -> Vec<(&'a Rule, String)>;
}

/// What a definition says about its kind.
#[derive(Debug)]
pub(crate) struct Extension {
    versions: BTreeMap<String, ExtensionVersion>,
}

#[derive(Debug)]
struct ExtensionVersion {
    schema: Option<Schema>,
    has_rules: bool,
    columns: Vec<Column>,
    selectable: Vec<String>,
    /// What users of the version are warned of.
    deprecation: Option<String>,
}

/// An additional printer column.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) format: String,
    pub(crate) description: String,
    pub(crate) priority: i64,
    pub(crate) path: String,
}

impl Extension {
    pub(crate) fn schema(&self, version: &str) -> Option<&Schema> {
        self.versions.get(version)?.schema.as_ref()
    }

    pub(crate) fn columns(&self, version: &str) -> &[Column] {
        self.versions.get(version).map_or(&[], |version| &version.columns)
    }

    pub(crate) fn deprecation(&self, version: &str) -> Option<&str> {
        self.versions.get(version)?.deprecation.as_deref()
    }

    pub(crate) fn selectable(&self, version: &str, label: &str) -> bool {
        self.versions
            .get(version)
            .is_some_and(|version| version.selectable.iter().any(|known| known == label))
    }
}

/// Prunes and defaults a custom resource in the version that the client wrote.
pub(crate) fn prune_and_default(resource: &Resource, version: &str, object: &mut Value) {
    let Some(schema) = resource
        .extension
        .as_ref()
        .and_then(|extension| extension.schema(version))
    else {
        return;
    };
    if !schema.preserve_unknown {
        prune::prune(schema, object, true);
    }
    prune::drop_nulls(schema, object, true);
    prune::default(schema, object, true);
}

/// The paths of what pruning takes out.
pub(crate) fn unknown(resource: &Resource, version: &str, object: &Value) -> Vec<String> {
    let mut out = Vec::new();
    let schema = resource
        .extension
        .as_ref()
        .and_then(|extension| extension.schema(version));
    if let Some(schema) = schema {
        prune::unknown(schema, object, "", &mut out);
    }
    out
}

/// Prunes a configuration that is to be applied.
pub(crate) fn prune(resource: &Resource, version: &str, config: &mut Value) {
    if let Some(schema) = resource
        .extension
        .as_ref()
        .and_then(|extension| extension.schema(version))
        && !schema.preserve_unknown
    {
        prune::prune(schema, config, true);
    }
}

/// Every violation of a custom resource's schema.
pub(crate) fn validate(
    state: &State,
    resource: &Resource,
    version: &str,
    object: &Value,
    old: Option<&Value>,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let Some(version) = resource
        .extension
        .as_ref()
        .and_then(|extension| extension.versions.get(version))
    else {
        return errors;
    };
    let Some(schema) = &version.schema else {
        return errors;
    };
    validate::validate(schema, object, old, "", &mut errors);
    if errors.is_empty() && version.has_rules {
        rules(state.rules.as_ref(), schema, object, old, "", &mut errors);
    }
    errors
}

/// Evaluates the rules of a value and of what is in it. One that is as it was breaks no rule but, perhaps, one that
/// compares the two.
fn rules(
    evaluator: &dyn RuleEvaluator,
    schema: &Schema,
    value: &Value,
    old: Option<&Value>,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let unchanged = old == Some(value);
    let applying: Vec<&Rule> = schema
        .rules
        .iter()
        .filter(|rule| {
            if rule.compares() {
                old.is_some()
            } else {
                !unchanged
            }
        })
        .collect();
    if !applying.is_empty() {
        for (rule, message) in evaluator.check(&applying, value, old) {
            let mut shown = format!("{path}{}", rule.field_path);
            if shown.is_empty() {
                "<nil>".clone_into(&mut shown);
            }
            let shown = shown.trim_start_matches('.');
            errors.push(match rule.reason.as_str() {
                "FieldValueForbidden" => FieldError::forbidden(shown, message),
                "FieldValueRequired" => FieldError::required(shown, message),
                _ if value.is_object() || value.is_array() => FieldError::invalid_whole(shown, message),
                _ => FieldError::invalid(shown, value, message),
            });
        }
    }
    match value {
        Value::Object(map) => {
            for (key, member) in map {
                if let Some(inner) = schema.member(key) {
                    let path = if path.is_empty() {
                        key.clone()
                    } else {
                        format!("{path}.{key}")
                    };
                    rules(
                        evaluator,
                        inner,
                        member,
                        old.and_then(|old| old.get(key)),
                        &path,
                        errors,
                    );
                }
            }
        }
        Value::Array(items) => {
            if let Some(inner) = &schema.items {
                for (index, item) in items.iter().enumerate() {
                    let old = validate::counterpart(schema, item, old);
                    rules(evaluator, inner, item, old, &format!("{path}[{index}]"), errors);
                }
            }
        }
        _ => {}
    }
}

/// Completes a definition: names, conversion, and the conditions that it is accepted and served.
pub(crate) fn complete(object: &mut Value, now: &str) {
    let kind = value::text(object, &["spec", "names", "kind"]).to_owned();
    value::default(object, &["spec", "names", "singular"], kind.to_lowercase());
    value::default(object, &["spec", "names", "listKind"], format!("{kind}List"));
    value::default(object, &["spec", "conversion"], json!({"strategy": "None"}));
    let storage = value::items(object, &["spec", "versions"])
        .iter()
        .find(|version| version["storage"] == true)
        .map(|version| version["name"].clone());
    if let Some(names) = value::at(object, &["spec", "names"]).cloned() {
        value::set(object, &["status", "acceptedNames"], names);
    }
    let mut stored = value::items(object, &["status", "storedVersions"]).to_vec();
    if let Some(storage) = storage.filter(|storage| !stored.contains(storage)) {
        stored.push(storage);
    }
    value::set(object, &["status", "storedVersions"], stored);
    if value::items(object, &["status", "conditions"]).is_empty() {
        let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now});
        let conditions = json!([
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition(
                "Established",
                "InitialNamesAccepted",
                "the initial names have been accepted"
            ),
        ]);
        value::set(object, &["status", "conditions"], conditions);
    }
    if !value::finalizers(object).any(|name| name == CLEANUP) && !value::is_deleting(object) {
        let finalizers = value::object_at(object, &["metadata"])
            .entry("finalizers")
            .or_insert_with(|| json!([]));
        if let Some(finalizers) = finalizers.as_array_mut() {
            finalizers.push(CLEANUP.into());
        }
    }
}

/// Marks a new definition whose names another definition of its group has.
pub(crate) fn accept_names(state: &State, object: &mut Value, now: &str) {
    let group = value::text(object, &["spec", "group"]).to_owned();
    let names = value::at(object, &["spec", "names"]).cloned().unwrap_or_default();
    let own = value::text(&names, &["plural"]).to_owned();
    let mut conflict = None;
    for other in state
        .registry
        .in_group(&group)
        .filter(|other| other.plural != own)
    {
        for (field, reason, taken) in [
            ("singular", "SingularConflict", &other.singular),
            ("kind", "KindConflict", &other.kind),
            ("listKind", "ListKindConflict", &other.list_kind),
        ] {
            if value::text(&names, &[field]) == taken {
                conflict = Some((reason, format!("\"{taken}\" is already in use")));
            }
        }
    }
    let Some((reason, message)) = conflict else { return };
    let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "False", "reason": reason, "message": message, "lastTransitionTime": now});
    let conditions = json!([
        condition("NamesAccepted", reason, &message),
        condition("Established", "NotAccepted", "not all names are accepted"),
    ]);
    value::set(object, &["status", "conditions"], conditions);
}

/// Follows a change of a definition.
pub(crate) fn committed(state: &mut State, event: &Event, resource: &Resource) {
    if !resource.is(GROUP, PLURAL) {
        return;
    }
    let object = event.entry.value.clone();
    let group = value::text(&object, &["spec", "group"]);
    let plural = value::text(&object, &["spec", "names", "plural"]);
    let known = state
        .registry
        .get(group, plural)
        .and_then(|resource| resource.store);
    if event.verb == Verb::Deleted {
        state.registry.remove(group, plural);
        old::serve(&mut state.registry);
        if let Some(store) = known.and_then(|index| state.stores.get_mut(index)) {
            store.close();
        }
        return;
    }
    // Another definition has its names.
    let refused = |condition: &Value| condition["type"] == "Established" && condition["status"] == "False";
    if known.is_none()
        && value::items(&object, &["status", "conditions"])
            .iter()
            .any(refused)
    {
        return;
    }
    let store = known.unwrap_or_else(|| {
        state.stores.push(Store::new(group, plural, state.revision));
        state.stores.len() - 1
    });
    state.registry.insert(resource_of(&object, store));
    old::serve(&mut state.registry);
}

fn resource_of(object: &Value, store: usize) -> Resource {
    let spec = &object["spec"];
    let text = |path: &[&str]| value::text(spec, path).to_owned();
    let words = |path: &[&str]| -> Vec<String> {
        value::items(spec, path)
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let declared = value::items(spec, &["versions"]);
    let mut versions: Vec<Version> = declared
        .iter()
        .filter(|version| version["served"] == true)
        .map(version_of)
        .collect();
    versions.sort_by_key(|version| std::cmp::Reverse(super::resources::version_priority(&version.name)));
    let storage = declared
        .iter()
        .find(|version| version["storage"] == true)
        .unwrap_or(&Value::Null);
    Resource {
        group: text(&["group"]),
        kind: text(&["names", "kind"]),
        list_kind: text(&["names", "listKind"]),
        plural: text(&["names", "plural"]),
        singular: text(&["names", "singular"]),
        short_names: words(&["names", "shortNames"]),
        categories: words(&["names", "categories"]),
        namespaced: value::text(spec, &["scope"]) == "Namespaced",
        versions,
        storage_version: value::text(storage, &["name"]).to_owned(),
        store: Some(store),
        traits: Traits::default(),
        conversion: Conversion::None,
        extension: Some(Arc::new(extension_of(spec))),
    }
}

fn version_of(version: &Value) -> Version {
    let path = |text: &str| -> Vec<String> {
        text.split('.')
            .filter(|step| !step.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let scale = value::at(version, &["subresources", "scale"]).map(|scale| {
        let selector = value::text(scale, &["labelSelectorPath"]);
        ScalePaths {
            spec_replicas: path(value::text(scale, &["specReplicasPath"])),
            status_replicas: path(value::text(scale, &["statusReplicasPath"])),
            selector: Some(path(selector)),
        }
    });
    Version {
        name: value::text(version, &["name"]).to_owned(),
        status: value::at(version, &["subresources", "status"]).is_some(),
        scale,
    }
}

/// What users of a deprecated version are told; by default, which version to use instead.
fn deprecation_of(spec: &Value, version: &Value) -> Option<String> {
    if version["deprecated"] != true {
        return None;
    }
    let own = value::text(version, &["deprecationWarning"]);
    if !own.is_empty() {
        return Some(own.to_owned());
    }
    let (group, kind) = (
        value::text(spec, &["group"]),
        value::text(spec, &["names", "kind"]),
    );
    let mut newer: Vec<&str> = value::items(spec, &["versions"])
        .iter()
        .filter(|one| one["served"] == true && one["deprecated"] != true)
        .map(|one| value::text(one, &["name"]))
        .collect();
    newer.sort_by_key(|name| std::cmp::Reverse(super::resources::version_priority(name)));
    let mut text = format!("{group}/{} {kind} is deprecated", value::text(version, &["name"]));
    if let Some(newer) = newer.first() {
        text.push_str(&format!("; use {group}/{newer} {kind}"));
    }
    Some(text)
}

fn extension_of(spec: &Value) -> Extension {
    let declared = value::items(spec, &["versions"]);
    let version = |version: &Value| {
        let schema = value::at(version, &["schema", "openAPIV3Schema"]).map(Schema::parse);
        let has_rules = schema.as_ref().is_some_and(Schema::has_rules);
        let columns = value::items(version, &["additionalPrinterColumns"])
            .iter()
            .map(column_of)
            .collect();
        let selectable = value::items(version, &["selectableFields"]).iter();
        let selectable = selectable
            .map(|field| {
                value::text(field, &["jsonPath"])
                    .trim_start_matches('.')
                    .to_owned()
            })
            .collect();
        ExtensionVersion {
            schema,
            has_rules,
            columns,
            selectable,
            deprecation: deprecation_of(spec, version),
        }
    };
    let name = |version: &Value| value::text(version, &["name"]).to_owned();
    Extension {
        versions: declared.iter().map(|one| (name(one), version(one))).collect(),
    }
}

fn column_of(column: &Value) -> Column {
    let text = |key: &str| value::text(column, &[key]).to_owned();
    Column {
        name: text("name"),
        kind: text("type"),
        format: text("format"),
        description: text("description"),
        priority: value::int(column, &["priority"]).unwrap_or(0),
        path: text("jsonPath"),
    }
}

/// What is wrong with a definition itself.
pub(crate) fn check(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let group = value::text(object, &["spec", "group"]);
    let plural = value::text(object, &["spec", "names", "plural"]);
    let expected = format!("{plural}.{group}");
    for (path, field) in [
        (&["spec", "group"][..], "spec.group"),
        (&["spec", "names", "plural"], "spec.names.plural"),
        (&["spec", "names", "kind"], "spec.names.kind"),
    ] {
        if value::text(object, path).is_empty() {
            errors.push(FieldError::required(field, ""));
        }
    }
    if errors.is_empty() && value::name(object) != expected {
        let name = value::name(object).into();
        errors.push(FieldError::invalid(
            "metadata.name",
            &name,
            "must be spec.names.plural+\".\"+spec.group",
        ));
    }
    let scope = value::at(object, &["spec", "scope"]).cloned().unwrap_or_default();
    if scope.is_null() {
        errors.push(FieldError::required("spec.scope", ""));
    } else if scope != "Cluster" && scope != "Namespaced" {
        errors.push(FieldError::not_supported(
            "spec.scope",
            &scope,
            ["Cluster", "Namespaced"],
        ));
    }
    let versions = value::items(object, &["spec", "versions"]);
    let storing = versions
        .iter()
        .filter(|version| version["storage"] == true)
        .count();
    if storing != 1 {
        let shown = Value::Array(versions.iter().map(|version| version["name"].clone()).collect());
        let detail = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid("spec.versions", &shown, detail));
    }
    for (index, version) in versions.iter().enumerate() {
        if value::at(version, &["schema", "openAPIV3Schema"]).is_none() {
            let field = format!("spec.versions[{index}].schema.openAPIV3Schema");
            errors.push(FieldError::required(field, ""));
        }
    }
    errors
}
