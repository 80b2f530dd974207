//! What an HPA controller in another process did, inferred from the status that it writes.
//!
//! The status of one run says how many replicas there were, what was measured and what came of it. What it does not say
//! is what the controller remembers: earlier recommendations and changes. Those are gathered here by watching, in the form
//! in which the algorithm keeps them, so that the same algorithm can be run on them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize as _;

use crate::{
    hpa::{
        Config, Input, Pod, Reading, Scale, Spec, State, Status,
        behavior::Recommendation,
        explain::{self, Computation},
        pods::{ConditionStatus, Container, PodUsage, ReadyCondition},
        spec::Metric,
        status::{ConditionType, MetricStatus, MetricValueStatus},
    },
    scaled_object::hpa::Autoscaler,
};

/// How many recommendations are kept; no window is longer than an hour.
const MOST: usize = 48;
const LONGEST_WINDOW: SignedDuration = SignedDuration::from_hours(1);

/// What was watched of one HPA.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Observed {
    /// Since when.
    pub(super) since: Timestamp,
    /// The time of the last run that changed the status.
    pub(super) at: Timestamp,
    /// What the controller remembered before that run.
    pub(super) before: State,
    /// And after it.
    after: State,
    last_scale_time: Option<Timestamp>,
}

impl Observed {
    /// Takes note of a status.
    pub(super) fn see(
        known: &mut Option<Box<Self>>,
        hpa: &Autoscaler,
        total: impl Fn(&str) -> Option<i64>,
        now: Timestamp,
    ) {
        let Some((spec, status)) = parse(hpa) else { return };
        if status.current_replicas == 0 || status.conditions.is_none() {
            // Switched off, or not run yet. The controller forgets nothing, but what it remembers grows old.
            if known
                .as_ref()
                .is_some_and(|known| now.duration_since(known.at) > LONGEST_WINDOW)
            {
                *known = None;
            }
            return;
        }
        let config = Config::default();
        let mut before = known
            .as_ref()
            .map_or_else(State::default, |known| known.after.clone());
        if let Some(last) = before.recommendations.iter_mut().flatten().last() {
            // A status that did not change stands for runs that recommended the same.
            let latest = now.saturating_sub(config.sync_period).unwrap_or(now);
            last.time = last.time.max(latest);
        }
        before.seed(status.current_replicas, now);
        let computation = run(&spec, &status, &before, total, now);
        let mut after = before.clone();
        if let Some(proposed) = computation.proposed {
            remember(&mut after, proposed, now);
        }
        let last_scale_time = known.as_ref().and_then(|known| known.last_scale_time);
        if status.desired_replicas != status.current_replicas && status.last_scale_time != last_scale_time {
            let (from, to) = (status.current_replicas, status.desired_replicas);
            after.record_change(spec.behavior.as_ref(), from, to, now);
        }
        *known = Some(Box::new(Self {
            since: known.as_ref().map_or(now, |known| known.since),
            at: now,
            before,
            after,
            last_scale_time: status.last_scale_time,
        }));
    }
}

fn remember(state: &mut State, replicas: i32, now: Timestamp) {
    let recommendations = state.recommendations.get_or_insert_default();
    recommendations.retain(|known| now.duration_since(known.time) <= LONGEST_WINDOW);
    match recommendations.last_mut() {
        Some(last) if last.replicas == replicas => last.time = now,
        _ => recommendations.push(Recommendation { replicas, time: now }),
    }
    if recommendations.len() > MOST {
        recommendations.remove(0);
    }
}

pub(super) fn parse(hpa: &Autoscaler) -> Option<(Spec, Status)> {
    let spec = Spec::from_value(&hpa.spec).ok()?;
    let status = Status::deserialize(&hpa.status).unwrap_or_default();
    Some((spec, status))
}

/// Runs the algorithm on what a status says.
pub(super) fn run(
    spec: &Spec,
    status: &Status,
    before: &State,
    total: impl Fn(&str) -> Option<i64>,
    now: Timestamp,
) -> Computation {
    let replicas = status.current_replicas;
    let scale = Scale {
        spec_replicas: replicas,
        status_replicas: replicas,
        selector: "inferred".to_owned(),
    };
    let failure = status
        .condition(ConditionType::ScalingActive)
        .filter(|active| active.status != ConditionStatus::True)
        .map_or_else(
            || "it could not be read".to_owned(),
            |active| active.message.clone(),
        );
    let measured = status.current_metrics.as_deref().unwrap_or_default();
    let nothing = MetricStatus::default();
    let readings: Vec<_> = spec
        .metrics
        .iter()
        .enumerate()
        .map(|(index, metric)| {
            let status = measured.get(index).unwrap_or(&nothing);
            reading(metric, status, replicas, &total, now).unwrap_or_else(|| Reading::Failed(failure.clone()))
        })
        .collect();
    let pods: Vec<_> = (0..replicas).map(|index| pod(index, spec)).collect();
    let input = Input {
        namespace: "",
        spec,
        status,
        scale: &scale,
        pods: &pods,
        controllers: &[],
        readings: &readings,
        config: &Config::default(),
    };
    explain::explain(&input, before, now)
}

/// What must have been read for this to have been reported.
fn reading(
    metric: &Metric,
    status: &MetricStatus,
    replicas: i32,
    total: impl Fn(&str) -> Option<i64>,
    now: Timestamp,
) -> Option<Reading> {
    match metric {
        Metric::External(metric) => {
            let current = &status.external.as_ref()?.current;
            let known = total(&metric.metric.name);
            let value = match (&current.average_value, &current.value) {
                (Some(average), _) => total_of(average.milli_value(), replicas, known)?,
                (None, value) => value.as_ref()?.milli_value(),
            };
            Some(Reading::External(vec![value]))
        }
        Metric::Object(_) => {
            let current = &status.object.as_ref()?.current;
            let value = match (&current.average_value, &current.value) {
                (Some(average), _) => total_of(average.milli_value(), replicas, None)?,
                (None, value) => value.as_ref()?.milli_value(),
            };
            Some(Reading::Object(value))
        }
        Metric::Resource(metric) => usage(
            &status.resource.as_ref()?.current,
            &metric.name,
            APP,
            replicas,
            now,
        ),
        Metric::ContainerResource(metric) => {
            let current = &status.container_resource.as_ref()?.current;
            usage(current, &metric.name, &metric.container, replicas, now)
        }
        Metric::Pods(_) | Metric::Unknown(_) => None,
    }
}

/// The total of which this is the average, rounded up: the one that is known if it fits, else a whole number if one fits.
fn total_of(average: i64, replicas: i32, known: Option<i64>) -> Option<i64> {
    let replicas = i64::from(replicas);
    if replicas == 0 || average == i64::MIN {
        return None;
    }
    let most = average.saturating_mul(replicas);
    let least = most - replicas + 1;
    let whole = most.div_euclid(1000) * 1000;
    let known = known.filter(|known| (least..=most).contains(known));
    Some(known.unwrap_or(if whole >= least { whole } else { most }))
}

/// The container of the pods that are supposed.
const APP: &str = "app";
/// What each of them requests of everything, in thousandths.
const REQUEST: i64 = 100_000;

fn pod(index: i32, spec: &Spec) -> Pod {
    let mut containers = vec![APP.to_owned()];
    let mut requests = BTreeMap::new();
    for metric in &spec.metrics {
        match metric {
            Metric::Resource(metric) => {
                requests.insert(metric.name.clone(), REQUEST);
            }
            Metric::ContainerResource(metric) => {
                requests.insert(metric.name.clone(), REQUEST);
                containers.push(metric.container.clone());
            }
            _ => {}
        }
    }
    containers.dedup();
    Pod {
        name: format!("pod-{index}"),
        start_time: Some(Timestamp::UNIX_EPOCH),
        ready: Some(ReadyCondition {
            status: ConditionStatus::True,
            last_transition: Timestamp::UNIX_EPOCH,
        }),
        containers: containers
            .into_iter()
            .map(|name| Container {
                name,
                requests: requests.clone(),
            })
            .collect(),
        ..Pod::default()
    }
}

/// As many pods as there are, each of which uses the average.
fn usage(
    current: &MetricValueStatus,
    resource: &str,
    container: &str,
    replicas: i32,
    now: Timestamp,
) -> Option<Reading> {
    let value = match current.average_utilization {
        Some(percent) => REQUEST / 100 * i64::from(percent),
        None => current.average_value.as_ref()?.milli_value(),
    };
    let pods = (0..replicas).map(|index| PodUsage {
        pod: format!("pod-{index}"),
        timestamp: now,
        window: SignedDuration::from_secs(30),
        containers: vec![(
            container.to_owned(),
            BTreeMap::from([(resource.to_owned(), value)]),
        )],
    });
    Some(Reading::Resource(pods.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_is_found_again_from_its_rounded_average() {
        for (total, replicas, known, expected) in [
            (10_000, 3, None, 10_000),
            (10_500, 3, None, 10_500),
            (10_499, 3, Some(10_499), 10_499),
            (10_000, 3, Some(40_000), 10_000),
            (7, 1, None, 7),
        ] {
            let average = (total + i64::from(replicas) - 1) / i64::from(replicas);
            assert_eq!(
                total_of(average, replicas, known),
                Some(expected),
                "{total} over {replicas}"
            );
        }
        assert_eq!(total_of(i64::MIN, 3, None), None);
    }
}
