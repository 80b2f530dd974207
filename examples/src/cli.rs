//! Command line of `autoscaler`.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use scaler_api::Registry;

use crate::{
    bundled::{self, Bundled, Story},
    convert, explain,
    input::{self, InputProblems},
    install, old, plan,
    record::Record,
    report,
    run::{self, RunArgs},
    scenario,
    simulate::{self, Options},
    trigger_types, validate,
    view::View,
};

/// Exit code where the input is wrong.
const BAD_INPUT: u8 = 2;

/// Exit code where a plan has pods without a place.
const INCOMPLETE: u8 = 3;

/// KEDA and Karpenter in one process: events to pods, pods to nodes, and back.
#[derive(Debug, Parser)]
#[command(name = "autoscaler", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run on a cluster: controllers, metrics adapter, admission webhook, health and metrics in one process.
    Run(RunArgs),
    /// Run a bundled story on the embedded cluster.
    Demo {
        /// Which story: sqs-consumer, tutorial or night-shift.
        #[arg(default_value = "sqs-consumer")]
        story: String,
        #[command(flatten)]
        run: Run,
    },
    /// Run your own manifests and scenario on the embedded cluster.
    Simulate {
        /// A folder of Kubernetes manifests, or one file; may be given several times.
        #[arg(short = 'f', long = "filename", value_name = "PATH", required = true)]
        manifests: Vec<PathBuf>,
        /// The scenario file.
        #[arg(long, value_name = "FILE")]
        scenario: PathBuf,
        #[command(flatten)]
        run: Run,
    },
    /// Say why a ScaledObject or a ScaledJob is scaled as it is, from the running process or from a record.
    Explain(explain::Arguments),
    /// List the trigger types that are built in, or tell everything about one.
    Scalers(trigger_types::Arguments),
    /// Say what is wrong with manifests of KEDA's and Karpenter's kinds, without a cluster.
    Validate(validate::Arguments),
    /// Print manifests in old forms as they are written today.
    Convert(convert::Arguments),
    /// Say which nodes pods would get, what those cost, and why, without buying anything.
    Plan(plan::Arguments),
    /// Print the definitions of KEDA's and Karpenter's resources.
    Crds(install::crds::Arguments),
    /// Print everything that a cluster needs for the autoscaler.
    Manifests(install::arguments::Arguments),
    /// Install on a cluster what manifests prints, in order.
    Install(install::apply::Installation),
    /// Take everything away again; workloads and nodes stay as they are.
    Uninstall(install::uninstall::Arguments),
}

#[derive(Debug, Args)]
struct Run {
    /// The same seed gives the same run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Virtual seconds per second; 1 is real time. As fast as it goes where missing.
    #[arg(long, value_name = "FACTOR", value_parser = positive)]
    speed: Option<f64>,
    /// Serve the embedded cluster to kubectl on this loopback address, e.g. 127.0.0.1:8080, until interrupted.
    #[arg(long, value_name = "ADDRESS", value_parser = loopback)]
    serve: Option<SocketAddr>,
    /// Write the full record here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with plots and decisions here.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Show nothing while it runs and no summary.
    #[arg(long, short)]
    quiet: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|speed: &f64| speed.is_finite() && *speed > 0.0)
        .ok_or_else(|| "expected a number above zero".to_owned())
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|_| "expected an address and a port such as 127.0.0.1:8080".to_owned())?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err(
            "the embedded cluster asks nobody who they are, so it is served on loopback addresses only"
                .to_owned(),
        )
    }
}

/// Parses the command line and does what it says, with the trigger types that are built in.
#[must_use]
pub fn main() -> ExitCode {
    main_with(trigger_types::registry())
}

/// The same with trigger types of one's own, for a program that is `autoscaler` and more. Every command knows them.
///
/// ```no_run
/// # fn register(_: &mut scaler_api::Registry) {}
/// fn main() -> std::process::ExitCode {
///     let mut registry = examples::trigger_types::registry();
///     register(&mut registry); // registry.register::<MyTrigger>();
///     examples::cli::main_with(registry)
/// }
/// ```
#[must_use]
pub fn main_with(registry: Registry) -> ExitCode {
    // The one TLS provider; libraries install none. It is there already where the binary is embedded.
    rustls::crypto::ring::default_provider().install_default().ok();
    match Cli::parse().run(Arc::new(registry)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // What is wrong was printed where it was found.
            if error.is::<validate::Invalid>() {
                return ExitCode::from(BAD_INPUT);
            }
            if error.is::<plan::Incomplete>() {
                return ExitCode::from(INCOMPLETE);
            }
            if error.is::<trigger_types::Unknown>() {
                eprintln!("error: {error}");
                return ExitCode::from(BAD_INPUT);
            }
            if let Some(problems) = error.downcast_ref::<InputProblems>() {
                let count = problems.0.len();
                eprintln!(
                    "error: {count} problem{} in the input:\n{problems}",
                    if count == 1 { "" } else { "s" }
                );
                return ExitCode::from(BAD_INPUT);
            }
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Cli {
    fn run(self, registry: Arc<Registry>) -> anyhow::Result<()> {
        match self.command {
            Command::Run(args) => run::run(args, registry),
            Command::Demo { story, run } => {
                let names: Vec<_> = bundled::ALL.iter().map(|bundled| bundled.name).collect();
                let Some(bundled) = Bundled::named(&story) else {
                    let mut problems = InputProblems::default();
                    problems.file(
                        "demo",
                        format!(
                            "{story:?} is no bundled story, expected one of {}",
                            names.join(", ")
                        ),
                    );
                    return Err(problems.into());
                };
                run.execute(bundled.story()?, registry)
            }
            Command::Simulate {
                manifests,
                scenario,
                run,
            } => {
                let (story, notes) = load(&manifests, &scenario)?;
                for note in notes.iter().filter(|_| !run.quiet) {
                    eprintln!("note: {note}");
                }
                run.execute(story, registry)
            }
            Command::Explain(arguments) => arguments.run(),
            Command::Scalers(arguments) => arguments.run(&registry),
            Command::Validate(arguments) => arguments.run(&registry),
            Command::Convert(arguments) => arguments.run(),
            Command::Plan(arguments) => arguments.run(),
            Command::Crds(arguments) => arguments.run(),
            Command::Manifests(arguments) => arguments.run(),
            Command::Install(arguments) => arguments.run(),
            Command::Uninstall(arguments) => arguments.run(),
        }
    }
}

/// Reads a user's story, and what became of objects in old forms; every problem of every file is reported at once.
fn load(paths: &[PathBuf], scenario_path: &std::path::Path) -> Result<(Story, Vec<String>), InputProblems> {
    let mut problems = InputProblems::default();
    let name = scenario_path.display().to_string();
    let parsed = match std::fs::read_to_string(scenario_path) {
        Ok(text) => scenario::parse(&name, &text)
            .map_err(|found| problems.0.extend(found.0))
            .ok(),
        Err(error) => {
            problems.file(&name, format!("cannot be read: {error}"));
            None
        }
    };
    let mut manifests = Vec::new();
    for path in paths {
        match input::load(path) {
            Ok(loaded) => manifests.extend(
                loaded
                    .into_iter()
                    .filter(|manifest| !scenario::is_scenario(manifest)),
            ),
            Err(found) => problems.0.extend(found.0),
        }
    }
    if manifests.is_empty() && problems.0.is_empty() {
        let named = paths.iter().map(|path| path.display().to_string());
        let message = "no Kubernetes object here, expected manifests besides the scenario";
        problems.file(&named.collect::<Vec<_>>().join(", "), message);
    }
    match parsed {
        Some(scenario) => {
            let (manifests, notes) = today(manifests);
            problems.or((Story { scenario, manifests }, notes))
        }
        None => Err(problems),
    }
}

/// Manifests as they are today, and what was done to old ones.
fn today(manifests: Vec<input::Manifest>) -> (Vec<input::Manifest>, Vec<String>) {
    let mut notes = Vec::new();
    let current = old::current(manifests).into_iter().map(|one| {
        let manifest = one.manifest;
        notes.extend(
            one.converted
                .map(|words| format!("{}: {}: {words}", manifest.file, manifest.label())),
        );
        manifest
    });
    (current.collect(), notes)
}

impl Run {
    fn execute(self, story: Story, registry: Arc<Registry>) -> anyhow::Result<()> {
        let view = View::choose(self.quiet);
        let options = Options {
            seed: self.seed,
            speed: self.speed,
            serve: self.serve,
            view,
            registry,
        };
        let record = simulate::run(story, options, |record| self.finish(record))?;
        drop(record);
        Ok(())
    }

    /// Writes what was asked for and prints the summary.
    fn finish(&self, record: &Record) -> anyhow::Result<()> {
        if let Some(path) = &self.json {
            let text =
                serde_json::to_string_pretty(record).context("the record cannot be written as JSON")?;
            std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
        }
        if let Some(path) = &self.html {
            std::fs::write(path, report::html(record))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        if !self.quiet {
            crate::view::say(&summary(record));
        }
        Ok(())
    }
}

/// A run in a few lines.
#[must_use]
pub fn summary(record: &Record) -> String {
    let Record {
        replicas,
        nodes,
        messages,
        ..
    } = record;
    let mut lines = vec![
        format!("scenario   {} (seed {})", record.scenario, record.seed),
        format!(
            "time       {:.0} virtual seconds in {:.2} s ({:.0} times real time)",
            record.virtual_seconds,
            record.wall_seconds,
            record.virtual_seconds / record.wall_seconds.max(0.001)
        ),
    ];
    if messages.sent > 0 {
        lines.push(format!(
            "messages   {} sent, {} processed, {} duplicates, {} lost",
            messages.sent, messages.processed, messages.duplicates, messages.lost
        ));
    }
    lines.push(format!(
        "replicas   {} at the start, {} at most, {} at the end{}",
        replicas.initial,
        replicas.peak,
        replicas.last,
        after(" (first new pod ready after ", record.first_pod_seconds)
    ));
    lines.push(format!("pending    {} pods at most", record.peak_pending_pods));
    lines.push(format!(
        "nodes      {} fixed, {} bought at most, {} at the end{}",
        nodes.initial,
        nodes.peak_bought,
        nodes.final_bought,
        after(" (first one ready after ", record.first_node_seconds)
    ));
    lines.push(format!(
        "cost       {:.4} {}",
        record.cost.total, record.cost.currency
    ));
    lines.push(format!(
        "decisions  {}, events {}",
        record.decisions.len(),
        record.events.len()
    ));
    lines.join("\n")
}

fn after(words: &str, seconds: Option<f64>) -> String {
    seconds.map_or_else(String::new, |seconds| format!("{words}{seconds:.0} s)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn only_loopback_addresses_are_served() {
        assert!(loopback("127.0.0.1:8080").is_ok());
        assert!(loopback("0.0.0.0:8080").unwrap_err().contains("loopback"));
        assert!(loopback("8080").unwrap_err().contains("127.0.0.1:8080"));
    }

    #[test]
    fn every_problem_of_scenario_and_manifests_is_reported_at_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.yaml"), "no object").unwrap();
        let scenario = folder.path().join("scenario.yml");
        std::fs::write(&scenario, "kind: Scenario").unwrap();
        let problems = load(&[folder.path().join("a.yaml")], &scenario).unwrap_err();
        assert_eq!(problems.0.len(), 2, "{problems}");
    }
}
