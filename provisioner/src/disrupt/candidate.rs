//! Which nodes may be disrupted, and why the others may not.

use std::sync::Arc;

use super::{Cluster, NodeFacts, PoolPolicy, cost, is_evictable, is_protected};
use crate::{CapacityType, karpenter::labels, schedule::PodFacts};

/// A node that may be disrupted.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The node.
    pub node: String,
    /// Its claim.
    pub claim: String,
    /// Its pool.
    pub pool: String,
    /// Its type.
    pub instance_type: String,
    /// Its zone.
    pub zone: String,
    /// How it was bought.
    pub capacity_type: Option<CapacityType>,
    /// What it costs per hour by the current catalogue, if it is still sold.
    pub price: Option<f64>,
    /// The pods that need another place when it goes.
    pub pods: Vec<Arc<PodFacts>>,
    /// What it costs to move them; see [`reschedule`](super::reschedule).
    pub cost: f64,
}

impl Candidate {
    /// Whether nothing on it costs anything to move.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        cost::is_empty(self.cost)
    }

    /// What is saved for what it costs: consolidation begins with the greatest.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.price.unwrap_or(0.0) / self.cost.max(f64::MIN_POSITIVE)
    }
}

/// A node, or a set of them, that stays, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The nodes.
    pub nodes: Vec<String>,
    /// Their claims.
    pub claims: Vec<String>,
    /// Which event it makes.
    pub kind: RefusedKind,
    /// Why.
    pub text: String,
}

/// Which event a refusal makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusedKind {
    /// `DisruptionBlocked`.
    Blocked,
    /// `Unconsolidatable`.
    Unconsolidatable,
    /// `ConsolidationRejected`.
    Rejected,
    /// None: it will be looked at later.
    Waiting,
}

impl RefusedKind {
    /// The event's reason, if it makes one.
    #[must_use]
    pub fn event(self) -> Option<&'static str> {
        match self {
            Self::Blocked => Some("DisruptionBlocked"),
            Self::Unconsolidatable => Some("Unconsolidatable"),
            Self::Rejected => Some("ConsolidationRejected"),
            Self::Waiting => None,
        }
    }
}

/// What pods can keep away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Consolidation and emptiness: pods that ask for it are left alone.
    Graceful,
    /// Drift: they are, unless a grace period bounds the drain.
    Eventual,
}

/// The nodes that may be disrupted, in the order of `cluster.nodes`, and why the others may not.
#[must_use]
pub fn candidates(cluster: &Cluster<'_>, urgency: Urgency) -> (Vec<Candidate>, Vec<Refused>) {
    let (mut candidates, mut refused) = (Vec::new(), Vec::new());
    for facts in cluster.nodes {
        match candidate(cluster, facts, urgency) {
            Ok(candidate) => candidates.push(candidate),
            Err(text) => refused.push(refuse(facts, RefusedKind::Blocked, text)),
        }
    }
    (candidates, refused)
}

pub(super) fn refuse(facts: &NodeFacts, kind: RefusedKind, text: impl Into<String>) -> Refused {
    Refused {
        nodes: vec![facts.node.clone()],
        claims: vec![facts.claim.clone()],
        kind,
        text: text.into(),
    }
}

pub(super) fn refuse_candidate(candidate: &Candidate, kind: RefusedKind, text: impl Into<String>) -> Refused {
    Refused {
        nodes: vec![candidate.node.clone()],
        claims: vec![candidate.claim.clone()],
        kind,
        text: text.into(),
    }
}

fn candidate(cluster: &Cluster<'_>, facts: &NodeFacts, urgency: Urgency) -> Result<Candidate, String> {
    blocked_node(facts)?;
    let Some(pool) = &facts.pool else {
        return Err(format!(
            "Node doesn't have required label (label={})",
            labels::NODEPOOL
        ));
    };
    if !cluster.pools.contains_key(pool) {
        return Err(format!("NodePool not found (NodePool={pool})"));
    }
    let Some(node) = cluster.prepared.node(&facts.node) else {
        return Err("NodeClaim does not have an associated node".to_owned());
    };
    let forced = urgency == Urgency::Eventual && facts.has_grace_period;
    if !forced {
        blocked_pods(cluster, &node.pods)?;
    }
    let label = |key: &str| node.label(key).unwrap_or_default().to_owned();
    let (instance_type, zone) = (label(labels::INSTANCE_TYPE), label(labels::ZONE));
    let capacity_type: Option<CapacityType> = label(labels::CAPACITY_TYPE).parse().ok();
    Ok(Candidate {
        node: facts.node.clone(),
        claim: facts.claim.clone(),
        pool: pool.clone(),
        price: price(cluster, pool, &instance_type, &zone, capacity_type),
        instance_type,
        zone,
        capacity_type,
        pods: node
            .pods
            .iter()
            .filter(|pod| pod.is_reschedulable())
            .map(Arc::clone)
            .collect(),
        cost: cost::reschedule(node.pods.iter().map(Arc::as_ref)),
    })
}

fn blocked_node(facts: &NodeFacts) -> Result<(), String> {
    let blocked = if !facts.has_node {
        "NodeClaim does not have an associated node"
    } else if facts.is_deleting || facts.instance_terminating {
        "Node is deleting or marked for deletion"
    } else if facts.initialized_at.is_none() {
        "Node isn't initialized"
    } else if facts.is_queued {
        "Node is already being disrupted"
    } else if facts.do_not_disrupt {
        "Disruption is blocked through the \"karpenter.sh/do-not-disrupt\" annotation"
    } else if facts.is_nominated {
        "Node is nominated for a pending pod"
    } else {
        return Ok(());
    };
    Err(blocked.to_owned())
}

fn blocked_pods(cluster: &Cluster<'_>, pods: &[Arc<PodFacts>]) -> Result<(), String> {
    for pod in pods {
        if is_protected(pod, cluster.now) {
            return Err(format!(
                "Pod has \"karpenter.sh/do-not-disrupt\" annotation (Pod={})",
                pod.key
            ));
        }
        if !is_evictable(pod) {
            continue;
        }
        let budgets: Vec<&super::PodBudget> = cluster
            .pod_budgets
            .iter()
            .filter(|budget| budget.protects(pod))
            .collect();
        if budgets.len() > 1 {
            let names: Vec<String> = budgets.iter().map(|budget| budget.key.to_string()).collect();
            return Err(format!(
                "Pod has multiple PDBs (Pod={}, PodDisruptionBudgets=[{}])",
                pod.key,
                names.join(" ")
            ));
        }
        let blocking = budgets
            .iter()
            .find(|budget| budget.is_fully_blocking || budget.disruptions_allowed <= 0);
        if let Some(budget) = blocking {
            return Err(format!(
                "Pdb prevents pod evictions (PodDisruptionBudget={})",
                budget.key
            ));
        }
    }
    Ok(())
}

/// The price of an offering by the current catalogue, whether or not it can be bought now.
fn price(
    cluster: &Cluster<'_>,
    pool: &str,
    instance_type: &str,
    zone: &str,
    capacity_type: Option<CapacityType>,
) -> Option<f64> {
    let pool = cluster
        .prepared
        .world()
        .pools
        .iter()
        .find(|candidate| candidate.name == pool)?;
    let it = pool
        .catalog
        .instance_types
        .iter()
        .find(|it| it.name == instance_type)?;
    let sold = it
        .offerings
        .iter()
        .find(|o| o.zone == zone && Some(o.capacity_type) == capacity_type)?;
    Some(sold.price)
}

/// Why consolidation does not look at a candidate (yet), if so.
pub(super) fn unconsolidatable(
    cluster: &Cluster<'_>,
    facts: &NodeFacts,
    policy: &PoolPolicy,
) -> Option<Refused> {
    let pool = facts.pool.as_deref().unwrap_or_default();
    if policy.is_static || policy.consolidate_after.is_none() {
        let text = format!("NodePool {pool:?} has consolidation disabled");
        return Some(refuse(facts, RefusedKind::Unconsolidatable, text));
    }
    if facts.is_consolidatable(policy, cluster.now) {
        return None;
    }
    let text = match facts.consolidatable_at(policy) {
        Some(at) => format!("consolidateAfter has not passed yet, it does at {at}"),
        None => "consolidateAfter has not begun yet".to_owned(),
    };
    Some(refuse(facts, RefusedKind::Waiting, text))
}
