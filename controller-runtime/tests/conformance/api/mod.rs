//! The API machinery.

mod create;

use crate::harness::Topic;

pub(crate) const TOPICS: &[Topic] = &[("api::create", create::CASES)];
