//! The pods that a Job makes.

use k8s_openapi::api::{
    batch::v1::{Job, JobSpec},
    core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod},
};
use kube::ResourceExt as _;

use super::{
    decide::FINALIZER,
    indexes::{FAILURES, INDEX},
};
use crate::sim::controllers::{meta::controller_reference, pods};

/// The next pod of an index that failed before, or of none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) index: Option<i32>,
    pub(super) failures: i32,
}

/// A pod of the Job.
pub(super) fn make(job: &Job, spec: &JobSpec, next: Next) -> Pod {
    let (namespace, name) = (job.namespace().unwrap_or_default(), job.name_any());
    let prefix = next
        .index
        .map_or_else(|| format!("{name}-"), |index| format!("{name}-{index}-"));
    let mut pod = pods::from_template(&spec.template, &namespace, &prefix, controller_reference(job));
    let uid = job.uid().unwrap_or_default();
    let labels = pod.labels_mut();
    for (key, value) in [("controller-uid", &uid), ("job-name", &name)] {
        labels.entry(key.to_owned()).or_insert_with(|| value.clone());
        labels
            .entry(format!("batch.kubernetes.io/{key}"))
            .or_insert_with(|| value.clone());
    }
    pod.finalizers_mut().push(FINALIZER.to_owned());
    let Some(index) = next.index else { return pod };
    pod.labels_mut().insert(INDEX.to_owned(), index.to_string());
    pod.annotations_mut().insert(INDEX.to_owned(), index.to_string());
    if spec.backoff_limit_per_index.is_some() {
        pod.annotations_mut()
            .insert(FAILURES.to_owned(), next.failures.to_string());
    }
    if let Some(pod_spec) = &mut pod.spec {
        pod_spec.hostname = Some(format!("{name}-{index}"));
        let containers = pod_spec.init_containers.iter_mut().flatten();
        containers.chain(&mut pod_spec.containers).for_each(tell_index);
    }
    pod
}

/// The container learns the index, unless its author has set the variable.
fn tell_index(container: &mut Container) {
    const VARIABLE: &str = "JOB_COMPLETION_INDEX";
    let variables = container.env.get_or_insert_default();
    if variables.iter().any(|variable| variable.name == VARIABLE) {
        return;
    }
    variables.push(EnvVar {
        name: VARIABLE.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: format!("metadata.labels['{INDEX}']"),
                api_version: None,
            }),
            ..EnvVarSource::default()
        }),
        value: None,
    });
}
