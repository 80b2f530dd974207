//! CustomResourceDefinitions and their objects.

pub(super) mod definitions;
pub(super) mod objects;
pub(super) mod ratcheting;
pub(super) mod schemas;

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::Cluster;

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

fn list_map() -> Value {
    fields(
        json!({"parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
        "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "size": {"type": "integer"}}}}}),
    )
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
