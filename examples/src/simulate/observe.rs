//! Follows a run: cluster, queues and decisions into the record and onto the screen.

use std::{sync::Arc, time::Duration};

use controller_runtime::{
    decisions::Decision,
    explain::Explainer,
    sim::{
        api::{Change, Verb},
        cluster::Cluster,
    },
};
use jiff::Timestamp;
use scalers::sqs::fake::Changes;
use tokio::{sync::mpsc, time::Instant};

use super::{asking::Asking, cloud::Cloud, queues::Queues};
use crate::{
    bundled::Story,
    record::{DecisionEntry, Messages, Observer, PriceList, Record},
    view::View,
};

/// The observer with what it listens to.
pub(super) struct Watcher {
    observer: Observer,
    view: View,
    start: Timestamp,
    origin: Instant,
    changes: mpsc::UnboundedReceiver<Change>,
    decisions: mpsc::UnboundedReceiver<Decision>,
    queue_changes: Changes,
    queues: Queues,
    asking: Asking,
}

impl Watcher {
    /// Listens from now on.
    pub(super) fn new(
        story: &Story,
        seed: u64,
        cluster: &Cluster,
        queues: &Queues,
        cloud: Option<&Cloud>,
        view: View,
        explainer: Explainer,
    ) -> Self {
        let scenario = &story.scenario;
        let prices = cloud.map_or_else(
            || Arc::new(|_: &str, _: &str, _: &str| None) as PriceList,
            Cloud::prices,
        );
        let targets = super::check::targets(&story.manifests);
        Self {
            observer: Observer::new(&scenario.name, seed, &scenario.start.to_string(), targets, prices),
            view,
            start: scenario.start,
            origin: Instant::now(),
            changes: cluster.api().observe(),
            decisions: cluster.runtime().decisions.subscribe(),
            queue_changes: queues.endpoint.changes(),
            queues: queues.clone(),
            asking: Asking::new(explainer),
        }
    }

    /// Follows until `end`.
    pub(super) async fn watch(&mut self, end: Instant, length: Duration) {
        self.drain();
        self.observer.started();
        loop {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(end) => break,
                Some(change) = self.changes.recv() => self.change(&change),
                Some(decision) = self.decisions.recv() => self.decision(decision),
                () = self.queue_changes.changed() => {}
                () = self.asking.due() => {}
            }
            self.drain();
            let latest = self.observer.latest();
            let fraction = self.origin.elapsed().as_secs_f64() / length.as_secs_f64().max(0.001);
            self.view.update(&latest, self.observer.record(), fraction);
        }
        self.drain();
    }

    /// Ends the record.
    pub(super) fn finish(self, wall_seconds: f64, messages: Messages) -> Record {
        let Self {
            mut observer,
            mut view,
            origin,
            asking,
            ..
        } = self;
        let milliseconds = u64::try_from(origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        asking.all(milliseconds, &mut observer);
        let record = observer.finish(milliseconds, wall_seconds, messages);
        view.finish(&record);
        record
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Takes over everything that has happened up to now.
    fn drain(&mut self) {
        while let Ok(change) = self.changes.try_recv() {
            self.change(&change);
        }
        while let Ok(decision) = self.decisions.try_recv() {
            self.decision(decision);
        }
        let now = self.now();
        self.asking.ask(now, &mut self.observer);
        self.observer.queued(now, self.queues.depth());
        self.observer.settle();
    }

    fn change(&mut self, change: &Change) {
        let now = self.now();
        match change.verb {
            Verb::Deleted => self.observer.deleted(now, &change.object),
            _ => self.observer.applied(now, &change.object),
        }
    }

    fn decision(&mut self, decision: Decision) {
        self.asking.note(&decision.object);
        let since = decision.time.duration_since(self.start).as_millis();
        self.observer.decided(DecisionEntry {
            t: u64::try_from(since).unwrap_or(0),
            controller: decision.controller.to_owned(),
            object: decision.object,
            from: decision.from,
            to: decision.to,
            reason: decision.reason,
        });
    }
}
