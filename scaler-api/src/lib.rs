#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod conversion;
mod error;
#[cfg(feature = "keda")]
pub mod keda;
pub mod layer;
pub mod metadata;
mod metric;
#[cfg(feature = "mock")]
pub mod mock;
pub mod observe;
mod quantity;
pub mod reference;
mod registry;
mod scaler;
mod secret;
pub mod secret_store;
#[cfg(test)]
mod testing;
mod trigger;

pub use clock::{Clock, SharedClock, SystemClock, TokioClock};
pub use conversion::{Converted, Fields, Note};
pub use error::{Error, ErrorKind};
pub use metadata::{Problem, Problems};
pub use metric::{
    DEFAULT_SAMPLE_MAX_AGE, MetricSpec, MetricTarget, MetricType, MetricValue, Sample, indexed_name,
    normalize_name,
};
pub use quantity::{Format, Quantity};
pub use reference::Reference;
pub use registry::{DynTrigger, ParsedTrigger, Registry};
pub use scaler::{PushScaler, Scaler};
pub use secret::Secret;
pub use trigger::{Context, Field, PodIdentity, Source, SourceKey, Trigger, TriggerInput, TriggerSettings};

/// The code of the guide is compiled with the tests.
#[cfg(all(doctest, feature = "conformance"))]
#[doc = include_str!("../../docs/writing-a-scaler.md")]
mod guide {}
