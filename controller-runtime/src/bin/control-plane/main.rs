//! A Kubernetes control plane on loopback that stays until it is told to go.

mod hold;
mod place;
mod report;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand};
use controller_runtime::envtest::{Options, Programs};
use jiff::SignedDuration;
use tokio::time::Instant;

use hold::{KEEP, Message};
use place::{Place, State};

/// A Kubernetes control plane on loopback: etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kwok.
#[derive(Debug, Parser)]
#[command(name = "control-plane")]
struct Cli {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start one and leave it running.
    Up(Up),
    /// End it, and remove what it has written.
    Down(Name),
    /// Say what runs; fails if nothing does.
    Status(Name),
    /// Find the programs, or build them, and start nothing.
    Build(Binaries),
    /// Hold one until told to go; `up` starts this.
    #[command(hide = true)]
    Hold(Up),
}

#[derive(Debug, Clone, Args)]
struct Name {
    /// Its name: several can be up.
    #[arg(long, default_value = "default")]
    name: String,
}

#[derive(Debug, Clone, Args)]
struct Binaries {
    /// The folder that holds the programs; else KUBEBUILDER_ASSETS, else what Go builds on first use.
    #[arg(long, value_name = "FOLDER")]
    bin_dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
struct Up {
    #[command(flatten)]
    name: Name,
    #[command(flatten)]
    binaries: Binaries,
    /// How often HorizontalPodAutoscalers are looked at (Kubernetes' default is 15s).
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    hpa_sync_period: SignedDuration,
}

impl Binaries {
    /// The folder as an absolute path: whoever holds the control plane works elsewhere.
    fn options(&self) -> anyhow::Result<Options> {
        let absolute = |folder| std::path::absolute(folder).context("--bin-dir");
        Ok(Options {
            bin_dir: self.bin_dir.as_ref().map(absolute).transpose()?,
            ..Options::default()
        })
    }
}

impl Up {
    fn options(&self, place: &Place) -> anyhow::Result<Options> {
        let period = Duration::try_from(self.hpa_sync_period).ok();
        Ok(Options {
            folder: Some(place.folder().to_owned()),
            hpa_sync_period: period.filter(|period| !period.is_zero()).with_context(|| {
                format!("--hpa-sync-period {}: must be more than 0", self.hpa_sync_period)
            })?,
            ..self.binaries.options()?
        })
    }
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Verb::Up(arguments) => up(&arguments),
        Verb::Down(Name { name }) => down(&name),
        Verb::Status(Name { name }) => status(&name),
        Verb::Build(arguments) => build(&arguments),
        Verb::Hold(arguments) => hold(&arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn up(arguments: &Up) -> anyhow::Result<ExitCode> {
    let place = Place::new(&arguments.name.name)?;
    let options = arguments.options(&place)?;
    if !place.is_held()? {
        Programs::find_or_build(&options, &mut |line| eprintln!("{line}"))?;
    }
    let started = Instant::now();
    let mut holder = start_holder(arguments)?;
    let mut message = String::new();
    let output = holder.stdout.take().context("the holder has no output")?;
    BufReader::new(output)
        .read_line(&mut message)
        .context("the holder's answer cannot be read")?;
    match serde_json::from_str(&message) {
        Ok(Message::Ready(state)) => {
            let mut input = holder.stdin.take().context("the holder has no input")?;
            writeln!(input, "{KEEP}").context("the holder does not listen")?;
            eprintln!("up in {:.1} s", started.elapsed().as_secs_f64());
            report::print(&place, &state);
            Ok(ExitCode::SUCCESS)
        }
        Ok(Message::Busy) => already_up(&place),
        Ok(Message::Failed(reason)) => bail!("{reason}"),
        Err(_) => bail!(
            "the process that holds the control plane ended: {}",
            holder.wait()?
        ),
    }
}

/// This program again, in the background. It ends by itself if this process does before it has said [`KEEP`].
fn start_holder(arguments: &Up) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("the path of this program")?;
    let mut command = Command::new(program);
    command
        .args(["hold", "--name", &arguments.name.name])
        .arg(format!("--hpa-sync-period={}", arguments.hpa_sync_period));
    if let Some(folder) = &arguments.binaries.options()?.bin_dir {
        command.arg("--bin-dir").arg(folder);
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("this program cannot be started again")
}

fn already_up(place: &Place) -> anyhow::Result<ExitCode> {
    let Some(state) = settled(place)? else {
        bail!(
            "the control plane {:?} ended while it was being started",
            place.name()
        );
    };
    eprintln!("already up");
    report::print(place, &state);
    Ok(ExitCode::SUCCESS)
}

/// What the holder says of itself, if there is one; one that is just starting is waited for.
fn settled(place: &Place) -> anyhow::Result<Option<State>> {
    loop {
        if !place.is_held()? {
            return Ok(None);
        }
        if let Some(state) = place.state() {
            return Ok(Some(state));
        }
        thread::park_timeout(Duration::from_millis(100));
    }
}

fn down(name: &str) -> anyhow::Result<ExitCode> {
    let place = Place::new(name)?;
    let Some(state) = settled(&place)? else {
        println!("the control plane {name:?} is not up");
        return Ok(ExitCode::SUCCESS);
    };
    state.end()?;
    let started = Instant::now();
    while place.is_held()? {
        if started.elapsed() > Duration::from_secs(30) {
            bail!(
                "process {} holds the control plane {name:?} and does not end",
                state.pid
            );
        }
        thread::park_timeout(Duration::from_millis(20));
    }
    println!("the control plane {name:?} is down");
    Ok(ExitCode::SUCCESS)
}

fn status(name: &str) -> anyhow::Result<ExitCode> {
    let place = Place::new(name)?;
    match (place.is_held()?, place.state()) {
        (true, Some(state)) => {
            eprintln!("up");
            report::print(&place, &state);
            Ok(ExitCode::SUCCESS)
        }
        (true, None) => {
            println!("the control plane {name:?} is being started");
            Ok(ExitCode::FAILURE)
        }
        (false, _) => {
            println!("the control plane {name:?} is not up");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn build(arguments: &Binaries) -> anyhow::Result<ExitCode> {
    let programs = Programs::find_or_build(&arguments.options()?, &mut |line| eprintln!("{line}"))?;
    for path in programs.paths() {
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn hold(arguments: &Up) -> anyhow::Result<ExitCode> {
    let place = Place::new(&arguments.name.name)?;
    let options = arguments.options(&place)?;
    hold::run(&place, options)?;
    Ok(ExitCode::SUCCESS)
}
