//! What runs inside containers: native code in place of images.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use crate::latch::Latch;

/// How long a program that is meant to end runs, in seconds; default 10. An annotation of the pod.
pub const RUN_SECONDS: &str = "simulation.autoscaler.dev/run-seconds";
/// The code that such a program exits with; default 0. An annotation of the pod.
pub const EXIT_CODE: &str = "simulation.autoscaler.dev/exit-code";

/// What a container does.
#[async_trait]
pub trait Program: fmt::Debug + Send + Sync + 'static {
    /// Runs until it is done or has been told to stop.
    ///
    /// # Cancel safety
    /// The future is dropped when the container is killed: the grace period is over, or its machine is gone.
    async fn run(&self, pod: Arc<Pod>, stop: Stop) -> Exit;
}

/// The programs of a cluster.
pub trait Programs: fmt::Debug + Send + Sync + 'static {
    /// What `container` of `pod` runs; none for the default: a service runs until it is told to stop, a task for
    /// [`RUN_SECONDS`].
    fn program(&self, pod: &Pod, container: &str) -> Option<Arc<dyn Program>>;
}

/// Every container does the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultPrograms;

impl Programs for DefaultPrograms {
    fn program(&self, _pod: &Pod, _container: &str) -> Option<Arc<dyn Program>> {
        None
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The exit code; 0 is success.
    pub code: i32,
}

impl Exit {
    /// It did what it was meant to do.
    pub const SUCCESS: Self = Self { code: 0 };
    /// It was ended by SIGTERM.
    pub const TERMINATED: Self = Self { code: 143 };
    /// It was killed.
    pub const KILLED: Self = Self { code: 137 };
}

/// SIGTERM, as a program sees it. Clones see the same signal.
#[derive(Clone, Debug)]
pub struct Stop {
    requested: Latch,
}

/// Sends SIGTERM to the holders of its [`Stop`].
#[derive(Debug)]
pub struct StopSender {
    requested: Latch,
}

impl Stop {
    /// A signal that was not sent yet, and the means to send it.
    #[must_use]
    pub fn channel() -> (StopSender, Self) {
        let requested = Latch::default();
        (
            StopSender {
                requested: requested.clone(),
            },
            Self { requested },
        )
    }

    /// Waits for SIGTERM; returns at once after it.
    pub async fn requested(&self) {
        self.requested.wait().await;
    }

    /// Whether SIGTERM was sent.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.requested.is_set()
    }
}

impl StopSender {
    /// Sends SIGTERM.
    pub fn send(&self) {
        self.requested.set();
    }
}

/// Runs until told to stop.
#[derive(Debug)]
pub(super) struct Service;

#[async_trait]
impl Program for Service {
    async fn run(&self, _pod: Arc<Pod>, stop: Stop) -> Exit {
        stop.requested().await;
        Exit::SUCCESS
    }
}

/// Runs for the time and to the end that the pod's annotations say.
#[derive(Debug)]
pub(super) struct Task {
    /// Without an annotation.
    pub(super) seconds: u64,
}

#[async_trait]
impl Program for Task {
    async fn run(&self, pod: Arc<Pod>, stop: Stop) -> Exit {
        let annotation = |name: &str| {
            pod.annotations()
                .get(name)
                .and_then(|text| text.parse::<f64>().ok())
        };
        let seconds = annotation(RUN_SECONDS)
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .unwrap_or(Duration::from_secs(self.seconds));
        tokio::select! {
            biased;
            () = stop.requested() => Exit::TERMINATED,
            // Exit codes are small.
            () = tokio::time::sleep(seconds) => Exit { code: annotation(EXIT_CODE).unwrap_or_default() as i32 },
        }
    }
}
