//! What a user of `scalers` pays: each feature by itself, what the default pulls, seconds and crates.

use std::{collections::BTreeSet, time::Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::Value;

use crate::{cargo, run as execute};

/// What no build without features may have.
const UNWANTED: [&str; 12] = [
    "aws",
    "hyper",
    "k8s",
    "kafka",
    "krafka",
    "kube",
    "native-tls",
    "openssl",
    "reqwest",
    "ring",
    "rustls",
    "tokio-rustls",
];

/// What is looked at.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Options {
    /// Leave out the builds from nothing, whose seconds are told.
    #[arg(long)]
    without_times: bool,
    /// Leave out the builds of each feature by itself.
    #[arg(long)]
    without_features: bool,
}

/// Prints the table; fails where a feature does not build by itself or the default pulls what it should not.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let default = crates("")?;
    let unwanted = unwanted(&default);
    if !unwanted.is_empty() {
        bail!("the default features of scalers pull {}", unwanted.join(", "));
    }
    println!(
        "the default features of scalers pull none of {}",
        UNWANTED.join(", ")
    );
    if !options.without_features {
        let features = features()?;
        let fails = |feature: &&String| {
            println!("{feature}");
            execute(cargo().args(check(feature))).is_err()
        };
        let failed: Vec<_> = features.iter().filter(fails).map(String::as_str).collect();
        if !failed.is_empty() {
            bail!("these features do not build by themselves: {}", failed.join(", "));
        }
        println!("each of {} features builds by itself", features.len());
    }
    println!("{:<10} {:>7} {:>9}", "features", "crates", "seconds");
    for features in ["default", "full"] {
        let count = crates(features)?.len();
        let seconds = if options.without_times {
            "-".to_owned()
        } else {
            format!("{:.0}", seconds(features)?)
        };
        println!("{features:<10} {count:>7} {seconds:>9}");
    }
    Ok(())
}

fn check(feature: &str) -> [&str; 8] {
    [
        "check",
        "--quiet",
        "--locked",
        "--package",
        "scalers",
        "--no-default-features",
        "--features",
        feature,
    ]
}

/// Every feature of `scalers`, but for what several of them share.
fn features() -> anyhow::Result<Vec<String>> {
    let output = cargo()
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata cannot be read")?;
    let package = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "scalers")
        .context("there is no package scalers")?;
    let features = package["features"]
        .as_object()
        .context("scalers has no features")?;
    let is_shared = |name: &str| name == "default" || name.ends_with("-base") || name.ends_with("-scalers");
    Ok(features.keys().filter(|name| !is_shared(name)).cloned().collect())
}

/// The crates that are built, by name and version.
fn crates(features: &str) -> anyhow::Result<BTreeSet<String>> {
    let output = cargo()
        .args([
            "tree",
            "--locked",
            "--package",
            "scalers",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
        ])
        .args(["--format", "{p}", "--no-default-features", "--features", features])
        .output()?;
    if !output.status.success() {
        bail!("cargo tree failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let lines = String::from_utf8(output.stdout)?;
    let words = lines
        .lines()
        .map(|line| line.split_whitespace().take(2).collect::<Vec<_>>());
    Ok(words
        .filter(|words| !words.is_empty())
        .map(|words| words.join(" "))
        .collect())
}

fn unwanted(crates: &BTreeSet<String>) -> Vec<&str> {
    crates
        .iter()
        .filter(|name| UNWANTED.iter().any(|unwanted| name.starts_with(unwanted)))
        .map(String::as_str)
        .collect()
}

/// A build from nothing.
fn seconds(features: &str) -> anyhow::Result<f64> {
    let target = tempfile::tempdir().context("cannot make a temporary folder")?;
    #[allow(clippy::disallowed_methods, reason = "what a build takes is real time")]
    let start = Instant::now();
    execute(
        cargo()
            .args([
                "build",
                "--quiet",
                "--locked",
                "--package",
                "scalers",
                "--no-default-features",
            ])
            .args(["--features", features])
            .env("CARGO_TARGET_DIR", target.path()),
    )?;
    Ok(start.elapsed().as_secs_f64())
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn the_default_of_scalers_is_light_and_its_features_are_found() {
        let (default, full) = (crates("").unwrap(), crates("full").unwrap());
        assert_eq!(unwanted(&default), [""; 0]);
        assert!(full.len() > default.len() && !unwanted(&full).is_empty());
        let features = features().unwrap();
        assert!(features.contains(&"cron".to_owned()) && !features.contains(&"default".to_owned()));
    }
}
