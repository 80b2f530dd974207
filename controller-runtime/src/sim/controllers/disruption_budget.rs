//! PodDisruptionBudgets: how many pods may be disrupted now.
//!
//! Evictions are decided by the API server, which takes from `disruptionsAllowed` and notes the pod in `disruptedPods`;
//! this controller keeps the counts.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{
        core::v1::Pod,
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus},
    },
    apimachinery::pkg::{
        apis::meta::v1::{Condition, Time},
        util::intstr::IntOrString,
    },
};
use kube::{Api, ResourceExt as _, api::PostParams};

use super::{
    Informers, Stores,
    meta::{controller_of, scaled_value, selects, time},
    pods, work,
};
use crate::{
    queue::{Action, WorkQueue},
    runtime::Runtime,
    store::{Change, ObjectKey},
};

/// An eviction that was granted but whose pod did not go counts for this long.
const EVICTION_TIMEOUT: SignedDuration = SignedDuration::from_secs(120);

/// The controller as a task.
pub(crate) fn controller(cx: &Runtime, informers: &mut Informers) -> BoxFuture<'static, ()> {
    let queue = WorkQueue::new();
    let stores = informers.stores();
    let adding = queue.clone();
    informers
        .budgets
        .subscribe(move |change| adding.add(ObjectKey::of(&**change.object())));
    let (adding, budgets) = (queue.clone(), stores.budgets.clone());
    informers.pods.subscribe(move |change| {
        let mut seen = vec![change.object()];
        if let Change::Applied {
            previous: Some(previous),
            ..
        } = change
        {
            seen.push(previous);
        }
        for budget in budgets.list_namespace(&change.object().namespace().unwrap_or_default()) {
            if seen.iter().any(|pod| is_selected(&budget, pod)) {
                adding.add(ObjectKey::of(&*budget));
            }
        }
    });
    // The wanted numbers of the pods' owners count too.
    macro_rules! owners {
        ($($kind:ident),+) => {$({
            let (adding, budgets) = (queue.clone(), stores.budgets.clone());
            informers.$kind.subscribe(move |change| {
                for budget in budgets.list_namespace(&change.object().namespace().unwrap_or_default()) {
                    adding.add(ObjectKey::of(&*budget));
                }
            });
        })+};
    }
    owners!(deployments, replica_sets, stateful_sets);
    let controller = Controller {
        cx: cx.clone(),
        stores: stores.clone(),
    };
    work(stores, queue, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(key).await }
    })
}

fn is_selected(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| selects(selector, pod.metadata.labels.as_ref()))
}

#[derive(Clone, Debug)]
struct Controller {
    cx: Runtime,
    stores: Stores,
}

impl Controller {
    async fn reconcile(&self, key: ObjectKey) -> kube::Result<Action> {
        let Some(budget) = self.stores.budgets.get(&key) else {
            return Ok(Action::Await);
        };
        let mut pods = self.stores.pods.list_namespace(&key.namespace);
        pods.retain(|pod| is_selected(&budget, pod) && !pods::is_finished(pod));
        let now = self.cx.clock.now();
        let status = status(&budget, &pods, &|pods| self.owners_replicas(pods), now);
        let next = status
            .disrupted_pods
            .iter()
            .flatten()
            .map(|(_, since)| since.0 + EVICTION_TIMEOUT)
            .min();
        if budget.status.as_ref() != Some(&status) {
            let api: Api<PodDisruptionBudget> = Api::namespaced(self.cx.client.clone(), &key.namespace);
            let changed = PodDisruptionBudget {
                status: Some(status),
                ..(*budget).clone()
            };
            api.replace_status(&key.name, &PostParams::default(), &changed)
                .await?;
        }
        Ok(next.map_or(Action::Await, |next| {
            let wait = Duration::try_from(next.duration_since(now)).unwrap_or_default();
            Action::RequeueAfter(wait + Duration::from_secs(1))
        }))
    }

    /// The replicas that the owners of the pods want, each owner once. Pods without such an owner count as they are.
    fn owners_replicas(&self, pods: &[Arc<Pod>]) -> i32 {
        let mut owners: BTreeMap<String, i32> = BTreeMap::new();
        for pod in pods {
            let namespace = pod.namespace().unwrap_or_default();
            let Some(owner) = controller_of(&pod.metadata) else {
                continue;
            };
            let key = ObjectKey::new(namespace.clone(), owner.name.clone());
            let (uid, replicas) = match owner.kind.as_str() {
                "ReplicaSet" => {
                    let Some(set) = self.stores.replica_sets.get(&key) else {
                        continue;
                    };
                    let deployment = controller_of(&set.metadata).and_then(|owner| {
                        self.stores
                            .deployments
                            .get(&ObjectKey::new(namespace, owner.name.clone()))
                    });
                    match deployment {
                        Some(deployment) => (
                            deployment.uid(),
                            deployment.spec.as_ref().and_then(|spec| spec.replicas),
                        ),
                        None => (set.uid(), set.spec.as_ref().and_then(|spec| spec.replicas)),
                    }
                }
                "StatefulSet" => {
                    let Some(set) = self.stores.stateful_sets.get(&key) else {
                        continue;
                    };
                    (set.uid(), set.spec.as_ref().and_then(|spec| spec.replicas))
                }
                _ => continue,
            };
            owners.insert(uid.unwrap_or_default(), replicas.unwrap_or(1));
        }
        owners.values().sum()
    }
}

/// The status of a budget over `pods`; `wanted` tells how many their owners want.
fn status(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    wanted: &dyn Fn(&[Arc<Pod>]) -> i32,
    now: Timestamp,
) -> PodDisruptionBudgetStatus {
    let old = budget.status.clone().unwrap_or_default();
    let mut disrupted = BTreeMap::new();
    for (name, since) in old.disrupted_pods.unwrap_or_default() {
        let waits = pods
            .iter()
            .any(|pod| pod.name_any() == name && !pods::is_terminating(pod));
        if waits && since.0 + EVICTION_TIMEOUT > now {
            disrupted.insert(name, since);
        }
    }
    let healthy = pods
        .iter()
        .filter(|pod| {
            pods::is_ready(pod) && !pods::is_terminating(pod) && !disrupted.contains_key(&pod.name_any())
        })
        .count();
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let spec = budget.spec.clone().unwrap_or_default();
    let (expected, desired) = match (&spec.max_unavailable, &spec.min_available) {
        (Some(unavailable), _) => {
            let expected = wanted(pods);
            (
                expected,
                (expected - scaled_value(unavailable, expected, true)).max(0),
            )
        }
        (None, Some(IntOrString::Int(available))) => (count(pods.len()), *available),
        (None, Some(available)) => {
            let expected = wanted(pods);
            (expected, scaled_value(available, expected, true))
        }
        (None, None) => (count(pods.len()), 0),
    };
    let allowed = if expected <= 0 {
        0
    } else {
        (count(healthy) - desired).max(0)
    };
    PodDisruptionBudgetStatus {
        conditions: Some(vec![condition(
            old.conditions.as_deref(),
            allowed > 0,
            budget.metadata.generation,
            now,
        )]),
        current_healthy: count(healthy),
        desired_healthy: desired,
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        disruptions_allowed: allowed,
        expected_pods: expected,
        observed_generation: budget.metadata.generation,
    }
}

fn condition(old: Option<&[Condition]>, allowed: bool, generation: Option<i64>, now: Timestamp) -> Condition {
    const TYPE: &str = "DisruptionAllowed";
    let (status, reason) = if allowed {
        ("True", "SufficientPods")
    } else {
        ("False", "InsufficientPods")
    };
    let same = old
        .into_iter()
        .flatten()
        .find(|old| old.type_ == TYPE && old.status == status);
    let since: Time = same.map_or_else(|| time(now), |same| same.last_transition_time.clone());
    Condition {
        type_: TYPE.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: String::new(),
        observed_generation: generation,
        last_transition_time: since,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:10:00Z".parse().unwrap()
    }

    fn pod(name: &str, ready: bool) -> Arc<Pod> {
        let ready = if ready { "True" } else { "False" };
        let pod = json!({"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": ready}]}});
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn of(spec: &Value, disrupted: &Value, pods: &[Arc<Pod>]) -> (i32, i32, i32, i32) {
        let budget: PodDisruptionBudget = serde_json::from_value(json!({
            "metadata": {"name": "pdb", "generation": 3}, "spec": spec,
            "status": {"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0,
                       "disruptedPods": disrupted},
        }))
        .unwrap();
        let status = status(&budget, pods, &|_| 10, now());
        assert_eq!(status.observed_generation, Some(3));
        (
            status.expected_pods,
            status.current_healthy,
            status.desired_healthy,
            status.disruptions_allowed,
        )
    }

    #[test]
    fn counts_follow_the_kind_of_budget() {
        let pods = [pod("a", true), pod("b", true), pod("c", true), pod("d", false)];
        let none = json!({});
        for (spec, expected) in [
            (json!({"minAvailable": 2}), (4, 3, 2, 1)),
            (json!({"minAvailable": 3}), (4, 3, 3, 0)),
            (json!({"minAvailable": "25%"}), (10, 3, 3, 0)),
            (json!({"maxUnavailable": 8}), (10, 3, 2, 1)),
            (json!({"maxUnavailable": "75%"}), (10, 3, 2, 1)),
            (json!({"maxUnavailable": 20}), (10, 3, 0, 3)),
        ] {
            assert_eq!(of(&spec, &none, &pods), expected, "{spec}");
        }
        assert_eq!(of(&json!({"minAvailable": 0}), &none, &[]), (0, 0, 0, 0));
    }

    #[test]
    fn a_granted_eviction_counts_until_the_pod_goes_or_two_minutes_have_passed() {
        let pods = [pod("a", true), pod("b", true)];
        let spec = json!({"minAvailable": 0});
        assert_eq!(of(&spec, &json!({"a": "2026-01-01T00:09:00Z"}), &pods).1, 1);
        assert_eq!(of(&spec, &json!({"a": "2026-01-01T00:08:00Z"}), &pods).1, 2);
        assert_eq!(of(&spec, &json!({"gone": "2026-01-01T00:09:00Z"}), &pods).1, 2);
    }
}
