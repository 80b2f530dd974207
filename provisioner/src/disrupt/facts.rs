//! What disruption needs to know of pools, nodes and disruption budgets of pods.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{core::v1::Node, policy::v1::PodDisruptionBudget};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::Selector;

use crate::{
    karpenter::{
        Budget, ConsolidationPolicy, NodeClaim, NodePool, condition, labels,
        node_claim::conditions::{CONSOLIDATABLE, DRIFTED, INITIALIZED, INSTANCE_TERMINATING},
        parse_go_duration,
    },
    schedule::{ClusterNode, PodFacts, PodKey, pod_selects},
    taints,
};

/// How a pool's nodes may be disrupted.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolPolicy {
    /// Which nodes consolidation looks at.
    pub policy: ConsolidationPolicy,
    /// How long a node must be quiet first; `None` for never.
    pub consolidate_after: Option<Duration>,
    /// How many may go at once.
    pub budgets: Vec<Budget>,
    /// Whether the pool keeps a fixed number of nodes, so that nothing of it is consolidated.
    pub is_static: bool,
}

impl From<&NodePool> for PoolPolicy {
    fn from(pool: &NodePool) -> Self {
        let disruption = &pool.spec.disruption;
        Self {
            policy: disruption.consolidation_policy,
            consolidate_after: disruption.consolidate_after.get(),
            budgets: disruption.budgets.clone(),
            is_static: pool.is_static(),
        }
    }
}

/// What disruption needs to know of a node that was bought, beside what planning knows of it.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct NodeFacts {
    /// The node's name, the claim's while there is no node; as in the snapshot.
    pub node: String,
    /// The claim.
    pub claim: String,
    /// The pool, if it belongs to one.
    pub pool: Option<String>,
    /// Whether there is a node.
    pub has_node: bool,
    /// Since when it takes pods.
    pub initialized_at: Option<Timestamp>,
    /// Whether the node is ready.
    pub is_ready: bool,
    /// Whether it is marked for deletion or being deleted.
    pub is_deleting: bool,
    /// Whether its instance is being returned.
    pub instance_terminating: bool,
    /// Whether pending pods were promised to it a moment ago.
    pub is_nominated: bool,
    /// Whether a command that has not ended is about it.
    pub is_queued: bool,
    /// Whether node or claim carry `karpenter.sh/do-not-disrupt: "true"`.
    pub do_not_disrupt: bool,
    /// When the claim was created.
    pub created_at: Option<Timestamp>,
    /// When it expires after that.
    pub expire_after: Option<Duration>,
    /// When a pod last came, ended or went.
    pub last_pod_event: Option<Timestamp>,
    /// Whether a drain may end by force, so that pods cannot keep drift away for ever.
    pub has_grace_period: bool,
    /// Since when it is drifted, and why.
    pub drifted: Option<(Timestamp, String)>,
    /// Whether the claim says that it may be consolidated; informational, the decision is made from the times.
    pub marked_consolidatable: bool,
}

impl NodeFacts {
    /// Of a claim and its node. Nomination and queue are the caller's to add.
    #[must_use]
    pub fn of(claim: &NodeClaim, node: Option<&Node>) -> Self {
        let claim_name = claim.metadata.name.clone().unwrap_or_default();
        let conditions = claim.conditions();
        let true_since = |kind: &str| {
            condition::find(conditions, kind)
                .filter(|condition| condition.status == "True")
                .map(|condition| (condition.last_transition_time.0, condition.reason.clone()))
        };
        let annotated = |meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
            let annotations = meta.annotations.as_ref();
            annotations
                .and_then(|all| all.get(labels::DO_NOT_DISRUPT))
                .is_some_and(|value| value == "true")
        };
        let ready = |node: &Node| {
            let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
            conditions
                .into_iter()
                .flatten()
                .any(|c| c.type_ == "Ready" && c.status == "True")
        };
        Self {
            node: node
                .and_then(|node| node.metadata.name.clone())
                .unwrap_or_else(|| claim_name.clone()),
            claim: claim_name,
            pool: claim.pool().map(str::to_owned),
            has_node: node.is_some(),
            initialized_at: true_since(INITIALIZED).map(|(since, _)| since),
            is_ready: node.is_some_and(ready),
            is_deleting: claim.metadata.deletion_timestamp.is_some()
                || node.is_some_and(|node| node.metadata.deletion_timestamp.is_some()),
            instance_terminating: condition::is_true(conditions, INSTANCE_TERMINATING),
            is_nominated: false,
            is_queued: false,
            do_not_disrupt: annotated(&claim.metadata) || node.is_some_and(|node| annotated(&node.metadata)),
            created_at: claim.metadata.creation_timestamp.as_ref().map(|time| time.0),
            expire_after: claim.spec.expire_after.get(),
            last_pod_event: claim
                .status
                .as_ref()
                .and_then(|status| status.last_pod_event_time.as_ref())
                .map(|time| time.0),
            has_grace_period: claim.spec.termination_grace_period.is_some(),
            drifted: true_since(DRIFTED),
            marked_consolidatable: condition::is_true(conditions, CONSOLIDATABLE),
        }
    }

    /// When consolidation may look at it: so long after it was initialised or its last pod came or went. `None` for
    /// never, or not yet known.
    #[must_use]
    pub fn consolidatable_at(&self, policy: &PoolPolicy) -> Option<Timestamp> {
        let quiet_since = self
            .last_pod_event
            .or(self.initialized_at)
            .filter(|_| self.initialized_at.is_some())?;
        let after = jiff::SignedDuration::try_from(policy.consolidate_after?).ok()?;
        quiet_since.checked_add(after).ok()
    }

    /// Whether consolidation may look at it now.
    #[must_use]
    pub fn is_consolidatable(&self, policy: &PoolPolicy, now: Timestamp) -> bool {
        self.consolidatable_at(policy).is_some_and(|at| at <= now)
    }

    /// The share of its life that is left, 0 to 1; 1 where it never expires.
    #[must_use]
    pub fn lifetime_remaining(&self, now: Timestamp) -> f64 {
        let (Some(created), Some(expire_after)) = (self.created_at, self.expire_after) else {
            return 1.0;
        };
        let age = now.duration_since(created).as_secs_f64();
        (1.0 - age / expire_after.as_secs_f64().max(1.0)).clamp(0.0, 1.0)
    }
}

/// Tells a snapshot which nodes pods may be moved to: not those inside `consolidateAfter`.
pub fn mark_destinations(
    nodes: &mut [ClusterNode],
    facts: &[NodeFacts],
    pools: &BTreeMap<String, PoolPolicy>,
    now: Timestamp,
) {
    let by_node: BTreeMap<&str, &NodeFacts> =
        facts.iter().map(|facts| (facts.node.as_str(), facts)).collect();
    for node in nodes {
        let Some(facts) = by_node.get(node.name.as_str()) else {
            continue;
        };
        let Some(policy) = facts.pool.as_ref().and_then(|pool| pools.get(pool)) else {
            continue;
        };
        node.takes_moved_pods = policy.consolidate_after.is_none() || facts.is_consolidatable(policy, now);
    }
}

/// A PodDisruptionBudget.
#[derive(Clone, Debug, PartialEq)]
pub struct PodBudget {
    /// Namespace and name.
    pub key: PodKey,
    /// Which pods it protects; `None` for none.
    pub selector: Option<Selector>,
    /// `status.disruptionsAllowed`.
    pub disruptions_allowed: i32,
    /// Whether it never allows any: `maxUnavailable` 0 or 0 %, `minAvailable` 100 %.
    pub is_fully_blocking: bool,
}

impl PodBudget {
    /// Of the object.
    #[must_use]
    pub fn of(budget: &PodDisruptionBudget) -> Self {
        let spec = budget.spec.clone().unwrap_or_default();
        let is = |value: &Option<IntOrString>, number: Option<i32>, text: &str| match value {
            Some(IntOrString::Int(value)) => Some(*value) == number,
            Some(IntOrString::String(value)) => value == text,
            None => false,
        };
        Self {
            key: PodKey::new(
                budget.metadata.namespace.clone().unwrap_or_default(),
                budget.metadata.name.clone().unwrap_or_default(),
            ),
            selector: spec.selector.and_then(|selector| selector.try_into().ok()),
            disruptions_allowed: budget
                .status
                .as_ref()
                .map_or(0, |status| status.disruptions_allowed),
            is_fully_blocking: is(&spec.max_unavailable, Some(0), "0%")
                || is(&spec.min_available, None, "100%"),
        }
    }

    /// Whether it protects a pod.
    #[must_use]
    pub fn protects(&self, pod: &PodFacts) -> bool {
        self.key.namespace == pod.key.namespace && pod_selects(self.selector.as_ref(), &pod.labels)
    }
}

/// Whether a pod's `karpenter.sh/do-not-disrupt` holds now: `"true"`, or a duration that has not passed since it
/// started. What cannot be read does not hold.
#[must_use]
pub fn is_protected(pod: &PodFacts, now: Timestamp) -> bool {
    let Some(value) = pod.do_not_disrupt.as_deref().filter(|_| pod.is_active()) else {
        return false;
    };
    if value == "true" {
        return true;
    }
    let Some(duration) = parse_go_duration(value).filter(|duration| !duration.is_zero()) else {
        return false;
    };
    let Some(started) = pod.started_at else {
        return true;
    };
    now.duration_since(started).as_secs_f64() < duration.as_secs_f64()
}

/// Whether a pod would be evicted: it is neither done nor static, and does not tolerate the taint of a drain.
#[must_use]
pub fn is_evictable(pod: &PodFacts) -> bool {
    let drain = labels::disrupted_taint();
    pod.is_active()
        && !pod.is_mirror
        && !pod
            .tolerations
            .iter()
            .any(|toleration| taints::tolerates(toleration, &drain))
}
