//! A trigger on CPU or memory needs containers that ask for it: the HPA compares use with requests.

use k8s_openapi::api::core::v1::{Container, LimitRange, ResourceRequirements};
use scaler_api::keda::ScaledObject;

use super::{
    Findings, Severity,
    scaled_object::{about, is_resource},
};

/// Whether the rule concerns an object: it has a trigger on CPU or memory, and a target whose containers can be found.
#[must_use]
pub fn concerns(object: &ScaledObject) -> bool {
    object.spec.triggers.iter().any(is_resource) && has_containers(object)
}

/// Whether the target is a Deployment or a StatefulSet; of others nobody knows where their containers stand.
#[must_use]
pub fn has_containers(object: &ScaledObject) -> bool {
    let target = &object.spec.scale_target_ref;
    target.api_version() == "apps/v1" && matches!(target.kind(), "Deployment" | "StatefulSet")
}

/// Which of the target's containers ask for nothing, given the LimitRanges of the namespace.
#[must_use]
pub fn check(object: &ScaledObject, containers: &[Container], limit_ranges: &[LimitRange]) -> Findings {
    let mut findings = about(object);
    if !concerns(object) {
        return findings;
    }
    let target = &object.spec.scale_target_ref;
    for (index, trigger) in object.spec.triggers.iter().enumerate() {
        if !is_resource(trigger) {
            continue;
        }
        let resource = trigger.trigger_type.as_str();
        if limit_ranges.iter().any(|range| gives_default(range, resource)) {
            continue;
        }
        let only = trigger
            .metadata
            .get("containerName")
            .filter(|name| !name.is_empty());
        let lacking = containers
            .iter()
            .filter(|container| only.is_none_or(|only| *only == container.name))
            .filter(|container| !asks_for(container.resources.as_ref(), resource));
        for container in lacking {
            let message = format!(
                "is a trigger on {resource}, but the container {:?} of the {} {:?} requests no {resource}, and no \
                 LimitRange of the namespace has a default for it",
                container.name,
                target.kind(),
                target.name
            );
            findings.add(
                Severity::AdmissionError,
                "missing-requests",
                format!("spec.triggers[{index}]"),
                resource,
                message,
            );
        }
    }
    findings
}

/// A limit without a request is its own request.
fn asks_for(resources: Option<&ResourceRequirements>, resource: &str) -> bool {
    resources.is_some_and(|resources| {
        [&resources.requests, &resources.limits]
            .into_iter()
            .flatten()
            .any(|list| list.contains_key(resource))
    })
}

fn gives_default(range: &LimitRange, resource: &str) -> bool {
    let limits = range.spec.iter().flat_map(|spec| &spec.limits);
    limits.filter(|limit| limit.type_ == "Container").any(|limit| {
        [&limit.default, &limit.default_request]
            .into_iter()
            .flatten()
            .any(|list| list.contains_key(resource))
    })
}

#[cfg(test)]
mod tests {
    //! keda.md §7, the row missing-requests.
    use serde_json::{Value, json};

    use super::*;

    fn found(target: &Value, trigger: &Value, containers: &Value, limits: &Value) -> Vec<String> {
        let object: ScaledObject = serde_json::from_value(json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"scaleTargetRef": target, "triggers": [{"type": "cron", "metadata": {}}, trigger]},
        }))
        .unwrap();
        let containers: Vec<Container> = serde_json::from_value(containers.clone()).unwrap();
        let range: LimitRange = serde_json::from_value(json!({"spec": {"limits": limits}})).unwrap();
        let findings = check(&object, &containers, &[range]);
        let finding = |finding: &super::super::Finding| format!("{} {finding}", finding.reason);
        findings.all().iter().map(finding).collect()
    }

    #[test]
    fn section_7_a_container_has_to_ask_for_what_it_is_scaled_by() {
        let deployment = json!({"name": "web"});
        let cpu = json!({"type": "cpu", "metadata": {"value": "50"}});
        let memory = json!({"type": "memory", "metadata": {"value": "50"}});
        let of_app = json!({"type": "cpu", "metadata": {"value": "50", "containerName": "app"}});
        let app = |resources: Value| json!({"name": "app", "resources": resources});
        let sidecar = json!({"name": "sidecar"});
        let default = json!([{"type": "Container", "default": {"cpu": "1"}}]);
        let default_request = json!([{"type": "Container", "defaultRequest": {"cpu": "1"}}]);
        let of_pods = json!([{"type": "Pod", "max": {"cpu": "1"}}]);
        let requests = app(json!({"requests": {"cpu": "1"}}));
        let limits = app(json!({"limits": {"cpu": "1"}}));
        let none = json!([]);
        let cases = [
            (&deployment, &cpu, json!([requests]), &none, vec![]),
            (&deployment, &cpu, json!([limits]), &none, vec![]),
            (&deployment, &cpu, json!([app(json!({}))]), &none, vec!["app"]),
            (&deployment, &cpu, json!([app(json!({}))]), &default, vec![]),
            (
                &deployment,
                &cpu,
                json!([app(json!({}))]),
                &default_request,
                vec![],
            ),
            (&deployment, &cpu, json!([app(json!({}))]), &of_pods, vec!["app"]),
            (&deployment, &memory, json!([requests]), &default, vec!["app"]),
            (
                &deployment,
                &cpu,
                json!([requests, sidecar]),
                &none,
                vec!["sidecar"],
            ),
            (&deployment, &of_app, json!([requests, sidecar]), &none, vec![]),
            (
                &json!({"name": "web", "kind": "StatefulSet"}),
                &cpu,
                json!([sidecar]),
                &none,
                vec!["sidecar"],
            ),
            (
                &json!({"name": "web", "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout"}),
                &cpu,
                json!([sidecar]),
                &none,
                vec![],
            ),
        ];
        for (target, trigger, containers, limits, expected) in cases {
            let found = found(target, trigger, &containers, limits);
            assert_eq!(
                found.len(),
                expected.len(),
                "{target} {trigger} {containers} {limits} {found:?}"
            );
            for (found, name) in found.iter().zip(expected) {
                assert!(
                    found.starts_with("missing-requests spec.triggers[1]: is a trigger on"),
                    "{found}"
                );
                assert!(
                    found.contains(&format!("the container {name:?} of the")),
                    "{found}"
                );
            }
        }
    }
}
