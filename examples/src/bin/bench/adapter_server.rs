//! The process under measurement: the KEDA half and the metrics adapter behind delegated authentication.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context as _;
use controller_runtime::{
    pod_autoscaler::{Config, PodAutoscaler},
    runtime::Runtime,
};
use kube::{
    Client,
    config::{KubeConfigOptions, Kubeconfig},
};
use metrics_adapter::{
    MetricsAdapter,
    server::{Delegated, DelegatedOptions, ServingCertificate, serve},
};
use scaler_api::{Registry, SharedClock, SystemClock};

/// Where the API server is and what to show to clients.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    kubeconfig: PathBuf,
    #[arg(long)]
    certificate: PathBuf,
    #[arg(long)]
    key: PathBuf,
}

/// Prints its port and serves until it is killed.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let kubeconfig = Kubeconfig::read_from(&options.kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;

    let clock: SharedClock = Arc::new(SystemClock);
    let (runtime, events) = Runtime::new(client.clone(), Arc::clone(&clock), "autoscaler");
    let mut registry = Registry::new();
    scalers::register_all(&mut registry);
    let context = scaler_api::Context::new().with_clock(clock);
    let autoscaler = PodAutoscaler::new(runtime, Arc::new(registry), context, Config::default());

    let delegated = Delegated::new(client, DelegatedOptions::default());
    let service = delegated.layer(MetricsAdapter::new(autoscaler.external_metrics()));
    let certificate = ServingCertificate::empty();
    certificate.replace(
        &std::fs::read(&options.certificate)?,
        &std::fs::read(&options.key)?,
    )?;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("no port on loopback")?;
    println!("{}", listener.local_addr()?);

    tokio::spawn(events);
    tokio::spawn(autoscaler.run());
    let authorities = delegated.client_authorities();
    tokio::spawn(async move { delegated.run().await });
    serve(
        listener,
        certificate,
        authorities,
        service,
        std::future::pending(),
    )
    .await?;
    Ok(())
}
