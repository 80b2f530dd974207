//! The API machinery.

mod create;
mod objects;
mod paging;
mod read;
mod update;

use crate::harness::Topic;

pub(crate) const TOPICS: &[Topic] = &[
    ("api::create", create::CASES),
    ("api::read", read::CASES),
    ("api::paging", paging::CASES),
    ("api::update", update::CASES),
];
