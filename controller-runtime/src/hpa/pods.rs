//! The pods of the target: which of them count, and what they use and request.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::Config;

/// A pod, as far as the algorithm looks at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// The name.
    pub name: String,
    /// Whether it has a deletion timestamp.
    pub deleting: bool,
    /// Where it is in its life.
    pub phase: PodPhase,
    /// When the kubelet accepted it.
    pub start_time: Option<Timestamp>,
    /// Its `Ready` condition, if it has one.
    pub ready: Option<ReadyCondition>,
    /// Its containers.
    pub containers: Vec<Container>,
    /// Its init containers.
    pub init_containers: Vec<InitContainer>,
    /// `spec.resources.requests`, in thousandths by resource.
    pub pod_requests: BTreeMap<String, i64>,
    /// `spec.overhead`, in thousandths by resource.
    pub overhead: BTreeMap<String, i64>,
}

/// `status.phase`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodPhase {
    /// Not running yet.
    Pending,
    /// Bound, and at least one container runs.
    #[default]
    Running,
    /// All containers ended well.
    Succeeded,
    /// All containers ended, one badly.
    Failed,
    /// The node does not answer.
    Unknown,
}

/// The `Ready` condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadyCondition {
    /// Its status.
    pub status: ConditionStatus,
    /// When the status last changed.
    pub last_transition: Timestamp,
}

/// The status of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody knows.
    Unknown,
}

/// A container with its requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// The name.
    pub name: String,
    /// `resources.requests`, in thousandths by resource.
    pub requests: BTreeMap<String, i64>,
}

/// An init container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitContainer {
    /// Name and requests.
    pub container: Container,
    /// Whether it keeps running beside the others (`restartPolicy: Always`).
    pub restartable: bool,
}

impl Pod {
    /// Whether it is running and ready, the way Value targets count pods.
    #[must_use]
    pub fn is_running_and_ready(&self) -> bool {
        self.phase == PodPhase::Running
            && self
                .ready
                .is_some_and(|ready| ready.status == ConditionStatus::True)
    }
}

/// What one pod uses of everything: an item of `metrics.k8s.io`'s `PodMetricsList`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodUsage {
    /// The pod's name.
    pub pod: String,
    /// The end of the time that was measured.
    pub timestamp: Timestamp,
    /// The time that was measured.
    pub window: SignedDuration,
    /// For each container what it uses, in thousandths by resource.
    pub containers: Vec<(String, BTreeMap<String, i64>)>,
}

/// One number about one pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodSample {
    /// In thousandths.
    pub value: i64,
    /// The end of the time that was measured.
    pub timestamp: Timestamp,
    /// The time that was measured.
    pub window: SignedDuration,
}

/// Samples by the name of the pod.
pub type PodSamples = BTreeMap<String, PodSample>;

/// What each pod, or one container of each, uses of `resource`. Pods that lack the number are left out.
#[must_use]
pub fn resource_samples(usage: &[PodUsage], resource: &str, container: Option<&str>) -> PodSamples {
    let mut samples = PodSamples::new();
    for PodUsage {
        pod,
        timestamp,
        window,
        containers,
    } in usage
    {
        let value = match container {
            Some(wanted) => containers
                .iter()
                .find(|(name, _)| name == wanted)
                .and_then(|(_, usage)| usage.get(resource).copied()),
            None if containers.is_empty() => None,
            None => containers.iter().try_fold(0_i64, |sum, (_, usage)| {
                usage.get(resource).map(|value| sum.saturating_add(*value))
            }),
        };
        if let Some(value) = value {
            samples.insert(
                pod.clone(),
                PodSample {
                    value,
                    timestamp: *timestamp,
                    window: *window,
                },
            );
        }
    }
    samples
}

/// The pods of a target, sorted by what their samples are worth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// How many count fully.
    pub ready: usize,
    /// Their samples are not to be trusted, and they may need nothing yet.
    pub unready: BTreeSet<String>,
    /// They run, but there is no sample.
    pub missing: BTreeSet<String>,
    /// They are on their way out.
    pub ignored: BTreeSet<String>,
}

/// Sorts `pods` for a metric with these `samples`. Readiness counts only for CPU, because start-up work looks like load.
#[must_use]
pub fn group(pods: &[Pod], samples: &PodSamples, is_cpu: bool, config: &Config, now: Timestamp) -> Groups {
    let mut groups = Groups::default();
    for pod in pods {
        let name = || pod.name.clone();
        if pod.deleting || pod.phase == PodPhase::Failed {
            groups.ignored.insert(name());
        } else if pod.phase == PodPhase::Pending {
            groups.unready.insert(name());
        } else if let Some(sample) = samples.get(&pod.name) {
            if is_cpu && cpu_sample_is_unready(pod, sample, config, now) {
                groups.unready.insert(name());
            } else {
                groups.ready += 1;
            }
        } else {
            groups.missing.insert(name());
        }
    }
    groups
}

fn cpu_sample_is_unready(pod: &Pod, sample: &PodSample, config: &Config, now: Timestamp) -> bool {
    let (Some(ready), Some(start)) = (pod.ready, pod.start_time) else {
        return true;
    };
    let not_ready = ready.status == ConditionStatus::False;
    if now.duration_since(start) < config.cpu_initialization_period {
        // Initialising: the sample counts once a whole window of it lies after the pod became ready.
        not_ready || sample.timestamp.duration_since(ready.last_transition) < sample.window
    } else {
        // Initialised: it does not count if the pod has never been ready.
        not_ready && ready.last_transition.duration_since(start) < config.initial_readiness_delay
    }
}

/// Why the requests of a pod are unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// A container requests nothing.
    #[error("missing request for {resource} in container {container} of Pod {pod}")]
    Container {
        /// The resource.
        resource: String,
        /// The container.
        container: String,
        /// The pod.
        pod: String,
    },
    /// The pod as a whole requests other resources only.
    #[error("missing pod-level request for {resource} in Pod {pod}")]
    Pod {
        /// The resource.
        resource: String,
        /// The pod.
        pod: String,
    },
    /// The autoscaler names a container that the pod does not have.
    #[error("container {container} not found in Pod {pod}")]
    NoContainer {
        /// The container.
        container: String,
        /// The pod.
        pod: String,
    },
}

/// What each pod requests of `resource`, in thousandths: of one container if named, else of the pod as a whole if
/// that is set, else of all containers that run side by side.
///
/// # Errors
/// If any pod's request is unknown.
pub fn requests(
    pods: &[Pod],
    resource: &str,
    container: Option<&str>,
    config: &Config,
) -> Result<BTreeMap<String, i64>, RequestError> {
    pods.iter()
        .map(|pod| {
            let pod_level = config.pod_level_resources && container.is_none() && !pod.pod_requests.is_empty();
            let request = if pod_level {
                pod_request(pod, resource)
            } else {
                container_requests(pod, resource, container)
            };
            Ok((pod.name.clone(), request?))
        })
        .collect()
}

fn container_requests(pod: &Pod, resource: &str, wanted: Option<&str>) -> Result<i64, RequestError> {
    let beside = pod
        .init_containers
        .iter()
        .filter(|init| init.restartable)
        .map(|init| &init.container);
    let mut sum = 0_i64;
    for container in pod.containers.iter().chain(beside) {
        if wanted.is_some_and(|wanted| wanted != container.name) {
            continue;
        }
        let request = container
            .requests
            .get(resource)
            .ok_or_else(|| RequestError::Container {
                resource: resource.to_owned(),
                container: container.name.clone(),
                pod: pod.name.clone(),
            })?;
        sum = sum.saturating_add(*request);
        if wanted.is_some() {
            return Ok(sum);
        }
    }
    match wanted {
        Some(container) => Err(RequestError::NoContainer {
            container: container.to_owned(),
            pod: pod.name.clone(),
        }),
        None => Ok(sum),
    }
}

/// The request of the pod as a whole: its own if it names the resource, else what its containers need at most, plus the
/// overhead of its runtime.
fn pod_request(pod: &Pod, resource: &str) -> Result<i64, RequestError> {
    let of = |container: &Container| container.requests.get(resource).copied();
    let mut running = pod.containers.iter().filter_map(of).reduce(i64::saturating_add);
    let (mut beside, mut starting) = (0_i64, None);
    for init in &pod.init_containers {
        let Some(request) = of(&init.container) else {
            continue;
        };
        if init.restartable {
            beside = beside.saturating_add(request);
            running = Some(running.unwrap_or(0).saturating_add(request));
            starting = starting.max(Some(beside));
        } else {
            starting = starting.max(Some(beside.saturating_add(request)));
        }
    }
    let own = pod.pod_requests.get(resource).copied().or(running.max(starting));
    let overhead = pod.overhead.get(resource).copied();
    match (own, overhead) {
        (None, None) => Err(RequestError::Pod {
            resource: resource.to_owned(),
            pod: pod.name.clone(),
        }),
        (own, overhead) => Ok(own.unwrap_or(0).saturating_add(overhead.unwrap_or(0))),
    }
}
