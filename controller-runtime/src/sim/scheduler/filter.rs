//! Which nodes a pod can go to, and why not to the others.

use k8s_openapi::api::core::v1::{Node, PodSpec, Taint};
use provisioner::taints::tolerates;

use super::{
    inter_pod::{self, InterPod},
    node_affinity,
    snapshot::{NodeInfo, PodInfo, Snapshot},
    spread::{self, Hard},
};

/// The part of the scheduler that refused a node: it says what may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Plugin {
    NodeUnschedulable,
    NodeName,
    TaintToleration,
    NodeAffinity,
    NodePorts,
    NodeResourcesFit,
    PodTopologySpread,
    InterPodAffinity,
}

/// Why a node was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) plugin: Plugin,
    pub(crate) reasons: Vec<String>,
    /// Whether fewer pods on the node might help.
    pub(crate) resolvable: bool,
}

impl Refusal {
    fn new(plugin: Plugin, reason: &str, resolvable: bool) -> Self {
        Self {
            plugin,
            reasons: vec![reason.to_owned()],
            resolvable,
        }
    }
}

/// The filters of one pod over one snapshot.
#[derive(Debug)]
pub(crate) struct Filters<'a> {
    pod: &'a PodInfo,
    spec: PodSpec,
    spread: Hard,
    pub(crate) inter_pod: InterPod,
}

impl<'a> Filters<'a> {
    pub(crate) fn new(pod: &'a PodInfo, snapshot: &Snapshot) -> Self {
        Self {
            pod,
            spec: pod.spec().cloned().unwrap_or_default(),
            spread: Hard::new(pod, snapshot),
            inter_pod: InterPod::new(pod, snapshot),
        }
    }

    /// As [`check`](Self::check), but the pods for which room is being made on the node count too.
    pub(crate) fn check_with_nominated(&self, node: &NodeInfo, snapshot: &Snapshot) -> Result<(), Refusal> {
        if let Some(after) = snapshot.with_nominated(node.name(), self.pod)
            && let Some(node) = after.nodes.get(node.name())
        {
            Filters::new(self.pod, &after).check(node)?;
        }
        self.check(node)
    }

    /// The first filter that refuses the node, in the order of the real scheduler.
    pub(crate) fn check(&self, node: &NodeInfo) -> Result<(), Refusal> {
        check_node(&self.spec, &node.node)?;
        let taken = |port| {
            node.pods
                .values()
                .flat_map(|other| &other.ports)
                .any(|other| other.conflicts(port))
        };
        if self.pod.ports.iter().any(taken) {
            return Err(Refusal::new(
                Plugin::NodePorts,
                "node(s) didn't have free ports for the requested pod ports",
                true,
            ));
        }
        self.check_resources(node)?;
        self.spread
            .check(self.pod, node)
            .map_err(|refusal| match refusal {
                spread::Refusal::Skew => Refusal::new(
                    Plugin::PodTopologySpread,
                    "node(s) didn't match pod topology spread constraints",
                    true,
                ),
                spread::Refusal::MissingLabel => Refusal::new(
                    Plugin::PodTopologySpread,
                    "node(s) didn't match pod topology spread constraints (missing required label)",
                    false,
                ),
            })?;
        self.inter_pod.check(self.pod, node).map_err(|refusal| {
            let (reason, resolvable) = match refusal {
                inter_pod::Refusal::Affinity => ("node(s) didn't match pod affinity rules", false),
                inter_pod::Refusal::AntiAffinity => ("node(s) didn't match pod anti-affinity rules", true),
                inter_pod::Refusal::Existing => {
                    ("node(s) didn't satisfy existing pods anti-affinity rules", true)
                }
            };
            Refusal::new(Plugin::InterPodAffinity, reason, resolvable)
        })
    }

    fn check_resources(&self, node: &NodeInfo) -> Result<(), Refusal> {
        let mut refusal = Refusal {
            plugin: Plugin::NodeResourcesFit,
            reasons: Vec::new(),
            resolvable: true,
        };
        if node.requested.get("pods") + self.pod.requests.get("pods") > node.allocatable.get("pods") {
            refusal.reasons.push("Too many pods".to_owned());
        }
        const FIRST: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
        let others = self
            .pod
            .requests
            .iter()
            .map(|(name, _)| name)
            .filter(|name| *name != "pods" && !FIRST.contains(name));
        for name in FIRST.into_iter().chain(others) {
            let (asked, all) = (self.pod.requests.get(name), node.allocatable.get(name));
            if !asked.is_zero() && asked > all - node.requested.get(name) {
                refusal.reasons.push(format!("Insufficient {name}"));
                refusal.resolvable &= asked <= all;
            }
        }
        if refusal.reasons.is_empty() {
            Ok(())
        } else {
            Err(refusal)
        }
    }
}

/// The filters that look at the node alone.
pub(crate) fn check_node(spec: &PodSpec, node: &Node) -> Result<(), Refusal> {
    let cordoned = node
        .spec
        .as_ref()
        .is_some_and(|spec| spec.unschedulable == Some(true));
    let cordon = Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    if cordoned
        && !spec
            .tolerations
            .iter()
            .flatten()
            .any(|toleration| tolerates(toleration, &cordon))
    {
        return Err(Refusal::new(
            Plugin::NodeUnschedulable,
            "node(s) were unschedulable",
            false,
        ));
    }
    let named = spec.node_name.as_deref().filter(|name| !name.is_empty());
    if named.is_some_and(|name| node.metadata.name.as_deref() != Some(name)) {
        return Err(Refusal::new(
            Plugin::NodeName,
            "node(s) didn't match the requested node name",
            false,
        ));
    }
    if untolerated(spec, node).is_some() {
        return Err(Refusal::new(
            Plugin::TaintToleration,
            "node(s) had untolerated taint(s)",
            false,
        ));
    }
    if !node_affinity::allows(spec, node) {
        return Err(Refusal::new(
            Plugin::NodeAffinity,
            "node(s) didn't match Pod's node affinity/selector",
            false,
        ));
    }
    Ok(())
}

/// The first taint that keeps the pod away.
pub(crate) fn untolerated<'a>(spec: &PodSpec, node: &'a Node) -> Option<&'a Taint> {
    let taints = node.spec.as_ref()?.taints.as_ref()?;
    taints.iter().find(|taint| {
        taint.effect != "PreferNoSchedule"
            && !spec
                .tolerations
                .iter()
                .flatten()
                .any(|toleration| tolerates(toleration, taint))
    })
}
