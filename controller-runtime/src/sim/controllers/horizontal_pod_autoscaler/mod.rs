//! HorizontalPodAutoscalers: reads a target's scale and its metrics, calls [`hpa::decide`], writes the scale.
//!
//! As in Kubernetes, an autoscaler is looked at a sync period after it appeared or changed and then once a period, and
//! its memory of recommendations and changes lives in this process.

mod readings;
mod reason;
mod runs;
mod target;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{future, future::BoxFuture};
use k8s_openapi::api::{autoscaling::v2::HorizontalPodAutoscaler, core::v1::Pod};
use kube::{
    Api, ResourceExt as _,
    api::PostParams,
    core::{ApiResource, DynamicObject, TypeMeta},
};
use metrics_adapter::selector::Selector;
use serde::Deserialize as _;

pub use self::{readings::ResourceMetrics, runs::Runs};
use self::{
    runs::Run,
    target::{Target, Targets},
};
use crate::{
    events::EventType,
    hpa::{self, Input, Outcome, Spec, State, Status, spec::Metric},
    queue::{Action, WorkQueue},
    runtime::Runtime,
    scaled_object::hpa::Autoscaler,
    store::{Change, Informer, ObjectKey, Store},
};

/// The component under which events and decisions are published.
pub const COMPONENT: &str = "horizontal-pod-autoscaler";

/// How many autoscalers are looked at side by side, as in kube-controller-manager.
const CONCURRENCY: usize = 5;

/// What the controller is given besides its surroundings.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The parameters of the algorithm.
    pub config: hpa::Config,
    /// CPU and memory of pods. Without it, metrics of resources fail as they do on a cluster without metrics-server.
    pub resource_metrics: Option<Arc<dyn ResourceMetrics>>,
    /// Where the last run of each autoscaler is kept, for whoever asks why.
    pub runs: Runs,
}

/// The controller as a task that runs until dropped. `pods` are all pods of the cluster.
pub fn controller(cx: &Runtime, pods: Store<Pod>, options: Options) -> BoxFuture<'static, ()> {
    let queue = WorkQueue::new();
    let period = Duration::try_from(options.config.sync_period).unwrap_or(Duration::ZERO);
    let mut informer: Informer<Autoscaler> = Informer::new(Api::all(cx.client.clone()));
    let controller = Controller {
        targets: Targets::new(cx.client.clone()),
        cx: cx.named(COMPONENT),
        autoscalers: informer.store(),
        pods,
        options,
        memory: Arc::default(),
    };
    let (adding, forgetting) = (queue.clone(), controller.clone());
    informer.subscribe(move |change| {
        let key = ObjectKey::of(&**change.object());
        match change {
            // Of two delays the earlier one counts, so a change does not put a run off.
            Change::Applied { .. } => adding.add_after(key, period),
            Change::Deleted(_) => {
                adding.remove(&key);
                forgetting.forget(&key);
            }
        }
    });
    Box::pin(async move {
        let work = async {
            future::join(controller.autoscalers.synced(), controller.pods.synced()).await;
            queue
                .run(CONCURRENCY, |key| {
                    let controller = controller.clone();
                    async move {
                        controller.reconcile(&key).await;
                        Ok::<_, std::convert::Infallible>(Action::RequeueAfter(period))
                    }
                })
                .await;
        };
        future::join(informer.run(), work).await;
    })
}

#[derive(Clone)]
struct Controller {
    cx: Runtime,
    autoscalers: Store<Autoscaler>,
    pods: Store<Pod>,
    targets: Targets,
    options: Options,
    memory: Arc<Mutex<Memory>>,
}

/// What is remembered between runs.
#[derive(Debug, Default)]
struct Memory {
    states: BTreeMap<ObjectKey, State>,
    selectors: hpa::Targets,
}

impl fmt::Debug for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller")
            .field("autoscalers", &self.autoscalers)
            .finish_non_exhaustive()
    }
}

impl Controller {
    fn remember<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        change(&mut self.memory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn forget(&self, key: &ObjectKey) {
        self.remember(|memory| {
            memory.states.remove(key);
            memory.selectors.remove(key);
        });
        self.options.runs.forget(key);
    }

    async fn reconcile(&self, key: &ObjectKey) {
        let Some(autoscaler) = self.autoscalers.get(key) else {
            return;
        };
        let spec = match Spec::from_value(&autoscaler.spec) {
            Ok(spec) => spec,
            Err(error) => {
                tracing::warn!(autoscaler = %key, %error, "cannot read the specification");
                return;
            }
        };
        let status = Status::deserialize(&autoscaler.status).unwrap_or_default();
        let mut state = self
            .remember(|memory| memory.states.remove(key))
            .unwrap_or_default();
        let outcome = self.run(key, &autoscaler, &spec, &status, &mut state).await;
        if self.autoscalers.get(key).is_some() {
            self.remember(|memory| memory.states.insert(key.clone(), state));
        }
        self.report(&autoscaler, &status, &outcome).await;
    }

    /// One run up to what is to be reported.
    async fn run(
        &self,
        key: &ObjectKey,
        autoscaler: &Autoscaler,
        spec: &Spec,
        status: &Status,
        state: &mut State,
    ) -> Outcome {
        let mut target = match self.targets.get(&key.namespace, &spec.scale_target_ref).await {
            Ok(target) => target,
            Err(error) => return hpa::scale_unavailable(status, &error, self.cx.clock.now()),
        };
        let scale = hpa::Scale::from(&target.scale);
        let mut outcome = self.decide(key, spec, status, &scale, state).await;
        if outcome.rescale.is_some()
            && !self
                .rescale(autoscaler, spec, &mut target, &mut outcome, state)
                .await
        {
            let disabled = hpa::Scale::from(&target.scale);
            return self.decide(key, spec, status, &disabled, state).await;
        }
        outcome
    }

    async fn decide(
        &self,
        key: &ObjectKey,
        spec: &Spec,
        status: &Status,
        scale: &hpa::Scale,
        state: &mut State,
    ) -> Outcome {
        let (pods, controllers) = self.selected(key, spec, scale);
        let readings = if Input::needs_metrics(spec, scale) {
            self.read(&key.namespace, spec, scale).await
        } else {
            Vec::new()
        };
        let input = Input {
            namespace: &key.namespace,
            spec,
            status,
            scale,
            pods: &pods,
            controllers: &controllers,
            readings: &readings,
            config: &self.options.config,
        };
        let (before, now) = (state.clone(), self.cx.clock.now());
        let outcome = hpa::decide(&input, state, now);
        let run = Run {
            spec: spec.clone(),
            scale: scale.clone(),
            pods,
            controllers,
            readings,
            config: self.options.config.clone(),
            before,
            at: now,
        };
        self.options.runs.keep(key, run);
        outcome
    }

    /// The pods that the target selects, converted if any metric looks at them, and the autoscalers that they belong to.
    fn selected(&self, key: &ObjectKey, spec: &Spec, scale: &hpa::Scale) -> (Vec<hpa::Pod>, Vec<ObjectKey>) {
        self.remember(|memory| memory.selectors.insert(key.clone(), &scale.selector));
        let Ok(selector) = Selector::parse(&scale.selector) else {
            return Default::default();
        };
        let mut pods = self.pods.list_namespace(&key.namespace);
        pods.retain(|pod| selector.matches(pod.labels()));
        let controllers = self.remember(|memory| {
            memory
                .selectors
                .controllers(&key.namespace, pods.iter().map(|pod| pod.labels()))
        });
        let pods = if spec.metrics.iter().any(looks_at_pods) {
            pods.iter().map(|pod| hpa::Pod::from(&**pod)).collect()
        } else {
            Vec::new()
        };
        (pods, controllers)
    }

    /// Writes the scale; false if the target was scaled to zero meanwhile.
    async fn rescale(
        &self,
        autoscaler: &Autoscaler,
        spec: &Spec,
        target: &mut Target,
        outcome: &mut Outcome,
        state: &mut State,
    ) -> bool {
        let Some(hpa::Rescale { from, to, reason }) = outcome.rescale.clone() else {
            return true;
        };
        match target.scale_to(to).await {
            Ok(false) => return false,
            Ok(true) => {
                let object = format!(
                    "{}/{}/{}",
                    spec.scale_target_ref.kind,
                    autoscaler.namespace().unwrap_or_default(),
                    spec.scale_target_ref.name
                );
                let reason = reason::in_words(spec, outcome, &reason);
                self.cx.decisions.record(COMPONENT, object, from, to, reason);
                outcome.rescaled(spec.behavior.as_ref(), state, self.cx.clock.now());
            }
            Err(error) => outcome.rescale_failed(&error, self.cx.clock.now()),
        }
        true
    }

    /// Publishes the events and writes the status if it changed.
    async fn report(&self, autoscaler: &Autoscaler, before: &Status, outcome: &Outcome) {
        if let Some(error) = &outcome.error {
            tracing::debug!(autoscaler = %ObjectKey::of(autoscaler), %error, "the autoscaler has a problem");
        }
        for event in &outcome.events {
            let event_type = match event.event_type {
                hpa::status::EventType::Normal => EventType::Normal,
                hpa::status::EventType::Warning => EventType::Warning,
            };
            self.cx.recorder.publish(
                autoscaler,
                event_type,
                event.reason.clone(),
                event.message.clone(),
            );
        }
        if outcome.status == *before {
            return;
        }
        if let Err(error) = self.write_status(autoscaler, &outcome.status).await {
            let message = target::message(&error);
            self.cx
                .recorder
                .publish(autoscaler, EventType::Warning, "FailedUpdateStatus", message);
        }
    }

    async fn write_status(&self, autoscaler: &Autoscaler, status: &Status) -> kube::Result<()> {
        let resource = ApiResource::erase::<HorizontalPodAutoscaler>(&());
        let namespace = autoscaler.namespace().unwrap_or_default();
        let api: Api<DynamicObject> = Api::namespaced_with(self.cx.client.clone(), &namespace, &resource);
        let object = DynamicObject {
            types: Some(TypeMeta::resource::<HorizontalPodAutoscaler>()),
            metadata: autoscaler.metadata.clone(),
            data: serde_json::json!({ "spec": autoscaler.spec, "status": status }),
        };
        api.replace_status(&autoscaler.name_any(), &PostParams::default(), &object)
            .await
            .map(drop)
    }
}

/// Whether a metric is computed from the pods of the target.
fn looks_at_pods(metric: &Metric) -> bool {
    match metric {
        Metric::External(metric) => metric.target.average_value.is_none(),
        Metric::Object(metric) => metric.target.average_value.is_none(),
        Metric::Pods(_) | Metric::Resource(_) | Metric::ContainerResource(_) => true,
        Metric::Unknown(_) => false,
    }
}
