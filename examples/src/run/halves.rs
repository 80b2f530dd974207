//! The two halves: which trigger types and which provider there are.

use std::sync::Arc;

use controller_runtime::pod_autoscaler::{self, PodAutoscaler};
use metrics_adapter::ExternalMetrics;
use scaler_api::Registry;

use super::{
    config::{Provider, Settings},
    process::{Lives, Process},
};

/// The trigger types of this build.
fn registry() -> Registry {
    let mut registry = Registry::new();
    scalers::register_all(&mut registry);
    registry
}

/// Starts the pod half; gives what HPAs read.
pub(super) fn start_pods(process: &Process, lives: &mut Lives) -> Arc<dyn ExternalMetrics> {
    let pods = pods(process);
    let metrics = pods.external_metrics();
    let heartbeat = process.heartbeat("pods");
    lives
        .working
        .add("the pod half", async move { heartbeat.beside(pods.run()).await });
    metrics
}

fn pods(process: &Process) -> PodAutoscaler {
    let Settings {
        namespaces,
        sample_max_age,
        http_timeout,
        pods_concurrency,
        cluster_object_namespace,
        ..
    } = &process.settings;
    let context = scaler_api::Context::new()
        .with_clock(Arc::clone(&process.runtime.clock))
        .with_timeout(*http_timeout);
    #[cfg(feature = "kubernetes-workload")]
    let context = context.with(scalers::kubernetes_workload::SharedPodCounter(Arc::new(
        crate::pod_counter::ApiPodCounter::new(process.client()),
    )));
    let config = pod_autoscaler::Config {
        namespaces: namespaces.clone(),
        sample_max_age: *sample_max_age,
        concurrency: *pods_concurrency,
        cluster_object_namespace: cluster_object_namespace.clone(),
        ..pod_autoscaler::Config::default()
    };
    PodAutoscaler::new(process.runtime.clone(), Arc::new(registry()), context, config)
}

/// Starts the node half.
///
/// # Errors
/// If the provider cannot be made.
pub(super) fn start_nodes(process: &Process, provider: Provider, lives: &mut Lives) -> anyhow::Result<()> {
    let _ = (process, lives);
    anyhow::bail!("this build has no provider {provider:?}")
}
