//! What it costs to move pods.

use crate::schedule::PodFacts;

/// What it costs to evict a pod: 1, more for a higher deletion cost or priority, from -10 to 10.
#[must_use]
pub fn eviction(pod: &PodFacts) -> f64 {
    let deletion_cost = f64::from(pod.deletion_cost) / f64::from(1 << 27);
    let priority = f64::from(pod.priority) / f64::from(1 << 25);
    (1.0 + deletion_cost + priority).clamp(-10.0, 10.0)
}

/// What it costs to move everything off a node: 1 and what each pod that needs another place costs.
#[must_use]
pub fn reschedule<'a>(pods: impl IntoIterator<Item = &'a PodFacts>) -> f64 {
    1.0 + pods
        .into_iter()
        .filter(|pod| pod.is_reschedulable())
        .map(|pod| eviction(pod).max(0.0))
        .sum::<f64>()
}

/// Whether a node counts as empty: nothing on it costs anything to move.
#[must_use]
pub fn is_empty(cost: f64) -> bool {
    cost <= 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priority_and_deletion_cost_weigh_in() {
        let pod = |priority, deletion_cost| PodFacts {
            priority,
            deletion_cost,
            ..PodFacts::default()
        };
        let cases = [
            (pod(0, 0), 1.0),
            (pod(1 << 25, 0), 2.0),
            (pod(0, -(1 << 27)), 0.0),
            (pod(2_000_000_000, 0), 10.0),
            (pod(i32::MIN, i32::MIN), -10.0),
        ];
        for (pod, cost) in cases {
            assert!(
                (eviction(&pod) - cost).abs() < 1e-9,
                "{} {}",
                pod.priority,
                pod.deletion_cost
            );
        }
    }

    #[test]
    fn pods_that_cost_nothing_leave_a_node_empty() {
        let free = PodFacts {
            deletion_cost: i32::MIN,
            ..PodFacts::default()
        };
        assert!(is_empty(reschedule([&free])));
        assert!(!is_empty(reschedule([&free, &PodFacts::default()])));
        let done = PodFacts {
            is_terminal: true,
            ..PodFacts::default()
        };
        assert!(is_empty(reschedule([&done])));
    }
}
