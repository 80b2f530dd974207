//! A real Kubernetes control plane on loopback, for as long as a value lives.
//!
//! etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kwok run as processes of this machine: no
//! container, no kubelet, no rights beyond the user's. Authentication, RBAC, admission with webhooks, aggregation and
//! service-account tokens are on. Nodes are fake: any Node with the annotation `kwok.x-k8s.io/node: fake` is kept
//! alive by kwok, which also lets the pods on it run.
//!
//! ```no_run
//! use controller_runtime::envtest::{ControlPlane, Options};
//! use k8s_openapi::api::core::v1::Namespace;
//! use kube::{Api, api::ListParams};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let control_plane = ControlPlane::start(Options::default()).await?;
//! let namespaces: Api<Namespace> = Api::all(control_plane.client("default"));
//! assert!(!namespaces.list(&ListParams::default()).await?.items.is_empty());
//! # Ok(())
//! # } // every process and every file is gone here
//! ```
//!
//! The programs are taken from [`Options::bin_dir`], from the folder that `KUBEBUILDER_ASSETS` names, or from the
//! user's cache directory, where Go builds them on first use ([`Programs`]). Tests that do without, where they cannot
//! be had, begin with [`start_or_skip`] or [`shared_or_skip`].
//!
//! Nothing outlives its owner: dropping the value kills the processes and removes the folder, and a small shell that
//! waits for the owner's end does the same when the owner had no chance to (SIGKILL, an abort, a test's time limit).
//!
//! The waiting is in real time: do not start one under tokio's paused clock.

mod control_plane;
mod credentials;
mod error;
mod flags;
mod group;
mod health;
mod kubeconfig;
mod options;
mod pki;
mod programs;
mod recipe;
mod running;
mod start;
mod testing;

pub use control_plane::{ControlPlane, ProcessInfo};
pub use error::Error;
pub use options::{Options, Program};
pub use programs::{Programs, cache_folder};
pub use testing::{programs_or_skip, shared_or_skip, start_or_skip};
