//! How many replicas one metric asks for.
//!
//! Values and targets are in thousandths. A ratio of usage to target within the tolerance asks for no change.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    Config,
    pods::{Groups, Pod, PodSample, PodSamples, RequestError, group},
};

/// How far a metric may miss its target without a change, as a ratio, both ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerances {
    /// Below the target.
    pub scale_down: f64,
    /// Above the target.
    pub scale_up: f64,
}

impl Tolerances {
    /// The same both ways.
    #[must_use]
    pub const fn both(tolerance: f64) -> Self {
        Self {
            scale_down: tolerance,
            scale_up: tolerance,
        }
    }

    /// Whether a ratio of usage to target asks for no change.
    #[must_use]
    pub fn contain(&self, ratio: f64) -> bool {
        1.0 - self.scale_down <= ratio && ratio <= 1.0 + self.scale_up
    }
}

/// What a metric asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// So many replicas.
    pub replicas: i32,
    /// What was measured, in thousandths: the total of a `Value` target, else the average.
    pub usage: i64,
}

/// What a metric with a utilisation target asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UtilizationProposal {
    /// So many replicas.
    pub replicas: i32,
    /// What was measured, in percent of the requests.
    pub utilization: i32,
    /// What was measured, on average, in thousandths.
    pub usage: i64,
}

/// Why nothing can be proposed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CalculationError {
    /// The target's selector matches no pod.
    #[error("no pods returned by selector while calculating replica count")]
    NoPods,
    /// The same, where only ready pods count.
    #[error("unable to calculate ready pods: no pods returned by selector while calculating replica count")]
    NoReadyPods,
    /// No pod that counts has a sample.
    #[error("did not receive metrics for targeted pods (pods might be unready)")]
    NoSamples,
    /// There are samples, but of other pods.
    #[error("no metrics returned matched known pods")]
    Disjoint,
    /// Utilisation needs requests.
    #[error(transparent)]
    Requests(#[from] RequestError),
}

/// Adds up the series of an external metric for a target in total, capped at the largest number.
#[must_use]
pub fn total(values: &[i64]) -> i64 {
    values.iter().copied().fold(0, i64::saturating_add)
}

/// Adds up the series of an external metric for a target per replica, capped at the largest number.
///
/// A sum below zero counts as that cap: Kubernetes takes it for an overflow.
#[must_use]
pub fn total_for_average(values: &[i64]) -> i64 {
    let sum = values.iter().try_fold(0_i64, |sum, value| {
        sum.checked_add(*value).filter(|sum| *sum >= 0)
    });
    sum.unwrap_or(i64::MAX)
}

/// A total usage against a target in total (`Value`): scales the number of pods that run and are ready.
///
/// From zero there is nothing to scale, so the ratio itself is the answer and the tolerance does not count.
///
/// # Errors
/// [`CalculationError::NoReadyPods`] if the selector matches no pod at all.
pub fn by_value(
    spec_replicas: i32,
    usage: i64,
    target: i64,
    pods: &[Pod],
    tolerances: Tolerances,
) -> Result<Proposal, CalculationError> {
    let ratio = usage as f64 / target as f64;
    let replicas = if spec_replicas == 0 {
        ceil_replicas(ratio)
    } else if tolerances.contain(ratio) {
        spec_replicas
    } else if pods.is_empty() {
        return Err(CalculationError::NoReadyPods);
    } else {
        let ready = pods.iter().filter(|pod| pod.is_running_and_ready()).count();
        ceil_replicas(ratio * ready as f64)
    };
    Ok(Proposal { replicas, usage })
}

/// A total usage against a target per replica (`AverageValue`): divides, whatever the pods do.
#[must_use]
pub fn by_average_value(status_replicas: i32, usage: i64, target: i64, tolerances: Tolerances) -> Proposal {
    let current = f64::from(status_replicas);
    let ratio = usage as f64 / (target as f64 * current);
    let replicas = if tolerances.contain(ratio) {
        status_replicas
    } else {
        ceil_replicas(usage as f64 / target as f64)
    };
    let usage = if usage == i64::MAX {
        usage
    } else {
        ceil_usage(usage as f64 / current)
    };
    Proposal { replicas, usage }
}

/// A usage of each pod against the average that it should have.
///
/// # Errors
/// If there are no pods, or no samples of pods that count.
pub fn by_pod_average(
    current: i32,
    samples: &PodSamples,
    target: i64,
    is_cpu: bool,
    context: &PodContext<'_>,
) -> Result<Proposal, CalculationError> {
    let measure = |samples: &PodSamples| {
        let usage = average(samples.values(), samples.len());
        Ok((usage as f64 / target as f64, usage))
    };
    let (replicas, usage) = by_pods(current, samples, is_cpu, context, measure, |_| target)?;
    Ok(Proposal { replicas, usage })
}

/// A usage of each pod against the percentage of its request that it should have.
///
/// # Errors
/// If there are no pods, no samples of pods that count, or no requests.
pub fn by_utilization(
    current: i32,
    samples: &PodSamples,
    requests: impl FnOnce() -> Result<BTreeMap<String, i64>, RequestError>,
    target_percent: i32,
    is_cpu: bool,
    context: &PodContext<'_>,
) -> Result<UtilizationProposal, CalculationError> {
    // Without samples that count, nobody asks for the requests: that error comes first.
    let groups = context.group(samples, is_cpu)?;
    counted(samples, &groups)?;
    let requests = requests()?;
    let measure = |samples: &PodSamples| {
        let known = || samples.iter().filter(|(pod, _)| requests.contains_key(*pod));
        let requested: i128 = known()
            .filter_map(|(pod, _)| requests.get(pod))
            .map(|r| i128::from(*r))
            .sum();
        if requested == 0 {
            return Err(CalculationError::Disjoint);
        }
        let used: i128 = known().map(|(_, sample)| i128::from(sample.value)).sum();
        let utilization = i32::try_from(used * 100 / requested).unwrap_or(i32::MAX);
        let usage = average(known().map(|(_, sample)| sample), known().count());
        Ok((
            f64::from(utilization) / f64::from(target_percent),
            (utilization, usage),
        ))
    };
    // Going down, a pod without a sample counts as if it used all that it requested, or the target if that is more.
    let assumed = |pod: &str| {
        let request = requests.get(pod).copied().unwrap_or(0);
        request.saturating_mul(i64::from(target_percent.max(100))) / 100
    };
    let (replicas, (utilization, usage)) = by_pods(current, samples, is_cpu, context, measure, assumed)?;
    Ok(UtilizationProposal {
        replicas,
        utilization,
        usage,
    })
}

/// The pods and the rules for metrics of pods.
#[derive(Clone, Copy, Debug)]
pub struct PodContext<'a> {
    /// The pods of the target.
    pub pods: &'a [Pod],
    /// How far a metric may miss its target.
    pub tolerances: Tolerances,
    /// The periods that readiness is judged by.
    pub config: &'a Config,
    /// The time.
    pub now: Timestamp,
}

impl PodContext<'_> {
    fn group(&self, samples: &PodSamples, is_cpu: bool) -> Result<Groups, CalculationError> {
        if self.pods.is_empty() {
            return Err(CalculationError::NoPods);
        }
        Ok(group(self.pods, samples, is_cpu, self.config, self.now))
    }
}

/// The samples without those that do not count.
fn counted(samples: &PodSamples, groups: &Groups) -> Result<PodSamples, CalculationError> {
    let mut counted = samples.clone();
    counted.retain(|pod, _| !groups.ignored.contains(pod) && !groups.unready.contains(pod));
    if counted.is_empty() {
        Err(CalculationError::NoSamples)
    } else {
        Ok(counted)
    }
}

/// The rule that all metrics of pods share: decide from the samples there are; then fill in what is missing, in the
/// direction that dampens, and decide again.
fn by_pods<M>(
    current: i32,
    samples: &PodSamples,
    is_cpu: bool,
    context: &PodContext<'_>,
    measure: impl Fn(&PodSamples) -> Result<(f64, M), CalculationError>,
    assumed_when_scaling_down: impl Fn(&str) -> i64,
) -> Result<(i32, M), CalculationError> {
    let groups = context.group(samples, is_cpu)?;
    let mut samples = counted(samples, &groups)?;
    let (ratio, measured) = measure(&samples)?;
    let up_with_unready = !groups.unready.is_empty() && ratio > 1.0;
    if !up_with_unready && groups.missing.is_empty() {
        let replicas = if context.tolerances.contain(ratio) {
            current
        } else {
            ceil_replicas(ratio * groups.ready as f64)
        };
        return Ok((replicas, measured));
    }
    let assume = |value| PodSample {
        value,
        timestamp: context.now,
        window: jiff::SignedDuration::ZERO,
    };
    for pod in &groups.missing {
        if ratio < 1.0 {
            samples.insert(pod.clone(), assume(assumed_when_scaling_down(pod)));
        } else if ratio > 1.0 {
            samples.insert(pod.clone(), assume(0));
        }
    }
    if up_with_unready {
        samples.extend(groups.unready.iter().map(|pod| (pod.clone(), assume(0))));
    }
    let (again, _) = measure(&samples)?;
    let turned = (ratio < 1.0 && again > 1.0) || (ratio > 1.0 && again < 1.0);
    if context.tolerances.contain(again) || turned {
        return Ok((current, measured));
    }
    let replicas = ceil_replicas(again * samples.len() as f64);
    let contradicts = (again < 1.0 && replicas > current) || (again > 1.0 && replicas < current);
    Ok((if contradicts { current } else { replicas }, measured))
}

fn average<'a>(samples: impl Iterator<Item = &'a PodSample>, count: usize) -> i64 {
    let sum: i128 = samples.map(|sample| i128::from(sample.value)).sum();
    let average = sum / i128::try_from(count.max(1)).unwrap_or(1);
    i64::try_from(average).unwrap_or(i64::MAX)
}

/// Rounds up, within what a number of replicas can be.
fn ceil_replicas(replicas: f64) -> i32 {
    // A float-to-integer `as` saturates, and makes zero of what is no number.
    replicas.ceil() as i32
}

/// Rounds a reported average up. With no replicas there is no average; Kubernetes then reports the lowest number there
/// is, and so do we, because people search for what it prints.
fn ceil_usage(average: f64) -> i64 {
    if average.is_finite() {
        average.ceil() as i64
    } else {
        i64::MIN
    }
}
