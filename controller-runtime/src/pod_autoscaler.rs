//! The KEDA half as one thing.

pub mod watched;
