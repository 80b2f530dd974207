//! Defaults of pods and pod templates.

use scaler_api::Quantity;
use serde_json::{Map, Value, json};

use crate::sim::api::value::{self, default};

/// A pod: its spec, requests from limits, phase and quality of service.
pub(super) fn pod(object: &mut Value) {
    spec(object, &["spec"]);
    default(object, &["spec", "enableServiceLinks"], true);
    for list in ["containers", "initContainers"] {
        if let Some(Value::Array(containers)) = value::at_mut(object, &["spec", list]) {
            containers.iter_mut().for_each(requests_from_limits);
        }
    }
    default(object, &["status", "phase"], "Pending");
    if value::text(object, &["status", "qosClass"]).is_empty() {
        let class = quality(object);
        value::set(object, &["status", "qosClass"], class);
    }
    gated(object);
}

/// A pod with scheduling gates says from the start that it is not scheduled.
fn gated(object: &mut Value) {
    let known = value::items(object, &["status", "conditions"])
        .iter()
        .any(|condition| condition["type"] == "PodScheduled");
    if known || value::items(object, &["spec", "schedulingGates"]).is_empty() {
        return;
    }
    let condition = json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates",
        "lastProbeTime": null,
        "lastTransitionTime": null,
    });
    let conditions = value::object_at(object, &["status"])
        .entry("conditions")
        .or_insert_with(|| json!([]));
    if let Some(conditions) = conditions.as_array_mut() {
        conditions.push(condition);
    }
}

/// The pod template at `path`.
pub(super) fn template(object: &mut Value, path: &[&str]) {
    let mut spec_path = path.to_vec();
    spec_path.push("spec");
    spec(object, &spec_path);
}

fn spec(object: &mut Value, path: &[&str]) {
    value::object_at(object, path);
    let Some(spec) = value::at_mut(object, path) else {
        return;
    };
    default(spec, &["restartPolicy"], "Always");
    default(spec, &["dnsPolicy"], "ClusterFirst");
    default(spec, &["terminationGracePeriodSeconds"], 30);
    default(spec, &["schedulerName"], "default-scheduler");
    default(spec, &["securityContext"], json!({}));
    account(spec);
    for list in ["containers", "initContainers"] {
        if let Some(Value::Array(containers)) = spec.get_mut(list) {
            containers.iter_mut().for_each(container);
        }
    }
    if let Some(Value::Object(list)) = spec.get_mut("overhead") {
        quantities(list);
    }
    if let Some(Value::Array(volumes)) = spec.get_mut("volumes") {
        volumes.iter_mut().for_each(volume);
    }
    if let Some(Value::Array(spreads)) = spec.get_mut("topologySpreadConstraints") {
        for spread in spreads {
            default(spread, &["whenUnsatisfiable"], "DoNotSchedule");
        }
    }
}

/// The old and the new name of the service account go together.
fn account(spec: &mut Value) {
    let old = value::text(spec, &["serviceAccount"]).to_owned();
    if !old.is_empty() {
        default(spec, &["serviceAccountName"], old);
    }
    let name = value::text(spec, &["serviceAccountName"]).to_owned();
    if !name.is_empty() {
        value::set(spec, &["serviceAccount"], name);
    }
}

fn container(container: &mut Value) {
    default(container, &["terminationMessagePath"], "/dev/termination-log");
    default(container, &["terminationMessagePolicy"], "File");
    let policy = pull_policy(value::text(container, &["image"]));
    default(container, &["imagePullPolicy"], policy);
    default(container, &["resources"], json!({}));
    for list in ["requests", "limits"] {
        if let Some(Value::Object(list)) = value::at_mut(container, &["resources", list]) {
            quantities(list);
        }
    }
    if let Some(Value::Array(ports)) = container.get_mut("ports") {
        for port in ports {
            default(port, &["protocol"], "TCP");
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(name) {
            default(probe, &["timeoutSeconds"], 1);
            default(probe, &["periodSeconds"], 10);
            default(probe, &["successThreshold"], 1);
            default(probe, &["failureThreshold"], 3);
            if let Some(get) = probe.get_mut("httpGet") {
                default(get, &["path"], "/");
                default(get, &["scheme"], "HTTP");
            }
        }
    }
    if let Some(Value::Array(variables)) = container.get_mut("env") {
        for variable in variables {
            if let Some(field) = value::at_mut(variable, &["valueFrom", "fieldRef"]) {
                default(field, &["apiVersion"], "v1");
            }
        }
    }
}

/// `Always` for images that may change under their name.
fn pull_policy(image: &str) -> &'static str {
    if image.contains('@') {
        return "IfNotPresent";
    }
    let name = image.rsplit('/').next().unwrap_or(image);
    match name.split_once(':') {
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

fn volume(volume: &mut Value) {
    if volume
        .as_object()
        .is_some_and(|fields| fields.len() == 1 && fields.contains_key("name"))
    {
        value::set(volume, &["emptyDir"], json!({}));
    }
    for source in ["secret", "configMap", "projected", "downwardAPI"] {
        if let Some(source) = volume.get_mut(source) {
            default(source, &["defaultMode"], 420);
        }
    }
}

fn requests_from_limits(container: &mut Value) {
    let Some(Value::Object(limits)) = value::at(container, &["resources", "limits"]).cloned() else {
        return;
    };
    let requests = value::object_at(container, &["resources", "requests"]);
    for (name, limit) in limits {
        requests.entry(name).or_insert(limit);
    }
}

/// Writes quantities in their canonical form; what does not parse is left to validation.
pub(super) fn quantities(list: &mut Map<String, Value>) {
    for value in list.values_mut() {
        let text = match &*value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => continue,
        };
        if let Ok(quantity) = text.parse::<Quantity>() {
            *value = quantity.to_string().into();
        }
    }
}

/// The class that decides who goes first when a node runs out of memory.
fn quality(pod: &Value) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    for list in ["containers", "initContainers"] {
        for container in value::items(pod, &["spec", list]) {
            for resource in ["cpu", "memory"] {
                let amount = |list: &str| value::at(container, &["resources", list, resource]);
                let (request, limit) = (amount("requests"), amount("limits"));
                any |= request.is_some() || limit.is_some();
                guaranteed &= limit.is_some() && (request.is_none() || request == limit);
            }
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_get_what_the_real_server_gives_them() {
        let mut object = json!({"spec": {"containers": [
            {"name": "a", "image": "nginx", "resources": {"limits": {"cpu": "500m", "memory": "128Mi"}}},
        ]}});
        pod(&mut object);
        let container = &object["spec"]["containers"][0];
        assert_eq!(
            container["resources"]["requests"],
            json!({"cpu": "500m", "memory": "128Mi"})
        );
        assert_eq!(container["imagePullPolicy"], "Always");
        assert_eq!(object["spec"]["terminationGracePeriodSeconds"], 30);
        assert_eq!(
            object["status"],
            json!({"phase": "Pending", "qosClass": "Guaranteed"})
        );
    }

    #[test]
    fn quality_of_service_follows_requests_and_limits() {
        let with =
            |resources: Value| json!({"spec": {"containers": [{"name": "a", "resources": resources}]}});
        let cases = [
            (json!({}), "BestEffort"),
            (json!({"requests": {"cpu": "1"}}), "Burstable"),
            (json!({"limits": {"cpu": "1"}}), "Burstable"),
            (
                json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}}),
                "Guaranteed",
            ),
            (
                json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}),
                "Burstable",
            ),
        ];
        for (resources, expected) in cases {
            assert_eq!(quality(&with(resources.clone())), expected, "{resources}");
        }
    }

    #[test]
    fn images_that_may_change_are_pulled_always() {
        for (image, expected) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.27", "IfNotPresent"),
            ("localhost:5000/nginx", "Always"),
            ("nginx@sha256:abc", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), expected, "{image}");
        }
    }
}
