//! Asks why after each decision, for the record.

use std::{collections::BTreeMap, time::Duration};

use controller_runtime::explain::Explainer;
use tokio::time::Instant;

use crate::record::Observer;

/// How long after a decision is asked: by then everybody has said what they have to say about it.
const LATER: Duration = Duration::from_secs(1);

/// Who is asked about what, and when.
pub(super) struct Asking {
    explainer: Explainer,
    /// Everything that can be asked about, with what it scales.
    known: BTreeMap<String, String>,
    due: BTreeMap<String, Instant>,
}

impl Asking {
    pub(super) fn new(explainer: Explainer) -> Self {
        Self {
            explainer,
            known: BTreeMap::new(),
            due: BTreeMap::new(),
        }
    }

    /// Something was decided about `Kind/namespace/name`.
    pub(super) fn note(&mut self, object: &str) {
        if object.starts_with("ScaledObject/") || object.starts_with("ScaledJob/") {
            self.known.entry(object.to_owned()).or_default();
        }
        let scaling = self
            .known
            .iter()
            .filter(|(known, target)| *known == object || *target == object);
        for (known, _) in scaling {
            self.due
                .entry(known.clone())
                .or_insert_with(|| Instant::now() + LATER);
        }
    }

    /// Waits until somebody is to be asked.
    pub(super) async fn due(&self) {
        match self.due.values().min() {
            Some(at) => tokio::time::sleep_until(*at).await,
            None => std::future::pending().await,
        }
    }

    /// Asks about everything that is due.
    pub(super) fn ask(&mut self, milliseconds: u64, observer: &mut Observer) {
        let now = Instant::now();
        let due: Vec<_> = self.due.iter().filter(|(_, at)| **at <= now).collect();
        let due: Vec<String> = due.into_iter().map(|(object, _)| object.clone()).collect();
        for object in due {
            self.due.remove(&object);
            self.explain(&object, milliseconds, observer);
        }
    }

    /// Asks about everything.
    pub(super) fn all(mut self, milliseconds: u64, observer: &mut Observer) {
        let known: Vec<_> = self.known.keys().cloned().collect();
        for object in known {
            self.explain(&object, milliseconds, observer);
        }
    }

    fn explain(&mut self, object: &str, milliseconds: u64, observer: &mut Observer) {
        let mut parts = object.splitn(3, '/');
        let (Some(kind), Some(namespace), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
            return;
        };
        if let Ok(explanation) = self.explainer.explain(kind, namespace, name) {
            if let Some((kind, name)) = explanation.settings.target.split_once('/') {
                let target = format!("{kind}/{namespace}/{name}");
                self.known.insert(object.to_owned(), target);
            }
            observer.explained(milliseconds, explanation);
        }
    }
}
