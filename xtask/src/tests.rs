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
    let mut stubs = String::new();
    for line in BufReader::new(output).lines() {
        let line = line.context("the output of cargo test cannot be read")?;
        println!("{line}");
        results.add(&line);
        stubs.extend(of_stub(&line));
    }
    let status = child.wait()?;
    let live = std::fs::read_to_string(cases.path())?;
    print!("{}", table(&(live + &stubs)));
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

/// Trigger types whose server no registry carries, and the folders of their tests, which play it and hold every request
/// against what its vendor publishes.
const STUBS: [(&str, &str); 3] = [
    ("azure_servicebus", "azure-servicebus"),
    ("gcp_pubsub", "gcp-pubsub"),
    ("loki", "loki"),
];
const STUB: &str = "stub";

/// A test of a stub as the live tests note theirs, from the line that says how it went.
fn of_stub(line: &str) -> Option<String> {
    let (path, result) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let (folder, name) = path.split_once("::tests::")?;
    let (_, trigger) = STUBS.iter().find(|(of, _)| *of == folder)?;
    let name = name.replace('_', " ");
    (result == "ok").then(|| format!("{trigger}\t{STUB}\t{name}\n"))
}

/// What has been passed, by trigger type and server, from lines of type, server and case with tabs between; and how many
/// types that is.
fn table(lines: &str) -> String {
    let mut cases: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for line in lines.lines() {
        if let [trigger, server, case] = line.split('\t').collect::<Vec<_>>()[..] {
            cases.entry((trigger, server)).or_default().insert(case);
        }
    }
    if cases.is_empty() {
        return String::new();
    }
    let mut text = String::new();
    for ((trigger, server), passed) in &cases {
        text += &format!("{trigger} on {server}: {} cases passed\n", passed.len());
        for case in passed {
            text += &format!("  passed  {case}\n");
        }
    }
    // One type may have a row for each of its protocols.
    let types = |on_stub: bool| -> BTreeSet<&str> {
        let rows = cases.keys().filter(|(_, server)| (*server == STUB) == on_stub);
        rows.filter_map(|(trigger, _)| trigger.split(' ').next())
            .collect()
    };
    text + &format!(
        "{} types on real servers, {} on stubs; cpu, memory, cron and kubernetes-workload have none, and are tested on control planes\n",
        types(false).len(),
        types(true).len()
    )
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
        let lines = "redis\tredis\tTLS\nmysql\tmariadb\tTLS\nredis\tredis\tTLS\nredis (x)\tredis\tdrained\nodd line\nloki\tstub\tdrained\n";
        assert_eq!(
            table(lines),
            "loki on stub: 1 cases passed\n  passed  drained\n\
             mysql on mariadb: 1 cases passed\n  passed  TLS\n\
             redis on redis: 1 cases passed\n  passed  TLS\n\
             redis (x) on redis: 1 cases passed\n  passed  drained\n\
             2 types on real servers, 1 on stubs; cpu, memory, cron and kubernetes-workload have none, and are tested on control planes\n"
        );
        assert_eq!(table(""), "");
    }

    #[test]
    fn tests_of_stubs_count_where_they_pass() {
        assert_eq!(
            of_stub("test loki::tests::it_conforms ... ok").as_deref(),
            Some("loki\tstub\tit conforms\n")
        );
        for line in [
            "test loki::tests::it_conforms ... FAILED",
            "test redis::tests::it_conforms ... ok",
            "running 4 tests",
        ] {
            assert_eq!(of_stub(line), None, "{line}");
        }
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
