#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![allow(
    clippy::duplicated_attributes,
    reason = "every printer column of a resource repeats its settings' names"
)]

#[cfg(feature = "builtin-ec2")]
pub mod builtin;
pub mod catalog;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod disrupt;
mod error;
#[cfg(feature = "fake")]
pub mod fake;
pub mod karpenter;
#[cfg(feature = "kwok")]
pub mod kwok;
#[cfg(feature = "mock")]
pub mod mock;
#[cfg(feature = "offline")]
pub mod offline;
pub mod provider;
pub mod requirements;
pub mod resources;
pub mod schedule;
pub mod storage;
pub mod taints;
#[cfg(test)]
mod testing;

pub use catalog::{CapacityType, Catalog, InstanceType, Offering};
pub use error::{Error, ErrorKind};
pub use provider::{
    ClassStatus, DriftReason, Instance, InstanceState, Interruption, InterruptionKind, LaunchRequest,
    Machine, Machines, NodeClass, ProviderId, Provisioner, Termination,
};
pub use requirements::{AllowUndefined, Requirement, Requirements};
pub use resources::ResourceList;
