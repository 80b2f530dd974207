//! A pod on its node, from its start to its end.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt as _,
    Resource as _,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use tokio::{sync::watch, time::Instant};

use super::{
    container::{Container, Role, State},
    program::{Exit, Program, Programs, Service, Stop, StopSender, Task},
    status::{self, View},
};
use crate::{events::EventType, runtime::Runtime, sim::controllers::pods};

/// What a worker is given.
#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) cx: Runtime,
    pub(super) programs: Arc<dyn Programs>,
    /// From being bound to the first container's start: the image is pulled, the network set up.
    pub(super) start_delay: Duration,
    pub(super) host_ip: String,
    pub(super) pod_ip: String,
    /// The pod as it is known, for as long as it exists.
    pub(super) pod: watch::Receiver<Arc<Pod>>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The image is there.
    Begin,
    Start(usize),
    Ready(usize),
    Exited(usize, Exit),
}

type Steps = FuturesUnordered<BoxFuture<'static, Step>>;

struct Worker {
    assignment: Assignment,
    api: Api<Pod>,
    latest: Arc<Pod>,
    started: jiff::Timestamp,
    containers: Vec<Container>,
    stops: Vec<StopSender>,
    signals: Vec<Stop>,
    steps: Steps,
    /// When the pod was told to stop.
    stopped: Option<Instant>,
    /// When its grace period is over.
    deadline: Option<Instant>,
}

/// Runs the pod until it is gone.
pub(super) async fn run(assignment: Assignment) {
    let latest = Arc::clone(&assignment.pod.borrow());
    let api = Api::namespaced(assignment.cx.client.clone(), &latest.namespace().unwrap_or_default());
    let spec = latest.spec.clone().unwrap_or_default();
    let init = spec.init_containers.iter().flatten().map(|container| Container::new(container, true));
    let containers: Vec<_> = init.chain(spec.containers.iter().map(|container| Container::new(container, false))).collect();
    let (stops, signals) = containers.iter().map(|_| Stop::channel()).unzip();
    let worker = Worker {
        started: assignment.cx.clock.now(),
        api,
        latest,
        containers,
        stops,
        signals,
        steps: FuturesUnordered::new(),
        stopped: None,
        deadline: None,
        assignment,
    };
    worker.run().await;
}

impl Worker {
    async fn run(mut self) {
        if !pods::is_finished(&self.latest) {
            let delay = self.assignment.start_delay;
            self.after(delay, Step::Begin);
            if !self.live().await {
                return;
            }
        }
        // Finished: the object stays until somebody deletes it.
        while !pods::is_terminating(&self.latest) {
            if self.assignment.pod.changed().await.is_err() {
                return;
            }
            self.latest = Arc::clone(&self.assignment.pod.borrow_and_update());
        }
        self.remove().await;
    }

    fn after(&self, delay: Duration, step: Step) {
        self.steps.push(Box::pin(async move {
            tokio::time::sleep(delay).await;
            step
        }));
    }

    /// Runs the containers to their end. False if the pod is gone.
    async fn live(&mut self) -> bool {
        self.see();
        loop {
            if !self.write_status().await {
                return false;
            }
            if self.is_over() {
                return true;
            }
            let deadline = self.deadline;
            let grace = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                changed = self.assignment.pod.changed() => {
                    if changed.is_err() {
                        return false;
                    }
                    self.see();
                }
                Some(step) = self.steps.next() => {
                    self.take(step);
                    // What happens at the same time is written at the same time.
                    while let Some(Some(step)) = self.steps.next().now_or_never() {
                        self.take(step);
                    }
                }
                () = grace => self.kill(),
            }
        }
    }

    /// Takes note of the pod as others have changed it.
    fn see(&mut self) {
        self.latest = Arc::clone(&self.assignment.pod.borrow_and_update());
        if pods::is_terminating(&self.latest) {
            let grace = self.latest.metadata.deletion_grace_period_seconds.unwrap_or_default();
            let stopped = *self.stopped.get_or_insert_with(Instant::now);
            self.deadline = Some(stopped + Duration::from_secs(u64::try_from(grace).unwrap_or_default()));
            self.stop();
        }
    }

    fn stopping(&self) -> bool {
        self.deadline.is_some()
    }

    fn stop(&mut self) {
        for index in 0..self.containers.len() {
            if self.containers[index].is_running() && !self.signals[index].is_requested() {
                let message = format!("Stopping container {}", self.containers[index].name);
                self.tell(index, EventType::Normal, "Killing", &message);
            }
        }
        self.stops.iter().for_each(StopSender::send);
        let now = self.assignment.cx.clock.now();
        for container in self.containers.iter_mut().filter(|one| matches!(one.state, State::Waiting(_))) {
            container.end(Exit::KILLED, now);
        }
    }

    /// The grace period is over.
    fn kill(&mut self) {
        let now = self.assignment.cx.clock.now();
        self.steps = FuturesUnordered::new();
        for container in self.containers.iter_mut().filter(|one| one.ended().is_none()) {
            container.end(Exit::KILLED, now);
        }
    }

    fn is_over(&self) -> bool {
        !self.containers.iter().any(Container::is_running)
            && (self.stopping() || matches!(self.phase(), "Succeeded" | "Failed"))
    }

    fn restart_policy(&self) -> &str {
        self.latest.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always")
    }

    fn phase(&self) -> &'static str {
        status::phase(&self.view(), self.restart_policy())
    }

    fn view(&self) -> View<'_> {
        View {
            containers: &self.containers,
            started: self.started,
            host_ip: &self.assignment.host_ip,
            pod_ip: &self.assignment.pod_ip,
            stopping: self.stopping(),
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Begin => self.advance(),
            Step::Start(index) => self.start(index),
            Step::Ready(index) => self.containers[index].ready = self.containers[index].is_running(),
            Step::Exited(index, exit) => self.exited(index, exit),
        }
    }

    /// Starts what may start now: init containers one after the other, then the rest.
    fn advance(&mut self) {
        for index in 0..self.containers.len() {
            let container = &self.containers[index];
            let fresh = matches!(container.state, State::Waiting("ContainerCreating" | "PodInitializing"));
            if fresh {
                self.start(index);
            }
            let container = &self.containers[index];
            if container.role == Role::Init && container.ended() != Some(Exit::SUCCESS) {
                return;
            }
        }
    }

    fn start(&mut self, index: usize) {
        if self.stopping() || !matches!(self.containers[index].state, State::Waiting(_)) {
            return;
        }
        let now = self.assignment.cx.clock.now();
        let container = &mut self.containers[index];
        container.start(now);
        let (ready_after, role) = (container.ready_after, container.role);
        self.tell(index, EventType::Normal, "Created", "Container created");
        self.tell(index, EventType::Normal, "Started", "Container started");
        let container = &mut self.containers[index];
        if role != Role::Init {
            if ready_after.is_zero() {
                container.ready = true;
            } else {
                self.after(ready_after, Step::Ready(index));
            }
        }
        let name = self.containers[index].name.clone();
        let (program, pod) = (self.program(&name, role), Arc::clone(&self.latest));
        let stop = self.signals[index].clone();
        self.steps.push(Box::pin(async move { Step::Exited(index, program.run(pod, stop).await) }));
    }

    /// Publishes an event about a container.
    fn tell(&self, index: usize, event_type: EventType, reason: &str, message: &str) {
        let container = &self.containers[index];
        let list = if container.role == Role::Main { "containers" } else { "initContainers" };
        let mut regarding = self.latest.object_ref(&());
        regarding.field_path = Some(format!("spec.{list}{{{}}}", container.name));
        self.assignment.cx.recorder.publish_about(regarding, event_type, reason, message);
    }

    fn program(&self, name: &str, role: Role) -> Arc<dyn Program> {
        self.assignment.programs.program(&self.latest, name).unwrap_or_else(|| match role {
            Role::Init => Arc::new(Task { seconds: 0 }),
            Role::Main if self.restart_policy() != "Always" => Arc::new(Task { seconds: 10 }),
            Role::Main | Role::Sidecar => Arc::new(Service),
        })
    }

    fn exited(&mut self, index: usize, exit: Exit) {
        let now = self.assignment.cx.clock.now();
        let restart = match (self.containers[index].role, self.restart_policy()) {
            (Role::Sidecar, _) => true,
            (Role::Main, "Always") => true,
            (_, "Never") => false,
            (Role::Init | Role::Main, _) => exit != Exit::SUCCESS,
        };
        let main_over = || self.containers.iter().all(|one| one.role != Role::Main || one.ended().is_some());
        let pod_over = self.stopping() || (self.containers[index].role == Role::Sidecar && main_over());
        if restart && !pod_over {
            let delay = self.containers[index].restart_after(exit, now);
            if !delay.is_zero() {
                let pod = format!("{}_{}({})", self.latest.name_any(), self.latest.namespace().unwrap_or_default(), self.latest.uid().unwrap_or_default());
                let message = format!("Back-off restarting failed container {} in pod {pod}", self.containers[index].name);
                self.tell(index, EventType::Warning, "BackOff", &message);
            }
            self.after(delay, Step::Start(index));
            return;
        }
        self.containers[index].end(exit, now);
        if self.containers[index].role == Role::Init {
            return self.advance();
        }
        // Sidecars go after what they were for.
        if self.containers.iter().all(|one| one.role != Role::Main || one.ended().is_some()) {
            for (container, stop) in self.containers.iter().zip(&self.stops) {
                if container.role == Role::Sidecar {
                    stop.send();
                }
            }
        }
    }

    /// Writes the status if it is another than before. False if the pod is gone.
    async fn write_status(&mut self) -> bool {
        // A pod that goes without leaving anything behind needs no last words.
        if self.stopping() && self.latest.finalizers().is_empty() {
            return true;
        }
        loop {
            let status = status::status(&self.latest, &self.view(), self.assignment.cx.clock.now());
            if self.latest.status.as_ref() == Some(&status) {
                return true;
            }
            let patch = serde_json::json!({
                "metadata": {"uid": self.latest.uid(), "resourceVersion": self.latest.resource_version()},
                "status": status,
            });
            let name = self.latest.name_any();
            match self.api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                Ok(pod) => {
                    self.latest = Arc::new(pod);
                    return true;
                }
                Err(kube::Error::Api(error)) if error.is_not_found() => return false,
                Err(kube::Error::Api(error)) if error.is_conflict() => match self.api.get_opt(&name).await {
                    Ok(Some(pod)) if pod.uid() == self.latest.uid() => self.latest = Arc::new(pod),
                    Ok(_) => return false,
                    Err(error) => pause(&name, &error).await,
                },
                Err(error) => pause(&name, &error).await,
            }
        }
    }

    /// The containers are gone: so may be the object.
    async fn remove(self) {
        let parameters = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: self.latest.uid(), resource_version: None }),
            ..DeleteParams::default()
        };
        loop {
            match self.api.delete(&self.latest.name_any(), &parameters).await {
                Ok(_) => return,
                Err(kube::Error::Api(error)) if error.is_not_found() || error.is_conflict() => return,
                Err(error) => {
                    tracing::debug!(pod = self.latest.name_any(), %error, "pod was not removed, trying again");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

async fn pause(pod: &str, error: &kube::Error) {
    tracing::debug!(pod, %error, "status was not written, trying again");
    tokio::time::sleep(Duration::from_secs(1)).await;
}
