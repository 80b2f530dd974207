//! Which replica writes.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::Arc,
};

use controller_runtime::{
    lease::{Elector, ElectorOptions, Leadership, Writes},
    runtime::Runtime,
};

use super::{
    config::Settings,
    ending::{Ending, Parts},
};

/// The election of this process, or none where it stands alone.
#[derive(Debug)]
pub(super) struct Election {
    elector: Option<Elector>,
    identity: String,
}

impl Election {
    /// Its events are published by the recorder of `runtime`; what this process writes goes through `writes`.
    ///
    /// # Errors
    /// If the durations do not go together.
    pub(super) fn new(settings: &Settings, runtime: &Runtime, writes: Writes) -> anyhow::Result<Self> {
        let identity = identity();
        let election = &settings.election;
        let make = || {
            let options = ElectorOptions {
                name: election.name.clone(),
                namespace: election.namespace.clone(),
                identity: identity.clone(),
                lease_duration: election.lease_duration,
                renew_deadline: election.renew_deadline,
                retry_period: election.retry_period,
            };
            let elector = Elector::new(runtime.client.clone(), Arc::clone(&runtime.clock), options)?;
            anyhow::Ok(
                elector
                    .with_recorder(runtime.recorder.clone())
                    .with_writes(writes),
            )
        };
        let elector = election.enabled.then(make).transpose()?;
        Ok(Self { elector, identity })
    }

    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    pub(super) fn leadership(&self) -> Leadership {
        self.elector
            .as_ref()
            .map_or_else(Leadership::always, Elector::leadership)
    }

    /// Elects from now on; releases the Lease when `release` begins.
    pub(super) fn start(self, parts: &mut Parts, release: &Ending) {
        if let Some(elector) = self.elector {
            let release = release.begun();
            parts.add("the election", async move { elector.run(release).await });
        }
    }
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
