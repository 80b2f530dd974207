//! Controllers, scheduler, nodes.

mod affinity;
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
    ("controllers::affinity", affinity::CASES),
    ("controllers::preemption", preemption::CASES),
    ("controllers::disruption::budgets", disruption::budgets::CASES),
    ("controllers::disruption::evictions", disruption::evictions::CASES),
    ("controllers::taints", taints::CASES),
    ("controllers::events", events::CASES),
    ("controllers::hpa::metrics", hpa::metrics::CASES),
    ("controllers::hpa::failures", hpa::failures::CASES),
    ("controllers::hpa::targets", hpa::targets::CASES),
];
