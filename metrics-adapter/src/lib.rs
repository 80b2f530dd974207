#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod discovery;
mod metrics;
pub mod selector;
#[cfg(feature = "server")]
pub mod server;
mod service;
mod status;

pub use discovery::{GROUP, LIST_KIND, VERSION};
#[cfg(feature = "mock")]
pub use metrics::MockExternalMetrics;
pub use metrics::{ExternalMetricValue, ExternalMetrics, MetricError, MetricErrorKind, MetricRequest};
pub use selector::Selector;
pub use service::{Body, MetricsAdapter};
