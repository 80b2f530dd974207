//! What every controller is given.

use std::fmt;

use kube::Client;
use scaler_api::SharedClock;

use crate::{
    decisions::DecisionLog, events::Recorder, latch::Latch, lease::Leadership,
    pod_autoscaler::metrics::PodMetrics, work::WorkMetrics,
};

/// Whether something that runs can do its work: its caches are filled. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    latch: Latch,
}

impl Readiness {
    /// It is ready from now on.
    pub(crate) fn set(&self) {
        self.latch.set();
    }

    /// Whether it is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.latch.is_set()
    }

    /// Waits until it is ready; returns at once afterwards.
    pub async fn wait(&self) {
        self.latch.wait().await;
    }
}

/// The surroundings of a controller: the API, the time, and where to say what was done. Cheap to clone.
///
/// A controller is a future made from a `Runtime` that runs until it is dropped; it takes no other surroundings, so the
/// same controller turns in the reference binary, in a user's own and in the embedded cluster.
#[derive(Clone)]
pub struct Runtime {
    /// The API server.
    pub client: Client,
    /// Wall-clock time, virtual in the embedded cluster.
    pub clock: SharedClock,
    /// Kubernetes events.
    pub recorder: Recorder,
    /// Why things were done.
    pub decisions: DecisionLog,
    /// How much there is to do, and how long it takes.
    pub work: WorkMetrics,
    /// What is said of ScaledObjects and ScaledJobs under KEDA's names.
    pub pods: PodMetrics,
    /// Whether this process may write.
    pub leadership: Leadership,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("clock", &self.clock)
            .field("recorder", &self.recorder)
            .field("leadership", &self.leadership)
            .finish_non_exhaustive()
    }
}

impl Runtime {
    /// The runtime of a process without replicas, and the task that writes its events.
    pub fn new(
        client: Client,
        clock: SharedClock,
        component: &'static str,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (recorder, events) = Recorder::new(client.clone(), clock.clone(), component);
        let decisions = DecisionLog::new(clock.clone());
        (
            Self {
                client,
                clock,
                recorder,
                decisions,
                work: WorkMetrics::default(),
                pods: PodMetrics::default(),
                leadership: Leadership::always(),
            },
            events,
        )
    }

    /// The same surroundings in a process that has replicas.
    #[must_use]
    pub fn with_leadership(self, leadership: Leadership) -> Self {
        Self { leadership, ..self }
    }

    /// The same surroundings under another component's name in events.
    #[must_use]
    pub fn named(&self, component: &'static str) -> Self {
        Self {
            recorder: self.recorder.named(component),
            ..self.clone()
        }
    }
}
