//! Two replicas of `autoscaler run` as processes on a real control plane: one is killed, or told to end, in the middle of
//! its work, and the other goes on with what the API says.
//!
//! Each process reaches the API server through a [`Door`](run_support::door::Door), which holds a request so that the
//! process can be ended right before or right after it.
#![cfg(all(feature = "sim", feature = "kwok", feature = "metrics-api"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "everything here is a test")]

mod crash;
mod hand_over;
mod launch;
mod pair;
#[path = "../run_support/mod.rs"]
mod run_support;
mod shutdown;
mod workload;

use tokio::sync::Mutex;

/// There is one APIService for external metrics, so that one pod half runs at a time.
static PODS: Mutex<()> = Mutex::const_new(());
/// Nodes are in no namespace, so that one node half runs at a time.
static NODES: Mutex<()> = Mutex::const_new(());
