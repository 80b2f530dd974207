//! The eviction subresource of pods: a deletion that asks the disruption budgets.

use std::sync::Arc;

use http::Response;
use serde_json::{Value, json};

use super::{Call, DeleteOptions, delete_entry};
use crate::sim::api::{
    ApiBody, reply,
    selectors::LabelSelector,
    state::State,
    status::{ApiError, Subject},
    store::Entry,
    value,
};

const BUDGETS: Subject<'static> = Subject {
    group: "policy",
    name: "poddisruptionbudgets",
};
const REFUSAL: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// Serves a POST of an Eviction.
pub(super) fn post(state: &mut State, call: &Call) -> Result<Response<ApiBody>, ApiError> {
    let pod = call.existing(state)?;
    let body = call.json()?;
    let name = call.name()?;
    let found = value::name(&body);
    if !found.is_empty() && found != name {
        return Err(ApiError::bad_request(
            "name in URL does not match name in Eviction object",
        ));
    }
    let options = value::at(&body, &["deleteOptions"]).unwrap_or(&Value::Null);
    let options = DeleteOptions {
        grace: value::int(options, &["gracePeriodSeconds"]),
        uid: Some(value::uid(&pod.value).to_owned()),
        dry_run: call.dry_run() || !value::items(options, &["dryRun"]).is_empty(),
        ..DeleteOptions::default()
    };
    if !may_ignore_budgets(&pod.value) {
        ask_budgets(state, &pod, options.dry_run)?;
    }
    if !options.dry_run {
        check_preconditions(&body, &pod.value)?;
        mark(state, call, &pod);
    }
    let pod = call.existing(state)?;
    delete_entry(state, &call.resource, &pod, &options)?;
    Ok(reply::json(
        201,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
    ))
}

/// Whether the pod is the one that the client means.
///
/// # Errors
/// 409 if it is another, or has changed.
fn check_preconditions(body: &Value, pod: &Value) -> Result<(), ApiError> {
    const POD: Subject<'static> = Subject {
        group: "",
        name: "Pod",
    };
    let Some(preconditions) = value::at(body, &["deleteOptions", "preconditions"]) else {
        return Ok(());
    };
    let checks = [
        ("uid", "UID", value::uid(pod), "deleted and then recreated"),
        (
            "resourceVersion",
            "ResourceVersion",
            value::text(pod, &["metadata", "resourceVersion"]),
            "modified",
        ),
    ];
    for (field, name, found, perhaps) in checks {
        let wanted = value::text(preconditions, &[field]);
        if !wanted.is_empty() && wanted != found {
            let error = format!(
                "the {name} in the precondition ({wanted}) does not match the {name} in record ({found}). The object \
                 might have been {perhaps}"
            );
            return Err(ApiError::conflict(POD, value::name(pod), &error));
        }
    }
    Ok(())
}

/// Pods that run nothing, or are going anyway, disrupt nobody.
fn may_ignore_budgets(pod: &Value) -> bool {
    let phase = value::text(pod, &["status", "phase"]);
    matches!(phase, "Succeeded" | "Failed" | "Pending") || value::is_deleting(pod)
}

fn is_ready(pod: &Value) -> bool {
    value::items(pod, &["status", "conditions"])
        .iter()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Takes one disruption from the budget that covers the pod.
fn ask_budgets(state: &mut State, pod: &Entry, dry_run: bool) -> Result<(), ApiError> {
    let namespace = value::namespace(&pod.value);
    let covers = |budget: &&Arc<Entry>| {
        value::at(&budget.value, &["spec", "selector"]).is_some_and(|selector| {
            LabelSelector::from_object(selector).is_ok_and(|found| found.matches(&pod.value))
        })
    };
    let budgets: Vec<_> = state
        .builtins("policy", "poddisruptionbudgets", Some(namespace))
        .filter(covers)
        .cloned()
        .collect();
    let budget = match budgets.as_slice() {
        [] => return Ok(()),
        [one] => one,
        _ => {
            let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(ApiError::new(500, "", message));
        }
    };
    if !is_ready(&pod.value) && passes_unready(&budget.value) {
        return Ok(());
    }
    let changed = take(state, &budget.value, value::name(&pod.value))?;
    if let Some(resource) = state
        .registry
        .get("policy", "poddisruptionbudgets")
        .cloned()
        .filter(|_| !dry_run)
    {
        state.replace(&resource, budget, changed);
    }
    Ok(())
}

/// Whether a running pod that is not ready may go without counting.
fn passes_unready(budget: &Value) -> bool {
    if value::text(budget, &["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow" {
        return true;
    }
    let healthy = value::int(budget, &["status", "currentHealthy"]).unwrap_or(0);
    let desired = value::int(budget, &["status", "desiredHealthy"]).unwrap_or(0);
    healthy >= desired && desired > 0
}

fn take(state: &State, budget: &Value, pod: &str) -> Result<Value, ApiError> {
    let name = value::name(budget);
    let number = |field: &str| value::int(budget, &["status", field]).unwrap_or(0);
    let generation = value::int(budget, &["metadata", "generation"]).unwrap_or(0);
    if number("observedGeneration") < generation {
        let message = format!("The disruption budget {name} is still being processed by the server.");
        return Err(ApiError::too_many_requests(REFUSAL).retry_after(10).with_cause(
            "DisruptionBudget",
            message,
            "",
        ));
    }
    let allowed = number("disruptionsAllowed");
    if allowed < 0 {
        return Err(ApiError::forbidden(
            BUDGETS,
            name,
            "pdb disruptions allowed is negative",
        ));
    }
    if value::at(budget, &["status", "disruptedPods"])
        .and_then(Value::as_object)
        .is_some_and(|pods| pods.len() > 2000)
    {
        let message = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(ApiError::forbidden(BUDGETS, name, message));
    }
    if allowed == 0 {
        let message = refusal(budget);
        return Err(ApiError::too_many_requests(REFUSAL).with_cause("DisruptionBudget", message, ""));
    }
    let mut changed = budget.clone();
    value::set(&mut changed, &["status", "disruptionsAllowed"], allowed - 1);
    if allowed == 1 {
        use_up(&mut changed, &state.timestamp());
    }
    value::set(&mut changed, &["status", "disruptedPods", pod], state.timestamp());
    Ok(changed)
}

const CONDITION: &str = "DisruptionAllowed";

/// Why a budget that allows nothing does not.
fn refusal(budget: &Value) -> String {
    let name = value::name(budget);
    let number = |field: &str| value::int(budget, &["status", field]).unwrap_or(0);
    let (healthy, desired) = (number("currentHealthy"), number("desiredHealthy"));
    let conditions = value::items(budget, &["status", "conditions"]);
    let told = conditions
        .iter()
        .find(|one| one["type"] == CONDITION && one["status"] == "False");
    let text = |field: &str| told.map_or("", |told| value::text(told, &[field]));
    let (reason, message) = (text("reason"), text("message"));
    if reason == "SyncFailed" && !message.is_empty() {
        return format!(
            "The disruption budget {name} does not allow evicting pods currently because it failed sync: {message}"
        );
    }
    if healthy <= desired {
        return format!(
            "The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
        );
    }
    let refusal = format!("The disruption budget {name} does not allow evicting pods currently");
    if message.is_empty() {
        refusal
    } else {
        format!("{refusal} ({reason}): {message}")
    }
}

/// Says in a budget's condition that nothing more may go.
fn use_up(budget: &mut Value, now: &str) {
    let generation = value::int(budget, &["status", "observedGeneration"]);
    let condition = json!({
        "type": CONDITION,
        "status": "False",
        "reason": "InsufficientPods",
        "message": "",
        "observedGeneration": generation,
        "lastTransitionTime": now,
    });
    let conditions = value::object_at(budget, &["status"])
        .entry("conditions")
        .or_insert_with(|| json!([]));
    if let Some(conditions) = conditions.as_array_mut() {
        conditions.retain(|known| known["type"] != CONDITION);
        conditions.push(condition);
    }
}

/// Says on the pod why it goes.
fn mark(state: &mut State, call: &Call, pod: &Arc<Entry>) {
    let mut object = Value::clone(&pod.value);
    let condition = json!({
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
        "lastProbeTime": null,
        "lastTransitionTime": state.timestamp(),
    });
    let conditions = value::object_at(&mut object, &["status"])
        .entry("conditions")
        .or_insert_with(|| json!([]));
    if let Some(conditions) = conditions.as_array_mut() {
        conditions.retain(|known| known["type"] != "DisruptionTarget");
        conditions.push(condition);
    }
    state.replace(&call.resource, pod, object);
}
