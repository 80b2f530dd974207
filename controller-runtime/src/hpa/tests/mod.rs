//! The cases of Kubernetes' own tests, ported: each row names the case that it comes from.

mod behavior_cases;
mod failure_cases;
mod memory_cases;
mod pod_cases;
mod pod_metric_cases;
mod reconcile_cases;
mod request_cases;
mod total_metric_cases;
mod world;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{
    Config,
    pods::{ConditionStatus, Container, Pod, PodPhase, PodUsage, ReadyCondition},
};

/// The time at which every case happens.
fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn ago(duration: SignedDuration) -> Timestamp {
    now().checked_sub(duration).unwrap()
}

fn seconds_ago(seconds: i64) -> Timestamp {
    ago(SignedDuration::from_secs(seconds))
}

fn minutes_ago(minutes: i64) -> Timestamp {
    ago(SignedDuration::from_mins(minutes))
}

/// The parameters of Kubernetes' tests, which differ from production's.
fn test_config() -> Config {
    Config {
        cpu_initialization_period: SignedDuration::from_mins(2),
        initial_readiness_delay: SignedDuration::from_secs(10),
        scale_up_limit_factor: 8.0,
        ..Config::default()
    }
}

/// A set of pods, one letter for each; an empty text is the usual for all.
#[derive(Clone, Copy, Debug, Default)]
struct Pods {
    /// How many there are at least.
    count: usize,
    /// `T` or `F`.
    ready: &'static str,
    /// `h` for one within its CPU initialisation, `c` for one beyond it.
    start: &'static str,
    /// `R`unning, `P`ending, `F`ailed.
    phases: &'static str,
    /// `D` for one that is being deleted.
    deleting: &'static str,
    /// What each of the two containers requests.
    requests: &'static [i64],
}

impl Pods {
    fn build(&self) -> Vec<Pod> {
        let letter = |text: &str, index: usize| text.as_bytes().get(index).copied();
        let count = self.count.max(self.phases.len());
        (0..count)
            .map(|index| {
                let request = self
                    .requests
                    .get(index)
                    .map(|request| ("cpu".to_owned(), *request));
                let container = |name: &str| Container {
                    name: name.to_owned(),
                    requests: BTreeMap::from_iter(request.clone()),
                };
                Pod {
                    name: format!("test-pod-{index}"),
                    deleting: letter(self.deleting, index) == Some(b'D'),
                    phase: match letter(self.phases, index) {
                        Some(b'P') => PodPhase::Pending,
                        Some(b'F') => PodPhase::Failed,
                        _ => PodPhase::Running,
                    },
                    start_time: Some(match letter(self.start, index) {
                        Some(b'h') => minutes_ago(1),
                        Some(b'c') => minutes_ago(3),
                        _ => Timestamp::UNIX_EPOCH,
                    }),
                    ready: Some(ReadyCondition {
                        status: match letter(self.ready, index) {
                            Some(b'F') => ConditionStatus::False,
                            _ => ConditionStatus::True,
                        },
                        last_transition: Timestamp::UNIX_EPOCH,
                    }),
                    containers: vec![container("container1"), container("container2")],
                    ..Pod::default()
                }
            })
            .collect()
    }
}

/// What the containers of `test-pod-<index>` use of the CPU.
fn usage(index: usize, containers: &[i64], timestamp: Timestamp) -> PodUsage {
    let of = |(index, value): (usize, &i64)| {
        (
            format!("container{}", index + 1),
            BTreeMap::from([("cpu".to_owned(), *value)]),
        )
    };
    PodUsage {
        pod: format!("test-pod-{index}"),
        timestamp,
        window: SignedDuration::from_mins(1),
        containers: containers.iter().enumerate().map(of).collect(),
    }
}
