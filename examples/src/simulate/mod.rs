//! Running a scenario on the embedded cluster.
//!
//! Here, and nowhere else, scalers, cloud and cluster are wired together: the product's own controllers over the
//! embedded API server, the in-memory SQS endpoint under the real SDK, and an in-process cloud behind `Provisioner`.

mod asking;
mod check;
mod cloud;
mod consumers;
mod observe;
mod queues;
mod steps;

use std::{net::SocketAddr, pin::Pin, sync::Arc, time::Instant};

use anyhow::Context as _;
use controller_runtime::{
    explain::Explainer,
    node_autoscaler::{self, NodeAutoscaler},
    pod_autoscaler::{self, PodAutoscaler},
    sim::{
        api::boxed_backend,
        cluster::{self, Cluster},
        serve::{self, Pacer},
    },
};
use metrics_adapter::MetricsAdapter;
use provisioner::Machines;
use scaler_api::{Registry, SharedClock, TokioClock};
use serde_json::{Value, json};

use self::{
    cloud::Cloud,
    consumers::{ConsumerPrograms, Table},
    observe::Watcher,
    queues::Queues,
};
use crate::{
    bundled::Story,
    input::{InputProblems, Manifest},
    record::{Messages, Record},
    view::View,
};

/// Where KEDA's own manifests put its metrics adapter; the APIService refers to it.
const ADAPTER: (&str, &str) = ("keda", "keda-operator-metrics-apiserver");

/// How to run.
#[derive(Debug)]
pub struct Options {
    /// The same seed gives the same run.
    pub seed: u64,
    /// Virtual seconds per second.
    pub speed: Option<f64>,
    /// Where to serve the cluster to kubectl.
    pub serve: Option<SocketAddr>,
    /// What a person sees.
    pub view: View,
    /// The trigger types that there are.
    pub registry: Arc<Registry>,
}

/// A task of the simulation; it ends only if something is wrong.
type Task = Pin<Box<dyn Future<Output = anyhow::Result<()>>>>;

/// Runs a story to its end; with `serve`, goes on serving the cluster after `finished` until interrupted.
///
/// # Errors
/// Every problem of the story, a step that the cluster refuses, or what `finished` returns.
pub fn run(
    story: Story,
    options: Options,
    finished: impl FnOnce(&Record) -> anyhow::Result<()>,
) -> anyhow::Result<Record> {
    check::story(&story, &options.registry)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .context("the simulation's runtime cannot be built")?;
    runtime.block_on(simulate(story, options, finished))
}

async fn simulate(
    story: Story,
    options: Options,
    finished: impl FnOnce(&Record) -> anyhow::Result<()>,
) -> anyhow::Result<Record> {
    let wall = Instant::now();
    let Options {
        seed,
        speed,
        serve,
        view,
        registry,
    } = options;
    let start = story.scenario.start;
    let clock: SharedClock = Arc::new(TokioClock::starting_at(start));
    let queues = Queues::new(&story.scenario, seed, start);
    let table = Table::default();
    let cloud = Cloud::build(&story.scenario, seed, &clock)?;
    let cluster = cluster(&story, seed, &clock, &queues, &table, cloud.as_ref());
    let explainer = Explainer::default();
    let mut watcher = Watcher::new(
        &story,
        seed,
        &cluster,
        &queues,
        cloud.as_ref(),
        view,
        explainer.clone(),
    );
    install(&cluster)?;
    load(&cluster, &story)?;

    let mut tasks = Tasks::default();
    tasks.add({
        let cluster = cluster.run();
        async move {
            cluster.await;
            Ok(())
        }
    });
    halves(&mut tasks, &cluster, &queues, &clock, cloud, &explainer, registry);
    for queue in story.scenario.queues.clone() {
        tasks.last(queues.clone().play(queue));
    }
    for (index, producer) in story.scenario.producers.iter().enumerate() {
        for sender in 0..producer.count {
            let number = u32::try_from(index)
                .unwrap_or(u32::MAX)
                .wrapping_mul(1000)
                .wrapping_add(sender);
            tasks.last(queues.clone().produce(producer.clone(), number, seed));
        }
    }
    tasks.add(steps::play(
        cluster.client("default"),
        story.scenario.steps.clone(),
        cluster.runtime().decisions.clone(),
    ));
    let pacing = pace(&mut tasks, &cluster, speed, serve)?;

    let end = tokio::time::Instant::now() + story.scenario.duration.0;
    tasks.until(watcher.watch(end, story.scenario.duration.0)).await?;
    let (sent, left) = queues.sent_and_left();
    let (processed, duplicates) = table.counts();
    let messages = Messages {
        sent,
        processed,
        duplicates,
        lost: sent.saturating_sub(processed).saturating_sub(left),
    };
    let record = watcher.finish(wall.elapsed().as_secs_f64(), messages);
    finished(&record)?;
    if let Some(address) = pacing {
        crate::view::say(&format!(
            "the story is over; the cluster is still served on {address}, interrupt to end"
        ));
        tasks.until(std::future::pending::<()>()).await?;
    }
    Ok(record)
}

/// The embedded cluster with the scenario's delays, programs and machines.
fn cluster(
    story: &Story,
    seed: u64,
    clock: &SharedClock,
    queues: &Queues,
    table: &Table,
    cloud: Option<&Cloud>,
) -> Cluster {
    let settings = &story.scenario.cluster;
    Cluster::new(cluster::Options {
        machines: cloud.map(|cloud| Arc::clone(&cloud.provisioner) as Arc<dyn Machines>),
        programs: Arc::new(ConsumerPrograms::new(
            &story.scenario,
            queues,
            table.clone(),
            seed,
        )),
        pod_start_delay: settings.pod_start_delay.0,
        node_ready_delay: settings.node_ready_delay.0,
        ..cluster::Options::new(Arc::clone(clock), seed)
    })
}

/// Installs what an installation of the autoscaler brings: CRDs, and the APIService of its metrics adapter.
fn install(cluster: &Cluster) -> anyhow::Result<()> {
    let mut objects = Vec::new();
    for definition in scaler_api::keda::crds()
        .into_iter()
        .chain(provisioner::karpenter::crds())
    {
        objects.push(serde_json::to_value(definition)?);
    }
    let (namespace, service) = ADAPTER;
    objects.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}));
    objects.push(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": namespace, "name": service},
        "spec": {"ports": [{"port": 443, "targetPort": 6443}]},
    }));
    objects.push(api_service(namespace, service));
    cluster.load(objects)?;
    Ok(())
}

/// Loads the story's manifests; every refusal is reported, each with its file.
fn load(cluster: &Cluster, story: &Story) -> Result<(), InputProblems> {
    let mut problems = InputProblems::default();
    // What others need comes first, whatever file it stands in.
    let rank = |manifest: &&Manifest| match manifest.kind() {
        "Namespace" | "CustomResourceDefinition" => 0,
        _ => 1,
    };
    let mut manifests: Vec<&Manifest> = story.manifests.iter().collect();
    manifests.sort_by_key(rank);
    for manifest in manifests {
        if let Err(error) = cluster.load(vec![manifest.object.clone()]) {
            problems.field(manifest, "", error.source.to_string());
        }
    }
    problems.or(())
}

fn api_service(namespace: &str, service: &str) -> Value {
    json!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
        "spec": {
            "group": "external.metrics.k8s.io",
            "version": "v1beta1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": true,
            "service": {"namespace": namespace, "name": service, "port": 443},
        },
    })
}

/// Starts the KEDA half and, where there is a cloud, the Karpenter half.
fn halves(
    tasks: &mut Tasks,
    cluster: &Cluster,
    queues: &Queues,
    clock: &SharedClock,
    cloud: Option<Cloud>,
    explainer: &Explainer,
    registry: Arc<Registry>,
) {
    let runtime = cluster.runtime();
    let aws = scalers::aws::AwsEnvironment::in_memory(queues.endpoint.clone(), Arc::clone(clock));
    let context = scaler_api::Context::new().with_clock(Arc::clone(clock)).with(aws);
    // No socket is opened in virtual time: sources that speak HTTP are out of reach, which is an outage and no value.
    #[cfg(any(feature = "metrics-api", feature = "prometheus"))]
    let context = context.with(scalers::http::HttpEnvironment::closed());
    #[cfg(feature = "external")]
    let context = context.with(scalers::external::ExternalEnvironment::closed());
    #[cfg(feature = "metrics-api")]
    let context = context.with(scalers::metrics_api::SharedServiceEndpoints(Arc::new(
        crate::service_endpoints::ApiServiceEndpoints::new(runtime.client.clone()),
    )));
    #[cfg(feature = "kubernetes-workload")]
    let context = context.with(scalers::kubernetes_workload::SharedPodCounter(Arc::new(
        crate::pod_counter::ApiPodCounter::new(runtime.client.clone()),
    )));
    let pods = PodAutoscaler::new(
        runtime.named("keda-operator"),
        registry,
        context,
        pod_autoscaler::Config::default(),
    );
    let runs = cluster.autoscaler_runs();
    explainer.set(pods.explained(Arc::new(move |key| runs.last(key))));
    let (namespace, service) = ADAPTER;
    cluster.api().register_backend(
        namespace,
        service,
        boxed_backend(MetricsAdapter::new(pods.external_metrics())),
    );
    tasks.add(async move {
        pods.run().await;
        Ok(())
    });
    if let Some(cloud) = cloud {
        let nodes = NodeAutoscaler::new(
            runtime.named("karpenter"),
            cloud.provisioner,
            node_autoscaler::Config::default(),
        );
        tasks.add(async move {
            nodes.run().await;
            Ok(())
        });
    }
}

/// Ties virtual time to the wall's where that was asked for; gives the address that is served.
fn pace(
    tasks: &mut Tasks,
    cluster: &Cluster,
    speed: Option<f64>,
    address: Option<SocketAddr>,
) -> anyhow::Result<Option<SocketAddr>> {
    let Some(address) = address else {
        if let Some(speed) = speed {
            tasks.last(Pacer::new(cluster.api().clone(), speed).pace());
        }
        return Ok(None);
    };
    let (gateway, bound) = serve::listen(address).with_context(|| format!("{address} cannot be served"))?;
    let path = std::env::temp_dir().join(format!("autoscaler-{}.kubeconfig", bound.port()));
    std::fs::write(&path, serve::kubeconfig(bound))
        .with_context(|| format!("cannot write {}", path.display()))?;
    crate::view::say(&format!(
        "the embedded cluster is served on http://{bound}; to look at it:"
    ));
    crate::view::say(&format!("export KUBECONFIG={}", path.display()));
    let pacer = Pacer::new(cluster.api().clone(), speed.unwrap_or(1.0)).with_gateway(gateway);
    tasks.last(pacer.pace());
    Ok(Some(bound))
}

/// Futures that run side by side on this one thread, in the order in which they were added.
#[derive(Default)]
struct Tasks {
    tasks: futures::stream::FuturesUnordered<Task>,
}

impl Tasks {
    /// Adds a task whose failure ends the simulation.
    fn add(&mut self, task: impl Future<Output = anyhow::Result<()>> + 'static) {
        self.tasks.push(Box::pin(task));
    }

    /// Adds a task that may end by itself.
    fn last(&mut self, task: impl Future<Output = ()> + 'static) {
        self.add(async move {
            task.await;
            Ok(())
        });
    }

    /// Runs everything until `end` does.
    async fn until<T>(&mut self, end: impl Future<Output = T>) -> anyhow::Result<T> {
        use futures::StreamExt as _;
        let mut end = std::pin::pin!(end);
        loop {
            tokio::select! {
                biased;
                result = &mut end => return Ok(result),
                Some(result) = self.tasks.next(), if !self.tasks.is_empty() => result?,
            }
        }
    }
}
