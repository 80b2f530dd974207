//! Rules across objects: two ScaledObjects, or a ScaledObject and somebody's HPA, for one workload.

use std::sync::Arc;

use kube::{Resource as _, ResourceExt as _};
use scaler_api::keda::{self, ScaledObject};

use super::{Findings, Severity, scaled_object::about};
use crate::scaled_object::hpa::Autoscaler;

/// What in the namespace of `object` contradicts it. `others` and `hpas` may hold the object and its HPA themselves.
#[must_use]
pub fn check(object: &ScaledObject, others: &[Arc<ScaledObject>], hpas: &[Arc<Autoscaler>]) -> Findings {
    let mut findings = about(object);
    let own = &object.metadata;
    let apart = |other: &&Arc<ScaledObject>| {
        let others = &other.metadata;
        others.namespace == own.namespace && others.name != own.name
    };
    // There may be thousands of others, and each object is held against all of them: nothing is allocated for one that
    // contradicts nothing.
    let hpa_name = object.hpa_name();
    for other in others.iter().filter(apart) {
        other_object(object, &hpa_name, other, &mut findings);
    }
    for hpa in hpas.iter().filter(|hpa| hpa.metadata.namespace == own.namespace) {
        other_hpa(object, hpa, &mut findings);
    }
    findings
}

fn other_object(object: &ScaledObject, hpa_name: &str, other: &ScaledObject, findings: &mut Findings) {
    let (mine, its) = (&object.spec.scale_target_ref, &other.spec.scale_target_ref);
    if mine.name == its.name
        && mine.kind() == its.kind()
        && group(mine.api_version()) == group(its.api_version())
    {
        let message = format!(
            "the workload {} of type {}.{} is already scaled by the ScaledObject {:?}",
            mine.name,
            mine.api_version(),
            mine.kind(),
            other.name_any()
        );
        findings.add(
            Severity::AdmissionError,
            "other-scaled-object",
            "spec.scaleTargetRef",
            &mine.name,
            message,
        );
    }
    if other.has_hpa_name(hpa_name) {
        let other_name = other.name_any();
        let message = format!("the HPA {hpa_name:?} already belongs to the ScaledObject {other_name:?}");
        let field = "spec.advanced.horizontalPodAutoscalerConfig.name";
        findings.add(
            Severity::AdmissionError,
            "other-scaled-object-hpa",
            field,
            hpa_name,
            message,
        );
    }
}

fn other_hpa(object: &ScaledObject, hpa: &Autoscaler, findings: &mut Findings) {
    let target = &object.spec.scale_target_ref;
    let reference = &hpa.spec["scaleTargetRef"];
    let same = reference["name"] == target.name.as_str()
        && reference["kind"] == target.kind()
        && group(reference["apiVersion"].as_str().unwrap_or_default()) == group(target.api_version());
    if !same {
        return;
    }
    let owned = hpa.owner_references().iter().any(|owner| {
        owner.kind == ScaledObject::kind(&())
            && owner.name == object.name_any()
            && owner.controller == Some(true)
    });
    let unchecked = hpa
        .annotations()
        .get(keda::VALIDATIONS_HPA_OWNERSHIP_ANNOTATION)
        .is_some_and(|value| value == "false");
    if owned || unchecked {
        return;
    }
    let hpa_name = hpa.name_any();
    let adopts = object
        .annotations()
        .get(keda::TRANSFER_HPA_OWNERSHIP_ANNOTATION)
        .is_some_and(|value| value == "true");
    if !adopts {
        let message = format!(
            "the workload {} is already scaled by the HPA {hpa_name:?}",
            target.name
        );
        findings.add(
            Severity::AdmissionError,
            "other-hpa",
            "spec.scaleTargetRef",
            &target.name,
            message,
        );
    } else if object.hpa_name() != hpa_name {
        let message = format!(
            "is {:?}, expected {hpa_name:?}, the HPA to adopt that scales the workload {}",
            object.hpa_name(),
            target.name
        );
        let (reason, field) = (
            "transfer-ownership-missing-hpa-name",
            "spec.advanced.horizontalPodAutoscalerConfig.name",
        );
        findings.add(
            Severity::AdmissionError,
            reason,
            field,
            object.hpa_name(),
            message,
        );
    }
}

fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

#[cfg(test)]
mod tests {
    //! keda.md §7, the first three rows.
    use serde_json::{Value, json};

    use super::*;

    fn object(name: &str, target: &str, hpa: Option<&str>, annotations: &Value) -> ScaledObject {
        serde_json::from_value(json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
            "metadata": {"name": name, "namespace": "shop", "annotations": annotations},
            "spec": {
                "scaleTargetRef": {"name": target}, "triggers": [],
                "advanced": {"horizontalPodAutoscalerConfig": {"name": hpa}},
            },
        }))
        .unwrap()
    }

    fn hpa(name: &str, metadata: &Value) -> Arc<Autoscaler> {
        let mut value = json!({
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}},
        });
        value["metadata"]
            .as_object_mut()
            .unwrap()
            .extend(metadata.as_object().unwrap().clone());
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn section_7_one_workload_and_one_hpa_have_one_scaled_object() {
        let mine = object("a", "web", None, &json!({}));
        let cases = [
            (object("a", "web", None, &json!({})), vec![]),
            (object("b", "other", None, &json!({})), vec![]),
            (object("b", "web", None, &json!({})), vec!["other-scaled-object"]),
            (
                object("b", "other", Some("keda-hpa-a"), &json!({})),
                vec!["other-scaled-object-hpa"],
            ),
        ];
        for (other, expected) in cases {
            let findings = check(&mine, &[Arc::new(other)], &[]);
            let found: Vec<_> = findings.all().iter().map(|finding| finding.reason).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn section_7_somebodys_hpa_is_respected_unless_it_is_adopted() {
        let adopt = json!({keda::TRANSFER_HPA_OWNERSHIP_ANNOTATION: "true"});
        let owner = json!({"ownerReferences": [{
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "a", "uid": "u", "controller": true,
        }]});
        let unchecked = json!({"annotations": {keda::VALIDATIONS_HPA_OWNERSHIP_ANNOTATION: "false"}});
        let cases = [
            (object("a", "web", None, &json!({})), json!({}), vec!["other-hpa"]),
            (object("a", "other", None, &json!({})), json!({}), vec![]),
            (object("a", "web", None, &json!({})), owner, vec![]),
            (object("a", "web", None, &json!({})), unchecked, vec![]),
            (
                object("a", "web", None, &adopt),
                json!({}),
                vec!["transfer-ownership-missing-hpa-name"],
            ),
            (object("a", "web", Some("theirs"), &adopt), json!({}), vec![]),
        ];
        for (mine, metadata, expected) in cases {
            let findings = check(&mine, &[], &[hpa("theirs", &metadata)]);
            let found: Vec<_> = findings.all().iter().map(|finding| finding.reason).collect();
            assert_eq!(found, expected, "{metadata}");
        }
    }
}
