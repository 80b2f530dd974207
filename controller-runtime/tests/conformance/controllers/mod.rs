//! Controllers, scheduler, nodes.

mod disruption;
mod nodes;
mod scene;
mod scheduler;

use crate::harness::Topic;

pub(crate) const TOPICS: &[Topic] = &[
    ("controllers::nodes", nodes::CASES),
    ("controllers::scheduler", scheduler::CASES),
    ("controllers::disruption", disruption::CASES),
];
