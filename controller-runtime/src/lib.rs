#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

// The KEDA half.
pub mod admission;
pub mod cloud_events;
pub mod pod_autoscaler;
pub mod scaled_job;
pub mod scaled_object;
pub mod trigger_auth;
// The Karpenter half.
pub mod cluster;
pub mod disruption;
pub mod interruption;
pub mod node_autoscaler;
pub mod node_claim;
pub mod node_pool;
pub mod provisioning;
// What both stand on.
#[cfg(feature = "server")]
pub mod admin;
#[cfg(feature = "server")]
pub mod certificates;
pub mod decisions;
#[cfg(all(feature = "envtest", unix))]
pub mod envtest;
pub mod events;
pub mod explain;
pub mod hpa;
mod latch;
pub mod lease;
pub mod queue;
pub mod runtime;
#[cfg(feature = "sim")]
pub mod sim;
pub mod store;
pub mod work;
