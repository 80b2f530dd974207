//! Starting one program, until it is ready.

use std::{net::TcpListener, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    Error, Options, Program, Programs,
    flags::{self, Place},
    health::{Probe, port_was_taken, tail},
    running::Running,
};

/// How often a program may find its port taken.
const ATTEMPTS: u32 = 5;
/// Between two questions whether something is ready.
pub(super) const POLL: Duration = Duration::from_millis(50);

/// What is needed to start a program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start<'a> {
    pub(super) running: &'a Running,
    pub(super) programs: &'a Programs,
    pub(super) options: &'a Options,
}

impl Start<'_> {
    /// Starts a program on a free port and waits until it is ready. Between finding the port and using it, somebody
    /// else may take it: then another one is tried.
    pub(super) async fn program(self, program: Program, probe: impl Fn(u16) -> Probe) -> Result<u16, Error> {
        let path = self.programs.path(program).ok_or_else(|| Error::ProgramMissing {
            program,
            folder: self.options.bin_dir.clone().unwrap_or_default(),
            named_by: "bin_dir",
        })?;
        let mut attempt = 1;
        loop {
            let port = free_port()?;
            let place = Place {
                folder: &self.running.folder,
                port,
            };
            let arguments = flags::arguments(program, place, self.options);
            self.running.spawn(program, path, &arguments)?;
            match self.ready(program, &probe(port)).await {
                Ok(()) => return Ok(port),
                Err(Error::Exited { log, .. }) if attempt < ATTEMPTS && port_was_taken(&log) => {
                    tracing::debug!(%program, port, "the port was taken; trying another");
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) async fn kwok(self) -> Result<(), Error> {
        if self.options.kwok {
            self.program(Program::Kwok, |_| Probe::Running).await?;
        }
        Ok(())
    }

    async fn ready(self, program: Program, probe: &Probe) -> Result<(), Error> {
        let started = Instant::now();
        loop {
            let last = probe.check().await;
            let log = || tail(&self.running.log(program));
            if let Some(status) = self.running.ended(program) {
                return Err(Error::Exited {
                    program,
                    status,
                    log: log(),
                });
            }
            let Err(last) = last else { return Ok(()) };
            if started.elapsed() >= self.options.start_timeout {
                return Err(Error::NotReady {
                    program,
                    waited: started.elapsed(),
                    last,
                    log: log(),
                });
            }
            sleep(POLL).await;
        }
    }
}

/// A port of loopback that nobody uses now.
fn free_port() -> Result<u16, Error> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(Error::io("127.0.0.1 has no free port"))
}

#[cfg(test)]
mod checks {
    use std::{
        fs,
        io::{Read as _, Write as _},
        os::unix::{fs::PermissionsExt as _, net::UnixListener},
        path::{Path, PathBuf},
    };

    use super::*;

    /// A folder with one program, a script, and a socket that reports health once `ready` is in the data folder.
    fn script(text: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let etcd = folder.path().join("etcd");
        fs::write(&etcd, format!("#!/bin/sh\n{text}")).expect("a file");
        fs::set_permissions(&etcd, fs::Permissions::from_mode(0o700)).expect("a program");
        folder
    }

    fn serve_health(socket: &Path, ready: PathBuf) {
        let listener = UnixListener::bind(socket).expect("a socket");
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let answer = format!(r#"{{"health":"{}"}}"#, ready.exists());
                // All of the request: what is left unread would reset the connection.
                stream.read_exact(&mut [0; 24]).ok();
                stream.write_all(answer.as_bytes()).ok();
            }
        });
    }

    async fn start(text: &str) -> (Running, Result<u16, Error>) {
        let bin = script(text);
        let options = Options {
            start_timeout: Duration::from_secs(20),
            ..Options::default()
        };
        let programs = Programs::of([(Program::Etcd, bin.path().join("etcd"))]);
        let running = Running::new(None).expect("a folder");
        let socket = running.folder.join("health");
        serve_health(&socket, running.folder.join("ready"));
        let start = Start {
            running: &running,
            programs: &programs,
            options: &options,
        };
        let result = start
            .program(Program::Etcd, |_| Probe::Etcd(socket.clone()))
            .await;
        (running, result)
    }

    #[tokio::test]
    async fn a_program_whose_port_was_taken_gets_another() {
        let taken = "if [ -e once ]; then : >ready; exec sleep 60; fi\n: >once\necho 'bind: address already in use'\nexit 1";
        let (running, result) = start(taken).await;
        result.expect("the second attempt succeeds");
        assert_eq!(running.processes().len(), 1);
    }

    #[tokio::test]
    async fn a_program_that_always_finds_its_port_taken_is_given_up() {
        let (running, result) = start("echo . >>attempts\necho 'bind: address already in use'\nexit 1").await;
        assert!(matches!(result, Err(Error::Exited { .. })), "{result:?}");
        let attempts = fs::read_to_string(running.folder.join("attempts")).expect("attempts");
        assert_eq!(attempts.lines().count(), 5);
    }

    #[tokio::test]
    async fn a_program_that_fails_otherwise_is_not_tried_again() {
        let (_running, result) = start("echo 'unknown flag: --x'\nexit 3").await;
        let error = result.expect_err("it ended").to_string();
        assert_eq!(
            error,
            "etcd ended before it was ready: exit status: 3; the end of its log:\nunknown flag: --x"
        );
    }
}
