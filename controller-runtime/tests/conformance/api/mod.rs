//! The API machinery.

mod apply;
mod create;
mod custom;
mod defaults;
mod delete;
mod documents;
mod kinds;
mod objects;
mod owners;
mod paging;
mod patch;
mod read;
mod subresources;
mod tables;
mod update;
mod watch;

use crate::harness::Topic;

pub(crate) const TOPICS: &[Topic] = &[
    ("api::create", create::CASES),
    ("api::read", read::CASES),
    ("api::paging", paging::CASES),
    ("api::update", update::CASES),
    ("api::delete", delete::CASES),
    ("api::watch", watch::CASES),
    ("api::patch", patch::CASES),
    ("api::apply", apply::CASES),
    ("api::owners", owners::CASES),
    ("api::defaults", defaults::CASES),
    ("api::kinds", kinds::CASES),
    ("api::custom::definitions", custom::definitions::CASES),
    ("api::custom::schemas", custom::schemas::CASES),
    ("api::custom::ratcheting", custom::ratcheting::CASES),
    ("api::custom::objects", custom::objects::CASES),
    ("api::documents", documents::CASES),
    ("api::tables", tables::CASES),
    ("api::subresources", subresources::CASES),
];
