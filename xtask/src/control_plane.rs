//! The real control plane: the program `control-plane` of controller-runtime, built as the tests build it.

use std::{
    ffi::OsString,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::cargo;

const PROGRAM: &str = "control-plane";
const TEST: &str = "control_plane";

/// Runs the program; its exit code is that of this command.
pub(crate) fn run(arguments: &[OsString]) -> anyhow::Result<ExitCode> {
    let status = Command::new(program()?)
        .args(arguments)
        .status()
        .with_context(|| format!("{PROGRAM} cannot be started"))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Finds or builds etcd, kube-apiserver and the others, so that tests can start them.
pub(crate) fn ensure() -> Result<(), String> {
    build().map_err(|error| format!("{error:#}"))
}

fn build() -> anyhow::Result<()> {
    let mut child = Command::new(program()?)
        .arg("build")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{PROGRAM} cannot be started"))?;
    let mut reason = Vec::new();
    for line in child
        .stderr
        .take()
        .into_iter()
        .flat_map(|output| BufReader::new(output).lines())
    {
        let line = line?;
        eprintln!("{line}");
        match line.strip_prefix("error: ") {
            Some(error) => reason = vec![error.to_owned()],
            None if reason.is_empty() => {}
            None => reason.push(line),
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!(
            "{}",
            if reason.is_empty() {
                status.to_string()
            } else {
                reason.join("\n")
            }
        );
    }
    Ok(())
}

/// Builds the program. Cargo builds it for the integration tests, and this way with the very features that `cargo test`
/// chooses, so that nothing is compiled twice.
fn program() -> anyhow::Result<PathBuf> {
    let output = cargo()
        .args(["test", "--no-run", "--workspace", "--all-features", "--locked"])
        .args(["--test", TEST, "--message-format=json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("cargo build cannot be started")?;
    if !output.status.success() {
        bail!("{PROGRAM} cannot be built: {}", output.status);
    }
    executable(&String::from_utf8_lossy(&output.stdout))
        .with_context(|| format!("cargo built {PROGRAM} but does not say where"))
}

/// The executable that cargo's messages name.
fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == PROGRAM)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn cargo_says_where_the_program_is() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"kube"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"control-plane"},"executable":"/target/debug/control-plane"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(
            executable(messages),
            Some(PathBuf::from("/target/debug/control-plane"))
        );
        assert_eq!(executable("{}"), None);
    }
}
