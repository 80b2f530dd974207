//! Everything that a cluster needs for the autoscaler, as objects: a pure function of the values.
//!
//! What stands in no namespace is named by half (`autoscaler-pods`, `autoscaler-nodes`), so that the halves can be
//! installed apart from each other in two namespaces.

mod bindings;
mod registration;
mod roles;
mod sample;
mod workload;

use serde_json::{Map, Value, json};

pub use self::sample::SAMPLE_NAME;
use super::{Values, crds};
use crate::names;

/// Every object, in an order in which they can be applied: what others need comes first.
///
/// # Errors
/// Where a definition cannot be written down.
pub fn manifests(values: &Values, namespace: &str) -> serde_json::Result<Vec<Value>> {
    let cx = Context { values, namespace };
    let mut objects = vec![cx.own_namespace()];
    if values.crds.install {
        objects.extend(crds::definitions(values.only, None)?);
    }
    objects.extend(workload::service_account(&cx));
    if values.rbac.create {
        objects.extend(bindings::all(&cx));
    }
    objects.extend(registration::certificate(&cx));
    objects.push(workload::service(&cx));
    objects.push(workload::deployment(&cx));
    objects.extend(workload::pod_disruption_budget(&cx));
    objects.extend(registration::api_service(&cx));
    objects.extend(registration::webhook(&cx));
    objects.extend(sample::objects(&cx));
    Ok(objects)
}

/// What every part is made from.
struct Context<'a> {
    values: &'a Values,
    namespace: &'a str,
}

impl Context<'_> {
    fn own_namespace(&self) -> Value {
        let mut namespace = self.cluster_object("v1", "Namespace", self.namespace);
        namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = json!("restricted");
        namespace
    }

    /// An object of the namespace with nothing but its name and labels.
    fn object(&self, api_version: &str, kind: &str, name: &str) -> Value {
        self.object_in(self.namespace, api_version, kind, name)
    }

    fn object_in(&self, namespace: &str, api_version: &str, kind: &str, name: &str) -> Value {
        let mut object = self.cluster_object(api_version, kind, name);
        object["metadata"]["namespace"] = json!(namespace);
        object
    }

    /// An object without a namespace.
    #[allow(clippy::unused_self, reason = "it reads like its namespaced neighbour")]
    fn cluster_object(&self, api_version: &str, kind: &str, name: &str) -> Value {
        json!({
            "apiVersion": api_version,
            "kind": kind,
            "metadata": { "name": name, "labels": labels() },
        })
    }
}

/// The labels of everything that is installed.
fn labels() -> Value {
    json!({
        "app.kubernetes.io/name": names::NAME,
        "app.kubernetes.io/part-of": names::NAME,
        "app.kubernetes.io/version": env!("CARGO_PKG_VERSION"),
    })
}

/// The labels by which the pods are found.
fn selector() -> Value {
    json!({ "app.kubernetes.io/name": names::NAME, "app.kubernetes.io/component": "controller" })
}

/// Adds a field where there is something to say.
fn insert_unless_empty(object: &mut Value, field: &str, value: Value) {
    let empty = match &value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    if let (Some(object), false) = (object.as_object_mut(), empty) {
        object.insert(field.to_owned(), value);
    }
}

/// Two mappings in one; the second wins.
fn joined(first: Value, second: impl IntoIterator<Item = (String, Value)>) -> Value {
    let mut fields = match first {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    fields.extend(second);
    Value::Object(fields)
}

#[cfg(test)]
mod tests;
