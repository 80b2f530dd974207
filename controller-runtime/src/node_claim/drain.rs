//! Which pods of a node go next: tiers, one after the other, and force when the time is up.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::cluster::pod;

/// What a drain is to do now.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Drain {
    /// Through the eviction API: the pods of the first tier that is not empty yet.
    pub(super) evict: Vec<Arc<Pod>>,
    /// By deletion, with this many seconds of grace, because the grace period of the claim ends.
    pub(super) delete: Vec<(Arc<Pod>, u32)>,
    /// How many pods the drain waits for, these among them.
    pub(super) waiting: usize,
    /// When a pod has to be deleted by force, if none has yet.
    pub(super) next: Option<Timestamp>,
}

impl Drain {
    /// Whether nothing is left to wait for.
    pub(super) fn is_done(&self) -> bool {
        self.waiting == 0
    }
}

/// The tier of a pod: everything of a tier is gone before the next one is touched.
fn tier(pod: &Pod) -> u8 {
    match (pod::is_critical(pod), pod::is_daemon(pod)) {
        (false, false) => 0,
        (false, true) => 1,
        (true, false) => 2,
        (true, true) => 3,
    }
}

fn grace(pod: &Pod) -> i64 {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.termination_grace_period_seconds)
        .unwrap_or(30)
}

/// Decides about the pods of a node. `terminate_at` is when the machine goes whatever is on it.
pub(super) fn drain(pods: &[Arc<Pod>], terminate_at: Option<Timestamp>, now: Timestamp) -> Drain {
    let waiting: Vec<_> = pods.iter().filter(|pod| pod::holds_up_drain(pod, now)).collect();
    let first = waiting.iter().map(|pod| tier(pod)).min();
    let evictable = |pod: &Arc<Pod>| Some(tier(pod)) == first && pod::is_evictable(pod, now);
    let mut drain = Drain {
        waiting: waiting.len(),
        ..Drain::default()
    };
    let deadline = |pod: &Pod| {
        terminate_at.and_then(|end| end.checked_sub(jiff::SignedDuration::from_secs(grace(pod))).ok())
    };
    for pod in waiting {
        match deadline(pod) {
            // A pod that is going already is hurried only if it would outlive the machine.
            Some(deadline) if now >= deadline => {
                if let Some(seconds) = forced_grace(pod, terminate_at, now) {
                    drain.delete.push((Arc::clone(pod), seconds));
                }
            }
            deadline => {
                if !pod::is_terminating(pod) {
                    drain.next = [drain.next, deadline].into_iter().flatten().min();
                }
                if evictable(pod) {
                    drain.evict.push(Arc::clone(pod));
                }
            }
        }
    }
    drain
}

/// The grace that is left for a pod, at least a second; none if it is going in time.
fn forced_grace(pod: &Pod, terminate_at: Option<Timestamp>, now: Timestamp) -> Option<u32> {
    let end = terminate_at?;
    let going_at = pod.metadata.deletion_timestamp.as_ref().map(|time| time.0);
    if going_at.is_some_and(|at| at <= end.max(now)) {
        return None;
    }
    let left = end.duration_since(now).as_secs().max(1);
    Some(u32::try_from(left).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, extra: &serde_json::Value) -> Arc<Pod> {
        let mut pod = json!({
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"containers": [], "nodeName": "n"},
            "status": {"phase": "Running"},
        });
        for (section, values) in extra.as_object().unwrap() {
            for (key, value) in values.as_object().unwrap() {
                pod[section][key] = value.clone();
            }
        }
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn at(text: &str) -> Timestamp {
        format!("2026-01-01T{text}Z").parse().unwrap()
    }

    fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
        pods.iter()
            .filter_map(|pod| pod.metadata.name.as_deref())
            .collect()
    }

    fn daemon() -> serde_json::Value {
        json!([{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u"}])
    }

    #[test]
    fn tiers_go_one_after_the_other() {
        let mut pods = vec![
            pod(
                "critical-daemon",
                &json!({"metadata": {"ownerReferences": daemon()}, "spec": {"priorityClassName": "system-node-critical"}}),
            ),
            pod(
                "critical",
                &json!({"spec": {"priorityClassName": "system-cluster-critical"}}),
            ),
            pod("daemon", &json!({"metadata": {"ownerReferences": daemon()}})),
            pod("plain", &json!({})),
        ];
        for expected in ["plain", "daemon", "critical", "critical-daemon"] {
            let decided = drain(&pods, None, at("12:00:00"));
            assert_eq!(names(&decided.evict), [expected]);
            assert_eq!(decided.waiting, pods.len());
            pods.pop();
        }
        assert!(drain(&pods, None, at("12:00:00")).is_done());
    }

    #[test]
    fn a_pod_that_is_going_holds_up_the_next_tier() {
        let pods = [
            pod("daemon", &json!({"metadata": {"ownerReferences": daemon()}})),
            pod(
                "plain",
                &json!({"metadata": {"deletionTimestamp": "2026-01-01T12:00:20Z"}}),
            ),
        ];
        let decided = drain(&pods, None, at("12:00:00"));
        assert!(decided.evict.is_empty());
        assert_eq!(decided.waiting, 2);
    }

    #[test]
    fn a_protected_pod_blocks_until_the_grace_period_forces_it() {
        let protected = json!({
            "metadata": {"annotations": {"karpenter.sh/do-not-disrupt": "true"}},
            "spec": {"terminationGracePeriodSeconds": 60},
        });
        let pods = [pod("protected", &protected)];
        let end = Some(at("12:10:00"));
        let early = drain(&pods, end, at("12:00:00"));
        assert!(early.evict.is_empty() && early.delete.is_empty());
        assert_eq!((early.waiting, early.next), (1, Some(at("12:09:00"))));
        let due = drain(&pods, end, at("12:09:00"));
        assert_eq!(due.delete, vec![(pods[0].clone(), 60)]);
        assert_eq!(
            drain(&pods, end, at("12:10:30")).delete,
            vec![(pods[0].clone(), 1)]
        );
        assert!(drain(&pods, None, at("12:10:30")).delete.is_empty());
    }

    #[test]
    fn force_ignores_tiers() {
        let pods = [
            pod("plain", &json!({})),
            pod(
                "critical",
                &json!({"spec": {"priorityClassName": "system-cluster-critical"}}),
            ),
        ];
        assert_eq!(drain(&pods, Some(at("12:00:10")), at("12:00:00")).delete.len(), 2);
    }
}
