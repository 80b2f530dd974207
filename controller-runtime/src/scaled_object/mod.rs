//! ScaledObjects: from events to replicas.
//!
//! A ScaledObject says which workload is scaled by which events. The [controller](controller::Controller) wakes the
//! workload and puts it to rest; between one replica and the most, the HPA that it keeps scales by the same events,
//! which it reads through the [external metrics](external_metrics::ScaledObjectMetrics).
//!
//! What is decided is decided by pure functions on values ([`decision`], [`fallback`], [`hpa`], [`status`]); the
//! controller reads, calls one, and writes.

mod autoscaler;
mod check;
pub mod controller;
pub mod decision;
pub mod external_metrics;
pub mod fallback;
pub mod hpa;
pub mod plan;
mod reconcile;
pub mod samples;
mod state;
pub mod status;
pub mod target;
#[cfg(test)]
pub(crate) mod testing;
