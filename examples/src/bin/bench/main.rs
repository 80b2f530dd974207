//! Measurements of the parts as they run in the reference binary; `cargo xtask bench` starts it.

mod adapter;
mod adapter_load;
mod adapter_server;
mod autoscaler;
// The tests' own, which knows nothing of the solver.
#[path = "../../../../provisioner/tests/checker/mod.rs"]
mod checker;
mod cluster;
mod latency;
mod process;
mod scaled_objects;
mod schedule;

use clap::{Parser, Subcommand};

/// Measurements of the parts as they run in the reference binary.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Cli {
    #[command(subcommand)]
    command: Benchmark,
}

#[derive(Debug, Subcommand)]
enum Benchmark {
    /// Reads of one metric over TLS with a bearer token, authorised by a real API server.
    Adapter(adapter::Options),
    /// From an event to replicas and back, over `autoscaler run` on a real control plane.
    Latency(latency::Options),
    /// 1,000 and 10,000 ScaledObjects, over `autoscaler run` on a real control plane.
    ScaledObjects(scaled_objects::Options),
    /// The solver, on Karpenter's inputs and larger ones, beside Karpenter's figures.
    Schedule(schedule::Options),
    /// One input of `schedule`.
    #[command(hide = true)]
    ScheduleRun(schedule::RunOptions),
    /// The process that `adapter` measures.
    #[command(hide = true)]
    AdapterServer(adapter_server::Options),
    /// The clients of `adapter`.
    #[command(hide = true)]
    AdapterLoad(adapter_load::Options),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        anyhow::bail!("a TLS provider is installed already");
    }
    match Cli::parse().command {
        Benchmark::Adapter(options) => adapter::run(options).await,
        Benchmark::Latency(options) => latency::run(options).await,
        Benchmark::ScaledObjects(options) => scaled_objects::run(options).await,
        Benchmark::Schedule(options) => schedule::run(&options),
        Benchmark::ScheduleRun(options) => schedule::run_one(&options),
        Benchmark::AdapterServer(options) => adapter_server::run(options).await,
        Benchmark::AdapterLoad(options) => adapter_load::run(options).await,
    }
}
