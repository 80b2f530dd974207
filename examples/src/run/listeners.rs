//! What is listened on, bound before anything else: an address that is taken is known at once.

use std::net::{SocketAddr, TcpListener};

use anyhow::Context as _;

use super::config::Settings;

/// The listeners of the process.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) metrics: Option<TcpListener>,
    pub(super) health: Option<TcpListener>,
    pub(super) adapter: Option<TcpListener>,
    pub(super) webhook: Option<TcpListener>,
}

/// The addresses that they got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) metrics: Option<SocketAddr>,
    pub(super) health: Option<SocketAddr>,
    pub(super) adapter: Option<SocketAddr>,
    pub(super) webhook: Option<SocketAddr>,
}

impl Listeners {
    /// Binds what is asked for; the adapter and the webhook belong to the pod half.
    ///
    /// # Errors
    /// Every address that cannot be had.
    pub(super) fn bind(settings: &Settings) -> anyhow::Result<(Self, Addresses)> {
        let mut failures = Vec::new();
        let mut bind = |what: &str, address: Option<SocketAddr>| {
            let address = address?;
            TcpListener::bind(address)
                .map_err(|error| failures.push(format!("{what} cannot be served on {address}: {error}")))
                .ok()
        };
        let listeners = Self {
            metrics: bind("metrics", settings.metrics_address),
            health: bind("health", settings.health_address),
            adapter: bind(
                "the metrics adapter",
                settings.pods.then_some(settings.adapter_address),
            ),
            webhook: bind(
                "the admission webhook",
                settings.webhook_address.filter(|_| settings.pods),
            ),
        };
        anyhow::ensure!(failures.is_empty(), "{}", failures.join("; "));
        let address = |listener: &Option<TcpListener>| {
            let address = listener.as_ref().map(TcpListener::local_addr);
            address.transpose().context("a listener has no address")
        };
        let addresses = Addresses {
            metrics: address(&listeners.metrics)?,
            health: address(&listeners.health)?,
            adapter: address(&listeners.adapter)?,
            webhook: address(&listeners.webhook)?,
        };
        Ok((listeners, addresses))
    }
}

/// An address for the log; `off` where nothing is listened on.
pub(super) fn shown(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "off".to_owned(), |address| address.to_string())
}
