//! Controllers, scheduler, nodes.

mod disruption;
mod hpa;
mod nodes;
mod scene;
mod scheduler;

use crate::harness::Topic;

pub(crate) const TOPICS: &[Topic] = &[
    ("controllers::nodes", nodes::CASES),
    ("controllers::scheduler", scheduler::CASES),
    ("controllers::disruption", disruption::CASES),
    ("controllers::hpa::metrics", hpa::metrics::CASES),
    ("controllers::hpa::failures", hpa::failures::CASES),
    ("controllers::hpa::targets", hpa::targets::CASES),
];
