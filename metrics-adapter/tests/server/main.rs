//! The TLS listener and delegated authentication, as clients see them.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "an unexpected answer fails the test")]

mod delegated;
mod listener;
mod support;
