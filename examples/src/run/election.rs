//! Which replica writes.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use controller_runtime::lease::Leadership;
use kube::Client;
use scaler_api::SharedClock;

use super::{
    config::Settings,
    ending::{Ending, Parts},
};

/// The election of this process, or none where it stands alone.
#[derive(Debug)]
pub(super) struct Election {
    leadership: Leadership,
    identity: String,
}

impl Election {
    pub(super) fn new(settings: &Settings, _: Client, _: SharedClock) -> Self {
        if settings.election.enabled {
            tracing::warn!("replicas do not elect a leader yet: run one only");
        }
        Self {
            leadership: Leadership::always(),
            identity: identity(),
        }
    }

    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    pub(super) fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Elects from now on; releases the Lease when `release` begins.
    pub(super) fn start(self, _: &mut Parts, _: &Ending) {}
}

/// The name of the pod or the machine, and something that no earlier process of the same name had.
fn identity() -> String {
    let host = ["POD_NAME", "HOSTNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .or_else(|| std::fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .unwrap_or_else(|| "autoscaler".to_owned());
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    format!("{}_{:016x}", host.trim(), hasher.finish())
}
