//! ScaledJobs: from events to Jobs. Not there yet.
//!
//! ScaledJobs are known as a resource ([`scaler_api::keda::ScaledJob`]), and no controller acts on them. What is here
//! is where it goes: strategies as pure functions on counts beside a controller like
//! [`scaled_object`](crate::scaled_object)'s, fed by the same [sources](crate::scaled_object::samples).
