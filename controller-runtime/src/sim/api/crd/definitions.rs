//! What definitions demand of objects, asked without an API server.

use std::collections::BTreeMap;

use scaler_api::metadata::nearest;
use serde_json::Value;

use super::{CelRules, Schema, prune, rules, validate};
use crate::sim::api::value;

/// The schemas of custom resources.
#[derive(Debug, Default)]
pub struct Definitions {
    /// By group and kind, then by version.
    kinds: BTreeMap<(String, String), BTreeMap<String, Schema>>,
    rules: CelRules,
}

/// What an API server would say of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// Whether the object is taken nevertheless, without the field.
    pub is_dropped: bool,
}

impl Definitions {
    /// Those of CustomResourceDefinitions.
    pub fn new(definitions: impl IntoIterator<Item = Value>) -> Self {
        let mut all = Self::default();
        for definition in definitions {
            let spec = &definition["spec"];
            let text = |path: &[&str]| value::text(spec, path).to_owned();
            let versions = all
                .kinds
                .entry((text(&["group"]), text(&["names", "kind"])))
                .or_default();
            for version in value::items(spec, &["versions"]) {
                if let Some(schema) = value::at(version, &["schema", "openAPIV3Schema"]) {
                    versions.insert(value::text(version, &["name"]).to_owned(), Schema::parse(schema));
                }
            }
        }
        all
    }

    /// Whether there is a definition of an object's kind, in any version.
    #[must_use]
    pub fn knows(&self, object: &Value) -> bool {
        self.versions(object).is_some()
    }

    /// Everything that speaks against an object: fields that are not known, the schema, and then its rules. Nothing
    /// about kinds without a definition.
    #[must_use]
    pub fn check(&self, object: &Value) -> Vec<Violation> {
        let Some((version, versions)) = self.versions(object) else {
            return Vec::new();
        };
        let Some(schema) = versions.get(version) else {
            let known: Vec<&str> = versions.keys().map(String::as_str).collect();
            let message = format!(
                "the version {version:?} is not known, expected {}",
                known.join(", ")
            );
            return vec![Violation {
                field: "apiVersion".to_owned(),
                message,
                is_dropped: false,
            }];
        };
        let mut unknown = Vec::new();
        prune::unknown(schema, object, "", &mut unknown);
        let dropped = unknown.into_iter().map(|field| Violation {
            message: format!("is no field of the kind and is dropped{}", hint(schema, &field)),
            field,
            is_dropped: true,
        });
        let mut found: Vec<_> = dropped.collect();
        let mut object = object.clone();
        prune::prune(schema, &mut object, true);
        prune::drop_nulls(schema, &mut object, true);
        prune::default(schema, &mut object, true);
        let mut errors = Vec::new();
        validate::validate(schema, &object, None, "", &mut errors);
        if errors.is_empty() && schema.has_rules() {
            rules(&self.rules, schema, &object, None, "", &mut errors);
        }
        found.extend(errors.into_iter().map(|error| Violation {
            message: error.body(),
            field: error.field,
            is_dropped: false,
        }));
        found
    }

    /// The version that an object is written in, and those that there are of its kind.
    fn versions<'a>(&'a self, object: &'a Value) -> Option<(&'a str, &'a BTreeMap<String, Schema>)> {
        let (group, version) = object["apiVersion"].as_str()?.split_once('/')?;
        let kind = object["kind"].as_str()?;
        let versions = self.kinds.get(&(group.to_owned(), kind.to_owned()))?;
        Some((version, versions))
    }
}

/// The nearest known name to the last one of a path.
fn hint(schema: &Schema, path: &str) -> String {
    let (parents, name) = path.rsplit_once('.').unwrap_or(("", path));
    let mut schema = schema;
    for step in parents.split('.').filter(|step| !step.is_empty()) {
        let (name, indexes) = step
            .split_once('[')
            .map_or((step, 0), |(name, rest)| (name, 1 + rest.matches('[').count()));
        let mut inner = schema.member(name);
        for _ in 0..indexes {
            inner = inner.and_then(|inner| inner.items.as_deref());
        }
        match inner {
            Some(inner) => schema = inner,
            None => return String::new(),
        }
    }
    nearest(name, schema.properties.keys().map(String::as_str))
        .map_or_else(String::new, |nearest| format!(" (did you mean {nearest:?}?)"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definitions() -> Definitions {
        let all = scaler_api::keda::crds()
            .into_iter()
            .chain(provisioner::karpenter::crds());
        Definitions::new(all.map(|definition| serde_json::to_value(definition).unwrap()))
    }

    fn said(object: &Value) -> Vec<String> {
        let found = definitions().check(object);
        found
            .iter()
            .map(|one| format!("{}: {}", one.field, one.message))
            .collect()
    }

    fn scaled_object(spec: &Value) -> Value {
        json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "web"}, "spec": spec})
    }

    #[test]
    fn schemas_rules_and_unknown_fields_are_checked_as_on_a_server() {
        let right =
            json!({"scaleTargetRef": {"name": "web"}, "triggers": [{"type": "cron", "metadata": {}}]});
        assert_eq!(said(&scaled_object(&right)), [""; 0]);
        let mut wrong = right.clone();
        wrong["minReplicaCount"] = 3.into();
        wrong["maxReplicaCount"] = 2.into();
        assert_eq!(
            said(&scaled_object(&wrong)),
            ["spec: Invalid value: minReplicaCount must be less than or equal to maxReplicaCount"]
        );
        let mut odd = right.clone();
        odd["pollingIntervall"] = 3.into();
        odd["triggers"][0]["authentificationRef"] = json!({});
        assert_eq!(
            said(&scaled_object(&odd)),
            [
                "spec.pollingIntervall: is no field of the kind and is dropped (did you mean \"pollingInterval\"?)",
                "spec.triggers[0].authentificationRef: is no field of the kind and is dropped (did you mean \
                 \"authenticationRef\"?)",
            ]
        );
        let mut untyped = right;
        untyped["pollingInterval"] = "5".into();
        assert!(
            said(&scaled_object(&untyped))[0].starts_with("spec.pollingInterval: Invalid value: \"string\"")
        );
    }

    #[test]
    fn other_versions_are_refused_and_other_kinds_left_alone() {
        let pool =
            json!({"apiVersion": "karpenter.sh/v1beta2", "kind": "NodePool", "metadata": {"name": "a"}});
        assert_eq!(
            said(&pool),
            ["apiVersion: the version \"v1beta2\" is not known, expected v1"]
        );
        let secret = json!({"apiVersion": "v1", "kind": "Secret"});
        assert!(said(&secret).is_empty() && !definitions().knows(&secret));
    }
}
