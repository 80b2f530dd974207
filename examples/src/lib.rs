//! The reference binary `autoscaler`: KEDA and Karpenter in one process, and the embedded cluster to try them on.
//!
//! The binaries of this package only wire the library crates: which scalers and which cloud there are is decided here
//! and nowhere else.

pub mod bundled;
#[cfg(feature = "sim")]
pub mod cli;
pub mod convert;
pub mod explain;
pub mod input;
pub mod install;
pub mod names;
pub mod old;
pub mod plan;
#[cfg(feature = "kubernetes-workload")]
pub mod pod_counter;
pub mod record;
pub mod report;
pub mod run;
pub mod scenario;
#[cfg(feature = "metrics-api")]
pub mod service_endpoints;
#[cfg(feature = "sim")]
pub mod simulate;
pub mod trigger_types;
#[cfg(feature = "sim")]
pub mod validate;
pub mod view;

/// The code of the README is compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}
