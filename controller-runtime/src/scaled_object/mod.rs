//! ScaledObjects: from events to replicas.
//!
//! A ScaledObject says which workload is scaled by which events. The [controller](controller::Controller) wakes the
//! workload and puts it to rest; between one replica and the most, the HPA that it keeps scales by the same events,
//! which it reads through the [external metrics](external_metrics::ScaledObjectMetrics).
//!
//! Every replica resolves the objects and answers for them; only the leader writes, and says why. Whoever becomes the
//! leader takes every object up from what the API says.
//!
//! What is decided is decided by pure functions on values ([`decision`], [`fallback`], [`hpa`], [`status`]); the
//! controller reads, calls one, and writes.

mod autoscaler;
pub(crate) mod check;
pub mod controller;
pub mod decision;
pub mod external_metrics;
pub mod fallback;
mod finalize;
pub mod formula;
pub mod hpa;
pub mod modifiers;
pub mod plan;
pub(crate) mod prepare;
mod push;
pub(crate) mod reconcile;
pub mod samples;
mod signals;
mod standby;
pub(crate) mod state;
pub mod status;
pub mod target;
#[cfg(test)]
pub(crate) mod testing;
mod watched_scales;
pub(crate) mod why;
