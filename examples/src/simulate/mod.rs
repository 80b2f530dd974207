//! Running a scenario on the embedded cluster.
