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
    /// Triggers that fail, by their place.
    pub(super) failing: BTreeMap<usize, Failing>,
    /// What was watched of the HPA.
    pub(super) autoscaler: Option<Box<Observed>>,
}

/// A trigger that fails.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failing {
    pub(super) since: Timestamp,
    /// How many samples did, in a row.
    pub(super) samples: i32,
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
            self.failing.remove(&trigger);
        } else {
            let failing = self.failing.entry(trigger).or_insert(Failing {
                since: at,
                samples: 0,
            });
            failing.samples = failing.samples.saturating_add(1);
        }
    }

    /// Notes what an HPA says of itself; `total` knows external metrics in thousandths.
    pub(crate) fn watch(&mut self, hpa: &Autoscaler, total: impl Fn(&str) -> Option<i64>, now: Timestamp) {
        Observed::see(&mut self.autoscaler, hpa, total, now);
    }
}
