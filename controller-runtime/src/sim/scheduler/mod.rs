//! The scheduler of the embedded cluster.
