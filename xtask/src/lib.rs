//! The workspace's own commands.

mod bench;
mod bench_scalers;
mod ci;
mod compile_cost;
mod control_plane;
mod coverage;
mod ec2_catalog;
mod new_scaler;
pub mod services;
mod tests;
mod tools;

use std::{
    ffi::OsString,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};

/// The workspace's own commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what the tests use and run every test.
    Test {
        /// Passed on to `cargo test`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measure a part in a release build: `bench adapter`, `bench latency`, `bench schedule`, `bench scalers`.
    Bench {
        /// Passed on: the benchmark and its options.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run what a change must pass: formatting, clippy, rustdoc, dependencies, tests.
    Ci,
    /// KEDA's keys against ours, by trigger type, with every gap and its reason.
    Coverage,
    /// Whether each feature of `scalers` builds by itself, what its default pulls, and what default and `full` cost to build.
    CompileCost(compile_cost::Options),
    /// Write a table of the repository anew from where its facts come from: `ec2-catalog`.
    Codegen {
        #[command(subcommand)]
        table: Table,
    },
    /// Make a scaler to begin with, in `scalers` or as a package of its own, which passes the conformance suite.
    NewScaler(new_scaler::Options),
    /// A real Kubernetes control plane on loopback: `up`, `down`, `status`, `build`.
    ControlPlane {
        /// Passed on to the program `control-plane`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        arguments: Vec<OsString>,
    },
    /// Real servers of event sources on loopback: `up`, `down`, `status`, `install`.
    Services {
        #[command(subcommand)]
        command: services::Command,
    },
}

#[derive(Debug, Subcommand)]
enum Table {
    /// EC2's instance types with their prices.
    Ec2Catalog(ec2_catalog::Options),
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Task::Test { arguments } => tests::run(&arguments).map(|()| ExitCode::SUCCESS),
        Task::Bench { arguments } => bench::run(&arguments).map(|()| ExitCode::SUCCESS),
        Task::Ci => ci::run().map(|()| ExitCode::SUCCESS),
        Task::Codegen {
            table: Table::Ec2Catalog(options),
        } => ec2_catalog::run(&options).map(|()| ExitCode::SUCCESS),
        Task::NewScaler(options) => new_scaler::run(&options).map(|()| ExitCode::SUCCESS),
        Task::Coverage => coverage::run().map(|()| ExitCode::SUCCESS),
        Task::CompileCost(options) => compile_cost::run(&options).map(|()| ExitCode::SUCCESS),
        Task::ControlPlane { arguments } => control_plane::run(&arguments),
        Task::Services { command } => services::run(command).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// Whether nothing may be skipped.
fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// `cargo`, as the one that runs this.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a command to its end; what it prints is seen.
fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command
        .status()
        .with_context(|| format!("{command:?} cannot be started"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}
