//! Why: the decisions that were made, kept in order.
//!
//! Every controller that changes a number or buys, moves or returns a machine says so here, with its reason in words.
//! The log is a ring in memory; whoever wants all of it (a record, an endpoint) subscribes. Of each object the last few
//! are kept longer than that.

mod history;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use scaler_api::SharedClock;
use serde::Serialize;
use tokio::sync::mpsc;

use self::history::Histories;

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// When.
    pub time: Timestamp,
    /// Which controller, e.g. `scaled-object`, `horizontal-pod-autoscaler`, `provisioning`.
    pub controller: &'static str,
    /// About what, as `Kind/namespace/name` or `Kind/name`.
    pub object: String,
    /// What was, in words or as a number; empty where there was nothing.
    pub from: String,
    /// What is to be.
    pub to: String,
    /// Why, in words.
    pub reason: String,
}

/// The decisions of a process. Clones share it.
#[derive(Clone, Debug)]
pub struct DecisionLog {
    clock: SharedClock,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    ring: VecDeque<Decision>,
    histories: Histories,
    subscribers: Vec<mpsc::UnboundedSender<Decision>>,
}

impl DecisionLog {
    /// How many decisions are kept.
    pub const CAPACITY: usize = 4096;

    /// An empty log.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            shared: Arc::default(),
        }
    }

    /// Adds a decision.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "callers pass numbers and words alike"
    )]
    pub fn record(
        &self,
        controller: &'static str,
        object: impl Into<String>,
        from: impl ToString,
        to: impl ToString,
        reason: impl Into<String>,
    ) {
        let decision = Decision {
            time: self.clock.now(),
            controller,
            object: object.into(),
            from: from.to_string(),
            to: to.to_string(),
            reason: reason.into(),
        };
        tracing::info!(controller, object = %decision.object, from = %decision.from, to = %decision.to, reason = %decision.reason, "decided");
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared
            .subscribers
            .retain(|subscriber| subscriber.send(decision.clone()).is_ok());
        shared.histories.add(&decision);
        if shared.ring.len() == Self::CAPACITY {
            shared.ring.pop_front();
        }
        shared.ring.push_back(decision);
    }

    /// The decisions that are kept, oldest first.
    #[must_use]
    pub fn recent(&self) -> Vec<Decision> {
        self.shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .ring
            .iter()
            .cloned()
            .collect()
    }

    /// The last decisions about an object, oldest first; fewer where it has been quiet for long and others have not.
    #[must_use]
    pub fn about(&self, object: &str) -> Vec<Decision> {
        self.shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .histories
            .about(object)
    }

    /// Forgets what was decided about an object that is gone.
    pub fn forget(&self, object: &str) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.histories.forget(object);
    }

    /// Every decision from now on, in order.
    #[must_use]
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<Decision> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .subscribers
            .push(sender);
        receiver
    }
}
