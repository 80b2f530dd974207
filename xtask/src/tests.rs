//! Every test, with what it needs, and one line at the end.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use anyhow::{Context as _, bail};

use crate::{
    cargo, control_plane, in_ci,
    services::{REQUIRE, SERVICES},
    tools::{self, TOOLS},
};

/// Installs what the tests use, runs them, and prints the sum of their results.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let skipped = prepare()?;
    let mut command = cargo();
    command
        .args([
            "test",
            "--workspace",
            "--all-features",
            "--locked",
            "--no-fail-fast",
        ])
        .args(arguments);
    if skipped.is_empty() {
        command.env(REQUIRE, "1");
    }
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo test cannot be started")?;
    let output = child.stdout.take().context("cargo test has no output")?;
    let mut results = Results::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("the output of cargo test cannot be read")?;
        println!("{line}");
        results.add(&line);
    }
    let status = child.wait()?;
    for reason in &skipped {
        println!("skipped: {reason}");
    }
    println!(
        "{} passed, {} failed, {} skipped",
        results.passed,
        results.failed,
        results.ignored + skipped.len()
    );
    if !status.success() {
        bail!("tests failed: {status}");
    }
    if results.passed == 0 {
        bail!("no test was run");
    }
    Ok(())
}

/// Finds or installs the programs that tests drive; returns what had to be left out.
fn prepare() -> anyhow::Result<Vec<String>> {
    let mut skipped = Vec::new();
    let mut prepared: Vec<_> = TOOLS.iter().map(|tool| (tool.purpose, tool.ensure())).collect();
    let in_words = |error: anyhow::Error| format!("{error:#}");
    prepared.extend([
        ("the real control plane", control_plane::ensure()),
        ("the Helm chart", tools::helm().map(drop).map_err(in_words)),
    ]);
    prepared.extend(SERVICES.iter().map(|service| {
        let installed = service.program.install().map(drop);
        (service.purpose, installed.map_err(in_words))
    }));
    for (purpose, result) in prepared {
        if let Err(reason) = result {
            let skip = format!("{purpose}: {reason}");
            if in_ci() {
                bail!("in CI nothing may be skipped: {skip}");
            }
            skipped.push(skip);
        }
    }
    Ok(skipped)
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Results {
    passed: usize,
    failed: usize,
    ignored: usize,
}

impl Results {
    /// Adds a line of the form `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line
            .strip_prefix("test result: ")
            .and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for count in counts.split("; ") {
            let Some((number, word)) = count.split_once(' ') else {
                continue;
            };
            let number = number.parse().unwrap_or(0);
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn results_of_every_test_binary_are_added_up() {
        let mut results = Results::default();
        for line in [
            "running 4 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s",
        ] {
            results.add(line);
        }
        assert_eq!(
            results,
            Results {
                passed: 13,
                failed: 2,
                ignored: 1
            }
        );
    }
}
