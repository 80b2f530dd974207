//! What the API server fills in: defaults of built-in kinds, and what admission adds.

mod admission;
mod autoscaling;
mod pod;
mod workload;

use serde_json::{Map, Value, json};

pub(crate) use self::{admission::admit, workload::TEMPLATE_GENERATION};
use super::{
    crd,
    paging::base64,
    resources::Resource,
    value::{self, default},
};

/// Removes explicit nulls, which mean absence in built-in kinds.
pub(crate) fn drop_nulls(object: &mut Value) {
    match object {
        Value::Object(map) => {
            map.retain(|_, member| !member.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Removes empty maps and lists of metadata, which Go omits.
pub(crate) fn drop_empty(metadata: &mut Value) {
    if let Value::Object(map) = metadata {
        map.retain(|_, member| match member {
            Value::Object(map) => !map.is_empty(),
            Value::Array(items) => !items.is_empty(),
            _ => true,
        });
    }
}

/// Removes empty lists and maps of strings of a pod, a workload or an autoscaler, which Go omits.
pub(crate) fn drop_empty_lists(resource: &Resource, object: &mut Value) {
    let omits = matches!(
        resource.group.as_str(),
        "apps" | "batch" | "autoscaling" | "policy"
    ) || resource.is("", "pods")
        || resource.is("", "nodes");
    if omits {
        drop_empty_in(object);
    }
}

fn drop_empty_in(object: &mut Value) {
    const MAPS: [&str; 7] = [
        "labels",
        "annotations",
        "nodeSelector",
        "matchLabels",
        "requests",
        "limits",
        "finalizers",
    ];
    match object {
        Value::Object(map) => map.retain(|key, member| {
            drop_empty_in(member);
            match member {
                Value::Object(inner) => !inner.is_empty() || !MAPS.contains(&key.as_str()),
                Value::Array(items) => !items.is_empty(),
                _ => true,
            }
        }),
        Value::Array(items) => items.iter_mut().for_each(drop_empty_in),
        _ => {}
    }
}

/// Numbers the template of a DaemonSet.
pub(crate) fn count_template(resource: &Resource, old: Option<&Value>, object: &mut Value) {
    if resource.is("apps", "daemonsets") {
        workload::count_template(old, object);
    }
}

/// Fills in the defaults of a built-in kind.
pub(crate) fn apply(resource: &Resource, object: &mut Value) {
    if resource.extension.is_some() {
        return;
    }
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => pod::pod(object),
        ("apps", "deployments") => workload::deployment(object),
        ("apps", "replicasets") | ("", "replicationcontrollers") => workload::replica_set(object),
        ("apps", "statefulsets") => workload::stateful_set(object),
        ("apps", "daemonsets") => workload::daemon_set(object),
        ("batch", "jobs") => workload::job(object),
        ("batch", "cronjobs") => workload::cron_job(object),
        ("", "podtemplates") => pod::template(object, &["template"]),
        ("policy", "poddisruptionbudgets") => {
            for count in [
                "currentHealthy",
                "desiredHealthy",
                "disruptionsAllowed",
                "expectedPods",
            ] {
                default(object, &["status", count], 0);
            }
        }
        ("", "events") => {
            default(object, &["reportingComponent"], "");
            default(object, &["reportingInstance"], "");
        }
        ("autoscaling", _) => autoscaling::autoscaler(object),
        ("", "namespaces") => namespace(object),
        ("", "nodes") => node(object),
        ("", "services") => service(object),
        ("", "secrets") => secret(object),
        ("", "persistentvolumeclaims") => {
            default(object, &["spec", "volumeMode"], "Filesystem");
            default(object, &["status", "phase"], "Pending");
        }
        ("", "persistentvolumes") => {
            default(object, &["spec", "volumeMode"], "Filesystem");
            default(object, &["spec", "persistentVolumeReclaimPolicy"], "Retain");
        }
        ("storage.k8s.io", "storageclasses") => {
            default(object, &["reclaimPolicy"], "Delete");
            default(object, &["volumeBindingMode"], "Immediate");
        }
        ("scheduling.k8s.io", _) => default(object, &["preemptionPolicy"], "PreemptLowerPriority"),
        ("rbac.authorization.k8s.io", _) => subjects(object),
        (super::admission::GROUP, super::admission::CONFIGURATIONS) => super::admission::default(object),
        (crd::GROUP, _) => {
            let now = value::text(object, &["metadata", "creationTimestamp"]).to_owned();
            crd::complete(object, &now);
        }
        _ => {}
    }
}

fn namespace(object: &mut Value) {
    let name = value::name(object).to_owned();
    value::set(
        object,
        &["metadata", "labels", "kubernetes.io/metadata.name"],
        name,
    );
    if !value::is_deleting(object) {
        default(object, &["spec", "finalizers"], json!(["kubernetes"]));
        default(object, &["status", "phase"], "Active");
    }
}

fn node(object: &mut Value) {
    if let Some(capacity) = value::at(object, &["status", "capacity"]).cloned() {
        default(object, &["status", "allocatable"], capacity);
    }
    for list in ["capacity", "allocatable"] {
        if let Some(Value::Object(list)) = value::at_mut(object, &["status", list]) {
            pod::quantities(list);
        }
    }
    value::object_at(object, &["spec"]);
}

fn service(object: &mut Value) {
    default(object, &["spec", "type"], "ClusterIP");
    default(object, &["spec", "sessionAffinity"], "None");
    let kind = value::text(object, &["spec", "type"]).to_owned();
    if kind != "ExternalName" {
        default(object, &["spec", "internalTrafficPolicy"], "Cluster");
        default(object, &["spec", "ipFamilies"], json!(["IPv4"]));
        default(object, &["spec", "ipFamilyPolicy"], "SingleStack");
    }
    if let Some(Value::Array(ports)) = value::at_mut(object, &["spec", "ports"]) {
        for port in ports {
            default(port, &["protocol"], "TCP");
            if let Some(number) = port.get("port").cloned() {
                default(port, &["targetPort"], number);
            }
        }
    }
    value::default(object, &["status"], json!({"loadBalancer": {}}));
}

fn secret(object: &mut Value) {
    default(object, &["type"], "Opaque");
    if let Some(Value::Object(texts)) = value::remove(object, &["stringData"]) {
        let data: &mut Map<String, Value> = value::object_at(object, &["data"]);
        for (key, text) in texts {
            data.insert(key, base64(text.as_str().unwrap_or_default().as_bytes()).into());
        }
    }
}

fn subjects(object: &mut Value) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    if value::at(object, &["roleRef"]).is_some() {
        default(object, &["roleRef", "apiGroup"], GROUP);
    }
    if let Some(Value::Array(subjects)) = value::at_mut(object, &["subjects"]) {
        for subject in subjects {
            if value::text(subject, &["kind"]) != "ServiceAccount" {
                default(subject, &["apiGroup"], GROUP);
            }
        }
    }
}
