//! Making room by force: which pods of lesser priority go, so that a pod can come.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use k8s_openapi::{api::policy::v1::PodDisruptionBudget, apimachinery::pkg::apis::meta::v1::LabelSelector};
use kube::ResourceExt as _;

use super::{
    filter::{Filters, Refusal},
    snapshot::{PodInfo, Snapshot},
};
use crate::sim::controllers::{meta::selects, pods};

/// A node, and the pods that have to leave it.
#[derive(Clone, Debug)]
pub(crate) struct Preemption {
    pub(crate) node: String,
    /// The most important first.
    pub(crate) victims: Vec<Arc<PodInfo>>,
}

/// What a disruption budget still allows.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    namespace: String,
    selector: LabelSelector,
    allowed: i32,
    disrupted: BTreeSet<String>,
}

impl From<&PodDisruptionBudget> for Budget {
    fn from(budget: &PodDisruptionBudget) -> Self {
        let status = budget.status.clone().unwrap_or_default();
        Self {
            namespace: budget.namespace().unwrap_or_default(),
            selector: budget
                .spec
                .as_ref()
                .and_then(|spec| spec.selector.clone())
                .unwrap_or_default(),
            allowed: status.disruptions_allowed,
            disrupted: status.disrupted_pods.unwrap_or_default().into_keys().collect(),
        }
    }
}

/// The condition's reason on a pod that goes.
pub(crate) const REASON: &str = "PreemptionByScheduler";

/// Why a pod may not make room by force.
pub(crate) fn objection(pod: &PodInfo, snapshot: &Snapshot) -> Option<&'static str> {
    if pod
        .spec()
        .is_some_and(|spec| spec.preemption_policy.as_deref() == Some("Never"))
    {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let nominated = snapshot.nominated_node(&pod.uid)?;
    let going = snapshot.nodes.get(nominated)?.pods.values().any(|other| {
        other.priority() < pod.priority()
            && pods::is_terminating(&other.pod)
            && pods::condition(&other.pod, "DisruptionTarget").is_some_and(|condition| {
                condition.status == "True" && condition.reason.as_deref() == Some(REASON)
            })
    });
    going.then_some("not eligible due to a terminating pod on the nominated node.")
}

/// The node of `candidates` where making room costs least; or how many nodes refuse the pod even so, by reason.
pub(crate) fn find(
    pod: &PodInfo,
    snapshot: &Snapshot,
    candidates: &[String],
    budgets: &[Budget],
) -> Result<Preemption, BTreeMap<String, usize>> {
    let mut refusals = BTreeMap::new();
    let mut best: Option<(Cost, Preemption)> = None;
    // Cloned only if anybody can be driven out.
    let mut trial: Option<Snapshot> = None;
    for node in candidates {
        let found = victims(pod, snapshot, &mut trial, node, budgets);
        match found {
            Ok((violations, victims)) => {
                let cost = Cost::new(violations, &victims);
                if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                    let node = node.clone();
                    best = Some((cost, Preemption { node, victims }));
                }
            }
            Err(reasons) => {
                for reason in reasons {
                    *refusals.entry(reason).or_default() += 1;
                }
            }
        }
    }
    best.map(|(_, preemption)| preemption).ok_or(refusals)
}

/// What is compared, in this order.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    violations: usize,
    highest: i32,
    sum: i64,
    count: usize,
    /// The youngest victims go first.
    started: Reverse<Option<Timestamp>>,
}

impl Cost {
    fn new(violations: usize, victims: &[Arc<PodInfo>]) -> Self {
        let highest = victims.iter().map(|victim| victim.priority()).max();
        let highest = highest.unwrap_or(i32::MIN);
        let important = victims.iter().filter(|victim| victim.priority() == highest);
        Self {
            violations,
            highest,
            // No priority counts as negative, or many pods would be cheaper than one.
            sum: victims
                .iter()
                .map(|victim| i64::from(victim.priority()) + i64::from(i32::MAX) + 1)
                .sum(),
            count: victims.len(),
            started: Reverse(important.filter_map(|victim| started(victim)).min()),
        }
    }
}

fn started(pod: &PodInfo) -> Option<Timestamp> {
    let status = pod.pod.status.as_ref()?;
    status.start_time.as_ref().map(|time| time.0)
}

/// The victims on one node and how many of them a budget protects; or why driving out all would not help.
fn victims(
    pod: &PodInfo,
    snapshot: &Snapshot,
    trial: &mut Option<Snapshot>,
    node: &str,
    budgets: &[Budget],
) -> Result<(usize, Vec<Arc<PodInfo>>), Vec<String>> {
    let Some(before) = snapshot.nodes.get(node) else {
        return Err(Vec::new());
    };
    let mut lesser: Vec<Arc<PodInfo>> = before
        .pods
        .values()
        .filter(|other| other.priority() < pod.priority())
        .cloned()
        .collect();
    if lesser.is_empty() {
        return Err(vec!["No preemption victims found for incoming pod".to_owned()]);
    }
    lesser.sort_by_key(|other| (Reverse(other.priority()), started(other), other.key.clone()));
    let trial = trial.get_or_insert_with(|| snapshot.clone());
    let outcome = reprieve(pod, trial, node, lesser, budgets);
    trial.nodes.insert(node.to_owned(), before.clone());
    outcome.map_err(|refusal| refusal.reasons)
}

/// Drives out all, and lets stay whom it can: first whom a budget protects, then the more important.
fn reprieve(
    pod: &PodInfo,
    trial: &mut Snapshot,
    node: &str,
    lesser: Vec<Arc<PodInfo>>,
    budgets: &[Budget],
) -> Result<(usize, Vec<Arc<PodInfo>>), Refusal> {
    for other in &lesser {
        trial.take(node, &other.uid);
    }
    fits(pod, trial, node)?;
    let (guarded, others) = guarded(lesser, budgets);
    let mut violations = 0;
    let mut victims = Vec::new();
    for (is_guarded, other) in guarded
        .into_iter()
        .map(|other| (true, other))
        .chain(others.into_iter().map(|other| (false, other)))
    {
        trial.put(node, Arc::clone(&other));
        if fits(pod, trial, node).is_err() {
            trial.take(node, &other.uid);
            violations += usize::from(is_guarded);
            victims.push(other);
        }
    }
    victims.sort_by_key(|other| (Reverse(other.priority()), started(other), other.key.clone()));
    Ok((violations, victims))
}

fn fits(pod: &PodInfo, snapshot: &Snapshot, node: &str) -> Result<(), Refusal> {
    match snapshot.nodes.get(node) {
        Some(info) => Filters::new(pod, snapshot).check_with_nominated(info, snapshot),
        None => Ok(()),
    }
}

type Pods = Vec<Arc<PodInfo>>;

/// Those whose going would be more than a budget allows, and the others.
fn guarded(lesser: Pods, budgets: &[Budget]) -> (Pods, Pods) {
    let mut allowed: Vec<i32> = budgets.iter().map(|budget| budget.allowed).collect();
    lesser.into_iter().partition(|other| {
        let mut violates = false;
        for (budget, allowed) in budgets.iter().zip(&mut allowed) {
            let covers = budget.namespace == other.key.namespace
                && selects(&budget.selector, other.pod.metadata.labels.as_ref())
                && !budget.disrupted.contains(&other.key.name);
            if covers {
                *allowed -= 1;
                violates |= *allowed < 0;
            }
        }
        violates
    })
}
