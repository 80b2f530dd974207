//! Controllers, scheduler, nodes.

mod disruption;
mod events;
mod hpa;
mod nodes;
mod preemption;
mod scene;
mod scheduler;
mod taints;

use crate::harness::Topic;

pub(crate) const TOPICS: &[Topic] = &[
    ("controllers::nodes", nodes::CASES),
    ("controllers::scheduler", scheduler::CASES),
    ("controllers::preemption", preemption::CASES),
    ("controllers::disruption", disruption::CASES),
    ("controllers::taints", taints::CASES),
    ("controllers::events", events::CASES),
    ("controllers::hpa::metrics", hpa::metrics::CASES),
    ("controllers::hpa::failures", hpa::failures::CASES),
    ("controllers::hpa::targets", hpa::targets::CASES),
];
