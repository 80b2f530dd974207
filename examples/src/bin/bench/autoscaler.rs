//! `autoscaler run` as it is measured: a process of its own.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Context as _;

use crate::process::Process;

/// The program to measure: this one, or else the one beside the benchmark.
pub(crate) fn program(chosen: Option<&Path>) -> anyhow::Result<PathBuf> {
    match chosen {
        Some(program) => Ok(program.to_owned()),
        None => Ok(std::env::current_exe()?.with_file_name("autoscaler")),
    }
}

/// `autoscaler run` outside the cluster, on free ports of loopback.
#[derive(Debug)]
pub(crate) struct Autoscaler {
    pub(crate) process: Process,
    log: PathBuf,
}

impl Autoscaler {
    /// How many lines of its log are worth showing.
    const LAST_WORDS: usize = 20;

    pub(crate) fn start(program: &Path, kubeconfig: &Path, folder: &Path) -> anyhow::Result<Self> {
        let log = folder.join("autoscaler.log");
        let child = Command::new(program)
            // Settings come from the environment too; everybody is to measure the same.
            .env_clear()
            .args([
                "run",
                "--only=pods",
                "--advertise-address=127.0.0.1",
                "--kubeconfig",
            ])
            .arg(kubeconfig)
            .args(
                ["metrics", "health-probe", "adapter", "webhook"]
                    .map(|part| format!("--{part}-bind-address=127.0.0.1:0")),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        Ok(Self {
            process: Process::of(child),
            log,
        })
    }

    /// The end of its log, and how it ended if it has.
    pub(crate) fn last_words(&mut self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.len().saturating_sub(Self::LAST_WORDS);
        let state = match self.process.ended() {
            Ok(None) => "autoscaler still runs".to_owned(),
            Ok(Some(status)) => format!("autoscaler has ended: {status}"),
            Err(error) => format!("autoscaler cannot be asked: {error}"),
        };
        format!("{state}; the end of its log:\n{}", lines[last..].join("\n"))
    }
}
