//! What a change must pass.

use std::{process::Command, time::Instant};

use anyhow::bail;

use crate::{cargo, run as execute, tests, tools};

/// Crates that must not be in any build, each with the reason.
const ABSENT: [(&str, &str); 2] = [
    ("aws-lc-rs", "the one TLS provider is ring"),
    ("openssl-sys", "the one TLS provider is ring"),
];

/// Runs every check; tests come last, so that their summary ends the output.
pub(crate) fn run() -> anyhow::Result<()> {
    step("formatting", || {
        execute(cargo().args(["fmt", "--all", "--check"]))?;
        // A package of its own, which the workspace does not see.
        let manifest = "examples/custom-scaler/Cargo.toml";
        execute(cargo().args(["fmt", "--check", "--manifest-path", manifest]))
    })?;
    step("clippy", || {
        execute(cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]))
    })?;
    step("rustdoc", || {
        execute(
            cargo()
                .args(["doc", "--workspace", "--all-features", "--no-deps", "--locked"])
                .env("RUSTDOCFLAGS", "-D warnings"),
        )
    })?;
    step("dependencies", || {
        absent_crates()?;
        execute(Command::new(tools::cargo_deny()?).args(["check", "bans", "licenses", "sources"]))
    })?;
    // No line after the runner's own summary.
    eprintln!("=== tests");
    tests::run(&[])
}

fn step(name: &str, work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    eprintln!("=== {name}");
    let start = Instant::now();
    work()?;
    eprintln!("=== {name}: passed after {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn absent_crates() -> anyhow::Result<()> {
    for (name, reason) in ABSENT {
        let output = cargo()
            .args([
                "tree",
                "--workspace",
                "--all-features",
                "--locked",
                "--edges",
                "normal",
                "--invert",
                name,
            ])
            .output()?;
        if output.status.success() {
            bail!(
                "{name} is in the build, but {reason}:\n{}",
                String::from_utf8_lossy(&output.stdout)
            );
        }
    }
    Ok(())
}
