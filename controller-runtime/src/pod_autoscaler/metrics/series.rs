//! The numbers of one object.

use std::{borrow::Cow, time::Duration};

use scaler_api::{keda::go_scaler_name, observe::Observed};
use tokio::time::Instant;

use crate::scaled_object::{plan::PlannedTrigger, samples::Taken};

/// What is said of one object.
#[derive(Debug, Default)]
pub(super) struct Series {
    pub(super) triggers: Vec<TriggerSeries>,
    /// Failures of the object or of its triggers.
    pub(super) errors: u64,
    pub(super) paused: Option<bool>,
    /// How late the last check began.
    pub(super) late: Option<Duration>,
}

/// What is said of one trigger.
#[derive(Debug)]
pub(super) struct TriggerSeries {
    pub(super) index: String,
    pub(super) trigger_type: String,
    /// Its name, or the name of KEDA's scaler.
    pub(super) scaler: Cow<'static, str>,
    pub(super) name: String,
    pub(super) metrics: Vec<MetricSeries>,
    pub(super) latency: Option<Duration>,
    pub(super) active: Option<bool>,
    pub(super) errors: u64,
    /// Requests over HTTP by status.
    pub(super) requests: Vec<(Option<u16>, u64)>,
    pub(super) empty_as_zero: u64,
    pub(super) empty_as_error: u64,
    /// Which sample was the last one.
    last: Option<(Instant, u64)>,
}

/// What is said of one metric of a trigger.
#[derive(Debug)]
pub(super) struct MetricSeries {
    pub(super) name: String,
    /// The last value; a failure does not change it.
    pub(super) value: Option<f64>,
}

impl Series {
    pub(super) fn run(&mut self, triggers: &[PlannedTrigger]) {
        let mut known = std::mem::take(&mut self.triggers);
        let with_source = triggers.iter().filter(|trigger| trigger.source.is_some());
        self.triggers = with_source
            .map(|trigger| {
                let same = known.iter().position(|known| known.is_of(trigger));
                match same {
                    Some(same) => TriggerSeries {
                        // Another source counts its samples anew.
                        last: None,
                        ..known.swap_remove(same)
                    },
                    None => TriggerSeries::of(trigger),
                }
            })
            .collect();
    }

    pub(super) fn stop(&mut self) {
        self.triggers.clear();
        self.late = None;
    }

    /// What was noticed during a sample that was not told before.
    pub(super) fn sampled(&mut self, trigger: &PlannedTrigger, taken: &Taken) -> Option<Observed> {
        let series = self.triggers.iter_mut().find(|series| series.is_of(trigger))?;
        let observed = series.sampled(taken)?;
        if taken.result.is_err() || series.is_short(taken) {
            self.errors += 1;
        }
        Some(observed)
    }
}

impl TriggerSeries {
    fn of(trigger: &PlannedTrigger) -> Self {
        let name = trigger.name.clone().unwrap_or_default();
        let metrics = trigger.external().map(|metric| MetricSeries {
            name: metric.name.clone(),
            value: None,
        });
        Self {
            index: trigger.index.to_string(),
            trigger_type: trigger.trigger_type.clone(),
            scaler: match &trigger.name {
                Some(name) if !name.is_empty() => Cow::Owned(name.clone()),
                _ => go_scaler_name(&trigger.trigger_type),
            },
            name,
            metrics: metrics.collect(),
            latency: None,
            active: None,
            errors: 0,
            requests: Vec::new(),
            empty_as_zero: 0,
            empty_as_error: 0,
            last: None,
        }
    }

    /// Whether it goes by the same labels.
    fn is_of(&self, trigger: &PlannedTrigger) -> bool {
        self.trigger_type == trigger.trigger_type
            && self.name == trigger.name.as_deref().unwrap_or_default()
            && self.index.parse() == Ok(trigger.index)
            && self
                .metrics
                .iter()
                .map(|metric| &metric.name)
                .eq(trigger.external().map(|metric| &metric.name))
    }

    fn is_short(&self, taken: &Taken) -> bool {
        matches!(&taken.result, Ok(sample) if sample.values.len() < self.metrics.len())
    }

    fn count(&mut self, status: Option<u16>) {
        match self.requests.binary_search_by_key(&status, |(known, _)| *known) {
            Ok(at) => self.requests[at].1 += 1,
            Err(at) => {
                self.requests.reserve_exact(1);
                self.requests.insert(at, (status, 1));
            }
        }
    }

    fn sampled(&mut self, taken: &Taken) -> Option<Observed> {
        let this = (taken.at, taken.sequence);
        if self.last.is_some_and(|last| this.0 < last.0 || this == last) {
            return None;
        }
        self.last = Some(this);
        self.latency = Some(taken.took);
        match &taken.result {
            Ok(sample) if !self.is_short(taken) => {
                self.active = Some(sample.active);
                for (metric, value) in self.metrics.iter_mut().zip(&sample.values) {
                    metric.value = Some(value.value);
                }
            }
            _ => {
                self.active = Some(false);
                self.errors += 1;
            }
        }
        let observed = taken.observer.take();
        for request in &observed.requests {
            self.count(request.status);
        }
        self.empty_as_zero += observed.empty_as_zero;
        self.empty_as_error += observed.empty_as_error;
        Some(observed)
    }
}
