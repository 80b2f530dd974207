//! Patches that need more than RFC 6902 and RFC 7386.

pub(crate) mod apply;
pub(crate) mod fields;
pub(crate) mod schema;
pub(crate) mod strategic;
