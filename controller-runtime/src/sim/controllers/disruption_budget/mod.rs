//! PodDisruptionBudgets: how many pods may be disrupted now.
//!
//! Evictions are decided by the API server, which takes from `disruptionsAllowed` and notes the pod in `disruptedPods`;
//! this controller keeps the counts.

mod owners;

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

use self::owners::Owners;
use super::{
    Informers, Stores,
    meta::{scaled_value, selects, time},
    pods, work,
};
use crate::{
    events::EventType,
    hpa,
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
        cx: cx.named("controllermanager"),
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
        pods.retain(|pod| is_selected(&budget, pod));
        if pods.is_empty() {
            self.tell(
                &budget,
                EventType::Normal,
                "NoPods",
                "No matching pods found".to_owned(),
            );
        }
        let owners = if counts_owners(&budget) {
            self.owners(&pods).await
        } else {
            Ok(Owners::default())
        };
        let now = self.cx.clock.now();
        let status = match owners {
            Ok(owners) => {
                if owners.unmanaged {
                    self.tell(&budget, EventType::Warning, "UnmanagedPods", unmanaged(&budget));
                }
                self.complain_of_survivors(&budget, &pods, now);
                status(&budget, &pods, owners.replicas, now)
            }
            Err(why) => {
                let message = format!("Failed to calculate the number of expected pods: {why}");
                self.tell(
                    &budget,
                    EventType::Warning,
                    "CalculateExpectedPodCountFailed",
                    message,
                );
                failed(&budget, &why, now)
            }
        };
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

    fn tell(&self, budget: &PodDisruptionBudget, event_type: EventType, reason: &str, message: String) {
        self.cx.recorder.publish(budget, event_type, reason, message);
    }

    /// Says of pods whose eviction was granted that they are still there.
    fn complain_of_survivors(&self, budget: &PodDisruptionBudget, pods: &[Arc<Pod>], now: Timestamp) {
        let Some(disrupted) = budget
            .status
            .as_ref()
            .and_then(|status| status.disrupted_pods.as_ref())
        else {
            return;
        };
        let namespace = budget.namespace().unwrap_or_default();
        for pod in pods.iter().filter(|pod| !pods::is_terminating(pod)) {
            let since = disrupted.get(&pod.name_any());
            if since.is_some_and(|since| since.0 + EVICTION_TIMEOUT < now) {
                // Where the budget's name should stand, Kubernetes has its namespace again.
                let message =
                    format!("Pod was expected by PDB {namespace}/{namespace} to be deleted but it wasn't");
                self.cx
                    .recorder
                    .publish(&**pod, EventType::Warning, "NotDeleted", message);
            }
        }
    }
}

/// Whether the budget is a share of what the pods' controllers want.
fn counts_owners(budget: &PodDisruptionBudget) -> bool {
    let spec = budget.spec.as_ref();
    spec.is_some_and(|spec| {
        spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
    })
}

fn unmanaged(budget: &PodDisruptionBudget) -> String {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let selector = selector
        .and_then(|selector| serde_json::to_value(selector).ok())
        .and_then(|selector| serde_json::from_value::<hpa::LabelSelector>(selector).ok())
        .unwrap_or_default();
    format!(
        "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, the \
         status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these \
         pods please set \".spec.minAvailable\" field of the PDB to an integer value."
    )
}

/// The status of a budget whose pods' controllers cannot be asked: nothing may be disrupted, the rest is as it was.
fn failed(budget: &PodDisruptionBudget, why: &str, now: Timestamp) -> PodDisruptionBudgetStatus {
    let old = budget.status.clone().unwrap_or_default();
    let outcome = ("False", "SyncFailed", why);
    let condition = condition(old.conditions.as_deref(), outcome, old.observed_generation, now);
    PodDisruptionBudgetStatus {
        conditions: Some(vec![condition]),
        disruptions_allowed: 0,
        ..old
    }
}

/// The status of a budget over `pods`, whose controllers want so many.
fn status(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    wanted: i32,
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
        (Some(unavailable), _) => (wanted, (wanted - scaled_value(unavailable, wanted, true)).max(0)),
        (None, Some(IntOrString::Int(available))) => (count(pods.len()), *available),
        (None, Some(available)) => (wanted, scaled_value(available, wanted, true)),
        (None, None) => (count(pods.len()), 0),
    };
    let allowed = if expected <= 0 {
        0
    } else {
        (count(healthy) - desired).max(0)
    };
    let outcome = if allowed > 0 {
        ("True", "SufficientPods", "")
    } else {
        ("False", "InsufficientPods", "")
    };
    PodDisruptionBudgetStatus {
        conditions: Some(vec![condition(
            old.conditions.as_deref(),
            outcome,
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

/// The condition with this status, reason and message.
fn condition(
    old: Option<&[Condition]>,
    (status, reason, message): (&str, &str, &str),
    generation: Option<i64>,
    now: Timestamp,
) -> Condition {
    const TYPE: &str = "DisruptionAllowed";
    let same = old
        .into_iter()
        .flatten()
        .find(|old| old.type_ == TYPE && old.status == status);
    let since: Time = same.map_or_else(|| time(now), |same| same.last_transition_time.clone());
    Condition {
        type_: TYPE.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
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
        let status = status(&budget, pods, 10, now());
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
