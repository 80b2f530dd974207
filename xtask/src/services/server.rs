//! A running server: its processes, its folder, and how to reach it.

use std::{collections::BTreeMap, fs, path::Path, process::Child};

use anyhow::Context as _;
use rustix::process::Signal;
use tempfile::TempDir;

use super::process::{Process, patiently, signal};

/// What a server is started with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Certificate and key, in PEM, for servers that can speak TLS.
    pub tls: Option<(String, String)>,
    /// Whether it goes on when this process ends.
    pub outlives: bool,
}

/// A server on loopback with its data in a temporary folder; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    name: &'static str,
    details: BTreeMap<&'static str, String>,
    processes: Vec<Process>,
    children: Vec<Child>,
    folder: Option<TempDir>,
    outlives: bool,
}

impl Server {
    /// A server without processes.
    pub(super) fn new(name: &'static str, options: &Options) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix(&format!("autoscaler-{name}-"))
            .tempdir()
            .context("cannot make a temporary folder")?;
        let server = Self {
            name,
            details: BTreeMap::new(),
            processes: Vec::new(),
            children: Vec::new(),
            folder: Some(folder),
            outlives: options.outlives,
        };
        if let Some((certificate, key)) = &options.tls {
            server.write("certificate.pem", certificate)?;
            server.write("key.pem", key)?;
        }
        Ok(server)
    }

    /// Which server it is.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its temporary folder.
    ///
    /// # Panics
    /// If the server was left running, which takes it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder
            .as_ref()
            .expect("only detach takes the folder, and the server with it")
            .path()
    }

    /// A file in its folder.
    pub(super) fn path(&self, name: &str) -> String {
        self.folder().join(name).display().to_string()
    }

    pub(super) fn write(&self, name: &str, text: &str) -> anyhow::Result<String> {
        let path = self.path(name);
        fs::write(&path, text).with_context(|| format!("cannot write {path}"))?;
        Ok(path)
    }

    /// How to reach it, by name: `address`, `username`, `password` and what else the kind of server has.
    #[must_use]
    pub fn details(&self) -> &BTreeMap<&'static str, String> {
        &self.details
    }

    /// One of the [details](Self::details).
    ///
    /// # Panics
    /// If the kind of server has none of that name.
    #[must_use]
    pub fn detail(&self, name: &str) -> &str {
        self.details
            .get(name)
            .expect("the kind of server says which details it has")
    }

    pub(super) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.details.insert(name, value.into());
    }

    /// Starts one more process and waits until it is ready.
    pub(super) fn add(&mut self, process: &Process) -> anyhow::Result<()> {
        let log = self.path(&format!("{}.log", self.processes.len()));
        self.processes.push(process.clone());
        self.children.push(process.spawn(log.as_ref(), self.outlives)?);
        let child = self.children.last_mut().context("it was just put there")?;
        process.wait_until_ready(child, log.as_ref())
    }

    /// How many processes it has.
    #[must_use]
    pub fn processes(&self) -> usize {
        self.processes.len()
    }

    /// Ends it, as an operator does who stops a machine; its data stays.
    pub fn stop(&mut self) {
        for (child, process) in self.children.iter_mut().zip(&self.processes).rev() {
            end(child, process.end);
        }
        self.children.clear();
    }

    /// Starts it again, at the same ports with the same data.
    ///
    /// # Errors
    /// If it does not become ready.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        self.stop();
        for process in std::mem::take(&mut self.processes) {
            self.add(&process)?;
        }
        Ok(())
    }

    /// Ends one process at once, as a crash does.
    pub fn crash(&mut self, process: usize) {
        if let Some(child) = self.children.get_mut(process) {
            signal(child.id(), Signal::KILL);
            child.wait().ok();
        }
    }

    /// Holds all its processes: they take connections, and never answer.
    pub fn hold(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Lets its processes go on.
    pub fn release(&mut self) {
        self.signal(Signal::CONT);
    }

    fn signal(&mut self, with: Signal) {
        for child in &mut self.children {
            // The number of one that has ended may be another's by now.
            if matches!(child.try_wait(), Ok(None)) {
                signal(child.id(), with);
            }
        }
    }

    /// Leaves it running when this process ends: its folder and its processes, in the order in which they were started.
    pub(super) fn detach(mut self) -> Option<(std::path::PathBuf, Vec<u32>)> {
        let processes = self.children.iter().map(Child::id).collect();
        self.children.clear();
        Some((self.folder.take()?.keep(), processes))
    }
}

fn end(child: &mut Child, with: Signal) {
    if !matches!(child.try_wait(), Ok(None)) {
        return;
    }
    // One that is held hears nothing else.
    signal(child.id(), Signal::CONT);
    signal(child.id(), with);
    if !patiently(|| !matches!(child.try_wait(), Ok(None))) {
        signal(child.id(), Signal::KILL);
        child.wait().ok();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for (child, process) in self.children.iter_mut().zip(&self.processes).rev() {
            // The data goes with it; only what asks for another signal leaves something else behind.
            match process.end {
                Signal::TERM if matches!(child.try_wait(), Ok(None)) => {
                    signal(child.id(), Signal::KILL);
                    child.wait().ok();
                }
                other => end(child, other),
            }
        }
    }
}
