//! Jobs that were to be made and were not: when it is tried again, and what is said about it.
//!
//! Every poll would ask for them anew. What the API server finds invalid stays so until somebody changes the object or
//! the rules, so of that it is asked ever more seldom; a quota may have room a moment later.

use std::time::Duration;

use tokio::time::Instant;

use crate::{queue::Backoff, scaled_object::controller::RETRY};

/// Of Jobs that are found invalid.
const INVALID: Backoff = Backoff {
    first: Duration::from_secs(10),
    last: Duration::from_secs(300),
};

/// The refusals in a row of one object's Jobs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Refusals {
    in_a_row: u32,
    /// The last one, in words.
    problem: String,
    /// When it may be tried again.
    again: Option<Instant>,
}

impl Refusals {
    /// Whether Jobs may be asked for.
    pub(super) fn allow(&self, now: Instant) -> bool {
        self.again.is_none_or(|again| again <= now)
    }

    /// Notes a refusal; whether it is another one than the last.
    pub(super) fn note(&mut self, error: &kube::Error, prefix: &str, now: Instant) -> bool {
        self.in_a_row = self.in_a_row.saturating_add(1);
        let is_invalid = matches!(error, kube::Error::Api(status) if matches!(status.code, 400 | 422));
        let backoff = if is_invalid { INVALID } else { RETRY };
        self.again = Some(now + backoff.after(self.in_a_row));
        let problem = in_words(error, prefix);
        if self.problem == problem {
            return false;
        }
        self.problem = problem;
        true
    }

    /// Some were made: it is tried as soon as at first. What was said is not said again.
    pub(super) fn forgive(&mut self) {
        (self.in_a_row, self.again) = (0, None);
    }

    /// The last refusal in words; empty if there was none.
    pub(super) fn problem(&self) -> &str {
        &self.problem
    }

    /// How it stands, for whoever asks why; none if nothing was refused.
    pub(super) fn standing(&self, now: Instant) -> Option<String> {
        let again = self.again?;
        let wait = again.saturating_duration_since(now).as_secs();
        Some(format!(
            "Jobs were not made {} times in a row, not tried again for {wait} s: {}",
            self.in_a_row, self.problem
        ))
    }
}

/// An error without what differs from one Job to the next: the name that the API server has given to it.
fn in_words(error: &kube::Error, prefix: &str) -> String {
    let kube::Error::Api(status) = error else {
        return error.to_string();
    };
    let message = match status.message.as_str() {
        "" => error.to_string(),
        message => message.to_owned(),
    };
    let name = status.details.as_ref().map(|details| details.name.as_str());
    match name.filter(|name| !name.is_empty() && name.starts_with(prefix)) {
        Some(name) => message.replace(name, &format!("{prefix}*")),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    fn refused(code: u16, name: &str) -> kube::Error {
        let status: Status = serde_json::from_value(json!({
            "status": "Failure", "code": code, "reason": "Invalid",
            "message": format!("Job.batch \"{name}\" is invalid: spec.parallelism"),
            "details": {"name": name},
        }))
        .unwrap();
        kube::Error::Api(Box::new(status))
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_tried_ever_more_seldom_what_is_invalid_most_of_all() {
        for (code, waits) in [
            (422, [10, 20, 40, 80, 160, 300, 300, 300, 300, 300]),
            (400, [10, 20, 40, 80, 160, 300, 300, 300, 300, 300]),
            (403, [0, 0, 0, 0, 1, 3, 6, 12, 25, 30]),
            (503, [0, 0, 0, 0, 1, 3, 6, 12, 25, 30]),
        ] {
            let (mut refusals, now) = (Refusals::default(), Instant::now());
            assert!(refusals.allow(now));
            for wait in waits {
                refusals.note(&refused(code, "work-a"), "work-", now);
                let again = refusals.again.unwrap();
                assert_eq!(again.duration_since(now).as_secs(), wait, "{code}");
                assert!(!refusals.allow(now) && refusals.allow(again), "{code}");
            }
        }
    }

    #[test]
    fn the_name_of_a_job_makes_no_other_problem() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        assert!(refusals.note(&refused(422, "work-a1b2c"), "work-", now));
        assert!(!refusals.note(&refused(422, "work-x7y8z"), "work-", now));
        assert_eq!(
            refusals.problem(),
            "Job.batch \"work-*\" is invalid: spec.parallelism"
        );
        assert_eq!(
            refusals.standing(now).unwrap(),
            "Jobs were not made 2 times in a row, not tried again for 20 s: Job.batch \"work-*\" is invalid: spec.parallelism"
        );
        assert!(refusals.note(&refused(422, "other"), "work-", now));
        assert_eq!(Refusals::default().standing(now), None);
    }
}
