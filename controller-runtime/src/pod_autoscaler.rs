//! The KEDA half as one thing: give it a client, trigger types and their surroundings, and run it.

pub mod metrics;
pub mod watched;

use std::{fmt, sync::Arc};

use futures::{FutureExt as _, future::BoxFuture};
use metrics_adapter::ExternalMetrics;
use scaler_api::{Context, Registry};

pub use crate::scaled_object::controller::Config;
use crate::{
    cloud_events::{self, CloudEvents, Sink},
    explain::{self, Runs},
    runtime::{Readiness, Runtime},
    scaled_job,
    scaled_object::{controller::Controller, external_metrics::ScaledObjectMetrics},
    trigger_auth::objects::Objects,
};

/// Scales pods by events.
pub struct PodAutoscaler {
    scaled_objects: Controller,
    scaled_jobs: scaled_job::controller::Controller,
    authentications: Objects,
    metrics: Arc<ScaledObjectMetrics>,
    ready: Readiness,
    runtime: Runtime,
    namespaces: Vec<String>,
    cluster_object_namespace: String,
    cloud_events: Option<CloudEvents>,
}

impl fmt::Debug for PodAutoscaler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PodAutoscaler")
            .field("scaled_objects", &self.scaled_objects)
            .finish_non_exhaustive()
    }
}

impl PodAutoscaler {
    /// A pod autoscaler that knows the trigger types of `registry` and connects their scalers in `scaler_context`.
    #[must_use]
    pub fn new(runtime: Runtime, registry: Arc<Registry>, scaler_context: Context, config: Config) -> Self {
        let (namespaces, cluster_object_namespace) = (
            config.namespaces.clone(),
            config.authentication.cluster_object_namespace.clone(),
        );
        let (for_jobs, signals) = (runtime.clone(), scaled_job::controller::Signals::default());
        let scaled_objects = Controller::with_listener(
            runtime,
            registry,
            scaler_context,
            config.clone(),
            signals.listener(),
        );
        let (builder, synced) = (scaled_objects.builder(), scaled_objects.synced());
        let resolver = builder.resolver.clone();
        let scaled_jobs =
            scaled_job::controller::Controller::new(&for_jobs, config, builder, synced.clone(), signals);
        // Nobody is taken off a list before those who may stand on it are known.
        let known = vec![synced, scaled_jobs.synced()];
        let authentications = Objects::new(&for_jobs, resolver, known);
        let metrics = Arc::new(scaled_objects.external_metrics());
        Self {
            scaled_objects,
            scaled_jobs,
            authentications,
            metrics,
            ready: Readiness::default(),
            runtime: for_jobs,
            namespaces,
            cluster_object_namespace,
            cloud_events: None,
        }
    }

    /// The same, which also tells CloudEventSources what happens, through `sink`.
    #[must_use]
    pub fn with_cloud_events(mut self, config: cloud_events::Config, sink: Arc<dyn Sink>) -> Self {
        let resolver = self.scaled_objects.builder().resolver;
        self.cloud_events = Some(CloudEvents::new(
            &self.runtime,
            config,
            sink,
            &self.namespaces,
            &self.cluster_object_namespace,
            (resolver, self.scaled_objects.synced()),
        ));
        self
    }

    /// What the HPA reads; put it behind a [`MetricsAdapter`](metrics_adapter::MetricsAdapter).
    #[must_use]
    pub fn external_metrics(&self) -> Arc<dyn ExternalMetrics> {
        Arc::clone(&self.metrics) as Arc<dyn ExternalMetrics>
    }

    /// Why ScaledObjects and ScaledJobs are scaled as they are. `runs` knows the last runs of HPAs whose controller is in
    /// this process; of others they are inferred.
    #[must_use]
    pub fn explained(&self, runs: Runs) -> Vec<explain::Kind> {
        vec![self.scaled_objects.explained(runs), self.scaled_jobs.explained()]
    }

    /// What it watches, for an admission webhook in the same process.
    #[cfg(feature = "server")]
    #[must_use]
    pub fn watched(&self) -> crate::admission::webhook::Stores {
        self.scaled_objects.watched()
    }

    /// Whether its caches are filled and it can answer for the objects in them, to be asked while it runs.
    #[must_use]
    pub fn ready(&self) -> Readiness {
        self.ready.clone()
    }

    /// Watches and answers, and scales whenever this process leads, until dropped.
    pub async fn run(self) {
        futures::future::join_all(self.into_parts()).await;
    }

    fn into_parts(self) -> Vec<BoxFuture<'static, ()>> {
        let (objects, jobs) = (self.scaled_objects.ready(), self.scaled_jobs.ready());
        let tell = async move {
            objects.wait().await;
            jobs.wait().await;
            self.ready.set();
        };
        let mut parts = vec![
            self.scaled_objects.run().boxed(),
            self.scaled_jobs.run().boxed(),
            self.authentications.run().boxed(),
            tell.boxed(),
        ];
        parts.extend(self.cloud_events.map(|cloud_events| cloud_events.run().boxed()));
        parts
    }
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests;
