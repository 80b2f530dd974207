//! Which machines may be taken away at all, and what stands in the way of the others.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::{core::v1::Pod, policy::v1::PodDisruptionBudget};
use kube::{
    ResourceExt as _,
    core::{Selector, SelectorExt as _},
};

use crate::{
    cluster::{ClusterState, Member, pod},
    store::ObjectKey,
};

/// How a machine would be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Only when every pod may be evicted: to save money.
    Graceful,
    /// Also when the claim's grace period will have to end it.
    Eventual,
}

/// Why a machine must stay for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Blocked {
    /// It is no candidate, and there is nothing to say about it: not bought, not ready yet, or already going.
    Silently,
    /// Something stands in the way, in words.
    Because(String),
}

/// Whether a machine may be taken away.
///
/// # Errors
/// What stands in the way.
pub(super) fn check(state: &ClusterState, member: &Member, class: Class, now: Timestamp) -> Result<(), Blocked> {
    let (Some(claim), Some(node)) = (&member.claim, member.node_name()) else { return Err(Blocked::Silently) };
    if !member.is_initialized() || state.is_leaving(member) {
        return Err(Blocked::Silently);
    }
    let because = |words: String| Err(Blocked::Because(words));
    if member.is_protected() {
        return because("Disruption is blocked through the \"karpenter.sh/do-not-disrupt\" annotation".to_owned());
    }
    if state.is_nominated(&claim.name_any(), now) {
        return because("Node is nominated for a pending pod".to_owned());
    }
    let Some(pool) = claim.pool() else {
        return because("Node doesn't have the required label \"karpenter.sh/nodepool\"".to_owned());
    };
    if state.pool(pool).is_none() {
        return because(format!("NodePool not found (NodePool={pool})"));
    }
    if class == Class::Eventual && claim.spec.termination_grace_period.is_some() {
        return Ok(());
    }
    pods_may_go(state, node, now).map_err(Blocked::Because)
}

fn pods_may_go(state: &ClusterState, node: &str, now: Timestamp) -> Result<(), String> {
    let pods = state.pods_on(node);
    let protected = pods.iter().find(|pod| pod::is_active(pod) && pod::is_protected(pod, now));
    if let Some(pod) = protected {
        let key = ObjectKey::of(&**pod);
        return Err(format!("Pod has \"karpenter.sh/do-not-disrupt\" annotation (Pod={key})"));
    }
    let evicted = pods.iter().filter(|pod| pod::is_evictable(pod, now));
    for pod in evicted {
        let budgets: Vec<_> = state.budgets().filter(|budget| covers(budget, pod)).collect();
        let refuses = |budget: &PodDisruptionBudget| {
            budget.status.as_ref().is_none_or(|status| status.disruptions_allowed <= 0)
        };
        if budgets.len() > 1 || budgets.iter().any(|budget| refuses(budget)) {
            let names: Vec<_> = budgets.iter().map(|budget| ObjectKey::of(&***budget).to_string()).collect();
            return Err(format!("Pdb prevents pod evictions (PodDisruptionBudget=[{}])", names.join(" ")));
        }
    }
    Ok(())
}

/// Whether a budget is about a pod.
fn covers(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    if budget.namespace() != pod.namespace() {
        return false;
    }
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.clone());
    let Some(selector) = selector.and_then(|selector| Selector::try_from(selector).ok()) else { return false };
    selector.matches(pod.labels())
}

/// Every machine with whether it may go, by the name of its claim.
pub(super) fn all(
    state: &ClusterState,
    class: Class,
    now: Timestamp,
) -> BTreeMap<String, (Member, Result<(), Blocked>)> {
    let bought = state.members().into_iter().filter(|member| member.claim.is_some());
    bought
        .map(|member| {
            let checked = check(state, &member, class, now);
            (member.claim_name().unwrap_or_default().to_owned(), (member, checked))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use serde_json::{Value, json};

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    fn apply(state: &mut ClusterState, pod: Value) {
        let mut pod = pod;
        pod["metadata"]["namespace"] = json!("default");
        pod["spec"] = json!({"containers": [], "nodeName": "n1"});
        state.apply_pod(&Arc::new(serde_json::from_value(pod).unwrap()));
    }

    fn state() -> ClusterState {
        let mut state = ClusterState::default();
        let condition = |kind: &str| {
            json!({"type": kind, "status": "True", "reason": kind, "message": "", "lastTransitionTime": "2026-01-01T11:00:00Z"})
        };
        let claim = json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
            "metadata": {"name": "c1", "uid": "c1", "labels": {"karpenter.sh/nodepool": "default"}},
            "spec": {"requirements": [], "nodeClassRef": {"group": "g", "kind": "K", "name": "n"}},
            "status": {"providerID": "fake:///1", "conditions": [condition("Launched"), condition("Registered"), condition("Initialized")]},
        });
        state.apply_claim(&Arc::new(serde_json::from_value(claim).unwrap()));
        let node = json!({"metadata": {"name": "n1", "uid": "n1"}, "spec": {"providerID": "fake:///1"}});
        state.apply_node(&Arc::new(serde_json::from_value(node).unwrap()));
        let pool = json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "default"},
            "spec": {"template": {"spec": {"requirements": [], "nodeClassRef": {"group": "g", "kind": "K", "name": "n"}}}},
        });
        state.apply_pool(&Arc::new(serde_json::from_value(pool).unwrap()));
        state
    }

    fn budget(name: &str, allowed: i32) -> Arc<PodDisruptionBudget> {
        let budget = json!({
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}},
            "status": {"disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1},
        });
        Arc::new(serde_json::from_value(budget).unwrap())
    }

    fn checked(state: &ClusterState, class: Class) -> Result<(), String> {
        match check(state, &state.member("c1").unwrap(), class, now()) {
            Ok(()) => Ok(()),
            Err(Blocked::Silently) => Err(String::new()),
            Err(Blocked::Because(words)) => Err(words),
        }
    }

    #[test]
    fn a_budget_that_allows_nothing_keeps_the_machine() {
        let mut state = state();
        apply(&mut state, json!({"metadata": {"name": "web", "labels": {"app": "web"}}}));
        assert_eq!(checked(&state, Class::Graceful), Ok(()));
        state.apply_budget(&budget("other", 1));
        assert_eq!(checked(&state, Class::Graceful), Ok(()));
        state.apply_budget(&budget("other", 0));
        let words = checked(&state, Class::Graceful).unwrap_err();
        assert_eq!(words, "Pdb prevents pod evictions (PodDisruptionBudget=[default/other])");
        state.apply_budget(&budget("other", 1));
        state.apply_budget(&budget("second", 1));
        let words = checked(&state, Class::Graceful).unwrap_err();
        assert_eq!(words, "Pdb prevents pod evictions (PodDisruptionBudget=[default/other default/second])");
    }

    #[test]
    fn a_protected_pod_keeps_the_machine_but_not_from_drift_with_a_grace_period() {
        let mut state = state();
        apply(&mut state, json!({"metadata": {"name": "job", "annotations": {"karpenter.sh/do-not-disrupt": "true"}}}));
        assert!(checked(&state, Class::Graceful).is_err());
        assert!(checked(&state, Class::Eventual).is_err());
        let mut claim = (*state.claim("c1").unwrap()).clone();
        claim.spec.termination_grace_period = Some("1h".parse().unwrap());
        state.apply_claim(&Arc::new(claim));
        assert!(checked(&state, Class::Graceful).is_err());
        assert_eq!(checked(&state, Class::Eventual), Ok(()));
    }

    #[test]
    fn machines_that_are_awaited_or_going_are_left_alone() {
        let mut state = state();
        let until = now().saturating_add(Duration::from_secs(20)).unwrap();
        state.nominate("c1", until);
        assert_eq!(checked(&state, Class::Graceful).unwrap_err(), "Node is nominated for a pending pod");
        state.nominate("c1", now());
        assert_eq!(checked(&state, Class::Graceful), Ok(()));
        state.mark("c1");
        assert_eq!(checked(&state, Class::Graceful), Err(String::new()));
        state.unmark("c1");
        state.delete_pool("default");
        assert_eq!(checked(&state, Class::Graceful).unwrap_err(), "NodePool not found (NodePool=default)");
    }
}
