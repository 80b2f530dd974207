//! What a Job's policies say of a failed pod, and of the indexes that succeeded.

use std::collections::BTreeSet;

use k8s_openapi::api::{
    batch::v1::{
        Job, JobSpec, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyOnPodConditionsPattern,
    },
    core::v1::{ContainerStatus, Pod},
};
use kube::ResourceExt as _;

use super::indexes;

/// What follows from a pod's failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It counts.
    Count,
    /// It does not count.
    Ignore,
    /// The pod's index has failed.
    FailIndex,
    /// The whole Job has, for this reason.
    FailJob(String),
}

/// The first rule that fits decides.
pub(super) fn verdict(job: &Job, pod: &Pod) -> Verdict {
    let policy = job
        .spec
        .as_ref()
        .and_then(|spec| spec.pod_failure_policy.as_ref());
    for (number, rule) in policy.iter().flat_map(|policy| &policy.rules).enumerate() {
        let at = format!("matching {} rule at index {number}", rule.action);
        let pod_name = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
        let why = if let Some(codes) = &rule.on_exit_codes {
            exited(pod, codes).map(|(container, code)| {
                format!("Container {container} for pod {pod_name} failed with exit code {code} {at}")
            })
        } else {
            let patterns = rule.on_pod_conditions.iter().flatten();
            patterns
                .clone()
                .find(|pattern| has_condition(pod, pattern))
                .map(|pattern| format!("Pod {pod_name} has condition {} {at}", pattern.type_))
        };
        let Some(why) = why else { continue };
        return match rule.action.as_str() {
            "Ignore" => Verdict::Ignore,
            "FailIndex" => Verdict::FailIndex,
            "FailJob" => Verdict::FailJob(why),
            _ => Verdict::Count,
        };
    }
    Verdict::Count
}

/// The container that ended as the rule says.
fn exited(pod: &Pod, rule: &PodFailurePolicyOnExitCodesRequirement) -> Option<(String, i32)> {
    let status = pod.status.as_ref()?;
    let lists = [&status.container_statuses, &status.init_container_statuses];
    let ended = |container: &ContainerStatus| {
        let code = container.state.as_ref()?.terminated.as_ref()?.exit_code;
        let named = rule
            .container_name
            .as_ref()
            .is_none_or(|name| *name == container.name);
        let listed = rule.values.contains(&code);
        let fits = if rule.operator == "NotIn" { !listed } else { listed };
        (named && code != 0 && fits).then(|| (container.name.clone(), code))
    };
    lists.into_iter().flatten().flatten().find_map(ended)
}

fn has_condition(pod: &Pod, pattern: &PodFailurePolicyOnPodConditionsPattern) -> bool {
    let status = pattern.status.as_deref().unwrap_or("True");
    crate::sim::controllers::pods::condition(pod, &pattern.type_)
        .is_some_and(|condition| condition.status == status)
}

/// Why so many indexes are a success, if they are.
pub(super) fn success(spec: &JobSpec, completed: &BTreeSet<i32>) -> Option<String> {
    let rules = &spec.success_policy.as_ref()?.rules;
    let number = rules.iter().position(|rule| {
        let wanted = rule.succeeded_indexes.as_deref().map(indexes::parse);
        let found = match &wanted {
            Some(wanted) => wanted.intersection(completed).count(),
            None => completed.len(),
        };
        let needed = match (rule.succeeded_count, &wanted) {
            (Some(count), _) => usize::try_from(count).unwrap_or_default(),
            (None, Some(wanted)) => wanted.len(),
            (None, None) => return false,
        };
        found >= needed
    })?;
    Some(format!("Matched rules at index {number}"))
}
