//! Every test, with what it needs, and one line at the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader},
    process::Stdio,
};

use anyhow::{Context as _, bail};

use crate::{
    cargo, control_plane, in_ci,
    services::{CASES, REQUIRE, SERVICES},
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
    let cases = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    command.env(CASES, cases.path());
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
    print!("{}", table(&std::fs::read_to_string(cases.path())?));
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

/// What live tests have passed, by trigger type and server: lines of type, server and case, with tabs between.
fn table(lines: &str) -> String {
    let mut cases: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for line in lines.lines() {
        if let [trigger, server, case] = line.split('\t').collect::<Vec<_>>()[..] {
            cases.entry((trigger, server)).or_default().insert(case);
        }
    }
    let mut text = String::new();
    for ((trigger, server), passed) in &cases {
        text += &format!("{trigger} on a real {server}: {} cases passed\n", passed.len());
        for case in passed {
            text += &format!("  passed  {case}\n");
        }
    }
    text
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
    fn cases_are_told_by_type_and_server_once_each() {
        let lines =
            "redis\tredis\tTLS\nmysql\tmariadb\tTLS\nredis\tredis\tTLS\nredis\tredis\tdrained\nodd line\n";
        assert_eq!(
            table(lines),
            "mysql on a real mariadb: 1 cases passed\n  passed  TLS\n\
             redis on a real redis: 2 cases passed\n  passed  TLS\n  passed  drained\n"
        );
        assert_eq!(table(""), "");
    }

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
