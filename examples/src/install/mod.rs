//! Installing: what a cluster needs before `autoscaler run`, and how it is taken away again.

pub mod apply;
pub mod arguments;
pub mod connect;
pub mod crds;
pub mod manifests;
pub mod part;
pub mod uninstall;
pub mod values;
pub mod yaml;

pub use part::{Half, Provider};
pub use values::Values;
