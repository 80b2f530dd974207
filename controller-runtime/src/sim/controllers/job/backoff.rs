//! After failures a Job waits, ever longer.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use crate::sim::controllers::pods;

/// The first wait in seconds; each failure doubles it.
const FIRST: i64 = 10;
const LAST: i64 = 600;

/// What a Job's controller remembers of its pods' ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Backoff {
    /// Since the last success.
    failures: u32,
    last: Option<Timestamp>,
}

impl Backoff {
    /// With more ends, which were not noted before.
    pub(super) fn after(&self, succeeded: &[Timestamp], failed: &[Timestamp]) -> Self {
        let mut next = self.clone();
        let success = succeeded.iter().max();
        if success.is_some() {
            next = Self::default();
        }
        let later = failed
            .iter()
            .filter(|at| success.is_none_or(|success| *at > success));
        for at in later {
            next.failures += 1;
            next.last = next.last.max(Some(*at));
        }
        next
    }

    /// Until when no pod is made.
    pub(super) fn until(&self) -> Option<Timestamp> {
        Some(self.last? + delay(self.failures))
    }
}

/// The wait after so many failures.
pub(super) fn delay(failures: u32) -> SignedDuration {
    let doublings = failures.saturating_sub(1).min(10);
    SignedDuration::from_secs((FIRST << doublings).min(LAST))
}

/// When a pod came to its end, as well as can be told.
pub(super) fn ended_at(pod: &Pod) -> Timestamp {
    let statuses = pod
        .status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    let ends = statuses.filter_map(|container| {
        let terminated = container.state.as_ref()?.terminated.as_ref()?;
        Some(terminated.finished_at.as_ref()?.0)
    });
    let unready = || {
        pods::condition(pod, "Ready")
            .filter(|ready| ready.status == "False")
            .and_then(|ready| Some(ready.last_transition_time.as_ref()?.0))
    };
    let deleted = || {
        let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or_default();
        let deletion = pod.metadata.deletion_timestamp.as_ref()?.0;
        Some(deletion - SignedDuration::from_secs(grace))
    };
    let created = || pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    ends.max()
        .or_else(unready)
        .or_else(deleted)
        .or_else(created)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_ends_the_wait_and_each_failure_doubles_it() {
        let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        let once = Backoff::default().after(&[], &[at(100)]);
        assert_eq!(once.until(), Some(at(110)));
        let thrice = once.after(&[], &[at(120), at(115)]);
        assert_eq!(thrice.until(), Some(at(160)));
        assert_eq!(thrice.after(&[at(130)], &[at(125)]).until(), None);
        assert_eq!(thrice.after(&[at(130)], &[at(131)]).until(), Some(at(141)));
        assert_eq!(delay(50), SignedDuration::from_secs(600));
    }
}
