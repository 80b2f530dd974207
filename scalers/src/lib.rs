#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "sqs")]
pub mod aws;
mod catalogue;
#[cfg(feature = "sqs")]
pub mod sqs;
#[cfg(any(
    feature = "sqs",
    feature = "cron",
    feature = "kubernetes-workload",
    feature = "metrics-api",
    feature = "prometheus"
))]
mod target;

use scaler_api::Registry;

/// Registers every scaler whose feature is on, and names every other trigger type of KEDA together with what it needs.
pub fn register_all(registry: &mut Registry) {
    catalogue::register_unavailable(registry);
    #[cfg(feature = "sqs")]
    registry.register::<sqs::SqsTrigger>();
}
