//! Rules across objects: two ScaledObjects, or a ScaledObject and somebody's HPA, for one workload.

use std::sync::Arc;

use kube::{Resource as _, ResourceExt as _};
use scaler_api::keda::{self, ScaledObject};

use super::{Findings, Severity, scaled_object::about};
use crate::{
    scaled_object::hpa::{Autoscaler, KeptAutoscaler},
    store::{Change, Index},
};

/// ScaledObjects and HPAs by what they can contradict each other over: the name of the workload and that of the HPA.
/// There may be thousands in a namespace, and every new one is held against them. Clones share the contents.
#[derive(Clone, Debug)]
pub struct Rivals {
    scaled_objects: Index<ScaledObject>,
    autoscalers: Index<KeptAutoscaler>,
}

impl Default for Rivals {
    fn default() -> Self {
        Self {
            scaled_objects: Index::new(|object| {
                let target = object.spec.scale_target_ref.name.clone();
                vec![target, by_hpa(&object.hpa_name())]
            }),
            autoscalers: Index::new(|hpa| {
                let spec = hpa.spec.value();
                let target = spec["scaleTargetRef"]["name"].as_str();
                target.map(str::to_owned).into_iter().collect()
            }),
        }
    }
}

impl Rivals {
    /// Takes over a change of a ScaledObject.
    pub fn scaled_object(&self, change: &Change<ScaledObject>) {
        self.scaled_objects.follow(change);
    }

    /// Takes over a change of an HPA.
    pub fn autoscaler(&self, change: &Change<KeptAutoscaler>) {
        self.autoscalers.follow(change);
    }

    /// The objects of `namespace` that [`check`] can find fault with, `object` as it was among them.
    #[must_use]
    pub fn of(
        &self,
        namespace: &str,
        object: &ScaledObject,
    ) -> (Vec<Arc<ScaledObject>>, Vec<Arc<Autoscaler>>) {
        let target = &object.spec.scale_target_ref.name;
        let mut scaled_objects = self.scaled_objects.get(namespace, target);
        let of_hpa = self.scaled_objects.get(namespace, &by_hpa(&object.hpa_name()));
        for other in of_hpa {
            if !scaled_objects.iter().any(|known| Arc::ptr_eq(known, &other)) {
                scaled_objects.push(other);
            }
        }
        let autoscalers = self.autoscalers.get(namespace, target);
        let read = autoscalers.iter().map(|hpa| Arc::new(hpa.read())).collect();
        (scaled_objects, read)
    }
}

/// The value for the name of an HPA, which is none that a workload can have.
fn by_hpa(name: &str) -> String {
    format!("hpa/{name}")
}

/// What in the namespace of `object` contradicts it. `others` and `hpas` may hold the object and its HPA themselves.
#[must_use]
pub fn check(object: &ScaledObject, others: &[Arc<ScaledObject>], hpas: &[Arc<Autoscaler>]) -> Findings {
    let mut findings = about(object);
    let own = &object.metadata;
    let apart = |other: &&Arc<ScaledObject>| {
        let others = &other.metadata;
        others.namespace == own.namespace && others.name != own.name
    };
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
    fn among_the_rivals_is_everything_that_can_be_found_fault_with_and_little_else() {
        let rivals = Rivals::default();
        let mine = object("a", "web", Some("theirs"), &json!({}));
        for other in [
            object("a", "web", None, &json!({})),
            object("b", "web", None, &json!({})),
            object("c", "other", Some("theirs"), &json!({})),
            object("d", "other", None, &json!({})),
            object("theirs", "hpa", None, &json!({})),
        ] {
            let object = Arc::new(other);
            rivals.scaled_object(&Change::Applied {
                object,
                previous: None,
            });
        }
        let mut elsewhere = (*hpa("elsewhere", &json!({}))).clone();
        elsewhere.spec["scaleTargetRef"]["name"] = json!("other");
        for hpa in [&*hpa("theirs", &json!({})), &elsewhere] {
            let kept = serde_json::to_value(hpa).and_then(serde_json::from_value);
            rivals.autoscaler(&Change::Applied {
                object: Arc::new(kept.unwrap()),
                previous: None,
            });
        }
        let (scaled_objects, autoscalers) = rivals.of("shop", &mine);
        let names: Vec<_> = scaled_objects.iter().map(|object| object.name_any()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        let names: Vec<_> = autoscalers.iter().map(|hpa| hpa.name_any()).collect();
        assert_eq!(names, ["theirs"]);
        let reasons: Vec<_> = check(&mine, &scaled_objects, &autoscalers)
            .all()
            .iter()
            .map(|finding| finding.reason)
            .collect();
        assert_eq!(
            reasons,
            ["other-scaled-object", "other-scaled-object-hpa", "other-hpa"]
        );
        assert!(rivals.of("bank", &mine).0.is_empty());
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
