//! Which of a StatefulSet's pods comes or goes next, and what the set reports.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetStatus},
    core::v1::{PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume},
};
use kube::ResourceExt as _;

use crate::sim::controllers::{meta::controller_reference, pods};

/// The label that tells the pods of one template from those of another.
pub(super) const HASH_LABEL: &str = "controller-revision-hash";

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Vec<Pod>,
    pub(super) delete: Vec<Arc<Pod>>,
}

/// The template that pods have and the one that they are to have.
#[derive(Clone, Debug)]
pub(super) struct Revisions {
    pub(super) current: Revision,
    pub(super) update: Revision,
}

/// A template and its name.
#[derive(Clone, Debug)]
pub(super) struct Revision {
    pub(super) name: String,
    pub(super) template: PodTemplateSpec,
}

fn spec(set: &StatefulSet) -> StatefulSetSpec {
    set.spec.clone().unwrap_or_default()
}

/// The numbers of the wanted pods.
pub(super) fn wanted(set: &StatefulSet) -> Range<i32> {
    let spec = spec(set);
    let start = spec
        .ordinals
        .and_then(|ordinals| ordinals.start)
        .unwrap_or_default();
    start..start + spec.replicas.unwrap_or(1)
}

/// The lowest number that an update reaches; none if it waits for deletions.
fn partition(set: &StatefulSet) -> Option<i32> {
    let strategy = spec(set).update_strategy.unwrap_or_default();
    if strategy.type_.as_deref() == Some("OnDelete") {
        return None;
    }
    let partition = strategy.rolling_update.and_then(|rolling| rolling.partition);
    Some(wanted(set).start + partition.unwrap_or_default())
}

/// The number at the end of a pod's name.
pub(super) fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    pod.name_any()
        .strip_prefix(&format!("{}-", set.name_any()))?
        .parse()
        .ok()
}

/// A new pod: below the partition of an update it is as it was.
fn pod_for(set: &StatefulSet, revisions: &Revisions, ordinal: i32) -> Pod {
    let revision = if partition(set).is_some_and(|partition| ordinal < partition) {
        &revisions.current
    } else {
        &revisions.update
    };
    let (namespace, name) = (
        set.namespace().unwrap_or_default(),
        format!("{}-{ordinal}", set.name_any()),
    );
    let mut pod = pods::from_template(&revision.template, &namespace, "", controller_reference(set));
    pod.metadata.generate_name = Some(format!("{}-", set.name_any()));
    pod.metadata.name = Some(name.clone());
    let labels = pod.labels_mut();
    labels.insert("statefulset.kubernetes.io/pod-name".to_owned(), name.clone());
    labels.insert("apps.kubernetes.io/pod-index".to_owned(), ordinal.to_string());
    labels.insert(HASH_LABEL.to_owned(), revision.name.clone());
    let pod_spec = pod.spec.get_or_insert_default();
    pod_spec.hostname = Some(name.clone());
    pod_spec.subdomain = spec(set).service_name.filter(|service| !service.is_empty());
    for claim in spec(set).volume_claim_templates.into_iter().flatten() {
        let volumes = pod_spec.volumes.get_or_insert_default();
        volumes.retain(|volume| volume.name != claim.name_any());
        volumes.push(Volume {
            name: claim.name_any(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: format!("{}-{name}", claim.name_any()),
                read_only: None,
            }),
            ..Volume::default()
        });
    }
    pod
}

/// One step towards the wanted pods: with `OrderedReady` one pod at a time, the lowest first, and none while another is
/// not ready.
pub(super) fn plan(set: &StatefulSet, revisions: &Revisions, pods: &[Arc<Pod>], now: Timestamp) -> Plan {
    let spec = spec(set);
    let wanted = wanted(set);
    let ordered = spec.pod_management_policy.as_deref() != Some("Parallel");
    let min_ready = spec.min_ready_seconds.unwrap_or_default();
    let by_ordinal: BTreeMap<i32, &Arc<Pod>> = pods
        .iter()
        .filter_map(|pod| Some((ordinal(set, pod)?, pod)))
        .collect();
    let healthy =
        |pod: &Pod| !pods::is_terminating(pod) && pods::phase(pod) == "Running" && pods::is_ready(pod);
    let mut plan = Plan::default();
    for ordinal in wanted.clone() {
        match by_ordinal.get(&ordinal) {
            None => {
                plan.create.push(pod_for(set, revisions, ordinal));
                if ordered {
                    return plan;
                }
            }
            Some(pod) if pods::is_finished(pod) && !pods::is_terminating(pod) => {
                plan.delete.push(Arc::clone(pod));
                if ordered {
                    return plan;
                }
            }
            Some(pod) if ordered && !(healthy(pod) && pods::is_available(pod, min_ready, now)) => {
                return plan;
            }
            Some(_) => {}
        }
    }
    for (_, pod) in by_ordinal
        .iter()
        .rev()
        .filter(|(ordinal, _)| !wanted.contains(ordinal))
    {
        if !pods::is_terminating(pod) {
            plan.delete.push(Arc::clone(pod));
        }
        if ordered {
            return plan;
        }
    }
    if plan.create.is_empty() && plan.delete.is_empty() {
        plan.delete = outdated(set, revisions, &by_ordinal, &healthy);
    }
    plan
}

/// The highest pod of an older template, once those above it are healthy.
fn outdated(
    set: &StatefulSet,
    revisions: &Revisions,
    pods: &BTreeMap<i32, &Arc<Pod>>,
    healthy: &dyn Fn(&Pod) -> bool,
) -> Vec<Arc<Pod>> {
    let Some(partition) = partition(set) else {
        return Vec::new();
    };
    for (_, pod) in pods.iter().rev().filter(|(ordinal, _)| **ordinal >= partition) {
        if pod.labels().get(HASH_LABEL) != Some(&revisions.update.name) {
            return if pods::is_terminating(pod) {
                Vec::new()
            } else {
                vec![Arc::clone(pod)]
            };
        }
        if !healthy(pod) {
            return Vec::new();
        }
    }
    Vec::new()
}

/// The status.
pub(super) fn status(
    set: &StatefulSet,
    revisions: &Revisions,
    pods: &[Arc<Pod>],
    now: Timestamp,
) -> StatefulSetStatus {
    let old = set.status.clone().unwrap_or_default();
    let min_ready = spec(set).min_ready_seconds.unwrap_or_default();
    let count = |counts: &dyn Fn(&Pod) -> bool| {
        i32::try_from(pods.iter().filter(|pod| counts(pod)).count()).unwrap_or(i32::MAX)
    };
    let of = |name: &str| {
        count(&|pod| {
            !pods::is_terminating(pod) && pod.labels().get(HASH_LABEL).is_some_and(|hash| hash == name)
        })
    };
    let (replicas, updated) = (count(&|_| true), of(&revisions.update.name));
    let ready = count(&|pod| pods::phase(pod) == "Running" && pods::is_ready(pod));
    // The update is over when every pod is of the new template and ready.
    let wanted = spec(set).replicas.unwrap_or(1);
    let over = partition(set).is_some() && [updated, replicas, ready].iter().all(|count| *count == wanted);
    let current = if over {
        &revisions.update
    } else {
        &revisions.current
    };
    let some = |number: i32| (number > 0).then_some(number);
    StatefulSetStatus {
        replicas,
        ready_replicas: some(ready),
        available_replicas: Some(count(&|pod| {
            pods::phase(pod) == "Running" && pods::is_available(pod, min_ready, now)
        })),
        current_replicas: some(of(&current.name)),
        updated_replicas: some(updated),
        current_revision: Some(current.name.clone()),
        update_revision: Some(revisions.update.name.clone()),
        observed_generation: set.metadata.generation,
        collision_count: old.collision_count.or(Some(0)),
        conditions: old.conditions,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn set(replicas: i32, image: &str, more: &Value) -> StatefulSet {
        let mut set = json!({
            "metadata": {"name": "db", "namespace": "default", "uid": "u"},
            "spec": {"replicas": replicas, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
                     "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "main", "image": image}]}}},
        });
        json_patch::merge(&mut set, more);
        serde_json::from_value(set).unwrap()
    }

    fn revisions(set: &StatefulSet) -> Revisions {
        let template = spec(set).template;
        let name = template.spec.as_ref().unwrap().containers[0]
            .image
            .clone()
            .unwrap();
        let update = Revision { name, template };
        Revisions {
            current: update.clone(),
            update,
        }
    }

    fn pod(set: &StatefulSet, ordinal: i32, ready: bool) -> Arc<Pod> {
        let ready = if ready { "True" } else { "False" };
        let mut pod = pod_for(set, &revisions(set), ordinal);
        pod.status = serde_json::from_value(
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}),
        )
        .unwrap();
        Arc::new(pod)
    }

    fn steps(set: &StatefulSet, pods: &[Arc<Pod>]) -> (Vec<String>, Vec<String>) {
        let plan = plan(set, &revisions(set), pods, now());
        (
            plan.create.iter().map(|pod| pod.name_any()).collect(),
            plan.delete.iter().map(|pod| pod.name_any()).collect(),
        )
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn pods_come_in_order_and_go_from_the_top() {
        let three = set(3, "one", &json!({}));
        assert_eq!(steps(&three, &[]), (names(&["db-0"]), vec![]));
        assert_eq!(
            steps(&three, &[pod(&three, 0, false)]),
            (vec![], vec![]),
            "waits for db-0"
        );
        assert_eq!(steps(&three, &[pod(&three, 0, true)]), (names(&["db-1"]), vec![]));
        let one = set(1, "one", &json!({}));
        let all = [pod(&one, 0, true), pod(&one, 1, true), pod(&one, 2, true)];
        assert_eq!(steps(&one, &all), (vec![], names(&["db-2"])));
    }

    #[test]
    fn parallel_pods_come_and_go_at_once() {
        let parallel = json!({"spec": {"podManagementPolicy": "Parallel", "ordinals": {"start": 5}}});
        let three = set(3, "one", &parallel);
        assert_eq!(steps(&three, &[]), (names(&["db-5", "db-6", "db-7"]), vec![]));
        let none = set(0, "one", &parallel);
        assert_eq!(
            steps(&none, &[pod(&none, 5, true), pod(&none, 6, false)]),
            (vec![], names(&["db-6", "db-5"]))
        );
    }

    #[test]
    fn an_update_goes_from_the_top_and_stops_at_the_partition() {
        let (old, new) = (set(3, "one", &json!({})), set(3, "two", &json!({})));
        let all = [pod(&old, 0, true), pod(&old, 1, true), pod(&old, 2, true)];
        assert_eq!(steps(&new, &all), (vec![], names(&["db-2"])));
        let first = [pod(&old, 0, true), pod(&old, 1, true), pod(&new, 2, true)];
        assert_eq!(steps(&new, &first), (vec![], names(&["db-1"])));
        let part = set(
            3,
            "two",
            &json!({"spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}}}),
        );
        assert_eq!(steps(&part, &first), (vec![], vec![]));
        let status = status(&new, &revisions(&new), &first, now());
        assert_eq!(
            (status.updated_replicas, status.ready_replicas),
            (Some(1), Some(3))
        );
    }

    #[test]
    fn a_pod_has_its_identity_and_its_claims() {
        let claims_of =
            json!({"spec": {"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}]}});
        let set = set(1, "one", &claims_of);
        let pod = pod_for(&set, &revisions(&set), 0);
        assert_eq!(pod.labels()["statefulset.kubernetes.io/pod-name"], "db-0");
        assert_eq!(pod.labels()["apps.kubernetes.io/pod-index"], "0");
        let spec = pod.spec.clone().unwrap();
        assert_eq!(
            (spec.hostname.unwrap(), spec.subdomain.unwrap()),
            ("db-0".to_owned(), "db".to_owned())
        );
        assert_eq!(super::super::claims::make(&set, &pod)[0].name_any(), "data-db-0");
        assert_eq!(
            spec.volumes.unwrap()[0]
                .persistent_volume_claim
                .as_ref()
                .unwrap()
                .claim_name,
            "data-db-0"
        );
    }
}
