//! Fields that a built-in kind does not have.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::{
    api::{
        apps::v1 as apps, autoscaling::v1 as autoscaling_v1, autoscaling::v2 as autoscaling_v2,
        batch::v1 as batch, coordination::v1 as coordination, core::v1 as core, networking::v1 as networking,
        policy::v1 as policy, rbac::v1 as rbac, scheduling::v1 as scheduling, storage::v1 as storage,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions,
    schemars::{JsonSchema, SchemaGenerator},
};
use serde_json::Value;

use crate::sim::api::resources::Resource;

/// What a kind's objects may have, made when it is first asked for.
static KINDS: Mutex<BTreeMap<KindVersion, Option<Arc<Shape>>>> = Mutex::new(BTreeMap::new());

/// A resource and a version of it.
type KindVersion = (String, String);

/// A kind as a graph of the types of its fields, the object itself first.
#[derive(Debug, Default)]
struct Shape {
    types: Vec<Type>,
}

/// What a value may have, by places in the graph.
#[derive(Clone, Debug, Default)]
struct Type {
    /// The members of a struct; `None` for what may have any.
    fields: Option<BTreeMap<String, usize>>,
    /// The values of a map.
    values: Option<usize>,
    /// The items of a list.
    items: Option<usize>,
}

/// Takes out the members that the kind does not have; their paths.
pub(crate) fn prune(resource: &Resource, version: &str, object: &mut Value) -> Vec<String> {
    let mut out = Vec::new();
    if resource.extension.is_none()
        && let Some(shape) = shape(resource, version)
    {
        shape.prune(0, object, &mut String::new(), &mut out);
    }
    out
}

fn shape(resource: &Resource, version: &str) -> Option<Arc<Shape>> {
    let key = (
        format!("{}/{}", resource.group, resource.plural),
        version.to_owned(),
    );
    let mut kinds = KINDS.lock().unwrap_or_else(PoisonError::into_inner);
    let known = kinds.entry(key).or_insert_with(|| {
        let schema = schema_of(&resource.group, &resource.plural, version)?;
        let mut shape = Shape::default();
        shape.add(&schema, &schema, &mut BTreeMap::new());
        Some(Arc::new(shape))
    });
    known.clone()
}

impl Shape {
    /// Adds the type that `schema`, a part of `root`, describes; its place.
    fn add(&mut self, root: &Value, schema: &Value, named: &mut BTreeMap<String, usize>) -> usize {
        let reference = schema.get("$ref").and_then(Value::as_str);
        if let Some(known) = reference.and_then(|name| named.get(name)) {
            return *known;
        }
        let place = self.types.len();
        self.types.push(Type::default());
        let schema = match reference {
            Some(name) => {
                named.insert(name.to_owned(), place);
                root.pointer(name.trim_start_matches('#')).unwrap_or(&Value::Null)
            }
            None => schema,
        };
        let fields = schema
            .get("properties")
            .and_then(Value::as_object)
            .map(|properties| {
                let members = properties.iter();
                members
                    .map(|(key, inner)| (key.clone(), self.add(root, inner, named)))
                    .collect()
            });
        let inner = |key: &str| schema.get(key).filter(|inner| inner.is_object());
        let values = inner("additionalProperties").map(|inner| self.add(root, inner, named));
        let items = inner("items").map(|inner| self.add(root, inner, named));
        self.types[place] = Type {
            fields,
            values,
            items,
        };
        place
    }

    fn prune(&self, place: usize, found: &mut Value, path: &mut String, out: &mut Vec<String>) {
        let kind = &self.types[place];
        let length = path.len();
        match found {
            Value::Object(members) => members.retain(|key, member| {
                if length > 0 {
                    path.push('.');
                }
                path.push_str(key);
                let inner = kind.fields.as_ref().and_then(|fields| fields.get(key));
                let known = inner.or(kind.values.as_ref());
                match known {
                    Some(inner) => self.prune(*inner, member, path, out),
                    None if kind.fields.is_some() => out.push(path.clone()),
                    None => {}
                }
                path.truncate(length);
                known.is_some() || kind.fields.is_none()
            }),
            Value::Array(items) => {
                let Some(inner) = kind.items else { return };
                for (index, item) in items.iter_mut().enumerate() {
                    path.push_str(&format!("[{index}]"));
                    self.prune(inner, item, path, out);
                    path.truncate(length);
                }
            }
            _ => {}
        }
    }
}

fn made<K: JsonSchema>() -> Option<Value> {
    Some(SchemaGenerator::default().into_root_schema_for::<K>().to_value())
}

fn schema_of(group: &str, plural: &str, version: &str) -> Option<Value> {
    match (group, plural, version) {
        ("", "configmaps", _) => made::<core::ConfigMap>(),
        ("", "secrets", _) => made::<core::Secret>(),
        ("", "services", _) => made::<core::Service>(),
        ("", "serviceaccounts", _) => made::<core::ServiceAccount>(),
        ("", "namespaces", _) => made::<core::Namespace>(),
        ("", "nodes", _) => made::<core::Node>(),
        ("", "pods", _) => made::<core::Pod>(),
        ("", "persistentvolumeclaims", _) => made::<core::PersistentVolumeClaim>(),
        ("", "persistentvolumes", _) => made::<core::PersistentVolume>(),
        ("apps", "deployments", _) => made::<apps::Deployment>(),
        ("apps", "replicasets", _) => made::<apps::ReplicaSet>(),
        ("apps", "statefulsets", _) => made::<apps::StatefulSet>(),
        ("apps", "daemonsets", _) => made::<apps::DaemonSet>(),
        ("autoscaling", _, "v2") => made::<autoscaling_v2::HorizontalPodAutoscaler>(),
        ("autoscaling", _, "v1") => made::<autoscaling_v1::HorizontalPodAutoscaler>(),
        ("batch", "jobs", _) => made::<batch::Job>(),
        ("batch", "cronjobs", _) => made::<batch::CronJob>(),
        ("coordination.k8s.io", "leases", _) => made::<coordination::Lease>(),
        ("networking.k8s.io", "ingresses", _) => made::<networking::Ingress>(),
        ("networking.k8s.io", "networkpolicies", _) => made::<networking::NetworkPolicy>(),
        ("policy", "poddisruptionbudgets", _) => made::<policy::PodDisruptionBudget>(),
        ("rbac.authorization.k8s.io", "roles", _) => made::<rbac::Role>(),
        ("rbac.authorization.k8s.io", "clusterroles", _) => made::<rbac::ClusterRole>(),
        ("rbac.authorization.k8s.io", "rolebindings", _) => made::<rbac::RoleBinding>(),
        ("rbac.authorization.k8s.io", "clusterrolebindings", _) => made::<rbac::ClusterRoleBinding>(),
        ("scheduling.k8s.io", "priorityclasses", _) => made::<scheduling::PriorityClass>(),
        ("storage.k8s.io", "storageclasses", _) => made::<storage::StorageClass>(),
        ("apiextensions.k8s.io", "customresourcedefinitions", _) => {
            made::<apiextensions::CustomResourceDefinition>()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_kind_does_not_have_is_named_by_its_path() {
        let (registry, _) = crate::sim::api::resources::builtin();
        let deployments = registry.get("apps", "deployments").unwrap();
        let mut object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "labls": {}, "labels": {"any": "x"}},
            "spec": {"replica": 1, "template": {"spec": {"containers": [{"name": "a", "imag": "x", "resources": {"limits": {"cpu": "1"}}}]}}},
        });
        assert_eq!(
            prune(deployments, "v1", &mut object),
            [
                "metadata.labls",
                "spec.replica",
                "spec.template.spec.containers[0].imag"
            ]
        );
        assert_eq!(object["metadata"], json!({"name": "a", "labels": {"any": "x"}}));
        assert_eq!(prune(deployments, "v1", &mut object), Vec::<String>::new());
    }
}
