//! What a pod means to nodes: whether it asks for one, whether it must move, whether it may be evicted.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition, Toleration};
use kube::ResourceExt as _;
use provisioner::{
    karpenter::{labels, parse_go_duration},
    taints,
};

/// How long after its deadline a pod counts as stuck and holds up nothing.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// Whether it ran to its end.
#[must_use]
pub fn is_terminal(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether it is being deleted.
#[must_use]
pub fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether it runs or will run.
#[must_use]
pub fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && !is_terminating(pod)
}

fn is_owned_by(pod: &Pod, group: &str, kind: &str) -> bool {
    pod.owner_references().iter().any(|owner| {
        let owner_group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        owner.kind == kind && owner_group == group
    })
}

/// Whether a DaemonSet placed it.
#[must_use]
pub fn is_daemon(pod: &Pod) -> bool {
    is_owned_by(pod, "apps", "DaemonSet")
}

/// Whether it is the kubelet's own (a static pod's mirror).
#[must_use]
pub fn is_mirror(pod: &Pod) -> bool {
    is_owned_by(pod, "", "Node")
}

/// The node that it is bound to.
#[must_use]
pub fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec
        .as_ref()?
        .node_name
        .as_deref()
        .filter(|name| !name.is_empty())
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status
        .as_ref()?
        .conditions
        .as_ref()?
        .iter()
        .find(|condition| condition.type_ == kind)
}

/// Whether the scheduler has found no node for it: only such pods are bought nodes for.
#[must_use]
pub fn is_provisionable(pod: &Pod) -> bool {
    let preempting = pod
        .status
        .as_ref()
        .and_then(|status| status.nominated_node_name.as_deref());
    condition(pod, "PodScheduled")
        .is_some_and(|scheduled| scheduled.reason.as_deref() == Some("Unschedulable"))
        && node_name(pod).is_none()
        && preempting.is_none_or(str::is_empty)
        && is_active(pod)
        && !is_daemon(pod)
        && !is_mirror(pod)
}

/// Whether it needs another place when its node goes.
#[must_use]
pub fn is_reschedulable(pod: &Pod) -> bool {
    let comes_back = is_active(pod) || (is_terminating(pod) && is_owned_by(pod, "apps", "StatefulSet"));
    comes_back && !is_daemon(pod) && !is_mirror(pod)
}

fn tolerations(pod: &Pod) -> &[Toleration] {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.tolerations.as_deref())
        .unwrap_or_default()
}

/// Whether it stays on nodes that are being drained.
#[must_use]
pub fn tolerates_disruption(pod: &Pod) -> bool {
    let disrupted = labels::disrupted_taint();
    tolerations(pod)
        .iter()
        .any(|toleration| taints::tolerates(toleration, &disrupted))
}

fn is_stuck(pod: &Pod, now: Timestamp) -> bool {
    // The deletion timestamp of a pod is when its grace ends.
    let deadline = pod.metadata.deletion_timestamp.as_ref();
    deadline.is_some_and(|deadline| deadline.0.saturating_add(STUCK_AFTER).is_ok_and(|end| now > end))
}

/// Whether a drain waits for it to go.
#[must_use]
pub fn holds_up_drain(pod: &Pod, now: Timestamp) -> bool {
    !is_terminal(pod) && !is_mirror(pod) && !tolerates_disruption(pod) && !is_stuck(pod, now)
}

/// Whether a drain evicts it.
#[must_use]
pub fn is_evictable(pod: &Pod, now: Timestamp) -> bool {
    is_active(pod) && !is_mirror(pod) && !tolerates_disruption(pod) && !is_protected(pod, now)
}

/// Whether `karpenter.sh/do-not-disrupt` protects it now: `"true"`, or a duration since its start that has not passed.
#[must_use]
pub fn is_protected(pod: &Pod, now: Timestamp) -> bool {
    let Some(value) = pod.annotations().get(labels::DO_NOT_DISRUPT) else {
        return false;
    };
    if value == "true" {
        return true;
    }
    let Some(duration) = parse_go_duration(value).filter(|duration| !duration.is_zero()) else {
        return false;
    };
    let start = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    let Some(start) = start else { return true };
    start.0.saturating_add(duration).is_ok_and(|end| now < end)
}

/// Whether the system cannot do without it.
#[must_use]
pub fn is_critical(pod: &Pod) -> bool {
    let class = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.priority_class_name.as_deref());
    matches!(class, Some("system-cluster-critical" | "system-node-critical"))
}

/// Whether a change from `old` to `new` can matter to where pods may run.
#[must_use]
pub fn changes_placement(old: &Pod, new: &Pod) -> bool {
    old.metadata.uid != new.metadata.uid
        || node_name(old) != node_name(new)
        || is_terminal(old) != is_terminal(new)
        || is_terminating(old) != is_terminating(new)
        || is_provisionable(old) != is_provisionable(new)
        || old.metadata.labels != new.metadata.labels
        || old.metadata.annotations != new.metadata.annotations
        || old.spec != new.spec
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(extra: &Value) -> Pod {
        let mut pod = json!({
            "metadata": {"name": "p", "namespace": "default"},
            "spec": {"containers": []},
            "status": {"phase": "Pending"},
        });
        json_merge(&mut pod, extra);
        serde_json::from_value(pod).unwrap()
    }

    fn json_merge(target: &mut Value, patch: &Value) {
        match (target, patch) {
            (Value::Object(target), Value::Object(patch)) => {
                for (key, value) in patch {
                    json_merge(target.entry(key).or_insert(Value::Null), value);
                }
            }
            (target, patch) => *target = patch.clone(),
        }
    }

    fn now() -> Timestamp {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_pod_asks_for_a_node_once_the_scheduler_gave_up_on_it() {
        let unschedulable =
            json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]});
        let owner =
            |version: &str, kind: &str| json!({"apiVersion": version, "kind": kind, "name": "o", "uid": "u"});
        let cases = [
            (json!({"status": unschedulable}), true),
            (json!({}), false),
            (
                json!({"status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}}),
                false,
            ),
            (json!({"status": unschedulable, "spec": {"nodeName": "n"}}), false),
            (
                json!({"status": unschedulable, "metadata": {"deletionTimestamp": "2026-01-01T11:00:00Z"}}),
                false,
            ),
            (
                json!({"status": unschedulable, "metadata": {"ownerReferences": [owner("apps/v1", "DaemonSet")]}}),
                false,
            ),
            (
                json!({"status": unschedulable, "metadata": {"ownerReferences": [owner("v1", "Node")]}}),
                false,
            ),
            (
                json!({"status": unschedulable, "metadata": {"ownerReferences": [owner("apps/v1", "ReplicaSet")]}}),
                true,
            ),
        ];
        for (extra, expected) in cases {
            assert_eq!(is_provisionable(&pod(&extra)), expected, "{extra}");
        }
        let mut preempting = pod(&json!({"status": unschedulable}));
        preempting.status.as_mut().unwrap().nominated_node_name = Some("n".to_owned());
        assert!(!is_provisionable(&preempting));
    }

    #[test]
    fn do_not_disrupt_is_a_word_or_a_duration_since_the_start() {
        let with = |value: &str| {
            pod(&json!({
                "metadata": {"annotations": {"karpenter.sh/do-not-disrupt": value}},
                "status": {"startTime": "2026-01-01T11:30:00Z"},
            }))
        };
        for (value, expected) in [
            ("true", true),
            ("1h", true),
            ("30m", false),
            ("10m", false),
            ("false", false),
            ("-1h", false),
            ("soon", false),
        ] {
            assert_eq!(is_protected(&with(value), now()), expected, "{value}");
        }
        assert!(!is_protected(&pod(&json!({})), now()));
    }

    #[test]
    fn a_drain_waits_for_pods_that_can_still_go() {
        let cases = [
            (json!({}), true),
            (json!({"status": {"phase": "Succeeded"}}), false),
            (
                json!({"metadata": {"deletionTimestamp": "2026-01-01T11:59:30Z"}}),
                true,
            ),
            (
                json!({"metadata": {"deletionTimestamp": "2026-01-01T11:58:00Z"}}),
                false,
            ),
            (json!({"spec": {"tolerations": [{"operator": "Exists"}]}}), false),
            (
                json!({"spec": {"tolerations": [{"key": "karpenter.sh/disrupted", "operator": "Exists"}]}}),
                false,
            ),
            (
                json!({"spec": {"tolerations": [{"key": "other", "operator": "Exists"}]}}),
                true,
            ),
        ];
        for (extra, expected) in cases {
            assert_eq!(holds_up_drain(&pod(&extra), now()), expected, "{extra}");
        }
    }
}
