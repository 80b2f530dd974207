//! ScaledObjects: from events to replicas.

pub mod decision;
pub mod fallback;
pub mod hpa;
pub mod status;
