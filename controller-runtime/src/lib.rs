//! Everything that turns, on kube-rs.
//!
//! An autoscaler is a set of controllers that read objects from ordered [stores](store), take keys from a
//! [work queue](queue), call one pure decision, and write. The KEDA half scales pods by events, the Karpenter half
//! scales nodes by pending pods; [`hpa`] is the HorizontalPodAutoscaler's algorithm as a pure library, and `sim`
//! (feature) an embedded Kubernetes to run all of it without a cluster.
#![cfg_attr(docsrs, feature(doc_cfg))]

// The KEDA half.
pub mod admission;
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
pub mod admin;
pub mod decisions;
pub mod events;
pub mod hpa;
pub mod lease;
pub mod queue;
pub mod runtime;
pub mod store;
#[cfg(feature = "sim")]
pub mod sim;
