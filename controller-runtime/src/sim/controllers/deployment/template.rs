//! The ReplicaSet of a Deployment's pod template.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};
use kube::ResourceExt as _;

use crate::sim::controllers::meta::{controller_reference, safe_hash};

/// The label that tells the pods of one template from those of another.
pub(crate) const HASH_LABEL: &str = "pod-template-hash";
/// The number of a template, on the ReplicaSet and on the Deployment.
pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";
/// The numbers that a template had before it was rolled back to.
pub(crate) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// The Deployment's replicas when the ReplicaSet was scaled last.
pub(crate) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
/// The same with the surge.
pub(crate) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";

/// The ReplicaSet whose template is the Deployment's, the oldest if there are several.
pub(crate) fn find_new<'a>(
    deployment: &Deployment,
    sets: impl IntoIterator<Item = &'a ReplicaSet>,
) -> Option<&'a ReplicaSet> {
    let wanted = without_hash(template(deployment));
    sets.into_iter()
        .filter(|set| {
            let template = set
                .spec
                .as_ref()
                .and_then(|spec| spec.template.clone())
                .unwrap_or_default();
            without_hash(template) == wanted
        })
        .min_by_key(|set| (set.metadata.creation_timestamp.clone(), set.name_any()))
}

fn template(deployment: &Deployment) -> PodTemplateSpec {
    deployment
        .spec
        .as_ref()
        .map(|spec| spec.template.clone())
        .unwrap_or_default()
}

fn without_hash(mut template: PodTemplateSpec) -> PodTemplateSpec {
    if let Some(labels) = template.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
        labels.remove(HASH_LABEL);
    }
    template
}

/// A new ReplicaSet of no replicas yet.
pub(crate) fn new_set(deployment: &Deployment, collisions: Option<i32>) -> ReplicaSet {
    let spec = deployment.spec.clone().unwrap_or_default();
    let mut template = spec.template;
    let mut content = serde_json::to_vec(&template).unwrap_or_default();
    content.extend(collisions.iter().flat_map(|count| count.to_le_bytes()));
    let hash = safe_hash(&content);
    let labels = template
        .metadata
        .get_or_insert_default()
        .labels
        .get_or_insert_default();
    labels.insert(HASH_LABEL.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut match_labels = spec.selector.match_labels.unwrap_or_default();
    match_labels.insert(HASH_LABEL.to_owned(), hash.clone());
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.name_any())),
            namespace: deployment.namespace(),
            labels: Some(labels),
            owner_references: Some(vec![controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec.min_ready_seconds,
            selector: LabelSelector {
                match_labels: Some(match_labels),
                ..spec.selector
            },
            template: Some(template),
        }),
        status: None,
    }
}

/// The revision of a set, 0 without one.
pub(crate) fn revision(set: &ReplicaSet) -> i64 {
    set.annotations()
        .get(REVISION)
        .and_then(|revision| revision.parse().ok())
        .unwrap_or_default()
}

/// Copies the Deployment's annotations to its new set and numbers it after the `old` ones.
pub(crate) fn annotate(deployment: &Deployment, set: &mut ReplicaSet, old: &[ReplicaSet]) {
    const OWN: [&str; 6] = [
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        REVISION_HISTORY,
        DESIRED_REPLICAS,
        MAX_REPLICAS,
        "deprecated.deployment.rollback.to",
    ];
    let before = revision(set);
    let number = old.iter().map(revision).max().unwrap_or_default() + 1;
    let annotations = set.annotations_mut();
    for (key, value) in deployment
        .annotations()
        .iter()
        .filter(|(key, _)| !OWN.contains(&key.as_str()))
    {
        annotations.insert(key.clone(), value.clone());
    }
    if before < number {
        annotations.insert(REVISION.to_owned(), number.to_string());
        if before > 0 {
            let history = annotations.entry(REVISION_HISTORY.to_owned()).or_default();
            if !history.is_empty() {
                history.push(',');
            }
            history.push_str(&before.to_string());
        }
    }
}

/// Notes the size of the Deployment on a set that is being scaled.
pub(crate) fn note_size(annotations: &mut BTreeMap<String, String>, desired: i32, surge: i32) {
    annotations.insert(DESIRED_REPLICAS.to_owned(), desired.to_string());
    annotations.insert(MAX_REPLICAS.to_owned(), desired.saturating_add(surge).to_string());
}
