//! Benchmarks: the release build of the `bench` binary.

use std::{env, path::PathBuf};

use anyhow::Context as _;

use crate::{bench_scalers, cargo, run as execute};

/// The benchmarks that measure the binary `autoscaler`, which must be there then.
const OF_THE_BINARY: [&str; 2] = ["latency", "scaled-objects"];
/// Says which binary that is.
const AUTOSCALER: &str = "--autoscaler";

/// Builds `bench`, and what it measures, and runs it with these arguments.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    if arguments.first().is_some_and(|first| first == "scalers") {
        return bench_scalers::run(&arguments[1..]);
    }
    let package = ["--package", "examples", "--features", "bench"];
    let benchmark = arguments.first().map(String::as_str).unwrap_or_default();
    let of_the_binary = OF_THE_BINARY.contains(&benchmark);
    let names_it = arguments.iter().any(|argument| argument.starts_with(AUTOSCALER));
    let mut passed = arguments.to_vec();
    if of_the_binary && !names_it {
        let released = ["--profile", "dist", "--bin", "autoscaler"];
        execute(cargo().arg("build").args(package).args(released))?;
        let program = target_directory()?.join("dist").join("autoscaler");
        passed.extend([AUTOSCALER.to_owned(), program.display().to_string()]);
    }
    // The parts alone build without the embedded cluster.
    let features: &[&str] = if of_the_binary {
        &[]
    } else {
        &["--no-default-features"]
    };
    execute(
        cargo()
            .args(["run", "--quiet", "--release"])
            .args(package)
            .args(features)
            .args(["--bin", "bench", "--"])
            .args(passed),
    )
}

/// Where this program was built, and its neighbours are.
fn target_directory() -> anyhow::Result<PathBuf> {
    let program = env::current_exe()?;
    let folder = program.ancestors().nth(2);
    folder
        .map(PathBuf::from)
        .with_context(|| format!("{} is in no build folder", program.display()))
}
