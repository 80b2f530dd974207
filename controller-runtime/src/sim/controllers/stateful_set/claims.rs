//! The volumes that a StatefulSet's pods claim, and whose they are in the end.

use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{PersistentVolumeClaim, Pod},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Resource as _, ResourceExt as _};

use super::decide;
use crate::sim::controllers::meta::controller_reference;

/// The claims of a pod, from the set's templates.
pub(super) fn make(set: &StatefulSet, pod: &Pod) -> Vec<PersistentVolumeClaim> {
    let spec = set.spec.clone().unwrap_or_default();
    let selector = spec.selector.match_labels;
    let named = spec
        .volume_claim_templates
        .unwrap_or_default()
        .into_iter()
        .map(|mut claim| {
            claim.metadata.name = Some(format!("{}-{}", claim.name_any(), pod.name_any()));
            claim.metadata.namespace = set.namespace();
            claim
                .metadata
                .labels
                .get_or_insert_default()
                .extend(selector.clone().unwrap_or_default());
            claim.status = None;
            claim.metadata.owner_references = owners(set, pod, &[]);
            claim
        });
    named.collect()
}

/// The owners that a claim of the pod is to have beside those that are none of the set's business: what owns it takes it
/// along.
pub(super) fn owners(set: &StatefulSet, pod: &Pod, now: &[OwnerReference]) -> Option<Vec<OwnerReference>> {
    let policy = set
        .spec
        .as_ref()
        .and_then(|spec| spec.persistent_volume_claim_retention_policy.clone())
        .unwrap_or_default();
    let deletes = |when: Option<String>| when.as_deref() == Some("Delete");
    let (scaled, deleted) = (deletes(policy.when_scaled), deletes(policy.when_deleted));
    let condemned = decide::ordinal(set, pod).is_some_and(|ordinal| !decide::wanted(set).contains(&ordinal));
    let mut owners: Vec<_> = now
        .iter()
        .filter(|owner| Some(&owner.uid) != set.uid().as_ref() && Some(&owner.uid) != pod.uid().as_ref())
        .cloned()
        .collect();
    if scaled && condemned {
        owners.extend(pod.owner_ref(&()));
    } else if deleted {
        owners.push(controller_reference(set));
    }
    (!owners.is_empty()).then_some(owners)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_claim_belongs_to_what_takes_it_along() {
        for (scaled, deleted, pod, expected) in [
            ("Retain", "Retain", "db-0", vec![]),
            ("Retain", "Retain", "db-1", vec![]),
            ("Retain", "Delete", "db-0", vec!["StatefulSet"]),
            ("Retain", "Delete", "db-1", vec!["StatefulSet"]),
            ("Delete", "Retain", "db-0", vec![]),
            ("Delete", "Retain", "db-1", vec!["Pod"]),
            ("Delete", "Delete", "db-0", vec!["StatefulSet"]),
            ("Delete", "Delete", "db-1", vec!["Pod"]),
        ] {
            let set: StatefulSet = serde_json::from_value(json!({
                "metadata": {"name": "db", "uid": "set"},
                "spec": {"replicas": 1, "selector": {}, "template": {}, "persistentVolumeClaimRetentionPolicy":
                    {"whenScaled": scaled, "whenDeleted": deleted}},
            }))
            .unwrap();
            let pod: Pod = serde_json::from_value(json!({"metadata": {"name": pod, "uid": "pod"}})).unwrap();
            let owners = owners(&set, &pod, &[controller_reference(&set)]).unwrap_or_default();
            let kinds: Vec<_> = owners.iter().map(|owner| owner.kind.as_str()).collect();
            assert_eq!(kinds, expected, "{scaled} {deleted} {}", pod.name_any());
        }
    }
}
