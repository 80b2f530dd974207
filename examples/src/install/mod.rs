//! Installing: what a cluster needs before `autoscaler run`, and how it is taken away again.

pub mod crds;
pub mod part;
pub mod yaml;

pub use part::{Half, Provider};
