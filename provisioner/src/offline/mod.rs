//! Planning without a cluster: what stands in files becomes a [`World`](crate::schedule::World) and pods, a plan
//! becomes a report. `autoscaler plan` is this and the reading of files.
//!
//! Everything is a function of values, and whatever is wrong is reported at once, each problem with its file, document,
//! field, value and what was expected:
//!
//! ```
//! use provisioner::offline::{Collector, Role, documents};
//!
//! let mut inputs = Collector::default();
//! let (found, problems) = documents("pods.yaml", b"{metadata: {name: a}, spec: {containers: [{name: a, resources: {requests: {memory: 1.2.3Gi}}}]}}");
//! assert!(problems.is_empty());
//! inputs.add(Role::Pods, found);
//! let problems = inputs.build().unwrap_err();
//! assert_eq!(
//!     problems[0].to_string(),
//!     r#"pods.yaml:1: Pod default/a: spec.containers[0].resources.requests.memory: is "1.2.3Gi", expected a quantity such as 512Mi"#
//! );
//! ```

mod amounts;
mod document;
mod explain;

mod inputs;
mod instance_types;
mod objects;
mod pods;
mod report;
mod surroundings;

pub use document::{Document, Problem, documents};

pub use explain::explain;
pub use inputs::{Collector, Inputs, Role, default_pool};
pub use instance_types::catalog;
pub use report::{ExistingReport, NodeReport, Report, UnschedulableReport};

#[cfg(test)]
mod tests;
