//! Command line of `autoscaler`.
