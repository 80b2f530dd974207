//! A server of another program on loopback for the lifetime of a value.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A running server; it ends when this is dropped.
pub(crate) struct Server {
    process: Child,
    port: u16,
}

/// A program in the cache directory, or `None` where the test may be skipped.
fn program(path: &str) -> Option<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(folder) if Path::new(&folder).is_absolute() => PathBuf::from(folder),
        _ => PathBuf::from(std::env::var_os("HOME")?).join(".cache"),
    };
    let program = cache.join("autoscaler-sdk").join(path);
    if program.is_file() {
        return Some(program);
    }
    assert!(
        std::env::var_os("AUTOSCALER_TESTS_REQUIRE_TOOLS").is_none(),
        "{path} is required, but `cargo xtask test` has not installed it"
    );
    eprintln!("skipped: there is no {path}; `cargo xtask test` installs it");
    None
}

impl Server {
    /// Starts a program with arguments that are made from a free port.
    pub(crate) async fn start(path: &str, arguments: impl Fn(u16) -> Vec<String>) -> Option<Self> {
        rustls::crypto::ring::default_provider().install_default().ok();
        let program = program(path)?;
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let process = Command::new(program)
            .args(arguments(port))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { process, port };
        let start = tokio::time::Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(start.elapsed() < PATIENCE, "{path} does not answer");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Some(server)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
