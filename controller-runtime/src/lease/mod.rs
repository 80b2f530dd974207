//! Which of several replicas of a process may write.
//!
//! Every replica watches, samples and answers; only the leader writes. An [`Elector`] holds a Lease as client-go's
//! leader election does, so that the two may stand for the same one, and tells through a [`Leadership`] whether this
//! process leads. A controller runs what writes in [`Leadership::while_leading`].
//!
//! There are never two leaders. A leader counts its term from the moment before it wrote the Lease, and steps down
//! `renew_deadline` after it; others count from the moment after they saw it, and wait for `lease_duration`, which is
//! longer. Nobody compares its own time of day with what is written in the Lease. What is in between is the time in
//! which requests that are under way may end.

mod decide;
mod elector;
mod leadership;
mod options;
mod writes;

pub use decide::{Observed, Own, Step, decide};
pub use elector::Elector;
pub use leadership::Leadership;
pub use options::{ElectorOptions, InvalidOptions};
pub use writes::{Writes, WritesService};

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests;
