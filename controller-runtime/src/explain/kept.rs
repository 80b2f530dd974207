//! What is kept of an object for whoever asks why.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{explanation::Check, observed::Observed};
use crate::scaled_object::hpa::Autoscaler;

/// What is kept of an object between two questions; next to nothing while it is at rest.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The last check.
    pub(crate) check: Option<Box<Check>>,
    /// Since when triggers fail, by their place.
    pub(super) failing_since: BTreeMap<usize, Timestamp>,
    /// What was watched of the HPA.
    pub(super) autoscaler: Option<Box<Observed>>,
}

impl Kept {
    /// Keeps the last check.
    pub(crate) fn keep_check(&mut self, check: Check) {
        match &mut self.check {
            Some(known) => **known = check,
            None => self.check = Some(Box::new(check)),
        }
    }

    /// Notes whether a trigger works.
    pub(crate) fn note(&mut self, trigger: usize, works: bool, at: Timestamp) {
        if works {
            self.failing_since.remove(&trigger);
        } else {
            self.failing_since.entry(trigger).or_insert(at);
        }
    }

    /// Notes what an HPA says of itself; `total` knows external metrics in thousandths.
    pub(crate) fn watch(&mut self, hpa: &Autoscaler, total: impl Fn(&str) -> Option<i64>, now: Timestamp) {
        Observed::see(&mut self.autoscaler, hpa, total, now);
    }
}
