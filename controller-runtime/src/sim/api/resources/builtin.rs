//! The built-in resources as a table.

use super::{Conversion, Registry, Resource, ScalePaths, Traits, Version};

/// A row of the built-in table.
struct Row {
    group: &'static str,
    versions: &'static [&'static str],
    kind: &'static str,
    plural: &'static str,
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
    flags: u16,
}

const NS: u16 = 1;
const STATUS: u16 = 1 << 1;
const SCALE: u16 = 1 << 2;
const GENERATION: u16 = 1 << 3;
const NEEDS_VERSION: u16 = 1 << 4;
const UPSERT: u16 = 1 << 5;
const RETURNS: u16 = 1 << 6;
const ORPHANS: u16 = 1 << 7;
const UNSTORED: u16 = 1 << 8;

const fn row(
    group: &'static str,
    versions: &'static [&'static str],
    kind: &'static str,
    plural: &'static str,
    short_names: &'static [&'static str],
    categories: &'static [&'static str],
    flags: u16,
) -> Row {
    Row {
        group,
        versions,
        kind,
        plural,
        short_names,
        categories,
        flags,
    }
}

const ALL: &[&str] = &["all"];
const V1: &[&str] = &["v1"];
const ADMISSION: &str = "admissionregistration.k8s.io";
const AUTHN: &str = "authentication.k8s.io";
const AUTHZ: &str = "authorization.k8s.io";
const STORAGE: &str = "storage.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const EXTENSIONS: &[&str] = &["api-extensions"];

/// The built-ins, in the order of their groups in discovery.
#[rustfmt::skip]
const TABLE: &[Row] = &[
    row("", V1, "Binding", "bindings", &[], &[], NS | UNSTORED),
    row("", V1, "ConfigMap", "configmaps", &["cm"], &[], NS),
    row("", V1, "Endpoints", "endpoints", &["ep"], &[], NS | UPSERT),
    row("", V1, "Event", "events", &["ev"], &[], NS | UPSERT),
    row("", V1, "LimitRange", "limitranges", &["limits"], &[], NS | UPSERT),
    row("", V1, "Namespace", "namespaces", &["ns"], &[], STATUS),
    row("", V1, "Node", "nodes", &["no"], &[], STATUS),
    row("", V1, "PersistentVolumeClaim", "persistentvolumeclaims", &["pvc"], &[], NS | STATUS | RETURNS),
    row("", V1, "PersistentVolume", "persistentvolumes", &["pv"], &[], STATUS | RETURNS),
    row("", V1, "Pod", "pods", &["po"], ALL, NS | STATUS | GENERATION | RETURNS),
    row("", V1, "PodTemplate", "podtemplates", &[], &[], NS | GENERATION | RETURNS),
    row("", V1, "ReplicationController", "replicationcontrollers", &["rc"], ALL, NS | STATUS | SCALE | GENERATION | ORPHANS),
    row("", V1, "ResourceQuota", "resourcequotas", &["quota"], &[], NS | STATUS | RETURNS),
    row("", V1, "Secret", "secrets", &[], &[], NS),
    row("", V1, "ServiceAccount", "serviceaccounts", &["sa"], &[], NS | RETURNS),
    row("", V1, "Service", "services", &["svc"], ALL, NS | STATUS | RETURNS),
    row("apiregistration.k8s.io", V1, "APIService", "apiservices", &[], EXTENSIONS, STATUS | NEEDS_VERSION),
    row("apps", V1, "ControllerRevision", "controllerrevisions", &[], &[], NS),
    row("apps", V1, "DaemonSet", "daemonsets", &["ds"], ALL, NS | STATUS | GENERATION),
    row("apps", V1, "Deployment", "deployments", &["deploy"], ALL, NS | STATUS | SCALE | GENERATION),
    row("apps", V1, "ReplicaSet", "replicasets", &["rs"], ALL, NS | STATUS | SCALE | GENERATION),
    row("apps", V1, "StatefulSet", "statefulsets", &["sts"], ALL, NS | STATUS | SCALE | GENERATION),
    row("events.k8s.io", V1, "Event", "events", &["ev"], &[], NS | UPSERT),
    row(AUTHN, V1, "TokenReview", "tokenreviews", &[], &[], UNSTORED),
    row(AUTHN, V1, "SelfSubjectReview", "selfsubjectreviews", &[], &[], UNSTORED),
    row(AUTHZ, V1, "LocalSubjectAccessReview", "localsubjectaccessreviews", &[], &[], NS | UNSTORED),
    row(AUTHZ, V1, "SelfSubjectAccessReview", "selfsubjectaccessreviews", &[], &[], UNSTORED),
    row(AUTHZ, V1, "SelfSubjectRulesReview", "selfsubjectrulesreviews", &[], &[], UNSTORED),
    row(AUTHZ, V1, "SubjectAccessReview", "subjectaccessreviews", &[], &[], UNSTORED),
    row("autoscaling", &["v2", "v1"], "HorizontalPodAutoscaler", "horizontalpodautoscalers", &["hpa"], ALL, NS | STATUS),
    row("batch", V1, "CronJob", "cronjobs", &["cj"], ALL, NS | STATUS | GENERATION),
    row("batch", V1, "Job", "jobs", &[], ALL, NS | STATUS | GENERATION | ORPHANS),
    row("networking.k8s.io", V1, "IngressClass", "ingressclasses", &[], &[], GENERATION),
    row("networking.k8s.io", V1, "Ingress", "ingresses", &["ing"], &[], NS | STATUS | GENERATION),
    row("networking.k8s.io", V1, "NetworkPolicy", "networkpolicies", &["netpol"], &[], NS | GENERATION),
    row("policy", V1, "PodDisruptionBudget", "poddisruptionbudgets", &["pdb"], &[], NS | STATUS | GENERATION | NEEDS_VERSION),
    row(RBAC, V1, "ClusterRoleBinding", "clusterrolebindings", &[], &[], 0),
    row(RBAC, V1, "ClusterRole", "clusterroles", &[], &[], 0),
    row(RBAC, V1, "RoleBinding", "rolebindings", &[], &[], NS),
    row(RBAC, V1, "Role", "roles", &[], &[], NS),
    row(STORAGE, V1, "CSIDriver", "csidrivers", &[], &[], GENERATION),
    row(STORAGE, V1, "CSINode", "csinodes", &[], &[], 0),
    row(STORAGE, V1, "CSIStorageCapacity", "csistoragecapacities", &[], &[], NS),
    row(STORAGE, V1, "StorageClass", "storageclasses", &["sc"], &[], RETURNS),
    row(STORAGE, V1, "VolumeAttachment", "volumeattachments", &[], &[], STATUS),
    row(ADMISSION, V1, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", &[], EXTENSIONS, GENERATION),
    row(ADMISSION, V1, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", &[], EXTENSIONS, GENERATION),
    row(ADMISSION, V1, "ValidatingAdmissionPolicy", "validatingadmissionpolicies", &[], EXTENSIONS, STATUS | GENERATION),
    row(ADMISSION, V1, "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", &[], EXTENSIONS, GENERATION),
    row("apiextensions.k8s.io", V1, "CustomResourceDefinition", "customresourcedefinitions", &["crd", "crds"], EXTENSIONS, STATUS | GENERATION | NEEDS_VERSION),
    row("scheduling.k8s.io", V1, "PriorityClass", "priorityclasses", &["pc"], &[], GENERATION),
    row("coordination.k8s.io", V1, "Lease", "leases", &[], &[], NS | UPSERT | NEEDS_VERSION),
    row("node.k8s.io", V1, "RuntimeClass", "runtimeclasses", &[], &[], 0),
    row("discovery.k8s.io", V1, "EndpointSlice", "endpointslices", &[], &[], NS | GENERATION),
];

/// The registry of built-ins, and how many stores they need.
pub(crate) fn builtin() -> (Registry, usize) {
    let mut registry = Registry::default();
    let mut stores = 0;
    for row in TABLE {
        let conversion = match (row.group, row.plural) {
            ("events.k8s.io", _) => Conversion::Event,
            (_, "horizontalpodautoscalers") => Conversion::HorizontalPodAutoscaler,
            _ => Conversion::None,
        };
        let store = if row.flags & UNSTORED != 0 {
            None
        } else if conversion == Conversion::Event {
            registry.get("", "events").and_then(|events| events.store)
        } else {
            stores += 1;
            Some(stores - 1)
        };
        registry.insert(from_row(row, store, conversion));
    }
    (registry, stores)
}

fn from_row(row: &Row, store: Option<usize>, conversion: Conversion) -> Resource {
    let has = |flag: u16| row.flags & flag != 0;
    let own = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let path = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
    let scale = has(SCALE).then(|| ScalePaths {
        spec_replicas: path("spec.replicas"),
        status_replicas: path("status.replicas"),
        selector: None,
    });
    let version = |name: &&str| Version {
        name: (*name).to_owned(),
        status: has(STATUS),
        scale: scale.clone(),
    };
    Resource {
        group: row.group.to_owned(),
        kind: row.kind.to_owned(),
        list_kind: format!("{}List", row.kind),
        plural: row.plural.to_owned(),
        singular: row.kind.to_lowercase(),
        short_names: own(row.short_names),
        categories: own(row.categories),
        namespaced: has(NS),
        versions: row.versions.iter().map(version).collect(),
        storage_version: row.versions[0].to_owned(),
        store,
        traits: Traits {
            generation: has(GENERATION),
            needs_resource_version: has(NEEDS_VERSION),
            create_on_update: has(UPSERT),
            returns_deleted: has(RETURNS),
            orphans_by_default: has(ORPHANS),
            old: false,
        },
        conversion,
        extension: None,
    }
}
