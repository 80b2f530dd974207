//! A fresh embedded cluster per case, in virtual time on one thread.

use std::sync::Arc;

use anyhow::Context as _;
use controller_runtime::sim::cluster::{Cluster as Embedded, Options};
use jiff::SignedDuration;
use scaler_api::TokioClock;

use super::{
    Case, EMBEDDED_LIMIT, cluster::Cluster, machines::Running, metrics::Metrics, surroundings::Surroundings,
};

const START: &str = "2026-01-01T00:00:00Z";
const SEED: u64 = 7;

pub(crate) fn run(case: Case, name: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    runtime.block_on(async {
        let clock = Arc::new(TokioClock::starting_at(START.parse()?));
        let machines = Running::default();
        let mut options = Options::new(clock, SEED);
        // As in `envtest`.
        options.hpa.config.sync_period = SignedDuration::from_secs(2);
        options.machines = Some(Arc::new(machines.clone()));
        let embedded = Embedded::new(options);
        embedded.api().track_updates(true);
        let running = tokio::spawn(embedded.run());
        let surroundings = Surroundings::Embedded {
            api: embedded.api().clone(),
            metrics: Metrics::default(),
            machines,
        };
        let cluster = Cluster::new(embedded.client("default"), surroundings, name, "embedded");
        let outcome = tokio::time::timeout(EMBEDDED_LIMIT, cluster.run(case)).await;
        running.abort();
        outcome.context("took too long in virtual time")?
    })
}
