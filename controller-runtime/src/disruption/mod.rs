//! Takes machines away that are not needed.
use provisioner::Provisioner;
use crate::node_autoscaler::Context;
pub(crate) async fn run<P: Provisioner>(cx: Context<P>) { drop(cx); }
