//! What can be chosen about a control plane.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

/// A program of the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Program {
    /// Where the API server keeps its objects.
    Etcd,
    /// The API server.
    ApiServer,
    /// The built-in controllers.
    ControllerManager,
    /// The scheduler.
    Scheduler,
    /// What keeps fake nodes alive, and runs the pods on them.
    Kwok,
    /// The client; it is never started, only found.
    Kubectl,
}

impl Program {
    /// Those that run, in the order in which they start.
    pub const DAEMONS: [Self; 5] = [
        Self::Etcd,
        Self::ApiServer,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Kwok,
    ];

    /// The name of its file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kwok => "kwok",
            Self::Kubectl => "kubectl",
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What can be chosen about a control plane.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder that holds the programs; without it, see [`Programs`](super::Programs).
    pub bin_dir: Option<PathBuf>,
    /// Where data, certificates, kubeconfigs and logs are kept: a folder that is new or empty, and that is removed at
    /// the end. Without it, a folder of its own in the temporary directory.
    pub folder: Option<PathBuf>,
    /// How often HorizontalPodAutoscalers are looked at. Kubernetes' default is 15 s; here it is 2 s.
    pub hpa_sync_period: Duration,
    /// The controllers of kube-controller-manager to run, as its `--controllers` takes them. Empty: its default.
    pub controllers: Vec<String>,
    /// Whether kwok runs. Without it a pod never gets beyond being bound.
    pub kwok: bool,
    /// Whether every controller uses a service account of its own, so that RBAC holds for each. Without it they are
    /// all cluster administrators.
    pub service_account_credentials: bool,
    /// The longest that any program may take to be ready.
    pub start_timeout: Duration,
    /// More command-line arguments, by program; they come last, so that they win.
    pub arguments: BTreeMap<Program, Vec<String>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bin_dir: None,
            folder: None,
            hpa_sync_period: Duration::from_secs(2),
            controllers: Vec::new(),
            kwok: true,
            service_account_credentials: true,
            start_timeout: Duration::from_secs(90),
            arguments: BTreeMap::new(),
        }
    }
}
