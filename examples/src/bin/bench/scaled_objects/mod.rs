//! Many ScaledObjects: `autoscaler run` as a process on a real control plane, with 1,000 and with 10,000 of them.
//!
//! Each ScaledObject has a Deployment and a path of an HTTP source of its own, so that no two share a sample. They are
//! made at once while the process runs; what is timed is how long it takes until every one is Ready. Then everything
//! is left alone: the source says how punctually it is polled, `/proc` what that costs, and the API server how many
//! requests it is asked meanwhile.

mod fleet;
mod polls;
mod ready;
mod report;
mod requests;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use controller_runtime::envtest::{ControlPlane, Options as ControlPlaneOptions};
use tokio::time::{Instant, sleep};

use self::{
    fleet::Fleet,
    polls::Source,
    ready::Readiness,
    report::{Report, Rest, UntilReady},
    requests::{Counter, Counts},
};
use crate::{
    autoscaler::{self, Autoscaler},
    process::Machine,
};

/// Which fleets, and of which program.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many ScaledObjects, and their pollingInterval in seconds; may be given several times.
    #[arg(long = "fleet", value_name = "OBJECTS:SECONDS", default_values = ["1000:5", "10000:30"])]
    fleets: Vec<Fleet>,
    /// For how many seconds they are looked at when nothing happens.
    #[arg(long, default_value_t = 60)]
    rest: u64,
    /// The binary `autoscaler`; without it, the one beside this program.
    #[arg(long)]
    autoscaler: Option<PathBuf>,
    /// Print one JSON array.
    #[arg(long)]
    json: bool,
    /// Where the programs of the control plane are.
    #[arg(long)]
    bin_dir: Option<PathBuf>,
}

/// Measures and prints.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let program = autoscaler::program(options.autoscaler.as_deref())?;
    let mut reports = Vec::new();
    for fleet in &options.fleets {
        let plane = ControlPlane::start(ControlPlaneOptions {
            bin_dir: options.bin_dir.clone(),
            hpa_sync_period: fleet::HPA_SYNC_PERIOD,
            ..ControlPlaneOptions::default()
        })
        .await?;
        let measured = measure(&plane, &program, *fleet, Duration::from_secs(options.rest)).await;
        plane.stop().await;
        let report = measured.with_context(|| fleet.to_string())?;
        if !options.json {
            report.print();
        }
        reports.push(report);
    }
    if options.json {
        let reports: Vec<_> = reports.iter().map(Report::json).collect();
        println!("{}", serde_json::to_string(&reports)?);
    }
    Ok(())
}

async fn measure(
    plane: &ControlPlane,
    program: &Path,
    fleet: Fleet,
    rest: Duration,
) -> anyhow::Result<Report> {
    let client = plane.client(fleet::NAMESPACE);
    let source = Source::start(fleet.objects).await?;
    requests::define(&client).await?;
    fleet.prepare(&client).await?;
    let counter = Counter::of(client.clone());
    counter.quiet(requests::EVERYBODY).await?;
    let kubeconfig = plane.kubeconfig_for(requests::USER, &[])?;
    let folder = tempfile::tempdir()?;
    let mut autoscaler = Autoscaler::start(program, &kubeconfig, folder.path())?;
    let measured = observe(&client, &counter, &source, &autoscaler, fleet, rest).await;
    // A part that failed is said by the process itself.
    measured.with_context(|| autoscaler.last_words())
}

async fn observe(
    client: &kube::Client,
    counter: &Counter,
    source: &Source,
    autoscaler: &Autoscaler,
    fleet: Fleet,
    rest: Duration,
) -> anyhow::Result<Report> {
    let process = &autoscaler.process;
    // It has started when it asks nothing more.
    sleep(Duration::from_secs(2)).await;
    counter.quiet(requests::USERS).await?;
    let mut readiness = Readiness::watch(client);
    let (server_before, machine_before) = (counter.processor_time().await?, Machine::now()?);
    let (before, begin) = (counter.read().await?, Instant::now());
    let (created, ready) = futures::join!(fleet.create(client, source), readiness.of(fleet.objects));
    let created = created?.saturating_duration_since(begin);
    let ready = ready?
        .iter()
        .map(|at| at.saturating_duration_since(begin))
        .collect();
    let until_ready = UntilReady {
        processor: process.processor_time()?,
        api_server: counter.processor_time().await?.saturating_sub(server_before),
        machine: Machine::now()? - machine_before,
    };
    counter.quiet(requests::USERS).await?;
    let until_rest = counter.read().await? - before;

    let (polls, requests, processor) = (source.polls(), counter.read().await?, process.processor_time()?);
    let start = Instant::now();
    sleep(rest).await;
    let took = start.elapsed();
    let (processor, requests): (Duration, Counts) = (
        process.processor_time()?.saturating_sub(processor),
        counter.read().await? - requests,
    );
    Ok(Report {
        fleet,
        created,
        ready,
        until_rest,
        until_ready,
        rest: Rest {
            took,
            processor,
            requests,
            polls: source.polls() - polls,
            gaps: source.gaps(start),
        },
        peak_megabytes: process.peak_megabytes()?,
        resident_megabytes: process.resident_megabytes()?,
        program_megabytes: process.program_megabytes()?,
    })
}
