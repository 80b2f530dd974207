//! Controllers, scheduler, nodes.

use crate::harness::Topic;

pub(crate) const TOPICS: &[Topic] = &[];
