//! The life of one container, and what it reports.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container as Spec, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus,
};

use super::program::Exit;
use crate::{queue::Backoff, sim::controllers::meta::time};

/// The wait before the second restart, doubling from there.
const CRASH_LOOP: Backoff = Backoff {
    first: Duration::from_secs(10),
    last: Duration::from_secs(300),
};
/// A container that ran this long starts with a clean slate.
const FORGIVEN_AFTER: i64 = 600;

/// What a container is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// Starts among the init containers and stays.
    Sidecar,
    /// What the pod is about.
    Main,
}

/// Where a container is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    Waiting(&'static str),
    Running { since: Timestamp },
    Ended(End),
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct End {
    pub(super) exit: Exit,
    pub(super) started: Timestamp,
    pub(super) finished: Timestamp,
}

/// One container of a pod.
#[derive(Clone, Debug)]
pub(super) struct Container {
    pub(super) name: String,
    image: String,
    pub(super) role: Role,
    pub(super) state: State,
    last: Option<End>,
    restarts: i32,
    /// Failures in a row that count for the back-off.
    crashes: u32,
    pub(super) ready: bool,
    /// From the start to the first answer of the readiness probe.
    pub(super) ready_after: Duration,
}

impl Container {
    pub(super) fn new(spec: &Spec, init: bool) -> Self {
        let role = match (init, spec.restart_policy.as_deref()) {
            (false, _) => Role::Main,
            (true, Some("Always")) => Role::Sidecar,
            (true, _) => Role::Init,
        };
        let delay = spec
            .readiness_probe
            .as_ref()
            .and_then(|probe| probe.initial_delay_seconds)
            .unwrap_or_default();
        Self {
            name: spec.name.clone(),
            image: spec.image.clone().unwrap_or_default(),
            role,
            state: State::Waiting(if init {
                "PodInitializing"
            } else {
                "ContainerCreating"
            }),
            last: None,
            restarts: 0,
            crashes: 0,
            ready: false,
            ready_after: Duration::from_secs(u64::try_from(delay).unwrap_or_default()),
        }
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    /// How it ended, if it will not start again.
    pub(super) fn ended(&self) -> Option<Exit> {
        match &self.state {
            State::Ended(end) => Some(end.exit),
            _ => None,
        }
    }

    pub(super) fn start(&mut self, now: Timestamp) {
        self.state = State::Running { since: now };
    }

    /// Its program ended, and will not run again.
    pub(super) fn end(&mut self, exit: Exit, now: Timestamp) {
        self.ready = false;
        let started = match self.state {
            State::Running { since } => since,
            _ => now,
        };
        self.state = State::Ended(End {
            exit,
            started,
            finished: now,
        });
    }

    /// It ended and will start again after the time that is returned.
    pub(super) fn restart_after(&mut self, exit: Exit, now: Timestamp) -> Duration {
        self.end(exit, now);
        if let State::Ended(end) = &self.state {
            if end.finished.duration_since(end.started).as_secs() >= FORGIVEN_AFTER {
                self.crashes = 0;
            }
            self.last = Some(end.clone());
        }
        let delay = if self.crashes == 0 {
            Duration::ZERO
        } else {
            CRASH_LOOP.after(self.crashes)
        };
        self.crashes += 1;
        self.restarts += 1;
        self.state = State::Waiting("CrashLoopBackOff");
        delay
    }

    pub(super) fn status(&self, id: &str) -> ContainerStatus {
        let id = format!("containerd://{}-{}-{}", id, self.name, self.restarts);
        let state = match &self.state {
            State::Waiting(reason) => ContainerState {
                waiting: Some(ContainerStateWaiting {
                    reason: Some((*reason).to_owned()),
                    message: (*reason == "CrashLoopBackOff")
                        .then(|| format!("back-off restarting failed container {}", self.name)),
                }),
                ..ContainerState::default()
            },
            State::Running { since } => ContainerState {
                running: Some(ContainerStateRunning {
                    started_at: Some(time(*since)),
                }),
                ..ContainerState::default()
            },
            State::Ended(end) => terminated(end),
        };
        ContainerStatus {
            name: self.name.clone(),
            image: self.image.clone(),
            image_id: if matches!(self.state, State::Waiting(_)) {
                String::new()
            } else {
                self.image.clone()
            },
            container_id: (!matches!(self.state, State::Waiting(_))).then_some(id),
            ready: self.ready || (self.role == Role::Init && self.ended() == Some(Exit::SUCCESS)),
            started: Some(self.is_running()),
            restart_count: self.restarts,
            last_state: Some(self.last.as_ref().map(terminated).unwrap_or_default()),
            state: Some(state),
            ..ContainerStatus::default()
        }
    }
}

fn terminated(end: &End) -> ContainerState {
    let reason = if end.exit == Exit::SUCCESS {
        "Completed"
    } else {
        "Error"
    };
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: end.exit.code,
            reason: Some(reason.to_owned()),
            started_at: Some(time(end.started)),
            finished_at: Some(time(end.finished)),
            ..ContainerStateTerminated::default()
        }),
        ..ContainerState::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crashing_container_restarts_at_once_and_then_ever_later_until_it_has_run_long() {
        let mut container = Container::new(
            &Spec {
                name: "main".to_owned(),
                ..Spec::default()
            },
            false,
        );
        let mut now = Timestamp::UNIX_EPOCH;
        let mut delays = Vec::new();
        for ran in [1, 1, 1, 1, 1, 1, 1, 1, FORGIVEN_AFTER, 1] {
            container.start(now);
            now += jiff::SignedDuration::from_secs(ran);
            delays.push(container.restart_after(Exit { code: 1 }, now).as_secs());
        }
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300, 0, 10]);
        assert_eq!(container.status("id").restart_count, 10);
    }
}
