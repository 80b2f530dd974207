//! What the default admission plugins add to new objects.

use serde_json::{Value, json};

use crate::sim::{
    api::{crd, resources::Resource, state::State, status::ApiError, value},
    controllers::volume_claims::PROTECTION,
};

/// Mutates a new object as admission does.
///
/// # Errors
/// 403 for a priority class that does not exist.
pub(crate) fn admit(state: &State, resource: &Resource, object: &mut Value) -> Result<(), ApiError> {
    match (resource.group.as_str(), resource.plural.as_str()) {
        ("", "pods") => {
            value::default(object, &["spec", "serviceAccountName"], "default");
            let account = value::text(object, &["spec", "serviceAccountName"]).to_owned();
            value::set(object, &["spec", "serviceAccount"], account);
            priority(state, resource, object)?;
            tolerate(object);
        }
        ("", "nodes") => taint(object),
        ("", "persistentvolumeclaims") => protect(object),
        ("", "services") => address(state, object),
        (crd::GROUP, crd::PLURAL) => crd::accept_names(state, object, &state.timestamp()),
        _ => {}
    }
    Ok(())
}

/// The number behind `priorityClassName`, or the global default's.
fn priority(state: &State, resource: &Resource, pod: &mut Value) -> Result<(), ApiError> {
    let name = value::text(pod, &["spec", "priorityClassName"]).to_owned();
    let class = if name.is_empty() {
        state
            .builtins("scheduling.k8s.io", "priorityclasses", None)
            .find(|class| class.value["globalDefault"] == true)
    } else {
        state.builtin("scheduling.k8s.io", "priorityclasses", &name)
    };
    let Some(class) = class else {
        if !name.is_empty() {
            let error = format!("no PriorityClass with name {name} was found");
            return Err(ApiError::forbidden(resource.subject(), value::name(pod), &error));
        }
        value::default(pod, &["spec", "priority"], 0);
        value::default(pod, &["spec", "preemptionPolicy"], "PreemptLowerPriority");
        return Ok(());
    };
    let class = &class.value;
    value::set(pod, &["spec", "priorityClassName"], value::name(class));
    value::set(pod, &["spec", "priority"], class["value"].clone());
    let policy = value::text(class, &["preemptionPolicy"]);
    value::default(pod, &["spec", "preemptionPolicy"], policy);
    Ok(())
}

/// Five minutes on a node that is lost.
fn tolerate(pod: &mut Value) {
    let tolerations = value::object_at(pod, &["spec"])
        .entry("tolerations")
        .or_insert_with(|| json!([]));
    let Some(tolerations) = tolerations.as_array_mut() else {
        return;
    };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covers = |toleration: &Value| {
            let found = value::text(toleration, &["key"]);
            let effect = value::text(toleration, &["effect"]);
            (found == key || found.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        };
        if !tolerations.iter().any(covers) {
            tolerations.push(
                json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}),
            );
        }
    }
}

/// A node is not ready until it says so.
fn taint(node: &mut Value) {
    const KEY: &str = "node.kubernetes.io/not-ready";
    let ready = value::items(node, &["status", "conditions"])
        .iter()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    let tainted = value::items(node, &["spec", "taints"])
        .iter()
        .any(|taint| taint["key"] == KEY);
    if ready || tainted {
        return;
    }
    let taints = value::object_at(node, &["spec"])
        .entry("taints")
        .or_insert_with(|| json!([]));
    if let Some(taints) = taints.as_array_mut() {
        taints.push(json!({"key": KEY, "effect": "NoSchedule"}));
    }
}

/// A claim stays as long as a pod uses it.
fn protect(claim: &mut Value) {
    if value::finalizers(claim).all(|name| name != PROTECTION) {
        let finalizers = value::object_at(claim, &["metadata"])
            .entry("finalizers")
            .or_insert_with(|| json!([]));
        if let Some(finalizers) = finalizers.as_array_mut() {
            finalizers.push(PROTECTION.into());
        }
    }
}

/// A cluster IP, by order of creation.
fn address(state: &State, service: &mut Value) {
    if value::text(service, &["spec", "type"]) == "ExternalName" {
        return;
    }
    let number = state.revision + 1;
    let address = format!("10.96.{}.{}", (number / 254) % 256, number % 254 + 1);
    value::default(service, &["spec", "clusterIP"], address);
    let address = value::text(service, &["spec", "clusterIP"]).to_owned();
    value::default(service, &["spec", "clusterIPs"], json!([address]));
}
