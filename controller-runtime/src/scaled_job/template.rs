//! The Job that a ScaledJob makes.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::batch::v1::Job;
use kube::{Resource as _, ResourceExt as _, core::ObjectMeta};
use scaler_api::keda::{
    JOB_EXCLUDED_LABELS_ANNOTATION, MANAGED_BY, SCALED_JOB_GENERATION_ANNOTATION, SCALED_JOB_NAME_LABEL,
    ScaledJob,
};

/// The Job that `object` makes; the API server completes its name.
#[must_use]
pub fn job(object: &ScaledJob, keda_version: &str) -> Job {
    let name = object.name_any();
    let mut spec = object.spec.job_target_ref.clone();
    spec.template
        .metadata
        .get_or_insert_default()
        .labels
        .get_or_insert_default()
        .insert(SCALED_JOB_NAME_LABEL.to_owned(), name.clone());
    if let Some(pod) = &mut spec.template.spec {
        let policy = pod.restart_policy.take().filter(|policy| !policy.is_empty());
        pod.restart_policy = Some(policy.unwrap_or_else(|| "OnFailure".to_owned()));
    }
    let mut annotations = object.annotations().clone();
    let generation = object.metadata.generation.unwrap_or(0).to_string();
    annotations.insert(SCALED_JOB_GENERATION_ANNOTATION.to_owned(), generation);
    let metadata = ObjectMeta {
        generate_name: Some(format!("{name}-")),
        namespace: object.namespace(),
        labels: Some(labels(object, keda_version)),
        annotations: Some(annotations),
        owner_references: object.controller_owner_ref(&()).map(|mut owner| {
            owner.block_owner_deletion = Some(true);
            vec![owner]
        }),
        ..ObjectMeta::default()
    };
    Job {
        metadata,
        spec: Some(spec),
        status: None,
    }
}

fn labels(object: &ScaledJob, keda_version: &str) -> BTreeMap<String, String> {
    let name = object.name_any();
    let excluded: BTreeSet<&str> = object
        .annotations()
        .get(JOB_EXCLUDED_LABELS_ANNOTATION)
        .into_iter()
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .collect();
    let own = [
        ("app.kubernetes.io/name", name.as_str()),
        ("app.kubernetes.io/version", keda_version),
        ("app.kubernetes.io/part-of", name.as_str()),
        ("app.kubernetes.io/managed-by", MANAGED_BY),
    ];
    let inherited = object
        .labels()
        .iter()
        .filter(|(key, _)| !excluded.contains(key.as_str()))
        .map(|(key, value)| (key.as_str(), value.as_str()));
    own.into_iter()
        .chain(inherited)
        // Whoever inherits another name's label would make Jobs that nobody counts.
        .chain([(SCALED_JOB_NAME_LABEL, name.as_str())])
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    //! keda.md §3.7: Jobs.
    use serde_json::{Value, json};

    use super::*;

    fn made(metadata: &Value, template: &Value) -> Value {
        let mut object = json!({
            "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob",
            "metadata": {"name": "work", "namespace": "shop", "uid": "u", "generation": 3},
            "spec": {"jobTargetRef": {"parallelism": 2, "template": template}, "triggers": []},
        });
        for (field, value) in metadata.as_object().unwrap() {
            object["metadata"][field] = value.clone();
        }
        let object: ScaledJob = serde_json::from_value(object).unwrap();
        serde_json::to_value(job(&object, "2.20.2")).unwrap()
    }

    #[test]
    fn a_job_says_where_it_comes_from() {
        let job = made(
            &json!({"labels": {"team": "a", "secret": "b"}, "annotations": {"note": "x"}}),
            &json!({"metadata": {"labels": {"app": "w"}}, "spec": {"containers": []}}),
        );
        assert_eq!(job["metadata"]["name"], Value::Null);
        assert_eq!(job["metadata"]["generateName"], "work-");
        assert_eq!(job["metadata"]["namespace"], "shop");
        assert_eq!(
            job["metadata"]["labels"],
            json!({
                "app.kubernetes.io/name": "work", "app.kubernetes.io/version": "2.20.2",
                "app.kubernetes.io/part-of": "work", "app.kubernetes.io/managed-by": "keda-operator",
                "scaledjob.keda.sh/name": "work", "team": "a", "secret": "b",
            })
        );
        assert_eq!(
            job["metadata"]["annotations"],
            json!({"note": "x", "scaledjob.keda.sh/generation": "3"})
        );
        assert_eq!(
            job["metadata"]["ownerReferences"],
            json!([{
                "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob", "name": "work", "uid": "u",
                "controller": true, "blockOwnerDeletion": true,
            }])
        );
        assert_eq!(job["spec"]["parallelism"], 2);
        assert_eq!(
            job["spec"]["template"]["metadata"]["labels"],
            json!({"app": "w", "scaledjob.keda.sh/name": "work"})
        );
        assert_eq!(job["spec"]["template"]["spec"]["restartPolicy"], "OnFailure");
    }

    #[test]
    fn a_restart_policy_stays() {
        for (given, expected) in [("Never", "Never"), ("", "OnFailure")] {
            let job = made(
                &json!({}),
                &json!({"spec": {"containers": [], "restartPolicy": given}}),
            );
            assert_eq!(job["spec"]["template"]["spec"]["restartPolicy"], expected);
        }
    }

    #[test]
    fn excluded_labels_are_not_inherited_and_its_own_is_never_overridden() {
        let job = made(
            &json!({
                "labels": {
                    "team": "a", "secret": "b", "other": "c",
                    "scaledjob.keda.sh/name": "mine", "app.kubernetes.io/part-of": "shop",
                },
                "annotations": {"scaledjob.keda.sh/job-excluded-labels": "secret, other"},
            }),
            &json!({"spec": {"containers": []}}),
        );
        let labels = &job["metadata"]["labels"];
        assert_eq!(
            (&labels["team"], &labels["secret"], &labels["other"]),
            (&json!("a"), &Value::Null, &Value::Null)
        );
        assert_eq!(labels["scaledjob.keda.sh/name"], "work");
        assert_eq!(labels["app.kubernetes.io/part-of"], "shop");
    }
}
