//! How a process is ended, and what it leaves.

use std::{
    process::{Command, ExitStatus},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::{Running, until};

impl Running {
    /// In whose name it stands for election.
    pub(crate) fn identity(&self) -> String {
        self.started("identity")
    }

    /// What it said about itself when it started.
    pub(crate) fn started(&self, field: &str) -> String {
        let lines = self.lines();
        let started = lines.iter().find(|line| line["message"] == "autoscaler starts");
        started.unwrap()[field].as_str().unwrap().to_owned()
    }

    /// When it logged this message, by its own clock.
    pub(crate) fn said_at(&self, message: &str) -> Option<Timestamp> {
        let lines = self.lines();
        let line = lines.iter().find(|line| line["message"] == message)?;
        line["timestamp"].as_str()?.parse().ok()
    }

    /// What it has logged.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let log = self.log.lock().unwrap();
        log.iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Whether it has logged, or said at its end, something with `part`.
    pub(crate) fn says(&self, part: &str) -> bool {
        self.log.lock().unwrap().iter().any(|line| line.contains(part))
    }

    /// SIGKILL to this process, and no other.
    pub(crate) fn crash(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, without waiting for what comes of it.
    pub(crate) fn tell_to_end(&self) {
        let told = Command::new("kill")
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(told.success());
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// How it ended, and how long that took from now.
    pub(crate) async fn ended(&mut self) -> (ExitStatus, Duration) {
        let since = Instant::now();
        let status = until("the process ends", async || self.child.try_wait().unwrap()).await;
        (status, since.elapsed())
    }
}
