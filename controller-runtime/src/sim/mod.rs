//! The embedded cluster: an in-process Kubernetes under the unmodified `kube::Client`.

pub mod api;
pub mod cluster;
pub mod controllers;
pub mod kubelet;
pub mod scheduler;
pub mod serve;
