//! The cluster as the scheduler sees it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::{
    api::core::v1::{Affinity, Node, Pod, PodAffinityTerm, PodSpec, WeightedPodAffinityTerm},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::ResourceExt as _;
use provisioner::{ResourceList, resources::pod_requests};

use crate::{sim::controllers::meta::selects, store::ObjectKey};

/// A pod with what the filters and scores ask of it.
#[derive(Debug)]
pub(crate) struct PodInfo {
    pub(crate) pod: Arc<Pod>,
    pub(crate) key: ObjectKey,
    pub(crate) uid: String,
    pub(crate) requests: ResourceList,
    /// Thousandths of a CPU and bytes as the scores count them: a pod that asks for nothing counts a little.
    pub(crate) scored_requests: [i64; 2],
    pub(crate) ports: Vec<HostPort>,
    pub(crate) affinity: Vec<Term>,
    pub(crate) anti_affinity: Vec<Term>,
    pub(crate) preferred: Vec<(i64, Term)>,
}

/// An address, a protocol and a port of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    address: String,
    protocol: String,
    port: i32,
}

impl HostPort {
    pub(crate) fn conflicts(&self, other: &Self) -> bool {
        let any = |address: &str| address == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.address == other.address || any(&self.address) || any(&other.address))
    }
}

/// Pods that a pod wants to be near, or far from.
#[derive(Debug)]
pub(crate) struct Term {
    pub(crate) topology_key: String,
    selector: Option<LabelSelector>,
    namespaces: BTreeSet<String>,
    namespace_selector: Option<LabelSelector>,
}

impl Term {
    fn new(term: &PodAffinityTerm, namespace: &str) -> Self {
        let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.insert(namespace.to_owned());
        }
        Self {
            topology_key: term.topology_key.clone(),
            selector: term.label_selector.clone(),
            namespaces,
            namespace_selector: term.namespace_selector.clone(),
        }
    }

    pub(crate) fn matches(&self, pod: &Pod, namespaces: &Namespaces) -> bool {
        let Some(selector) = &self.selector else {
            return false;
        };
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let here = self.namespaces.contains(namespace)
            || self
                .namespace_selector
                .as_ref()
                .is_some_and(|by| selects(by, namespaces.get(namespace)));
        here && selects(selector, pod.metadata.labels.as_ref())
    }
}

/// The labels of each namespace.
pub(crate) type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

impl PodInfo {
    pub(crate) fn new(pod: Arc<Pod>) -> Self {
        let default = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&default);
        let requests = pod_requests(spec);
        let namespace = pod.namespace().unwrap_or_default();
        let affinity = spec.affinity.clone().unwrap_or_default();
        let (affinity_terms, anti_terms, preferred) = terms(&affinity, &namespace);
        Self {
            key: ObjectKey::of(&*pod),
            uid: pod.uid().unwrap_or_default(),
            scored_requests: [
                if requests.get("cpu").is_zero() {
                    100
                } else {
                    requests.get("cpu").milli_value()
                },
                if requests.get("memory").is_zero() {
                    200 << 20
                } else {
                    requests.get("memory").value()
                },
            ],
            requests,
            ports: host_ports(spec),
            affinity: affinity_terms,
            anti_affinity: anti_terms,
            preferred,
            pod,
        }
    }

    pub(crate) fn spec(&self) -> Option<&PodSpec> {
        self.pod.spec.as_ref()
    }

    pub(crate) fn priority(&self) -> i32 {
        self.spec().and_then(|spec| spec.priority).unwrap_or_default()
    }
}

type Terms = (Vec<Term>, Vec<Term>, Vec<(i64, Term)>);

fn terms(affinity: &Affinity, namespace: &str) -> Terms {
    let all = |terms: Option<&Vec<PodAffinityTerm>>| -> Vec<Term> {
        terms
            .into_iter()
            .flatten()
            .map(|term| Term::new(term, namespace))
            .collect()
    };
    let weighted = |terms: Option<&Vec<WeightedPodAffinityTerm>>, sign: i64| -> Vec<(i64, Term)> {
        terms
            .into_iter()
            .flatten()
            .map(|weighted| {
                (
                    sign * i64::from(weighted.weight),
                    Term::new(&weighted.pod_affinity_term, namespace),
                )
            })
            .collect()
    };
    let (near, far) = (
        affinity.pod_affinity.as_ref(),
        affinity.pod_anti_affinity.as_ref(),
    );
    let mut preferred = weighted(
        near.and_then(|near| near.preferred_during_scheduling_ignored_during_execution.as_ref()),
        1,
    );
    preferred.extend(weighted(
        far.and_then(|far| far.preferred_during_scheduling_ignored_during_execution.as_ref()),
        -1,
    ));
    (
        all(near.and_then(|near| near.required_during_scheduling_ignored_during_execution.as_ref())),
        all(far.and_then(|far| far.required_during_scheduling_ignored_during_execution.as_ref())),
        preferred,
    )
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let ports = spec
        .containers
        .iter()
        .flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            Some(HostPort {
                port: port.host_port.filter(|port| *port > 0)?,
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                address: port
                    .host_ip
                    .clone()
                    .filter(|ip| !ip.is_empty())
                    .unwrap_or_else(|| "0.0.0.0".to_owned()),
            })
        })
        .collect()
}

/// A node and the pods on it.
#[derive(Clone, Debug)]
pub(crate) struct NodeInfo {
    pub(crate) node: Arc<Node>,
    pub(crate) allocatable: ResourceList,
    pub(crate) requested: ResourceList,
    pub(crate) scored_requested: [i64; 2],
    pub(crate) pods: BTreeMap<String, Arc<PodInfo>>,
}

impl NodeInfo {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        let status = node.status.as_ref();
        Self {
            allocatable: ResourceList::from_kube_lossy(status.and_then(|status| status.allocatable.as_ref())),
            requested: ResourceList::default(),
            scored_requested: [0, 0],
            pods: BTreeMap::new(),
            node,
        }
    }

    pub(crate) fn name(&self) -> &str {
        self.node.metadata.name.as_deref().unwrap_or_default()
    }

    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.node.labels().get(key).map(String::as_str)
    }

    pub(crate) fn add(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.requests);
        for (sum, amount) in self.scored_requested.iter_mut().zip(pod.scored_requests) {
            *sum += amount;
        }
        self.pods.insert(pod.uid.clone(), pod);
    }

    pub(crate) fn remove(&mut self, uid: &str) {
        if let Some(pod) = self.pods.remove(uid) {
            self.requested = self.requested.difference(&pod.requests);
            for (sum, amount) in self.scored_requested.iter_mut().zip(pod.scored_requests) {
                *sum -= amount;
            }
        }
    }
}

/// Nodes by name with their pods, and the namespaces' labels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) nodes: BTreeMap<String, NodeInfo>,
    pub(crate) namespaces: Namespaces,
    /// Where each pod is, by uid; its node may not be known.
    placed: BTreeMap<String, (String, Arc<PodInfo>)>,
    /// Pods for which room is being made on a node, by uid.
    nominated: BTreeMap<String, (String, Arc<PodInfo>)>,
}

impl Snapshot {
    /// A node is new or has changed.
    pub(crate) fn set_node(&mut self, node: Arc<Node>) {
        let mut info = NodeInfo::new(node);
        let name = info.name().to_owned();
        match self.nodes.remove(&name) {
            Some(before) => before.pods.into_values().for_each(|pod| info.add(pod)),
            None => {
                let here = self.placed.values().filter(|(node, _)| *node == name);
                here.for_each(|(_, pod)| info.add(Arc::clone(pod)));
            }
        }
        self.nodes.insert(name, info);
    }

    /// A node is gone.
    pub(crate) fn remove_node(&mut self, name: &str) {
        self.nodes.remove(name);
    }

    /// A pod is on a node, or will be.
    pub(crate) fn place(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.remove(&pod.uid);
        if let Some(info) = self.nodes.get_mut(node) {
            info.add(Arc::clone(&pod));
        }
        self.placed.insert(pod.uid.clone(), (node.to_owned(), pod));
    }

    /// A pod is on no node any more. Whether it was on one.
    pub(crate) fn remove(&mut self, uid: &str) -> bool {
        let Some((node, _)) = self.placed.remove(uid) else {
            return false;
        };
        if let Some(info) = self.nodes.get_mut(&node) {
            info.remove(uid);
        }
        true
    }

    /// Room is being made for a pod on a node, or no more.
    pub(crate) fn nominate(&mut self, pod: &Arc<PodInfo>, node: Option<&str>) {
        match node.filter(|node| !node.is_empty()) {
            Some(node) => {
                let nominated = (node.to_owned(), Arc::clone(pod));
                self.nominated.insert(pod.uid.clone(), nominated);
            }
            None => {
                self.nominated.remove(&pod.uid);
            }
        }
    }

    /// The node where room is being made for a pod.
    pub(crate) fn nominated_node(&self, uid: &str) -> Option<&str> {
        self.nominated.get(uid).map(|(node, _)| node.as_str())
    }

    /// Room is no longer being made for a pod.
    pub(crate) fn forget_nomination(&mut self, uid: &str) {
        self.nominated.remove(uid);
    }

    /// With the pods that are to come to a node and are at least as important as `pod`; none if there are no such pods.
    pub(crate) fn with_nominated(&self, node: &str, pod: &PodInfo) -> Option<Self> {
        let mut coming = self
            .nominated
            .values()
            .filter(|(to, other)| to == node && other.uid != pod.uid && other.priority() >= pod.priority())
            .map(|(_, other)| Arc::clone(other))
            .peekable();
        coming.peek()?;
        let mut after = self.clone();
        for other in coming {
            after.put(node, other);
        }
        Some(after)
    }

    /// Puts a pod on a node, for a trial.
    pub(crate) fn put(&mut self, node: &str, pod: Arc<PodInfo>) {
        if let Some(info) = self.nodes.get_mut(node) {
            info.add(pod);
        }
    }

    /// Takes a pod from a node, for a trial.
    pub(crate) fn take(&mut self, node: &str, uid: &str) {
        if let Some(info) = self.nodes.get_mut(node) {
            info.remove(uid);
        }
    }

    /// Where a pod is.
    pub(crate) fn placed(&self, uid: &str) -> Option<&Arc<PodInfo>> {
        self.placed.get(uid).map(|(_, pod)| pod)
    }
}
