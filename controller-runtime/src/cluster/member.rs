//! One machine of the cluster: its claim, its node, or both.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt as _;
use provisioner::{
    ResourceList,
    karpenter::{
        NodeClaim,
        condition::{self, Condition},
        labels,
        node_claim::conditions,
    },
};

/// A machine as the API shows it: a claim that is bought, a node that nobody bought, or both halves of one.
#[derive(Clone, Debug, Default)]
pub struct Member {
    /// Its node, once it has joined.
    pub node: Option<Arc<Node>>,
    /// Its claim, if it was bought.
    pub claim: Option<Arc<NodeClaim>>,
}

impl Member {
    /// The node's name, or before it joins the claim's.
    #[must_use]
    pub fn name(&self) -> String {
        let node = self.node.as_ref().map(|node| node.name_any());
        node.or_else(|| self.claim_name().map(str::to_owned))
            .unwrap_or_default()
    }

    /// The node's name.
    #[must_use]
    pub fn node_name(&self) -> Option<&str> {
        self.node.as_ref()?.metadata.name.as_deref()
    }

    /// The claim's name.
    #[must_use]
    pub fn claim_name(&self) -> Option<&str> {
        self.claim.as_ref()?.metadata.name.as_deref()
    }

    /// The pool that it was bought for.
    #[must_use]
    pub fn pool(&self) -> Option<&str> {
        self.claim.as_ref()?.pool()
    }

    fn has_condition(&self, kind: &str) -> bool {
        self.claim
            .as_ref()
            .is_none_or(|claim| condition::is_true(claim.conditions(), kind))
    }

    /// Whether an instance stands behind it.
    #[must_use]
    pub fn is_launched(&self) -> bool {
        self.has_condition(conditions::LAUNCHED)
    }

    /// Whether its node has joined and carries the claim's labels and taints.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.node.is_some() && self.has_condition(conditions::REGISTERED)
    }

    /// Whether its node takes pods.
    #[must_use]
    pub fn is_initialized(&self) -> bool {
        self.node.is_some() && self.has_condition(conditions::INITIALIZED)
    }

    /// Whether it is going.
    #[must_use]
    pub fn is_deleting(&self) -> bool {
        self.claim
            .as_ref()
            .is_some_and(|claim| claim.metadata.deletion_timestamp.is_some())
            || self
                .node
                .as_ref()
                .is_some_and(|node| node.metadata.deletion_timestamp.is_some())
    }

    /// Whether its kubelet says that it is well.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.node.as_ref().is_some_and(|node| is_node_ready(node))
    }

    /// Labels of the node, or of the claim before it is registered.
    #[must_use]
    pub fn labels(&self) -> &BTreeMap<String, String> {
        match (&self.node, &self.claim) {
            (Some(node), _) if self.is_registered() => node.labels(),
            (_, Some(claim)) => claim.labels(),
            (Some(node), None) => node.labels(),
            (None, None) => const { &BTreeMap::new() },
        }
    }

    /// A label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels().get(key).map(String::as_str)
    }

    /// Whether its node or claim says `karpenter.sh/do-not-disrupt: "true"`.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        let says = |annotations: &BTreeMap<String, String>| {
            annotations
                .get(labels::DO_NOT_DISRUPT)
                .is_some_and(|value| value == "true")
        };
        self.node.as_ref().is_some_and(|node| says(node.annotations()))
            || self.claim.as_ref().is_some_and(|claim| says(claim.annotations()))
    }

    /// What the machine has. A claim's expectation stands for what a young node does not report yet.
    #[must_use]
    pub fn capacity(&self) -> ResourceList {
        let reported = self
            .node
            .as_ref()
            .and_then(|node| node.status.as_ref()?.capacity.as_ref());
        let expected = self
            .claim
            .as_ref()
            .and_then(|claim| claim.status.as_ref()?.capacity.as_ref());
        let mut resources = ResourceList::from_kube_lossy(reported);
        if self.is_initialized() {
            return resources;
        }
        for (name, quantity) in expected.iter().flat_map(|expected| &expected.0) {
            let value = resources.0.entry(name.clone()).or_insert(*quantity);
            if value.is_zero() {
                *value = *quantity;
            }
        }
        resources
    }

    /// A condition of the claim.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        condition::find(self.claim.as_ref()?.conditions(), kind)
    }
}

/// Whether a node's Ready condition is True.
#[must_use]
pub fn is_node_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
