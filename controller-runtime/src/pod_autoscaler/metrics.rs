//! What `/metrics` says of ScaledObjects and ScaledJobs, under KEDA's names (keda.md §8).
//!
//! Whatever takes a sample tells [`PodMetrics`], which keeps a few numbers for each trigger; the text is made when it is
//! asked for. A sample that is told allocates nothing. What is no longer checked has no series any more: they go with
//! the object, with a pause, and with a refusal; but the object's own errors and whether it is paused stay as long as it
//! is there.

mod encode;
mod registered;
mod series;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, metrics::histogram::Histogram};
use scaler_api::observe::HttpRequest;

use self::{encode::Page, registered::Registered, series::Series};
use crate::{
    cloud_events::metrics::CloudEventMetrics,
    scaled_object::{plan::PlannedTrigger, samples::Taken},
    store::ObjectKey,
};

/// Upper bounds of the buckets of requests' durations, in seconds; those of client_golang, which KEDA takes.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What is scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    ScaledObject,
    ScaledJob,
}

/// The metrics of all ScaledObjects and ScaledJobs of a process. Clones share them.
///
/// It is a [`Collector`]: registered, it says the metrics of KEDA's operator.
#[derive(Clone, Default)]
pub struct PodMetrics {
    shared: Arc<Mutex<State>>,
    registered: Registered,
    cloud_events: CloudEventMetrics,
}

/// Requests by the type of the trigger and the status of the answer.
type Durations = BTreeMap<(String, Option<u16>), Histogram>;

#[derive(Default)]
struct State {
    objects: BTreeMap<ObjectKey, Series>,
    jobs: BTreeMap<ObjectKey, Series>,
    durations: Durations,
}

impl fmt::Debug for PodMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("PodMetrics")
            .field("scaled_objects", &state.objects.len())
            .field("scaled_jobs", &state.jobs.len())
            .finish_non_exhaustive()
    }
}

impl State {
    fn of(&mut self, kind: Kind) -> &mut BTreeMap<ObjectKey, Series> {
        match kind {
            Kind::ScaledObject => &mut self.objects,
            Kind::ScaledJob => &mut self.jobs,
        }
    }

    fn entry(&mut self, kind: Kind, key: &ObjectKey) -> &mut Series {
        self.of(kind).entry(key.clone()).or_default()
    }

    fn time(&mut self, trigger_type: &str, requests: &[HttpRequest]) {
        for request in requests {
            let key = (trigger_type.to_owned(), request.status);
            let histogram = self
                .durations
                .entry(key)
                .or_insert_with(|| Histogram::new(BUCKETS));
            histogram.observe(request.took.as_secs_f64());
        }
    }
}

impl PodMetrics {
    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is of KEDA's resources, counted whenever somebody looks.
    pub(crate) fn registered(&self) -> &Registered {
        &self.registered
    }

    /// What is said of CloudEvents.
    pub(crate) fn cloud_events(&self) -> &CloudEventMetrics {
        &self.cloud_events
    }

    /// An object runs by these triggers from now on. Those that it had before keep their numbers.
    pub(crate) fn run(&self, kind: Kind, key: &ObjectKey, triggers: &[PlannedTrigger]) {
        self.state().entry(kind, key).run(triggers);
    }

    /// A trigger of an object has a new sample, or the failure to take one; one that was told before does not count.
    pub(crate) fn sampled(&self, kind: Kind, key: &ObjectKey, trigger: &PlannedTrigger, taken: &Taken) {
        let mut state = self.state();
        let Some(series) = state.of(kind).get_mut(key) else {
            return;
        };
        let observed = series.sampled(trigger, taken);
        if let Some(observed) = observed.filter(|observed| !observed.requests.is_empty()) {
            state.time(&trigger.trigger_type, &observed.requests);
        }
    }

    /// A check of an object has begun so late.
    pub(crate) fn began(&self, kind: Kind, key: &ObjectKey, late: Duration) {
        if let Some(series) = self.state().of(kind).get_mut(key) {
            series.late = Some(late);
        }
    }

    /// An object cannot run.
    pub(crate) fn failed(&self, kind: Kind, key: &ObjectKey) {
        self.state().entry(kind, key).errors += 1;
    }

    /// Whether an object is paused.
    pub(crate) fn set_paused(&self, kind: Kind, key: &ObjectKey, is_paused: bool) {
        self.state().entry(kind, key).paused = Some(is_paused);
    }

    /// Nothing of an object is checked any more.
    pub(crate) fn stop(&self, kind: Kind, key: &ObjectKey) {
        if let Some(series) = self.state().of(kind).get_mut(key) {
            series.stop();
        }
    }

    /// An object is gone.
    pub(crate) fn remove(&self, kind: Kind, key: &ObjectKey) {
        self.state().of(kind).remove(key);
    }

    /// Another replica leads from now on, or this one begins anew.
    pub(crate) fn clear(&self, kind: Kind) {
        self.state().of(kind).clear();
    }
}

impl Collector for PodMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counts = self.registered.count();
        let state = self.state();
        let mut page = Page(encoder);
        page.build()?;
        page.scalers(&state)?;
        page.objects(&state)?;
        page.requests(&state)?;
        drop(state);
        page.registered(&counts)?;
        page.cloud_events(&self.cloud_events.counts())
    }
}
