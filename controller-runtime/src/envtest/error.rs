//! Why there is no control plane.

use std::{io, path::PathBuf, process::ExitStatus, time::Duration};

use super::Program;

/// Why there is no control plane.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program is not where it was said to be.
    #[error("{program} is not in {}, the folder that {named_by} names", folder.display())]
    ProgramMissing {
        /// Which.
        program: Program,
        /// Where it was looked for.
        folder: PathBuf,
        /// The option or variable that names the folder.
        named_by: &'static str,
    },
    /// The programs have to be built, and there is no Go.
    #[error(
        "the programs of the control plane are not in {}, and go cannot be run to build them: install Go 1.25 or \
         newer, or let KUBEBUILDER_ASSETS or --bin-dir name a folder that holds etcd, kube-apiserver, \
         kube-controller-manager, kube-scheduler and kwok",
        folder.display()
    )]
    NoGo {
        /// Where the built ones would be.
        folder: PathBuf,
        /// Why go cannot be run.
        source: io::Error,
    },
    /// Go failed to build the programs.
    #[error("go cannot build {what} in {}: {status}\n{output}", folder.display())]
    Build {
        /// What was built.
        what: String,
        /// Where.
        folder: PathBuf,
        /// How Go ended.
        status: ExitStatus,
        /// The last lines that it printed.
        output: String,
    },
    /// Neither `XDG_CACHE_HOME` nor `HOME` says where the programs are kept.
    #[error("neither XDG_CACHE_HOME nor HOME is an absolute path, so there is no cache directory")]
    NoCacheFolder,
    /// The folder for data and logs cannot be used.
    #[error("the folder {} cannot be used: {reason}", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A file or a process failed.
    #[error("{action}: {source}")]
    Io {
        /// What was tried, on which path.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A certificate or key could not be made.
    #[error("the certificate of {subject} cannot be made: {source}")]
    Certificate {
        /// For whom.
        subject: String,
        /// Why.
        source: rcgen::Error,
    },
    /// A program ended before it was ready.
    #[error("{program} ended before it was ready: {status}; the end of its log:\n{log}")]
    Exited {
        /// Which.
        program: Program,
        /// How it ended.
        status: ExitStatus,
        /// The last lines of its log.
        log: String,
    },
    /// A program did not become ready in time.
    #[error("{program} was not ready after {} s ({last}); the end of its log:\n{log}", waited.as_secs())]
    NotReady {
        /// Which.
        program: Program,
        /// How long was waited.
        waited: Duration,
        /// What the last check said.
        last: String,
        /// The last lines of its log.
        log: String,
    },
    /// The API server is there, but something that it should hold is not.
    #[error("{what} was not there after {} s: {last}", waited.as_secs())]
    Missing {
        /// What was waited for.
        what: &'static str,
        /// How long.
        waited: Duration,
        /// What the API server answered last.
        last: String,
    },
    /// The Kubernetes client cannot be made or used.
    #[error("the client of {server}: {source}")]
    Client {
        /// The server.
        server: String,
        /// Why.
        source: Box<kube::Error>,
    },
}

impl Error {
    pub(super) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }
}
