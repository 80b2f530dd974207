//! From an event to replicas and back: `autoscaler run` as a process on a real control plane.
//!
//! The control plane is as Kubernetes ships it (HPAs are looked at every 15 s); the source is polled every 5 s. In each
//! round the source's value steps from 0 to 50, where 5 are one replica's share, and back once 10 replicas are ready.
//! What is timed is the Deployment's `spec.replicas` (and `status.readyReplicas`) as a watch tells it, from the moment in
//! which the value changes. A round begins at a random moment, so that it meets polls and HPA syncs in any phase.

mod checks;
mod followed;
mod report;
mod rounds;
mod workload;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use controller_runtime::envtest::{ControlPlane, Options as ControlPlaneOptions};

use self::{
    checks::Kubectl,
    followed::Followed,
    report::{Cost, Report},
    rounds::Rounds,
    workload::{HPA_SYNC_PERIOD, Source},
};
use crate::autoscaler::{self, Autoscaler};

/// How many rounds, and of which program.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Rounds that count; one takes about a minute.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Where the random moments come from at which rounds begin.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// The binary `autoscaler`; without it, the one beside this program.
    #[arg(long)]
    autoscaler: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Where the programs of the control plane are.
    #[arg(long)]
    bin_dir: Option<PathBuf>,
}

/// Measures and prints.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let program = autoscaler::program(options.autoscaler.as_deref())?;
    let plane = ControlPlane::start(ControlPlaneOptions {
        bin_dir: options.bin_dir.clone(),
        hpa_sync_period: HPA_SYNC_PERIOD,
        ..ControlPlaneOptions::default()
    })
    .await?;
    let measured = measure(&plane, &program, &options).await;
    plane.stop().await;
    let report = measured?;
    if options.json {
        println!("{}", report.json());
    } else {
        report.print_summary();
    }
    Ok(())
}

async fn measure(plane: &ControlPlane, program: &Path, options: &Options) -> anyhow::Result<Report> {
    let client = plane.client(workload::NAMESPACE);
    let source = Source::start().await?;
    workload::create(&client, &source).await?;
    let folder = tempfile::tempdir()?;
    let mut autoscaler = Autoscaler::start(program, plane.kubeconfig(), folder.path())?;
    let measured = async {
        let mut replicas = Followed::deployment(&client, workload::NAME);
        let kubectl = Kubectl::of(plane)?;
        let checks = checks::run(&kubectl, &source, &mut replicas).await?;
        let mut report = Report::new(checks);
        if !options.json {
            report.print_checks();
            report::print_head();
        }
        let mut rounds = Rounds::new(&source, &mut replicas, options.seed);
        for number in 1..=options.rounds {
            let round = rounds.next().await.with_context(|| format!("round {number}"))?;
            if !options.json {
                report::print_round(number, &round);
            }
            report.rounds.push(round);
        }
        anyhow::Ok(report)
    };
    let measured = measured.await;
    // A part that failed is said by the process itself.
    let mut report = measured.with_context(|| autoscaler.last_words())?;
    report.cost = Some(Cost {
        processor_seconds: autoscaler.process.processor_time()?.as_secs_f64(),
        peak_megabytes: autoscaler.process.peak_megabytes()?,
    });
    Ok(report)
}
