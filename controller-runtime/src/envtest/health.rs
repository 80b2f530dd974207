//! When a program is ready.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use http::Request;
use kube::{Client, Config};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time,
};

/// How a program is asked whether it is ready.
#[derive(Debug, Clone)]
pub(super) enum Probe {
    /// etcd's `/health` on its socket.
    Etcd(PathBuf),
    /// A path over TLS; the certificate must be of our authority, so another's program on the port is not mistaken.
    Https(Box<Config>, &'static str),
    /// It answers nothing: that it runs is enough.
    Running,
}

impl Probe {
    /// Whether it is ready; if not, why.
    pub(super) async fn check(&self) -> Result<(), String> {
        let check = async {
            match self {
                Self::Etcd(socket) => etcd(socket).await,
                Self::Https(config, path) => https(config, path).await,
                Self::Running => Ok(()),
            }
        };
        match time::timeout(Duration::from_secs(5), check).await {
            Ok(result) => result,
            Err(_) => Err("no answer within 5 s".to_owned()),
        }
    }
}

async fn etcd(socket: &Path) -> Result<(), String> {
    let ask = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = ask
        .await
        .map_err(|error| format!("{}: {error}", socket.display()))?;
    if answer.contains(r#""health":"true""#) {
        Ok(())
    } else {
        Err(format!("/health says {answer:?}"))
    }
}

async fn https(config: &Config, path: &str) -> Result<(), String> {
    let url = format!("{}{}", config.cluster_url.to_string().trim_end_matches('/'), path);
    let ask = async {
        let client = Client::try_from(config.clone())?;
        let request = Request::get(path)
            .body(Vec::new())
            .map_err(kube::Error::HttpError)?;
        client.request_text(request).await
    };
    match ask.await {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{url}: {}", causes(&error))),
    }
}

/// An error with what caused it, in a line.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// The last lines of a log.
pub(super) fn tail(log: &Path) -> String {
    const LINES: usize = 20;
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// Whether a program ended because somebody else has its port.
pub(super) fn port_was_taken(log: &str) -> bool {
    log.contains("address already in use")
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn only_a_taken_port_is_worth_another_attempt() {
        assert!(port_was_taken(
            "I1 serving\nE2 \"command failed\" err=\"failed to listen on 127.0.0.1:6443: listen tcp 127.0.0.1:6443: \
             bind: address already in use\""
        ));
        assert!(!port_was_taken("bind: permission denied"));
    }

    #[test]
    fn the_end_of_a_log_is_its_last_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        let lines: Vec<String> = (0..100).map(|line| line.to_string()).collect();
        fs::write(&log, lines.join("\n")).expect("a log");
        let tail = tail(&log);
        assert!(tail.starts_with("80\n") && tail.ends_with("\n99"), "{tail}");
        assert_eq!(super::tail(&folder.path().join("absent")), "");
    }
}
