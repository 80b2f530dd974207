//! What the API server serves: the built-in resources as a table, and those that CRDs add.

use std::{collections::BTreeMap, sync::Arc};

use super::{crd::Extension, status::Subject};

/// One resource: a kind under its plural name, in all its versions.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    /// The versions served, the preferred one first.
    pub(crate) versions: Vec<Version>,
    pub(crate) storage_version: String,
    /// Which store holds its objects; `None` for reviews and the like, which are answered and forgotten.
    pub(crate) store: Option<usize>,
    pub(crate) traits: Traits,
    pub(crate) conversion: Conversion,
    /// What a CustomResourceDefinition says; `None` for built-ins.
    pub(crate) extension: Option<Arc<Extension>>,
}

/// One served version.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) name: String,
    pub(crate) status: bool,
    pub(crate) scale: Option<ScalePaths>,
}

/// Where a kind keeps what its scale subresource shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScalePaths {
    pub(crate) spec_replicas: Vec<String>,
    pub(crate) status_replicas: Vec<String>,
    pub(crate) selector: Option<Vec<String>>,
}

/// Habits of a kind's registry strategy.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traits {
    /// `metadata.generation` counts changes of the desired state.
    pub(crate) generation: bool,
    /// An update without a resourceVersion is refused.
    pub(crate) needs_resource_version: bool,
    /// A PUT of a missing object creates it.
    pub(crate) create_on_update: bool,
    /// A DELETE that takes effect at once answers with the object instead of a `Status`.
    pub(crate) returns_deleted: bool,
    /// Dependents are orphaned unless the request says otherwise.
    pub(crate) orphans_by_default: bool,
}

/// How the versions of a kind differ beyond their name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Conversion {
    /// They do not.
    #[default]
    None,
    /// `events.k8s.io` over events that are stored as the core group has them.
    Event,
    /// `autoscaling/v1` over autoscalers that are stored as v2.
    HorizontalPodAutoscaler,
}

impl Resource {
    /// For errors that name the resource.
    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject {
            group: &self.group,
            name: &self.plural,
        }
    }

    /// For errors that name the kind.
    pub(crate) fn kind_subject(&self) -> Subject<'_> {
        Subject {
            group: &self.group,
            name: &self.kind,
        }
    }

    pub(crate) fn version(&self, name: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.name == name)
    }

    /// `apps/v1`, or `v1` in the core group.
    pub(crate) fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() {
            version.to_owned()
        } else {
            format!("{}/{version}", self.group)
        }
    }

    /// Whether it is the built-in resource `plural` of `group`.
    pub(crate) fn is(&self, group: &str, plural: &str) -> bool {
        self.extension.is_none() && self.plural == plural && self.group == group
    }

    /// The subresources of a version, as discovery lists them.
    pub(crate) fn subresources(&self, version: &Version) -> Vec<&'static str> {
        let mut names = Vec::new();
        if self.is("", "pods") {
            names.extend(["binding", "ephemeralcontainers", "eviction", "log", "resize"]);
        }
        if self.is("", "namespaces") {
            names.push("finalize");
        }
        if version.scale.is_some() {
            names.push("scale");
        }
        if version.status {
            names.push("status");
        }
        names
    }
}

/// All resources, by group and plural.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    groups: BTreeMap<String, BTreeMap<String, Arc<Resource>>>,
    /// Groups in the order in which discovery shows them.
    order: Vec<String>,
}

impl Registry {
    pub(crate) fn get(&self, group: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.groups.get(group)?.get(plural)
    }

    pub(crate) fn by_kind(&self, group: &str, kind: &str) -> Option<&Arc<Resource>> {
        self.groups
            .get(group)?
            .values()
            .find(|resource| resource.kind == kind)
    }

    pub(crate) fn insert(&mut self, resource: Resource) {
        if !self.order.contains(&resource.group) {
            self.order.push(resource.group.clone());
        }
        let group = self.groups.entry(resource.group.clone()).or_default();
        group.insert(resource.plural.clone(), Arc::new(resource));
    }

    pub(crate) fn remove(&mut self, group: &str, plural: &str) {
        if let Some(resources) = self.groups.get_mut(group) {
            resources.remove(plural);
            if resources.is_empty() {
                self.groups.remove(group);
                self.order.retain(|name| name != group);
            }
        }
    }

    /// The named groups (not the core one) in discovery's order.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &str> {
        self.order
            .iter()
            .map(String::as_str)
            .filter(|group| !group.is_empty())
    }

    /// The resources of one group.
    pub(crate) fn in_group(&self, group: &str) -> impl Iterator<Item = &Arc<Resource>> {
        self.groups.get(group).into_iter().flat_map(BTreeMap::values)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.groups.values().flat_map(BTreeMap::values)
    }

    /// The versions of a group, the preferred one first.
    pub(crate) fn versions(&self, group: &str) -> Vec<String> {
        let mut versions: Vec<String> = Vec::new();
        for version in self.in_group(group).flat_map(|resource| &resource.versions) {
            if !versions.contains(&version.name) {
                versions.push(version.name.clone());
            }
        }
        versions.sort_by(|a, b| {
            version_priority(b)
                .cmp(&version_priority(a))
                .then_with(|| a.cmp(b))
        });
        versions
    }
}

/// Kubernetes' order of versions: GA before beta before alpha, higher before lower, others last.
pub(crate) fn version_priority(name: &str) -> (u8, u32, u32) {
    let Some(rest) = name.strip_prefix('v') else {
        return (0, 0, 0);
    };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (major, stage) = rest.split_at(digits);
    let Ok(major) = major.parse() else {
        return (0, 0, 0);
    };
    let minor = |text: &str| text.parse().unwrap_or(0);
    if stage.is_empty() {
        (3, major, 0)
    } else if let Some(number) = stage.strip_prefix("beta") {
        (2, major, minor(number))
    } else if let Some(number) = stage.strip_prefix("alpha") {
        (1, major, minor(number))
    } else {
        (0, 0, 0)
    }
}

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
const TABLE: &[Row] = &[
    row("", V1, "Binding", "bindings", &[], &[], NS | UNSTORED),
    row("", V1, "ConfigMap", "configmaps", &["cm"], &[], NS),
    row("", V1, "Endpoints", "endpoints", &["ep"], &[], NS | UPSERT),
    row("", V1, "Event", "events", &["ev"], &[], NS | UPSERT),
    row("", V1, "LimitRange", "limitranges", &["limits"], &[], NS | UPSERT),
    row("", V1, "Namespace", "namespaces", &["ns"], &[], STATUS),
    row("", V1, "Node", "nodes", &["no"], &[], STATUS),
    row(
        "",
        V1,
        "PersistentVolumeClaim",
        "persistentvolumeclaims",
        &["pvc"],
        &[],
        NS | STATUS | RETURNS,
    ),
    row(
        "",
        V1,
        "PersistentVolume",
        "persistentvolumes",
        &["pv"],
        &[],
        STATUS | RETURNS,
    ),
    row(
        "",
        V1,
        "Pod",
        "pods",
        &["po"],
        ALL,
        NS | STATUS | GENERATION | RETURNS,
    ),
    row(
        "",
        V1,
        "PodTemplate",
        "podtemplates",
        &[],
        &[],
        NS | GENERATION | RETURNS,
    ),
    row(
        "",
        V1,
        "ReplicationController",
        "replicationcontrollers",
        &["rc"],
        ALL,
        NS | STATUS | SCALE | GENERATION | ORPHANS,
    ),
    row(
        "",
        V1,
        "ResourceQuota",
        "resourcequotas",
        &["quota"],
        &[],
        NS | STATUS | RETURNS,
    ),
    row("", V1, "Secret", "secrets", &[], &[], NS),
    row(
        "",
        V1,
        "ServiceAccount",
        "serviceaccounts",
        &["sa"],
        &[],
        NS | RETURNS,
    ),
    row(
        "",
        V1,
        "Service",
        "services",
        &["svc"],
        ALL,
        NS | STATUS | RETURNS,
    ),
    row(
        "apiregistration.k8s.io",
        V1,
        "APIService",
        "apiservices",
        &[],
        EXTENSIONS,
        STATUS | NEEDS_VERSION,
    ),
    row(
        "apps",
        V1,
        "ControllerRevision",
        "controllerrevisions",
        &[],
        &[],
        NS,
    ),
    row(
        "apps",
        V1,
        "DaemonSet",
        "daemonsets",
        &["ds"],
        ALL,
        NS | STATUS | GENERATION,
    ),
    row(
        "apps",
        V1,
        "Deployment",
        "deployments",
        &["deploy"],
        ALL,
        NS | STATUS | SCALE | GENERATION,
    ),
    row(
        "apps",
        V1,
        "ReplicaSet",
        "replicasets",
        &["rs"],
        ALL,
        NS | STATUS | SCALE | GENERATION,
    ),
    row(
        "apps",
        V1,
        "StatefulSet",
        "statefulsets",
        &["sts"],
        ALL,
        NS | STATUS | SCALE | GENERATION,
    ),
    row("events.k8s.io", V1, "Event", "events", &["ev"], &[], NS | UPSERT),
    row(AUTHN, V1, "TokenReview", "tokenreviews", &[], &[], UNSTORED),
    row(
        AUTHN,
        V1,
        "SelfSubjectReview",
        "selfsubjectreviews",
        &[],
        &[],
        UNSTORED,
    ),
    row(
        AUTHZ,
        V1,
        "LocalSubjectAccessReview",
        "localsubjectaccessreviews",
        &[],
        &[],
        NS | UNSTORED,
    ),
    row(
        AUTHZ,
        V1,
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
        &[],
        &[],
        UNSTORED,
    ),
    row(
        AUTHZ,
        V1,
        "SelfSubjectRulesReview",
        "selfsubjectrulesreviews",
        &[],
        &[],
        UNSTORED,
    ),
    row(
        AUTHZ,
        V1,
        "SubjectAccessReview",
        "subjectaccessreviews",
        &[],
        &[],
        UNSTORED,
    ),
    row(
        "autoscaling",
        &["v2", "v1"],
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        &["hpa"],
        ALL,
        NS | STATUS,
    ),
    row(
        "batch",
        V1,
        "CronJob",
        "cronjobs",
        &["cj"],
        ALL,
        NS | STATUS | GENERATION,
    ),
    row(
        "batch",
        V1,
        "Job",
        "jobs",
        &[],
        ALL,
        NS | STATUS | GENERATION | ORPHANS,
    ),
    row(
        "networking.k8s.io",
        V1,
        "IngressClass",
        "ingressclasses",
        &[],
        &[],
        GENERATION,
    ),
    row(
        "networking.k8s.io",
        V1,
        "Ingress",
        "ingresses",
        &["ing"],
        &[],
        NS | STATUS | GENERATION,
    ),
    row(
        "networking.k8s.io",
        V1,
        "NetworkPolicy",
        "networkpolicies",
        &["netpol"],
        &[],
        NS | GENERATION,
    ),
    row(
        "policy",
        V1,
        "PodDisruptionBudget",
        "poddisruptionbudgets",
        &["pdb"],
        &[],
        NS | STATUS | GENERATION | NEEDS_VERSION,
    ),
    row(RBAC, V1, "ClusterRoleBinding", "clusterrolebindings", &[], &[], 0),
    row(RBAC, V1, "ClusterRole", "clusterroles", &[], &[], 0),
    row(RBAC, V1, "RoleBinding", "rolebindings", &[], &[], NS),
    row(RBAC, V1, "Role", "roles", &[], &[], NS),
    row(STORAGE, V1, "CSIDriver", "csidrivers", &[], &[], GENERATION),
    row(STORAGE, V1, "CSINode", "csinodes", &[], &[], 0),
    row(
        STORAGE,
        V1,
        "CSIStorageCapacity",
        "csistoragecapacities",
        &[],
        &[],
        NS,
    ),
    row(
        STORAGE,
        V1,
        "StorageClass",
        "storageclasses",
        &["sc"],
        &[],
        RETURNS,
    ),
    row(
        STORAGE,
        V1,
        "VolumeAttachment",
        "volumeattachments",
        &[],
        &[],
        STATUS,
    ),
    row(
        ADMISSION,
        V1,
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        &[],
        EXTENSIONS,
        GENERATION,
    ),
    row(
        ADMISSION,
        V1,
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        &[],
        EXTENSIONS,
        GENERATION,
    ),
    row(
        ADMISSION,
        V1,
        "ValidatingAdmissionPolicy",
        "validatingadmissionpolicies",
        &[],
        EXTENSIONS,
        STATUS | GENERATION,
    ),
    row(
        ADMISSION,
        V1,
        "ValidatingAdmissionPolicyBinding",
        "validatingadmissionpolicybindings",
        &[],
        EXTENSIONS,
        GENERATION,
    ),
    row(
        "apiextensions.k8s.io",
        V1,
        "CustomResourceDefinition",
        "customresourcedefinitions",
        &["crd", "crds"],
        EXTENSIONS,
        STATUS | GENERATION | NEEDS_VERSION,
    ),
    row(
        "scheduling.k8s.io",
        V1,
        "PriorityClass",
        "priorityclasses",
        &["pc"],
        &[],
        GENERATION,
    ),
    row(
        "coordination.k8s.io",
        V1,
        "Lease",
        "leases",
        &[],
        &[],
        NS | UPSERT | NEEDS_VERSION,
    ),
    row("node.k8s.io", V1, "RuntimeClass", "runtimeclasses", &[], &[], 0),
    row(
        "discovery.k8s.io",
        V1,
        "EndpointSlice",
        "endpointslices",
        &[],
        &[],
        NS | GENERATION,
    ),
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
        },
        conversion,
        extension: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_sort_as_kubernetes_sorts_them() {
        let mut names = ["v1beta1", "foo", "v2", "v1", "v1alpha1", "v10", "v1beta2"];
        names.sort_by_key(|name| std::cmp::Reverse(version_priority(name)));
        assert_eq!(
            names,
            ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "foo"]
        );
    }

    #[test]
    fn events_of_both_groups_share_one_store() {
        let (registry, stores) = builtin();
        let core = registry.get("", "events").unwrap().store;
        assert_eq!(core, registry.get("events.k8s.io", "events").unwrap().store);
        assert!(core.unwrap() < stores);
        assert_eq!(registry.versions("autoscaling"), ["v2", "v1"]);
    }
}
