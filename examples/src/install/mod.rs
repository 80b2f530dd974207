//! Installing: what a cluster needs before `autoscaler run`, and how it is taken away again.

pub mod arguments;
pub mod crds;
pub mod manifests;
pub mod part;
pub mod values;
pub mod yaml;

pub use part::{Half, Provider};
pub use values::Values;
