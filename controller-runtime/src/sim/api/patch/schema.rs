//! How lists of built-in kinds merge, by the name of the field and where it stands.

use serde_json::Value;

use crate::sim::api::crd::Schema;

/// How a strategic merge patch treats a list that it does not replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merge {
    /// Items are objects with this key.
    Key(&'static str),
    /// Items are scalars; those that are missing are added.
    Set,
}

/// The treatment of the list at `path` under strategic merge patch; `None` where the patch replaces it.
pub(crate) fn strategic_key(path: &[String]) -> Option<Merge> {
    let last = path.last()?.as_str();
    let parent = path.len().checked_sub(2).map_or("", |index| path[index].as_str());
    Some(match last {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "imagePullSecrets"
        | "secrets"
        | "resourceClaims"
        | "schedulingGates"
        | "webhooks"
        | "validations" => Merge::Key("name"),
        "ports" if matches!(parent, "containers" | "initContainers" | "ephemeralContainers") => {
            Merge::Key("containerPort")
        }
        "ports" if parent == "spec" => Merge::Key("port"),
        "volumeMounts" => Merge::Key("mountPath"),
        "volumeDevices" => Merge::Key("devicePath"),
        "topologySpreadConstraints" => Merge::Key("topologyKey"),
        "hostAliases" | "podIPs" => Merge::Key("ip"),
        "conditions" | "addresses" => Merge::Key("type"),
        "taints" => Merge::Key("key"),
        "ownerReferences" => Merge::Key("uid"),
        "finalizers" | "podCIDRs" => Merge::Set,
        _ => return None,
    })
}

/// How server-side apply treats a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    /// A scalar, or a list or map that is owned as a whole.
    Atomic,
    /// A map or struct whose members are owned one by one.
    Granular,
    /// A list of scalars that are owned one by one.
    Set,
    /// A list of objects that are owned by these keys; a key that an item lacks has the default.
    Map(Vec<(String, Option<Value>)>),
}

fn keyed(keys: &[&str]) -> Topology {
    Topology::Map(
        keys.iter()
            .map(|&key| (key.to_owned(), default_of(key)))
            .collect(),
    )
}

fn default_of(key: &str) -> Option<Value> {
    (key == "protocol").then(|| "TCP".into())
}

/// The topology of a built-in's value at `path`.
pub(crate) fn builtin(path: &[String], value: &Value) -> Topology {
    let last = path.last().map_or("", String::as_str);
    let parent = path.len().checked_sub(2).map_or("", |index| path[index].as_str());
    if value.is_array() {
        return list(last, parent);
    }
    if !value.is_object() {
        return Topology::Atomic;
    }
    match last {
        "selector" if path.len() == 2 && parent == "spec" => Topology::Atomic,
        "requiredDuringSchedulingIgnoredDuringExecution" if parent == "nodeAffinity" => Topology::Atomic,
        "labelSelector" | "namespaceSelector" | "podSelector" | "objectRef" | "fieldRef"
        | "configMapKeyRef" | "secretKeyRef" | "resourceFieldRef" | "involvedObject" | "scaleTargetRef"
        | "roleRef" | "nodeSelector" | "ownerReferences" => Topology::Atomic,
        _ => Topology::Granular,
    }
}

fn list(last: &str, parent: &str) -> Topology {
    match last {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "imagePullSecrets"
        | "resourceClaims"
        | "schedulingGates"
        | "webhooks" => keyed(&["name"]),
        "ports" if matches!(parent, "containers" | "initContainers" | "ephemeralContainers") => {
            keyed(&["containerPort", "protocol"])
        }
        "ports" if parent == "spec" => keyed(&["port", "protocol"]),
        "volumeMounts" => keyed(&["mountPath"]),
        "volumeDevices" => keyed(&["devicePath"]),
        "topologySpreadConstraints" => keyed(&["topologyKey", "whenUnsatisfiable"]),
        "hostAliases" | "podIPs" => keyed(&["ip"]),
        "conditions" | "addresses" => keyed(&["type"]),
        "ownerReferences" => keyed(&["uid"]),
        "finalizers" | "podCIDRs" => Topology::Set,
        _ => Topology::Atomic,
    }
}

/// Where a value stands, for asking how it is owned.
#[derive(Clone, Debug)]
pub(crate) enum Place<'a> {
    /// In a built-in kind, by its path.
    Builtin(Vec<String>),
    /// In a custom resource, by its schema; `None` where the schema says nothing.
    Custom(Option<&'a Schema>),
    /// At the root of a custom resource, whose metadata is that of every kind.
    CustomRoot(Option<&'a Schema>),
}

impl<'a> Place<'a> {
    /// The member `key` of a map that stands here.
    pub(crate) fn member(&self, key: &str) -> Place<'a> {
        match self {
            Place::Builtin(path) => {
                let mut path = path.clone();
                path.push(key.to_owned());
                Place::Builtin(path)
            }
            Place::CustomRoot(_) if key == "metadata" => Place::Builtin(vec![key.to_owned()]),
            Place::CustomRoot(schema) | Place::Custom(schema) => {
                Place::Custom(schema.and_then(|schema| schema.member(key)))
            }
        }
    }

    /// An item of a list that stands here.
    pub(crate) fn item(&self) -> Place<'a> {
        match self {
            Place::Builtin(path) => Place::Builtin(path.clone()),
            Place::CustomRoot(schema) | Place::Custom(schema) => {
                Place::Custom(schema.and_then(|schema| schema.items.as_deref()))
            }
        }
    }

    /// Whether an object of the kind has this map or list even if nothing is in it, as Go's structs have it.
    pub(crate) fn is_always_there(&self) -> bool {
        const STRUCTS: [&str; 11] = [
            "metadata",
            "spec",
            "status",
            "template",
            "strategy",
            "updateStrategy",
            "resources",
            "jobTemplate",
            "source",
            "loadBalancer",
            "containers",
        ];
        match self {
            Place::Builtin(path) => path.last().is_none_or(|last| STRUCTS.contains(&last.as_str())),
            Place::CustomRoot(_) => true,
            Place::Custom(_) => false,
        }
    }

    pub(crate) fn topology(&self, value: &Value) -> Topology {
        match self {
            Place::Builtin(path) => builtin(path, value),
            Place::CustomRoot(_) => Topology::Granular,
            Place::Custom(schema) => custom(*schema, value),
        }
    }
}

fn custom(schema: Option<&Schema>, value: &Value) -> Topology {
    if value.is_object() {
        let atomic = schema.is_some_and(|schema| schema.map_type.as_deref() == Some("atomic"));
        return if atomic {
            Topology::Atomic
        } else {
            Topology::Granular
        };
    }
    let Some(schema) = schema.filter(|_| value.is_array()) else {
        return Topology::Atomic;
    };
    match schema.list_type.as_deref() {
        Some("set") => Topology::Set,
        Some("map") => {
            let default = |key: &String| schema.items.as_deref()?.member(key)?.default.clone();
            Topology::Map(
                schema
                    .list_map_keys
                    .iter()
                    .map(|key| (key.clone(), default(key)))
                    .collect(),
            )
        }
        _ => Topology::Atomic,
    }
}
