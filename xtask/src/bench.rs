//! Benchmarks: the release build of the `bench` binary.

use crate::{cargo, run as execute};

/// The benchmarks that measure the binary `autoscaler`, which must be there then.
const OF_THE_BINARY: [&str; 2] = ["latency", "scaled-objects"];

/// Builds `bench`, and what it measures, and runs it with these arguments.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let package = ["--release", "--package", "examples", "--features", "bench"];
    // The parts alone build without the embedded cluster.
    let features: &[&str] = if arguments
        .first()
        .is_some_and(|name| OF_THE_BINARY.contains(&name.as_str()))
    {
        let bins = ["--bin", "autoscaler", "--bin", "bench"];
        execute(cargo().arg("build").args(package).args(bins))?;
        &[]
    } else {
        &["--no-default-features"]
    };
    execute(
        cargo()
            .args(["run", "--quiet"])
            .args(package)
            .args(features)
            .args(["--bin", "bench", "--"])
            .args(arguments),
    )
}
