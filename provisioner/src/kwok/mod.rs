//! Nodes that exist in the API only, kept alive by [kwok](https://kwok.sigs.k8s.io), on any Kubernetes API server.
//!
//! The Node object is the instance: a launch creates it, with its size in the status, and kwok makes it ready and runs
//! the pods on it; nothing else is kept anywhere, so that a process may end at any point and another goes on.
//!
//! ```no_run
//! # async fn run(client: kube::Client) -> Result<(), Box<dyn std::error::Error>> {
//! use std::{path::Path, sync::Arc};
//! use provisioner::{Provisioner, kwok::{KwokCatalog, KwokOptions, KwokProvisioner}};
//! use scaler_api::SystemClock;
//!
//! let catalog = KwokCatalog::from_file(Path::new("instance-types.json"))?; // or KwokCatalog::builtin()
//! let kwok = KwokProvisioner::new(client, catalog, Arc::new(SystemClock), KwokOptions::default());
//! println!("{} instances", kwok.list().await?.len());
//! # Ok(()) }
//! ```
//!
//! # How an instance ends
//! The finalizer `karpenter.sh/termination` holds a Node that is being deleted while its pods are drained, so that the
//! deletion of the object does not tell whether the machine was returned. [`terminate`](crate::Provisioner::terminate)
//! therefore leaves the annotation [`TERMINATED`] on it: a Node that is being deleted is shutting down without the
//! annotation, and with it the instance is gone, whoever still holds the object.

mod catalog;
mod file;
mod node;
mod provisioner;
#[cfg(test)]
mod tests;

pub use catalog::KwokCatalog;
pub use node::{CLAIM, PRICE, PROVISIONED, TERMINATED, TOKEN};
pub use provisioner::{KwokOptions, KwokProvisioner};
