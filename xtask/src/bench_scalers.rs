//! What a sample of each scaler takes and costs against its server on loopback: the live suites, which measure here.

use anyhow::{Context as _, bail};

use crate::{
    cargo, run as execute,
    services::{MEASURES, REQUIRE, SERVICES},
};

/// Types that no server on loopback serves, and why.
const UNMEASURED: [&str; 4] = [
    "azure-servicebus, gcp-pubsub and loki (no registry carries one: their tests ask stubs)",
    "cron (asks nobody)",
    "cpu and memory (the HPA's own)",
    "kubernetes-workload (counts pods in a watch's store)",
];

/// Installs the servers and measures; arguments are words that choose among the tests, or options of `cargo test` before `--`.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    for service in SERVICES {
        if let Err(error) = service.program.install() {
            eprintln!("{} is left out: {error:#}", service.name);
        }
    }
    let measures = tempfile::NamedTempFile::new().context("cannot make a temporary file")?;
    // Every suite of a server has one test that conforms or sees a failover, and in it all that is measured.
    let filter = ["conform".to_owned(), "failover".to_owned()];
    let (options, words) = match arguments.iter().position(|argument| argument == "--") {
        Some(at) => (&arguments[..at], &arguments[at + 1..]),
        None if arguments.iter().any(|argument| argument.starts_with('-')) => (arguments, &filter[..]),
        None => (&[][..], arguments),
    };
    let words = if words.is_empty() { &filter[..] } else { words };
    let profile: &[&str] = if options.iter().any(|option| option.starts_with("--profile")) {
        &[]
    } else {
        &["--release"]
    };
    execute(
        cargo()
            .args([
                "test",
                "--package",
                "scalers",
                "--all-features",
                "--locked",
                "--test",
                "live",
            ])
            .args(profile)
            .args(options)
            // One after the other, or they measure each other.
            .args(["--", "--test-threads=1"])
            .args(words)
            .env(MEASURES, measures.path())
            .env_remove(REQUIRE),
    )?;
    let lines = std::fs::read_to_string(measures.path())?;
    if lines.is_empty() {
        bail!("nothing was measured");
    }
    print!("{}", table(&lines));
    println!("not measured: {}", UNMEASURED.join("; "));
    Ok(())
}

fn table(lines: &str) -> String {
    let mut text = format!(
        "{:<24} {:<16} {:>12} {:>12} {:>14} {:>30}\n",
        "type", "server", "median", "p99", "bytes/sample", "requests of equal triggers"
    );
    for line in lines.lines() {
        if let [trigger, server, median, p99, bytes, triggers, requests] =
            line.split('\t').collect::<Vec<_>>()[..]
        {
            let requests = format!("{requests} of {triggers}");
            text += &format!(
                "{trigger:<24} {server:<16} {:>12} {:>12} {bytes:>14} {requests:>30}\n",
                format!("{median} us"),
                format!("{p99} us"),
            );
        }
    }
    text
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn a_line_of_the_table_has_every_figure() {
        let table = table("redis\tredis\t60\t110\t190\t1000\t1.0\nodd line\n");
        let line: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(
            line,
            [
                "redis", "redis", "60", "us", "110", "us", "190", "1.0", "of", "1000"
            ]
        );
        assert_eq!(table.lines().count(), 2);
    }
}
