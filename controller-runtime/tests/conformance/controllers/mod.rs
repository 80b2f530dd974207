//! Controllers, scheduler, nodes.

mod nodes;

use crate::harness::Topic;

pub(crate) const TOPICS: &[Topic] = &[("controllers::nodes", nodes::CASES)];
