//! What a ReplicaSet needs, and what it reports.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus},
    core::v1::Pod,
};
use kube::ResourceExt as _;

use super::scale_in;
use crate::sim::controllers::{children::Failure, meta::time, pods};

/// At most this many pods are created or deleted at once.
const BURST: usize = 500;

/// What is to be done about the number of pods.
#[derive(Debug, PartialEq)]
pub(crate) enum Plan {
    /// It is as it should be.
    Keep,
    /// Create this many.
    Create(usize),
    /// Delete these.
    Delete(Vec<Arc<Pod>>),
}

/// Compares the active pods with what is wanted.
pub(crate) fn plan(set: &ReplicaSet, active: Vec<Arc<Pod>>, related: &[Arc<Pod>], now: Timestamp) -> Plan {
    let wanted = wanted(set);
    if active.len() < wanted {
        Plan::Create((wanted - active.len()).min(BURST))
    } else if active.len() > wanted {
        let excess = (active.len() - wanted).min(BURST);
        Plan::Delete(scale_in::first_to_go(active, related, excess, now))
    } else {
        Plan::Keep
    }
}

pub(crate) fn wanted(set: &ReplicaSet) -> usize {
    let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    usize::try_from(replicas).unwrap_or_default()
}

/// The status of a set whose live pods are `pods`, finished ones excepted.
pub(crate) fn status(
    set: &ReplicaSet,
    pods: &[Arc<Pod>],
    failure: Option<&Failure>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let spec = set.spec.clone().unwrap_or_default();
    let template_labels = spec
        .template
        .and_then(|template| template.metadata)
        .and_then(|meta| meta.labels);
    let min_ready = spec.min_ready_seconds.unwrap_or_default();
    let count = |counts: &dyn Fn(&Pod) -> bool| {
        let number = pods
            .iter()
            .filter(|pod| pods::is_active(pod) && counts(pod))
            .count();
        i32::try_from(number).unwrap_or(i32::MAX)
    };
    let labelled = |pod: &Pod| {
        template_labels
            .iter()
            .flatten()
            .all(|(key, value)| pod.labels().get(key) == Some(value))
    };
    let terminating = pods
        .iter()
        .filter(|pod| pods::is_terminating(pod) && !pods::is_finished(pod))
        .count();
    let some = |number: i32| (number > 0).then_some(number);
    let old = set.status.clone().unwrap_or_default();
    ReplicaSetStatus {
        replicas: count(&|_| true),
        fully_labeled_replicas: some(count(&labelled)),
        ready_replicas: some(count(&pods::is_ready)),
        available_replicas: some(count(&|pod| pods::is_available(pod, min_ready, now))),
        terminating_replicas: Some(i32::try_from(terminating).unwrap_or(i32::MAX)),
        observed_generation: set.metadata.generation,
        conditions: conditions(old.conditions.unwrap_or_default(), failure, now),
    }
}

fn conditions(
    mut conditions: Vec<ReplicaSetCondition>,
    failure: Option<&Failure>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    const TYPE: &str = "ReplicaFailure";
    match failure {
        None => conditions.retain(|condition| condition.type_ != TYPE),
        Some(_) if conditions.iter().any(|condition| condition.type_ == TYPE) => {}
        Some(failure) => conditions.push(ReplicaSetCondition {
            type_: TYPE.to_owned(),
            status: "True".to_owned(),
            reason: Some(failure.reason.to_owned()),
            message: Some(failure.message.clone()),
            last_transition_time: Some(time(now)),
        }),
    }
    (!conditions.is_empty()).then_some(conditions)
}
