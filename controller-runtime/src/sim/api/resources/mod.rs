//! What the API server serves: the built-in resources as a table, and those that CRDs add.

mod builtin;

use std::{collections::BTreeMap, sync::Arc};

pub(crate) use self::builtin::builtin;
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
    /// It is kept as what it is today.
    pub(crate) old: bool,
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

    /// What who uses a version that is on its way out is told.
    pub(crate) fn deprecation(&self, version: &str) -> Option<String> {
        self.extension.as_ref()?.deprecation(version).map(str::to_owned)
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
        if self.is("", "serviceaccounts") {
            names.push("token");
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
            .find(|resource| resource.kind == kind && !resource.traits.old)
    }

    pub(crate) fn insert(&mut self, resource: Resource) {
        self.insert_at(resource.plural.clone(), resource);
    }

    /// Inserts a resource in another place than its plural, where discovery finds it and no path leads.
    pub(crate) fn insert_at(&mut self, place: String, resource: Resource) {
        if !self.order.contains(&resource.group) {
            self.order.push(resource.group.clone());
        }
        let group = self.groups.entry(resource.group.clone()).or_default();
        group.insert(place, Arc::new(resource));
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
