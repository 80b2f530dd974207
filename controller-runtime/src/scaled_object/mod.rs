//! ScaledObjects: from events to replicas.

pub mod decision;
pub mod fallback;
pub mod hpa;
pub mod samples;
pub mod status;
#[cfg(test)]
pub(crate) mod testing;
