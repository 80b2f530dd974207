//! The last run of each autoscaler, with everything that it saw.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;

use crate::{
    hpa::{
        Config, Input, Pod, Reading, Scale, Spec, State, Status,
        explain::{self, Computation},
    },
    store::ObjectKey,
};

/// The last run of each autoscaler. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Runs {
    of: Arc<Mutex<BTreeMap<ObjectKey, Arc<Run>>>>,
}

/// What one run saw, and what was remembered before it.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) spec: Spec,
    pub(super) scale: Scale,
    pub(super) pods: Vec<Pod>,
    pub(super) controllers: Vec<ObjectKey>,
    pub(super) readings: Vec<Reading>,
    pub(super) config: Config,
    pub(super) before: State,
    pub(super) at: Timestamp,
}

impl Runs {
    pub(super) fn keep(&self, key: &ObjectKey, run: Run) {
        let mut runs = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        runs.insert(key.clone(), Arc::new(run));
    }

    pub(super) fn forget(&self, key: &ObjectKey) {
        self.of.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// What the last run of an autoscaler came to, step by step.
    #[must_use]
    pub fn last(&self, key: &ObjectKey) -> Option<Computation> {
        let run = self
            .of
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned()?;
        let input = Input {
            namespace: &key.namespace,
            spec: &run.spec,
            status: &Status::default(),
            scale: &run.scale,
            pods: &run.pods,
            controllers: &run.controllers,
            readings: &run.readings,
            config: &run.config,
        };
        Some(explain::explain(&input, &run.before, run.at))
    }
}
