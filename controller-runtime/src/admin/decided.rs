//! The decisions of a process, counted.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use crate::decisions::DecisionLog;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    controller: &'static str,
}

/// Registers `autoscaler_decisions_total` and gives the future that counts from now on.
pub(super) fn register(
    registry: &mut Registry,
    decisions: &DecisionLog,
) -> impl Future<Output = ()> + Send + use<> {
    let counts: Family<Labels, Counter> = Family::default();
    registry.register("autoscaler_decisions", "Decisions by controller", counts.clone());
    let mut made = decisions.subscribe();
    async move {
        while let Some(decision) = made.recv().await {
            let controller = decision.controller;
            counts.get_or_create(&Labels { controller }).inc();
        }
    }
}
