//! A real control plane: what it lets in, what it runs, and that nothing of it stays. Skipped, with a line that says
//! so, where its programs are not to be had.
#![cfg(all(feature = "envtest", unix))]
#![allow(clippy::panic, reason = "this is a test")]

mod access;
mod aggregation;
mod cleanup;
mod pods;
#[cfg(feature = "control-plane")]
mod program;
mod support;
