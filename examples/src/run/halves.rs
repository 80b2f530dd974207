//! The two halves: which trigger types and which provider there are.

use std::sync::Arc;

#[cfg(feature = "kwok")]
use controller_runtime::node_autoscaler::{self, NodeAutoscaler};
use controller_runtime::{
    admission::webhook::Stores,
    cloud_events,
    pod_autoscaler::{self, PodAutoscaler},
};
use metrics_adapter::ExternalMetrics;
#[cfg(feature = "kwok")]
use provisioner::{
    Provisioner,
    kwok::{KwokCatalog, KwokOptions, KwokProvisioner},
    schedule::MinValuesPolicy,
};
use scaler_api::Registry;

use super::{
    cloud_events::HttpSink,
    config::{Provider, Settings},
    process::{Lives, Process},
};

/// What the API server asks the pod half about.
#[derive(Clone)]
pub(super) struct Answers {
    /// What HPAs read.
    pub(super) metrics: Arc<dyn ExternalMetrics>,
    /// The trigger types that objects may have.
    pub(super) registry: Arc<Registry>,
    /// What objects are compared with.
    pub(super) stores: Stores,
}

/// Starts the pod half; gives what it has the answers from.
pub(super) fn start_pods(process: &Process, lives: &mut Lives) -> Answers {
    let registry = Arc::clone(&process.registry);
    let pods = pods(process, Arc::clone(&registry));
    let answers = Answers {
        metrics: pods.external_metrics(),
        registry,
        stores: pods.watched(),
    };
    // The HPA controller is another process.
    process.explainer.set(pods.explained(Arc::new(|_| None)));
    process.add_caches("pod-caches", pods.ready());
    let heartbeat = process.heartbeat("pods");
    lives
        .working
        .add("the pod half", async move { heartbeat.beside(pods.run()).await });
    answers
}

fn pods(process: &Process, registry: Arc<Registry>) -> PodAutoscaler {
    let Settings {
        namespaces,
        sample_max_age,
        http_timeout,
        pods_concurrency,
        authentication,
        selector,
        ..
    } = &process.settings;
    let context = scaler_api::Context::new()
        .with_clock(Arc::clone(&process.runtime.clock))
        .with_timeout(*http_timeout);
    #[cfg(feature = "metrics-api")]
    let context = context.with(scalers::metrics_api::SharedServiceEndpoints(Arc::new(
        crate::service_endpoints::ApiServiceEndpoints::new(process.client()),
    )));
    #[cfg(feature = "kubernetes-workload")]
    let context = context.with(scalers::kubernetes_workload::SharedPodCounter(Arc::new(
        crate::pod_counter::ApiPodCounter::new(process.client()),
    )));
    let config = pod_autoscaler::Config {
        namespaces: namespaces.clone(),
        sample_max_age: *sample_max_age,
        concurrency: *pods_concurrency,
        authentication: authentication.clone(),
        selector: selector.clone(),
        ..pod_autoscaler::Config::default()
    };
    let events = cloud_events::Config {
        cluster_name: process.settings.cluster_name.clone(),
        namespace: process.settings.pod_namespace.clone(),
        ..cloud_events::Config::default()
    };
    PodAutoscaler::new(process.runtime.clone(), registry, context, config)
        .with_cloud_events(events, Arc::new(HttpSink::default()))
}

/// Starts the node half.
///
/// # Errors
/// If the provider cannot be made.
pub(super) fn start_nodes(process: &Process, provider: Provider, lives: &mut Lives) -> anyhow::Result<()> {
    match provider {
        #[cfg(feature = "kwok")]
        Provider::Kwok => {
            add_nodes(process, kwok(process)?, lives);
            Ok(())
        }
        // The configuration was checked: this build has no such provider.
        other => {
            let _ = (process, lives);
            anyhow::bail!("this build has no provider {other:?}")
        }
    }
}

#[cfg(feature = "kwok")]
fn kwok(process: &Process) -> Result<KwokProvisioner, provisioner::Error> {
    let catalog = match &process.settings.instance_types_file {
        Some(file) => KwokCatalog::from_file(file)?,
        None => KwokCatalog::builtin(),
    };
    let clock = Arc::clone(&process.runtime.clock);
    Ok(KwokProvisioner::new(
        process.client(),
        catalog,
        clock,
        KwokOptions::default(),
    ))
}

#[cfg(feature = "kwok")]
fn add_nodes<P: Provisioner>(process: &Process, provisioner: P, lives: &mut Lives) {
    let settings = &process.settings;
    let config = node_autoscaler::Config {
        batch_idle: settings.batch_idle,
        batch_longest: settings.batch_longest,
        spot_to_spot: settings.spot_to_spot,
        min_values: if settings.relax_min_values {
            MinValuesPolicy::BestEffort
        } else {
            MinValuesPolicy::Strict
        },
        ..node_autoscaler::Config::default()
    };
    let nodes = NodeAutoscaler::new(process.runtime.clone(), Arc::new(provisioner), config);
    process.add_caches("node-caches", nodes.ready());
    let heartbeat = process.heartbeat("nodes");
    lives.working.add("the node half", async move {
        Box::pin(heartbeat.beside(nodes.run())).await
    });
}
