//! What the cluster's settings make of a pod before it is planned for: default spreads, and preferences that do not count.

use std::{borrow::Cow, sync::Arc};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::core::{Selector, SelectorExt as _};

use super::{PodFacts, Spread, World, pod};

/// Whether preferences of pods count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PreferencePolicy {
    /// They hold until nothing else helps.
    #[default]
    Respect,
    /// Preferred node affinity, pod affinity and anti-affinity, and `ScheduleAnyway` are not looked at.
    Ignore,
}

/// Pods that belong together, whose default spreads count each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Namespace.
    pub namespace: String,
    /// The ReplicaSet, ReplicationController or StatefulSet whose pods they are; `None` for a Service, which has all pods that it
    /// selects.
    pub owner: Option<super::PodOwner>,
    /// Its selector.
    pub selector: Selector,
}

impl Workload {
    /// The pods that a Service selects; `None` if it selects none.
    #[must_use]
    pub fn of_service(service: &Service) -> Option<Self> {
        let labels = service.spec.as_ref()?.selector.clone()?;
        let selector = LabelSelector {
            match_labels: Some(labels).filter(|labels| !labels.is_empty()),
            match_expressions: None,
        };
        selector.match_labels.as_ref()?;
        Some(Self {
            namespace: service.metadata.namespace.clone().unwrap_or_default(),
            owner: None,
            selector: selector.try_into().ok()?,
        })
    }

    /// The pods of a ReplicaSet, ReplicationController or StatefulSet of this name with this selector.
    #[must_use]
    pub fn of_owner(kind: &str, metadata: &ObjectMeta, selector: LabelSelector) -> Option<Self> {
        Some(Self {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            owner: Some(super::PodOwner {
                kind: kind.to_owned(),
                name: metadata.name.clone()?,
            }),
            selector: selector.try_into().ok()?,
        })
    }

    fn has(&self, pod: &PodFacts) -> bool {
        self.namespace == pod.key.namespace
            && match &self.owner {
                Some(owner) => pod.owner.as_ref() == Some(owner),
                None => self.selector.matches(&pod.labels),
            }
    }
}

/// The pods as the world's settings have them; the same ones where nothing differs.
pub(super) fn settled<'p>(world: &World, pods: &'p [Arc<PodFacts>]) -> Cow<'p, [Arc<PodFacts>]> {
    let ignores = world.preferences == PreferencePolicy::Ignore;
    if !ignores && world.default_spreads.is_empty() {
        return Cow::Borrowed(pods);
    }
    let settle = |pod: &Arc<PodFacts>| {
        let mut settled = Arc::clone(pod);
        let spreads = default_spreads(world, pod);
        if !spreads.is_empty() {
            Arc::make_mut(&mut settled).spreads = spreads;
        }
        if ignores && has_preferences(&settled) {
            let facts = Arc::make_mut(&mut settled);
            facts.preferred_terms.clear();
            facts.preferred_affinity.clear();
            facts.preferred_anti_affinity.clear();
            facts.spreads.retain(|spread| spread.is_hard);
        }
        settled
    };
    Cow::Owned(pods.iter().map(settle).collect())
}

fn has_preferences(pod: &PodFacts) -> bool {
    !pod.preferred_terms.is_empty()
        || !pod.preferred_affinity.is_empty()
        || !pod.preferred_anti_affinity.is_empty()
        || pod.spreads.iter().any(|spread| !spread.is_hard)
}

/// The world's default spreads, for a pod without spreads of its own that belongs to some workload.
fn default_spreads(world: &World, pod: &PodFacts) -> Vec<Spread> {
    if world.default_spreads.is_empty() || !pod.spreads.is_empty() {
        return Vec::new();
    }
    let mut together: Option<Selector> = None;
    for workload in world.workloads.iter().filter(|workload| workload.has(pod)) {
        together.get_or_insert_default().extend(workload.selector.clone());
    }
    let Some(selector) = together else {
        return Vec::new();
    };
    let spreads = world.default_spreads.iter().map(|constraint| Spread {
        selector: Some(selector.clone()),
        ..pod::spread(constraint, &pod.labels)
    });
    spreads.collect()
}
