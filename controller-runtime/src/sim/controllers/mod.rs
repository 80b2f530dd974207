//! The controllers of the embedded cluster's control plane.
