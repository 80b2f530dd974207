//! One process of a server: what starts it, whether it is ready, how it ends.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process_group};

/// How long a server may take to be ready, and to end by itself.
const PATIENCE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(20);

/// A command line with what belongs to it; it can be started again and again.
#[derive(Clone, Debug)]
pub(super) struct Process {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
    user: Option<u32>,
    ready: Ready,
    /// What it is asked to end with.
    pub(super) end: Signal,
}

/// When a process is ready.
#[derive(Clone, Debug)]
pub(super) enum Ready {
    /// Somebody accepts connections at the port.
    Port(u16),
    /// A request for the path at the port is answered with 200.
    Http(u16, &'static str),
    /// A command succeeds.
    Command(Box<Process>),
    /// Each of several.
    All(Vec<Ready>),
}

impl Process {
    pub(super) fn new(program: impl Into<PathBuf>, ready: Ready) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            user: None,
            ready,
            end: Signal::TERM,
        }
    }

    pub(super) fn arguments<T: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    pub(super) fn environment(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Sets the signal that asks it to end.
    pub(super) fn ends_by(mut self, signal: Signal) -> Self {
        self.end = signal;
        self
    }

    /// Runs it as this user.
    pub(super) fn user(mut self, user: Option<u32>) -> Self {
        self.user = user;
        self
    }

    /// Adds the folders of the libraries that came with packages unpacked into `root`.
    pub(super) fn libraries(self, root: &Path) -> Self {
        let mut folders = Vec::new();
        for parent in ["usr/lib", "lib"] {
            let entries = fs::read_dir(root.join(parent)).into_iter().flatten();
            let entries = entries.filter_map(|entry| Some(entry.ok()?.path()));
            folders.extend(entries.filter(|path| path.to_string_lossy().ends_with("-linux-gnu")));
        }
        folders.sort();
        match std::env::join_paths(folders) {
            Ok(paths) if !paths.is_empty() => self.environment("LD_LIBRARY_PATH", paths),
            _ => self,
        }
    }

    fn command(&self, program: &std::ffi::OsStr, before: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(before);
        if !before.is_empty() {
            command.arg(&self.program);
        }
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    /// Runs it to its end.
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let output = self
            .command(self.program.as_os_str(), &[])
            .output()
            .with_context(|| format!("{} cannot be started", self.program.display()))?;
        if !output.status.success() {
            bail!(
                "{} failed: {}\n{}{}",
                self.program.display(),
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }

    /// Starts it in a group of its own; unless it is to outlive this process, it ends when the thread ends that calls this.
    pub(super) fn spawn(&self, log: &Path, outlives: bool) -> anyhow::Result<Child> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = match outlives {
            true => self.command(self.program.as_os_str(), &[]),
            false => self.command("setpriv".as_ref(), &["--pdeathsig", "TERM"]),
        };
        command
            .process_group(0)
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("{} cannot be started", self.program.display()))
    }

    /// Waits until it is ready.
    pub(super) fn wait_until_ready(&self, child: &mut Child, log: &Path) -> anyhow::Result<()> {
        let is_ready = patiently(|| {
            let ended = child.try_wait().ok().flatten();
            if ended.is_some() {
                return true;
            }
            self.ready.is()
        });
        if let Some(status) = child.try_wait()? {
            bail!(
                "{} ended at once: {status}\n{}",
                self.program.display(),
                tail(log)
            );
        }
        if !is_ready {
            bail!("{} is not ready\n{}", self.program.display(), tail(log));
        }
        Ok(())
    }
}

impl Ready {
    fn is(&self) -> bool {
        match self {
            Self::Port(port) => connect(*port).is_ok(),
            Self::Http(port, path) => answers(*port, path).unwrap_or(false),
            Self::Command(process) => process.run().is_ok(),
            Self::All(all) => all.iter().all(Self::is),
        }
    }
}

fn connect(port: u16) -> std::io::Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_secs(1))
}

fn answers(port: u16, path: &str) -> std::io::Result<bool> {
    let mut stream = connect(port)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"
    )?;
    let mut start = [0; 12];
    stream.read_exact(&mut start)?;
    Ok(start.ends_with(b" 200"))
}

/// Asks again until the answer is yes, or patience ends.
pub(super) fn patiently(mut is_done: impl FnMut() -> bool) -> bool {
    let mut waited = Duration::ZERO;
    while waited < PATIENCE {
        if is_done() {
            return true;
        }
        pause(STEP);
        waited += STEP;
    }
    false
}

#[allow(clippy::disallowed_methods, reason = "a real server takes real time")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// Sends a signal to a process and those that it started.
pub(super) fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        kill_process_group(pid, signal).ok();
    }
}

/// A port of loopback that nobody listens at, out of the range that the kernel takes for connections.
pub(super) fn free_port() -> anyhow::Result<u16> {
    const FIRST: u16 = 11_000;
    const COUNT: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that run side by side begin at different places.
    let offset = u16::try_from(std::process::id().wrapping_mul(257) % u32::from(COUNT))?;
    for _ in 0..COUNT {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + offset.wrapping_add(next) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port of loopback is free")
}
