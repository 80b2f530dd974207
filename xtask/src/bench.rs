//! Benchmarks: the release build of the `bench` binary.

use crate::{cargo, run as execute};

/// Builds `bench` and runs it with these arguments.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    execute(
        cargo()
            .args([
                "run",
                "--quiet",
                "--release",
                "--package",
                "examples",
                "--no-default-features",
                "--features",
                "bench",
                "--bin",
                "bench",
                "--",
            ])
            .args(arguments),
    )
}
