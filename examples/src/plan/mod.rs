//! `autoscaler plan`: which nodes pods would get, what they cost, and why, without buying anything.
//!
//! What the inputs mean and what is wrong with them is said by [`provisioner::offline`]; here are flags, files, a
//! cluster's objects, and the table.

mod cluster;
mod table;

use std::{
    io::{Read as _, Write as _},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use provisioner::{
    offline::{self, Collector, Inputs, Problem, Report, Role},
    schedule::{Budget, Overlay, Plan, PodKey, PreferencePolicy, Prepared},
};
use tokio::time::Instant;

use crate::input::{InputProblem, InputProblems};

/// What stands before the name of a catalogue that comes with the binary.
const BUILTIN: &str = "builtin:";
/// Whose prices count where no region is named.
const DEFAULT_REGION: &str = "us-east-1";
/// Standard input, as a path.
const STANDARD_INPUT: &str = "-";

/// What to plan, and how to say it.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Files of pods, YAML or JSON, .gz too, - for standard input; those on a node count there. What pods depend on may
    /// stand among them: PersistentVolumeClaims, PersistentVolumes, StorageClasses, CSINodes; Services, ReplicaSets,
    /// StatefulSets, ReplicationControllers and a KubeSchedulerConfiguration, for default spreads.
    #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present = "kubeconfig")]
    pods: Vec<PathBuf>,
    /// Files of NodePools; one that buys anything where missing.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    node_pools: Vec<PathBuf>,
    /// A file of instance types, or builtin:ec2 (us-east-1) or builtin:ec2:REGION.
    #[arg(long, value_name = "FILE")]
    instance_types: PathBuf,
    /// Files of nodes that are there.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    nodes: Vec<PathBuf>,
    /// Files of DaemonSets.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    daemon_sets: Vec<PathBuf>,
    /// Whether preferences of pods count: Respect or Ignore.
    #[arg(long, value_name = "POLICY", default_value = "Respect")]
    preference_policy: Preferences,
    /// How long strategies may compete for the best price: auto (20 ms and 10 µs a pod), none (no end), or a duration
    /// such as 500ms.
    #[arg(long, value_name = "BUDGET", default_value = "auto", value_parser = time_budget)]
    time_budget: TimeBudget,
    /// How the plan is printed.
    #[arg(short = 'o', long = "output", value_name = "FORMAT", default_value = "table")]
    output: Format,
    /// Say why this pod (name or namespace/name) goes where it goes, or nowhere.
    #[arg(long, value_name = "POD")]
    explain: Option<String>,
    /// Read pods, nodes, NodePools and DaemonSets from this cluster, where no file of them is given.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// Whether preferences of pods count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum Preferences {
    /// They hold until nothing else helps.
    Respect,
    /// They are not looked at.
    Ignore,
}

/// How a plan is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// How long strategies may compete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeBudget {
    /// 20 ms, and 10 µs for each pod.
    #[default]
    Auto,
    /// Until they are through.
    None,
    /// So long.
    Of(Duration),
}

fn time_budget(text: &str) -> Result<TimeBudget, String> {
    match text {
        "auto" => Ok(TimeBudget::Auto),
        "none" => Ok(TimeBudget::None),
        _ => {
            let expected = || "expected auto, none, or a duration such as 500ms or 2s".to_owned();
            let unsigned: Result<jiff::SignedDuration, _> = text.parse();
            let duration = unsigned.ok().and_then(|duration| duration.try_into().ok());
            let duration: Duration = duration.ok_or_else(expected)?;
            if duration.is_zero() {
                return Err(expected());
            }
            Ok(TimeBudget::Of(duration))
        }
    }
}

impl TimeBudget {
    /// The budget of the solver for so many pods, which counts nanoseconds of work and looks at no clock.
    #[must_use]
    pub fn budget(self, pods: usize) -> Budget {
        let mut budget = Budget::auto(pods);
        match self {
            Self::Auto => {}
            Self::None => budget.price_units = Some(u64::MAX),
            Self::Of(time) => {
                budget.price_units = Some(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
            }
        }
        budget
    }
}

/// Some pods have no place, and that was said.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("some pods have no place")]
pub struct Incomplete;

/// A plan with what it was made of.
#[derive(Debug)]
pub struct Planned {
    /// The world.
    pub prepared: Prepared,
    /// The plan.
    pub plan: Plan,
    /// The plan as it is printed.
    pub report: Report,
}

/// Makes the plan for parsed inputs; the clock runs over all of it.
#[must_use]
pub fn plan(inputs: Inputs, budget: TimeBudget) -> Planned {
    let start = Instant::now();
    let prepared = Prepared::new(inputs.world);
    let plan = prepared.solve(
        &inputs.pods,
        &Overlay::default(),
        budget.budget(inputs.pods.len()),
    );
    let seconds = start.elapsed().as_secs_f64();
    let report = Report::of(&plan, prepared.world(), seconds);
    Planned {
        prepared,
        plan,
        report,
    }
}

impl Arguments {
    /// Prints the plan.
    ///
    /// # Errors
    /// [`InputProblems`] for what is wrong with the inputs, [`Incomplete`] where pods have no place.
    pub fn run(&self) -> anyhow::Result<()> {
        let inputs = self.inputs()?;
        for note in &inputs.notes {
            eprintln!("note: {note}");
        }
        let explained = self.explained(&inputs)?;
        let planned = plan(inputs, self.time_budget);
        let text = match self.output {
            Format::Json => serde_json::to_string(&planned.report)? + "\n",
            Format::Table if explained.is_some() => String::new(),
            Format::Table => table::of(&planned),
        };
        let mut output = std::io::stdout().lock();
        output
            .write_all(text.as_bytes())
            .context("cannot write to standard output")?;
        if let Some(pod) = &explained {
            let Planned {
                prepared,
                plan,
                report,
            } = &planned;
            let text = offline::explain(plan, prepared, report, pod);
            let text = text.unwrap_or_else(|| format!("the plan says nothing of {pod}\n"));
            if self.output == Format::Json {
                eprint!("{text}");
            } else {
                output
                    .write_all(text.as_bytes())
                    .context("cannot write to standard output")?;
            }
        }
        output.flush().context("cannot write to standard output")?;
        if planned.report.is_complete() {
            Ok(())
        } else {
            Err(Incomplete.into())
        }
    }

    /// Everything that was named, read.
    fn inputs(&self) -> anyhow::Result<Inputs> {
        let mut collector = Collector::default();
        if self.preference_policy == Preferences::Ignore {
            collector.prefer(PreferencePolicy::Ignore);
        }
        let mut problems = Vec::new();
        for (role, paths) in [
            (Role::Pods, &self.pods),
            (Role::NodePools, &self.node_pools),
            (Role::Nodes, &self.nodes),
            (Role::DaemonSets, &self.daemon_sets),
        ] {
            if let Some(kubeconfig) = self.kubeconfig.as_ref().filter(|_| paths.is_empty()) {
                collector.add(role, cluster::documents(kubeconfig, role)?);
            }
            for path in paths {
                let (found, wrong) = read(path);
                collector.add(role, found);
                problems.extend(wrong);
            }
        }
        if let Some(kubeconfig) = &self.kubeconfig {
            for role in [Role::Namespaces, Role::Surroundings] {
                collector.add(role, cluster::documents(kubeconfig, role)?);
            }
        }
        let name = self.instance_types.to_string_lossy();
        match name.strip_prefix(BUILTIN) {
            Some(builtin) => match catalogue(builtin) {
                Ok(catalog) => collector.sell(catalog),
                Err(message) => problems.push(of_file(&name, message)),
            },
            None => {
                let (found, wrong) = read(&self.instance_types);
                collector.add(Role::InstanceTypes, found);
                problems.extend(wrong);
            }
        }
        collector.add_problems(problems);
        collector.build().map_err(|problems| bad_input(problems).into())
    }

    /// The pod to explain, which must be one of those to place.
    fn explained(&self, inputs: &Inputs) -> anyhow::Result<Option<PodKey>> {
        let Some(asked) = &self.explain else {
            return Ok(None);
        };
        let named = inputs
            .pods
            .iter()
            .map(|pod| &pod.key)
            .filter(|key| match asked.split_once('/') {
                Some((namespace, name)) => key.namespace == namespace && key.name == name,
                None => key.name == *asked,
            });
        let found: Vec<&PodKey> = named.collect();
        let message = match found[..] {
            [key] => return Ok(Some(key.clone())),
            [] => format!("{asked:?} is none of the {} pods to place", inputs.pods.len()),
            [one, other, ..] => format!("{asked:?} is {one} and {other}, expected namespace/name"),
        };
        Err(bad_input(vec![of_file("--explain", message)]).into())
    }
}

fn of_file(file: &str, message: impl Into<String>) -> Problem {
    Problem {
        file: file.to_owned(),
        document: 0,
        object: String::new(),
        field: String::new(),
        message: message.into(),
    }
}

fn bad_input(problems: Vec<Problem>) -> InputProblems {
    let problems = problems.into_iter().map(|problem| InputProblem {
        // The place belongs to the file's name here.
        file: if problem.document == 0 {
            problem.file
        } else {
            format!("{}:{}", problem.file, problem.document)
        },
        document: problem.document,
        object: problem.object,
        field: problem.field,
        message: problem.message,
    });
    InputProblems(problems.collect())
}

/// The objects of a file or of standard input.
fn read(path: &std::path::Path) -> (Vec<offline::Document>, Vec<Problem>) {
    let name = path.display().to_string();
    let mut content = Vec::new();
    let read = if name == STANDARD_INPUT {
        std::io::stdin().lock().read_to_end(&mut content).map(drop)
    } else {
        std::fs::read(path).map(|bytes| content = bytes)
    };
    match read {
        Ok(()) => offline::documents(&name, &content),
        Err(error) => (
            Vec::new(),
            vec![of_file(&name, format!("cannot be read: {error}"))],
        ),
    }
}

/// A catalogue that comes with the binary, by what stands after `builtin:`.
fn catalogue(name: &str) -> Result<Arc<provisioner::Catalog>, String> {
    let (cloud, region) = name.split_once(':').unwrap_or((name, DEFAULT_REGION));
    if cloud != "ec2" {
        return Err(format!("there is no built-in catalogue {cloud:?}, expected ec2"));
    }
    provisioner::builtin::ec2(region).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_budget_is_a_word_or_a_duration() {
        assert_eq!(time_budget("auto"), Ok(TimeBudget::Auto));
        assert_eq!(time_budget("none"), Ok(TimeBudget::None));
        assert_eq!(
            time_budget("500ms"),
            Ok(TimeBudget::Of(Duration::from_millis(500)))
        );
        for wrong in ["", "0s", "-1s", "fast", "1"] {
            assert!(time_budget(wrong).is_err(), "{wrong}");
        }
    }
}
