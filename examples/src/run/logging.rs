//! The log: text or JSON lines on standard error.

use anyhow::Context as _;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use super::config::Settings;

/// Every failed request is an error for the client's own log; whoever asked says it, if it is worth saying.
const REPEATED: &str = "kube_client::client::builder=off";

fn filter(text: &str) -> anyhow::Result<EnvFilter> {
    let filter: EnvFilter = text.parse().context("the log filter cannot be read")?;
    if text.contains("kube_client") {
        return Ok(filter);
    }
    Ok(filter.add_directive(REPEATED.parse().context("the log filter cannot be extended")?))
}

/// Sends the log to standard error from now on, panics included.
///
/// # Errors
/// If the filter is none, or something else logs already.
pub(super) fn start(settings: &Settings) -> anyhow::Result<()> {
    let filter = filter(&settings.log_filter)?;
    let lines = fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    if settings.log_json {
        registry.with(lines.json().flatten_event(true)).try_init()
    } else {
        use std::io::IsTerminal as _;
        let colours = std::io::stderr().is_terminal();
        registry.with(lines.with_ansi(colours)).try_init()
    }
    .context("the log cannot be started")?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic
            .payload()
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.payload().downcast_ref::<String>().cloned())
            .unwrap_or_default();
        tracing::error!(place, message, "a part of the program panicked");
    }));
    Ok(())
}
