//! What planning needs to know of a pod.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    NodeSelectorTerm, Pod, PodAffinityTerm, PodSpec, Toleration, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Expression, Selector, SelectorExt as _};

use crate::{Requirement, Requirements, ResourceList, karpenter::labels, resources};

/// Namespace and name of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodKey {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl PodKey {
    /// Of namespace and name.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What planning needs to know of a pod, whether it is pending, runs somewhere, or is a daemon's template.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodFacts {
    /// Which.
    pub key: PodKey,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.creationTimestamp`.
    pub created_at: Option<Timestamp>,
    /// `status.startTime`.
    pub started_at: Option<Timestamp>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// What it asks of a node, `pods: 1` included.
    pub requests: ResourceList,
    /// `nodeSelector`.
    pub selector: Requirements,
    /// Alternatives of the required node affinity; empty for none required.
    pub required_terms: Vec<Requirements>,
    /// Preferred node affinity, heaviest first.
    pub preferred_terms: Vec<Weighted<Requirements>>,
    /// Tolerations.
    pub tolerations: Vec<Toleration>,
    /// Topology spread.
    pub spreads: Vec<Spread>,
    /// Required pod affinity.
    pub affinity: Vec<PodTerm>,
    /// Required pod anti-affinity.
    pub anti_affinity: Vec<PodTerm>,
    /// Preferred pod affinity, heaviest first.
    pub preferred_affinity: Vec<Weighted<PodTerm>>,
    /// Preferred pod anti-affinity, heaviest first.
    pub preferred_anti_affinity: Vec<Weighted<PodTerm>>,
    /// Ports on the node.
    pub host_ports: BTreeSet<HostPort>,
    /// What its volumes ask of the node.
    pub volumes: VolumeNeeds,
    /// Its volumes that a driver attaches, by CSI driver; each has a name that pods which share it have in common.
    pub attachments: BTreeMap<String, BTreeSet<String>>,
    /// Why it cannot be planned for at all, if so.
    pub problem: Option<String>,
    /// What owns it.
    pub owner: Option<PodOwner>,
    /// `spec.priority`.
    pub priority: i32,
    /// `controller.kubernetes.io/pod-deletion-cost`.
    pub deletion_cost: i32,
    /// `karpenter.sh/do-not-disrupt`, as written.
    pub do_not_disrupt: Option<String>,
    /// Whether it is a static pod of the kubelet.
    pub is_mirror: bool,
    /// Whether it succeeded or failed.
    pub is_terminal: bool,
    /// Whether it is being deleted.
    pub is_terminating: bool,
}

/// Something with a weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Weighted<T> {
    /// 1 to 100.
    pub weight: i32,
    /// What.
    pub value: T,
}

/// What owns a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodOwner {
    /// `ReplicaSet`, `DaemonSet`, `StatefulSet`, `Job`, `Node`, ...
    pub kind: String,
    /// Name.
    pub name: String,
}

/// A port on the node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    /// Port.
    pub port: i32,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Address; `0.0.0.0` for all.
    pub ip: String,
}

impl HostPort {
    /// Whether both cannot be on one node.
    #[must_use]
    pub fn conflicts(&self, other: &Self) -> bool {
        let any = |ip: &str| matches!(ip, "0.0.0.0" | "::");
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || any(&self.ip) || any(&other.ip))
    }
}

/// What a pod's volumes ask of its node.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum VolumeNeeds {
    /// Nothing.
    #[default]
    None,
    /// It has claims that were not looked up: the pod is not placed.
    Unresolved(Vec<String>),
    /// One of these.
    Resolved(Vec<Requirements>),
}

/// A topology spread constraint.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    /// `topologyKey`.
    pub key: String,
    /// `maxSkew`.
    pub max_skew: u32,
    /// `minDomains`.
    pub min_domains: Option<u32>,
    /// Which pods count, `matchLabelKeys` included; `None` for none.
    pub selector: Option<Selector>,
    /// `DoNotSchedule`, as opposed to `ScheduleAnyway`.
    pub is_hard: bool,
    /// `nodeAffinityPolicy: Honor`.
    pub honors_affinity: bool,
    /// `nodeTaintsPolicy: Honor`.
    pub honors_taints: bool,
}

/// A term of pod affinity or anti-affinity.
#[derive(Clone, Debug, PartialEq)]
pub struct PodTerm {
    /// `topologyKey`.
    pub key: String,
    /// Which pods are meant; `None` for none.
    pub selector: Option<Selector>,
    /// In these namespaces.
    pub namespaces: BTreeSet<String>,
    /// And in those whose labels match.
    pub namespace_selector: Option<Selector>,
}

/// Whether a selector, if there is one, selects labels.
pub(crate) fn selects(selector: Option<&Selector>, labels: &BTreeMap<String, String>) -> bool {
    selector.is_some_and(|selector| selector.matches(labels))
}

impl PodFacts {
    /// Of a pod as it stands on the API server.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let spec = pod.spec.clone().unwrap_or_default();
        let meta = &pod.metadata;
        let status = pod.status.as_ref();
        let annotation = |key: &str| meta.annotations.as_ref().and_then(|all| all.get(key)).cloned();
        let owner = meta
            .owner_references
            .iter()
            .flatten()
            .find(|owner| owner.controller == Some(true));
        let owner = owner.or_else(|| meta.owner_references.iter().flatten().next());
        let mut facts = Self::of_spec(
            PodKey::new(
                meta.namespace.clone().unwrap_or_default(),
                meta.name.clone().unwrap_or_default(),
            ),
            meta.labels.clone().unwrap_or_default(),
            &spec,
        );
        facts.uid = meta.uid.clone().unwrap_or_default();
        facts.created_at = meta.creation_timestamp.as_ref().map(|time| time.0);
        facts.started_at = status
            .and_then(|status| status.start_time.as_ref())
            .map(|time| time.0);
        facts.owner = owner.map(|owner| PodOwner {
            kind: owner.kind.clone(),
            name: owner.name.clone(),
        });
        facts.priority = spec.priority.unwrap_or(0);
        facts.deletion_cost = annotation("controller.kubernetes.io/pod-deletion-cost")
            .and_then(|cost| cost.parse().ok())
            .unwrap_or(0);
        facts.do_not_disrupt = annotation(labels::DO_NOT_DISRUPT);
        facts.is_mirror = annotation("kubernetes.io/config.mirror").is_some();
        let phase = status.and_then(|status| status.phase.as_deref());
        facts.is_terminal = matches!(phase, Some("Succeeded" | "Failed"));
        facts.is_terminating = meta.deletion_timestamp.is_some();
        facts
    }

    /// Of a pod template, such as a DaemonSet's: `key` is the name of the set.
    #[must_use]
    pub fn of_spec(key: PodKey, labels: BTreeMap<String, String>, spec: &PodSpec) -> Self {
        let mut problems = Vec::new();
        let affinity = spec.affinity.clone().unwrap_or_default();
        let node = affinity.node_affinity.unwrap_or_default();
        let required = node
            .required_during_scheduling_ignored_during_execution
            .unwrap_or_default();
        let required_terms = terms(&required.node_selector_terms, &mut problems);
        let preferred = node
            .preferred_during_scheduling_ignored_during_execution
            .unwrap_or_default();
        let preferred_terms = heaviest_first(preferred.iter().filter_map(|term| {
            // A preference that cannot be read is one that cannot be met.
            let value = Requirements::from_term(&term.preference).ok()?;
            Some(Weighted {
                weight: term.weight,
                value,
            })
        }));
        let with = affinity.pod_affinity.unwrap_or_default();
        let without = affinity.pod_anti_affinity.unwrap_or_default();
        let pod_terms = |terms: Option<Vec<PodAffinityTerm>>| -> Vec<PodTerm> {
            terms
                .iter()
                .flatten()
                .map(|term| pod_term(term, &key, &labels))
                .collect()
        };
        let weighted = |terms: Option<Vec<k8s_openapi::api::core::v1::WeightedPodAffinityTerm>>| {
            heaviest_first(terms.iter().flatten().map(|term| Weighted {
                weight: term.weight,
                value: pod_term(&term.pod_affinity_term, &key, &labels),
            }))
        };
        if spec
            .resource_claims
            .as_ref()
            .is_some_and(|claims| !claims.is_empty())
        {
            problems.push(
                "pod has Dynamic Resource Allocation requirements that are not yet supported by Karpenter"
                    .to_owned(),
            );
        }
        Self {
            requests: resources::pod_requests(spec),
            selector: Requirements::from_labels(spec.node_selector.iter().flatten()),
            required_terms,
            preferred_terms,
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            spreads: spec
                .topology_spread_constraints
                .iter()
                .flatten()
                .map(|c| spread(c, &labels))
                .collect(),
            affinity: pod_terms(with.required_during_scheduling_ignored_during_execution),
            anti_affinity: pod_terms(without.required_during_scheduling_ignored_during_execution),
            preferred_affinity: weighted(with.preferred_during_scheduling_ignored_during_execution),
            preferred_anti_affinity: weighted(without.preferred_during_scheduling_ignored_during_execution),
            host_ports: host_ports(spec),
            volumes: volumes(spec, &key),
            problem: restricted(spec).or_else(|| problems.into_iter().next()),
            key,
            labels,
            ..Self::default()
        }
    }

    /// States what its volumes ask of the node: one of these alternatives.
    #[must_use]
    pub fn with_volumes(mut self, alternatives: Vec<Requirements>) -> Self {
        self.volumes = if alternatives.is_empty() {
            VolumeNeeds::None
        } else {
            VolumeNeeds::Resolved(alternatives)
        };
        self
    }

    /// Whether a DaemonSet owns it.
    #[must_use]
    pub fn is_daemon(&self) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.kind == "DaemonSet")
    }

    /// Whether it must find another node when its node goes: neither daemon, static, nor done. A terminating pod counts
    /// if a StatefulSet will make it again under the same name.
    #[must_use]
    pub fn is_reschedulable(&self) -> bool {
        let replaced = self
            .owner
            .as_ref()
            .is_some_and(|owner| owner.kind == "StatefulSet");
        let of_node = self.owner.as_ref().is_some_and(|owner| owner.kind == "Node");
        !self.is_daemon()
            && !self.is_mirror
            && !of_node
            && !self.is_terminal
            && (!self.is_terminating || replaced)
    }

    /// Whether it counts for topology and uses its node: neither done nor going.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !self.is_terminal && !self.is_terminating
    }
}

/// Alternatives that can be read; if none can, the first problem counts.
fn terms(terms: &[NodeSelectorTerm], problems: &mut Vec<String>) -> Vec<Requirements> {
    let (mut read, mut unread) = (Vec::new(), Vec::new());
    for term in terms {
        match Requirements::from_term(term) {
            Ok(requirements) => read.push(requirements),
            Err(error) => unread.push(error.to_string()),
        }
    }
    if read.is_empty() {
        problems.append(&mut unread);
    }
    read
}

fn heaviest_first<T>(weighted: impl Iterator<Item = Weighted<T>>) -> Vec<Weighted<T>> {
    let mut weighted: Vec<Weighted<T>> = weighted.collect();
    weighted.sort_by_key(|item| std::cmp::Reverse(item.weight));
    weighted
}

/// What a pod may not ask for, as the message that `FailedScheduling` carries.
fn restricted(spec: &PodSpec) -> Option<String> {
    let affinity = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| {
        affinity
            .required_during_scheduling_ignored_during_execution
            .as_ref()
    });
    let expressions = required.iter().flat_map(|selector| &selector.node_selector_terms);
    let expressions = expressions.flat_map(|term| term.match_expressions.iter().flatten());
    let asked: Vec<(&str, &str)> = expressions
        .map(|e| (e.key.as_str(), e.operator.as_str()))
        .collect();
    if asked.contains(&(labels::NODEPOOL, "DoesNotExist")) {
        return Some("configured to not run on a Karpenter provisioned node".to_owned());
    }
    let keys = spec.node_selector.iter().flatten().map(|(key, _)| key.as_str());
    keys.chain(asked.iter().map(|(key, _)| *key))
        .find_map(|key| labels::restriction(labels::normalize(key)))
}

pub(super) fn spread(constraint: &TopologySpreadConstraint, labels: &BTreeMap<String, String>) -> Spread {
    Spread {
        key: labels::normalize(&constraint.topology_key).to_owned(),
        max_skew: u32::try_from(constraint.max_skew).unwrap_or(1).max(1),
        min_domains: constraint.min_domains.and_then(|count| u32::try_from(count).ok()),
        selector: selector(
            constraint.label_selector.as_ref(),
            constraint.match_label_keys.as_deref(),
            None,
            labels,
        ),
        is_hard: constraint.when_unsatisfiable != "ScheduleAnyway",
        honors_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
        honors_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
    }
}

fn pod_term(term: &PodAffinityTerm, key: &PodKey, labels: &BTreeMap<String, String>) -> PodTerm {
    let named: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
    let own = named.is_empty() && term.namespace_selector.is_none();
    PodTerm {
        key: labels::normalize(&term.topology_key).to_owned(),
        selector: selector(
            term.label_selector.as_ref(),
            term.match_label_keys.as_deref(),
            term.mismatch_label_keys.as_deref(),
            labels,
        ),
        namespaces: if own {
            BTreeSet::from([key.namespace.clone()])
        } else {
            named
        },
        namespace_selector: term
            .namespace_selector
            .clone()
            .and_then(|selector| selector.try_into().ok()),
    }
}

/// A label selector, with the pod's own values of `match_keys` and without those of `mismatch_keys`.
fn selector(
    selector: Option<&LabelSelector>,
    match_keys: Option<&[String]>,
    mismatch_keys: Option<&[String]>,
    labels: &BTreeMap<String, String>,
) -> Option<Selector> {
    let mut selector: Selector = selector?.clone().try_into().ok()?;
    let own = |keys: Option<&[String]>| -> Vec<(String, BTreeSet<String>)> {
        let keys = keys.unwrap_or_default().iter();
        keys.filter_map(|key| Some((key.clone(), BTreeSet::from([labels.get(key)?.clone()]))))
            .collect()
    };
    selector.extend(
        own(match_keys)
            .into_iter()
            .map(|(key, values)| Expression::In(key, values)),
    );
    selector.extend(
        own(mismatch_keys)
            .into_iter()
            .map(|(key, values)| Expression::NotIn(key, values)),
    );
    Some(selector)
}

fn host_ports(spec: &PodSpec) -> BTreeSet<HostPort> {
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let host_port = port.host_port.filter(|port| *port != 0)?;
            Some(HostPort {
                port: host_port,
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                ip: port
                    .host_ip
                    .clone()
                    .filter(|ip| !ip.is_empty())
                    .unwrap_or_else(|| "0.0.0.0".to_owned()),
            })
        })
        .collect()
}

fn volumes(spec: &PodSpec, key: &PodKey) -> VolumeNeeds {
    let claims: Vec<String> = spec
        .volumes
        .iter()
        .flatten()
        .filter_map(
            |volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
                (Some(claim), _) => Some(claim.claim_name.clone()),
                (None, Some(_)) => Some(format!("{}-{}", key.name, volume.name)),
                (None, None) => None,
            },
        )
        .collect();
    if claims.is_empty() {
        VolumeNeeds::None
    } else {
        VolumeNeeds::Unresolved(claims)
    }
}

/// The requirement that pins a label to one value, for callers that build [`Requirements`] of volumes.
#[must_use]
pub fn pinned(key: &str, value: &str) -> Requirements {
    [Requirement::one_of(key, [value])].into_iter().collect()
}
