//! A server of another program on loopback for the lifetime of a value.

use xtask::services::{self, Options};

/// A running server; it ends when this is dropped.
pub(crate) struct Server(services::Server);

impl Server {
    /// Starts a server; `None` where it is not installed and that is allowed.
    pub(crate) fn start(name: &str) -> Option<Self> {
        rustls::crypto::ring::default_provider().install_default().ok();
        services::start(name, &Options::default()).map(Self)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.0.detail("url"))
    }
}
