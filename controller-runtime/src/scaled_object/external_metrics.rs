//! Answers the HPA: the values of ScaledObjects' external metrics.
//!
//! A query takes a sample that is young enough, else one new sample for everybody who asks. A source that fails is an
//! error or, past the fallback's threshold, the value that makes the HPA want the fallback's replicas; never a zero.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use metrics_adapter::{ExternalMetricValue, ExternalMetrics, MetricError, MetricErrorKind, MetricRequest};
use scaler_api::{
    Error, Quantity,
    keda::{self, SCALED_OBJECT_NAME_LABEL},
};

use super::{
    fallback::{self, Fallback},
    hpa::NamedMetric,
    modifiers::{self, Composite, Modifiers},
    plan::{Plan, PlannedTrigger},
    samples::{Source, Taken},
    state::{Entries, Entry, Standing},
    target::Targets,
};
use crate::{
    pod_autoscaler::metrics::{Kind, PodMetrics},
    queue::WorkQueue,
    store::ObjectKey,
};

/// The external metrics of all ScaledObjects. Clones share them.
#[derive(Clone)]
pub struct ScaledObjectMetrics {
    pub(crate) entries: Entries,
    pub(crate) targets: Targets,
    pub(crate) pods: PodMetrics,
    pub(crate) queue: WorkQueue<ObjectKey>,
    pub(crate) sample_max_age: Duration,
}

impl fmt::Debug for ScaledObjectMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScaledObjectMetrics")
            .field("sample_max_age", &self.sample_max_age)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl ExternalMetrics for ScaledObjectMetrics {
    async fn get(&self, request: &MetricRequest) -> Result<Vec<ExternalMetricValue>, MetricError> {
        let name = request.selector.exact_value(SCALED_OBJECT_NAME_LABEL).ok_or_else(|| {
            let message =
                format!("scaledObject name is not specified: expected the selector {SCALED_OBJECT_NAME_LABEL}=<name>");
            MetricError::new(MetricErrorKind::BadRequest, message)
        })?;
        let key = ObjectKey::new(&request.namespace, name);
        let entry = self
            .entries
            .get(&key)
            .ok_or_else(|| MetricError::not_found(request))?;
        let plan = entry
            .live(|live| live.plan.clone().ok_or_else(|| live.problem.clone()))
            .map_err(|problem| {
                let message = format!("ScaledObject {key} is not running: {problem}");
                MetricError::new(MetricErrorKind::ServiceUnavailable, message)
            })?;
        if let Some(modifiers) = plan.modifiers.as_ref().filter(|_| is_composite(&plan, request)) {
            return self.composite(key, &entry, &plan, modifiers).await;
        }
        let (trigger, source, position, metric) = find(&plan, request).ok_or_else(|| {
            let message = format!(
                "no matching metrics found for {} in ScaledObject {key}",
                request.metric
            );
            MetricError::new(MetricErrorKind::NotFound, message)
        })?;
        let taken = self.sample(&entry, trigger, source).await;
        self.pods.sampled(Kind::ScaledObject, &key, trigger, &taken);
        let (standing, changed) = entry.live(|live| live.account(&plan, trigger, &taken));
        if changed {
            // The controller writes the status.
            self.queue.add(key);
        }
        let value = match standing {
            Standing::Sampled(sample) => Quantity::from_f64_milli(sample.values[position].value),
            Standing::Failed(error) => return Err(failure(&metric.name, &error)),
            Standing::FallenBack(error) => self
                .fallback_value(&plan, metric)
                .await
                .map_err(|problem| failure(&metric.name, &error.with_context("fallback", problem)))?,
        };
        Ok(vec![ExternalMetricValue::new(&metric.name, value, taken.time)])
    }
}

impl ScaledObjectMetrics {
    /// What the formula makes of all triggers.
    async fn composite(
        &self,
        key: ObjectKey,
        entry: &Entry,
        plan: &Plan,
        modifiers: &Modifiers,
    ) -> Result<Vec<ExternalMetricValue>, MetricError> {
        let samples = plan.triggers.iter().map(|trigger| async move {
            let source = trigger.source.as_deref()?;
            Some(self.sample(entry, trigger, source).await)
        });
        let samples = futures::future::join_all(samples).await;
        let (mut standings, mut has_changed) = (Vec::new(), false);
        for (trigger, taken) in plan.triggers.iter().zip(&samples) {
            standings.push(taken.as_ref().map(|taken| {
                self.pods.sampled(Kind::ScaledObject, &key, trigger, taken);
                let (standing, changed) = entry.live(|live| live.account(plan, trigger, taken));
                has_changed |= changed;
                standing
            }));
        }
        if has_changed {
            // The controller writes the status.
            self.queue.add(key);
        }
        let metric = modifiers.metric();
        let unavailable = |problem: String| failure(&metric.name, &Error::unavailable(problem));
        let value = match plan.compose(modifiers, &standings) {
            Composite::Value(value) => modifiers::thousandths(value),
            Composite::Failed(problem) => return Err(unavailable(problem)),
            Composite::FallenBack(problem) => self
                .fallback_value(plan, metric)
                .await
                .map_err(|reason| unavailable(format!("{problem}: fallback: {reason}")))?,
        };
        // As old as the oldest of them.
        let time = samples.iter().flatten().map(|taken| taken.time).min();
        let time = time.unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        Ok(vec![ExternalMetricValue::new(&metric.name, value, time)])
    }

    async fn sample(&self, entry: &Entry, trigger: &PlannedTrigger, source: &Source) -> Arc<Taken> {
        let polled = trigger
            .use_cached_metrics
            .then(|| entry.live(|live| live.polled(trigger)))
            .flatten();
        match polled {
            Some(polled) => polled,
            None => source.sample(self.sample_max_age).await,
        }
    }

    async fn fallback_value(&self, plan: &Plan, metric: &NamedMetric) -> Result<Quantity, String> {
        let fallback = plan.fallback.ok_or("there is none")?;
        let replicas = self.fallback_replicas(plan, &fallback).await?;
        let ready = match metric.spec.target() {
            scaler_api::MetricTarget::Value(_) => self
                .targets
                .ready_pods(&plan.target)
                .await
                .map_err(|error| error.to_string())?,
            _ => 0,
        };
        fallback::metric_value(metric.spec.target(), replicas, ready)
            .ok_or_else(|| format!("{replicas} replicas cannot be asked for while no pod is ready"))
    }

    async fn fallback_replicas(&self, plan: &Plan, fallback: &Fallback) -> Result<i32, String> {
        if fallback.ignores_current() {
            return Ok(fallback.replicas);
        }
        let current = self
            .targets
            .replicas(&plan.target)
            .await
            .map_err(|error| error.to_string())?;
        Ok(fallback.replicas(current))
    }
}

/// Whether the formula's result is asked for: by its own name, or, as in KEDA, by that of any trigger.
fn is_composite(plan: &Plan, request: &MetricRequest) -> bool {
    let names = plan.triggers.iter().flat_map(PlannedTrigger::external);
    let names = names.map(|metric| metric.name.as_str());
    names
        .chain([keda::COMPOSITE_METRIC_NAME])
        .any(|name| request.is_for(name))
}

fn find<'a>(
    plan: &'a Plan,
    request: &MetricRequest,
) -> Option<(&'a PlannedTrigger, &'a Source, usize, &'a NamedMetric)> {
    plan.triggers.iter().find_map(|trigger| {
        let source = trigger.source.as_deref()?;
        let found = trigger
            .external()
            .enumerate()
            .find(|(_, metric)| request.is_for(&metric.name));
        found.map(|(position, metric)| (trigger, source, position, metric))
    })
}

fn failure(metric: &str, error: &Error) -> MetricError {
    let kind = MetricError::from(error.clone()).kind();
    MetricError::new(kind, format!("metric:{metric} encountered error: {error}"))
}
