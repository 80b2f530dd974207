//! Pods that wait for a machine, and the claims that they get.
mod batcher;
use provisioner::Provisioner;
use crate::node_autoscaler::Context;
pub use batcher::Batcher;
pub(crate) async fn run<P: Provisioner>(cx: Context<P>) { drop(cx); }
