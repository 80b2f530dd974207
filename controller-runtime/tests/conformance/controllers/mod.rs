//! Controllers, scheduler, nodes.

mod nodes;
mod scene;
mod scheduler;

use crate::harness::Topic;

pub(crate) const TOPICS: &[Topic] = &[
    ("controllers::nodes", nodes::CASES),
    ("controllers::scheduler", scheduler::CASES),
];
