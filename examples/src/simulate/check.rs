//! What is wrong with a story before anything runs, all of it at once.

use controller_runtime::admission::{self, Severity};
use scaler_api::{
    Registry, Source, TriggerInput,
    keda::{ScaleTrigger, ScaledJob, ScaledObject},
};
use serde_json::Value;

use crate::{
    bundled::Story,
    input::{InputProblems, Manifest},
};

/// Kinds that a ScaledObject can point to and that are part of Kubernetes.
const WORKLOADS: [&str; 3] = ["Deployment", "StatefulSet", "ReplicaSet"];

/// Checks the manifests of a story.
pub(super) fn story(story: &Story, registry: &Registry) -> Result<(), InputProblems> {
    let mut problems = InputProblems::default();
    for manifest in story
        .manifests
        .iter()
        .filter(|manifest| is_scaled_object(manifest))
    {
        scaled_object(manifest, &story.manifests, registry, &mut problems);
    }
    for manifest in story
        .manifests
        .iter()
        .filter(|manifest| is_keda(manifest, "ScaledJob"))
    {
        scaled_job(manifest, registry, &mut problems);
    }
    problems.or(())
}

/// The scaled workloads as `Kind namespace/name`, in the order of their ScaledObjects.
pub(super) fn targets(manifests: &[Manifest]) -> Vec<String> {
    manifests
        .iter()
        .filter(|manifest| is_scaled_object(manifest))
        .map(|manifest| target(&manifest.object).label())
        .collect()
}

fn is_scaled_object(manifest: &Manifest) -> bool {
    is_keda(manifest, "ScaledObject")
}

fn is_keda(manifest: &Manifest, kind: &str) -> bool {
    manifest.kind() == kind && manifest.api_version().starts_with("keda.sh/")
}

struct Target<'a> {
    api_version: &'a str,
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
}

impl Target<'_> {
    fn label(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }
}

fn target(object: &Value) -> Target<'_> {
    let reference = &object["spec"]["scaleTargetRef"];
    Target {
        api_version: reference["apiVersion"].as_str().unwrap_or("apps/v1"),
        kind: reference["kind"].as_str().unwrap_or("Deployment"),
        namespace: object["metadata"]["namespace"].as_str().unwrap_or("default"),
        name: reference["name"].as_str().unwrap_or_default(),
    }
}

/// The field of `spec` without which it would be a ScaledObject, empty if there is none.
fn field_at_fault(object: &Value) -> String {
    let fields = object["spec"]
        .as_object()
        .into_iter()
        .flat_map(|spec| spec.keys());
    let at_fault = fields.into_iter().find(|field| {
        let mut without = object.clone();
        if let Some(spec) = without["spec"].as_object_mut() {
            spec.remove(*field);
        }
        serde_json::from_value::<ScaledObject>(without).is_ok()
    });
    at_fault.map_or_else(String::new, |field| format!("spec.{field}"))
}

fn scaled_object(manifest: &Manifest, all: &[Manifest], registry: &Registry, problems: &mut InputProblems) {
    let object: ScaledObject = match serde_json::from_value(manifest.object.clone()) {
        Ok(object) => object,
        Err(error) => {
            let field = field_at_fault(&manifest.object);
            return problems.field(manifest, field, format!("is no ScaledObject: {error}"));
        }
    };
    for finding in admission::scaled_object::check(&object, registry).at_least(Severity::AdmissionError) {
        problems.field(manifest, finding.field.clone(), finding.message.clone());
    }
    for (index, trigger) in object.spec.triggers.iter().enumerate() {
        trigger_metadata(manifest, index, trigger, registry, problems);
    }
    let target = target(&manifest.object);
    let known =
        !target.name.is_empty() && target.api_version == "apps/v1" && WORKLOADS.contains(&target.kind);
    let found = all.iter().any(|other| {
        other.kind() == target.kind
            && other.object["metadata"]["name"] == target.name
            && other.object["metadata"]["namespace"]
                .as_str()
                .unwrap_or("default")
                == target.namespace
    });
    if known && !found {
        let message = format!(
            "there is no {} {:?} in namespace {:?} among the manifests, expected the workload to scale",
            target.kind, target.name, target.namespace
        );
        problems.field(manifest, "spec.scaleTargetRef.name", message);
    }
}

fn scaled_job(manifest: &Manifest, registry: &Registry, problems: &mut InputProblems) {
    let object: ScaledJob = match serde_json::from_value(manifest.object.clone()) {
        Ok(object) => object,
        Err(error) => return problems.field(manifest, "spec", format!("is no ScaledJob: {error}")),
    };
    for finding in admission::scaled_job::check(&object, registry).at_least(Severity::AdmissionError) {
        problems.field(manifest, finding.field.clone(), finding.message.clone());
    }
    for (index, trigger) in object.spec.triggers.iter().enumerate() {
        trigger_metadata(manifest, index, trigger, registry, problems);
    }
}

/// The metadata of a trigger, as far as it can be judged without credentials and without the target's environment.
fn trigger_metadata(
    manifest: &Manifest,
    index: usize,
    trigger: &ScaleTrigger,
    registry: &Registry,
    problems: &mut InputProblems,
) {
    let Some(fields) = registry.fields(&trigger.trigger_type) else {
        return;
    };
    let input = TriggerInput {
        metadata: trigger.metadata.clone(),
        ..TriggerInput::default()
    };
    let Err(found) = registry.parse(&trigger.trigger_type, &input) else {
        return;
    };
    let comes_later = |name: &str| {
        let from_environment = trigger.metadata.contains_key(&format!("{name}FromEnv"));
        let from_authentication = trigger.authentication_ref.is_some()
            && fields
                .iter()
                .any(|field| field.name == name && field.sources.contains(&Source::Authentication));
        from_environment || from_authentication
    };
    for problem in found.errors() {
        if problem.value.is_empty() && comes_later(&problem.field) {
            continue;
        }
        problems.field(
            manifest,
            format!("spec.triggers[{index}].metadata.{}", problem.field),
            problem.message.clone(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_that_has_the_wrong_type_is_named() {
        let object = |most: Value| {
            serde_json::json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": {"name": "a"},
                "spec": {"scaleTargetRef": {"name": "web"}, "maxReplicaCount": most, "triggers": []}})
        };
        assert_eq!(field_at_fault(&object("twelve".into())), "spec.maxReplicaCount");
    }
    use crate::{bundled::Bundled, input};

    fn problems(yaml: &str) -> Vec<String> {
        let mut story = Bundled::named("tutorial").unwrap().story().unwrap();
        story.manifests.extend(input::parse("mine.yaml", yaml).unwrap());
        super::story(&story, &crate::trigger_types::registry())
            .err()
            .map(|problems| problems.0.iter().map(ToString::to_string).collect())
            .unwrap_or_default()
    }

    fn scaled_object(spec: &str) -> String {
        format!(
            "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {{name: mine, namespace: default}}\nspec: {spec}\n"
        )
    }

    #[test]
    fn bundled_stories_have_no_problems() {
        for bundled in crate::bundled::ALL {
            super::story(&bundled.story().unwrap(), &crate::trigger_types::registry()).unwrap();
        }
    }

    #[test]
    fn an_unknown_trigger_type_names_file_object_field_value_and_the_nearest_type() {
        let found = problems(&scaled_object(
            "{scaleTargetRef: {name: web}, triggers: [{type: aws-sqs, metadata: {queueURL: x}}]}",
        ));
        assert_eq!(found.len(), 1, "{found:?}");
        let expected =
            "mine.yaml: ScaledObject default/mine: spec.triggers[0].type: no scaler found for type: aws-sqs";
        assert!(found[0].starts_with(expected), "{}", found[0]);
    }

    #[test]
    fn a_missing_target_and_every_malformed_key_are_reported_at_once() {
        let found = problems(&scaled_object(
            "{scaleTargetRef: {name: wbe}, triggers: [{type: aws-sqs-queue, metadata: {queueURL: q, queueLength: many, awsRegion: r}}, {type: cron, metadata: {timezone: Mars/Base, start: 0 7 * * *, end: 0 7 * * *, desiredReplicas: \"0\"}}]}",
        ));
        let all = found.join("\n");
        for expected in ["\"wbe\"", "queueLength", "many", "Mars/Base", "desiredReplicas"] {
            assert!(all.contains(expected), "{expected} is missing in\n{all}");
        }
    }
}
