//! The solver on the inputs that Karpenter was measured on, and on larger ones made the same way.
//!
//! Each input is planned in a process of its own, on one thread: what is timed is from parsed inputs to the plan, with
//! every strategy and the bound; what is measured is the most memory that the process has held. Every plan is held
//! against the independent checker. Beside it stands what Karpenter took and paid on the same input.

mod generate;
mod recorded;
mod row;
mod what_if;

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use self::{recorded::Recorded, row::Row};

/// Inputs that Karpenter's figures are of.
const RECORDED: [(&str, usize); 8] = [
    ("generic", 500),
    ("generic", 2000),
    ("generic", 5000),
    ("diverse", 500),
    ("diverse", 2000),
    ("diverse", 5000),
    ("preference", 500),
    ("preference", 4000),
];
const CATALOGS: [&str; 2] = ["fake400", "kwok144"];
/// How long generic inputs take is fitted over these.
const GROWTH: [usize; 4] = [1000, 10_000, 20_000, 100_000];

/// Which inputs.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The folder of `pods-<workload>-<n>.json.gz` and `<catalog>-instance-types.json.gz`.
    #[arg(long, default_value = "../shared/baselines/scheduling")]
    inputs: PathBuf,
    /// Karpenter's figures; `karpenter-scheduling.json` beside the folder of inputs where missing.
    #[arg(long)]
    recorded: Option<PathBuf>,
    /// Only inputs whose name, such as generic-5000-fake400, contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Of how many plans for the same input, and of one second's, the fastest counts.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Without inputs larger than this.
    #[arg(long, default_value_t = 100_000)]
    most: usize,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// One input, in a process of its own.
#[derive(Debug, clap::Args)]
pub(crate) struct RunOptions {
    /// generic, diverse, preference or what-if.
    #[arg(long)]
    workload: String,
    #[arg(long)]
    catalog: String,
    #[arg(long)]
    pods: usize,
    #[arg(long)]
    rounds: u32,
    #[arg(long)]
    inputs: PathBuf,
}

/// Measures and prints.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let beside = || options.inputs.join("../karpenter-scheduling.json");
    let recorded = Recorded::read(&options.recorded.clone().unwrap_or_else(beside))?;
    let mut inputs: Vec<(&str, &str, usize)> = Vec::new();
    for catalog in CATALOGS {
        inputs.extend(RECORDED.map(|(workload, pods)| (workload, catalog, pods)));
        inputs.extend(GROWTH.map(|pods| ("generic", catalog, pods)));
        inputs.extend([10_000, 20_000].map(|pods| ("diverse", catalog, pods)));
    }
    inputs.retain(|(workload, catalog, pods)| {
        *pods <= options.most && format!("{workload}-{pods}-{catalog}").contains(&options.only)
    });
    let mut rows: Vec<Row> = Vec::new();
    if !options.json {
        println!("{}", row::HEADER);
    }
    for (workload, catalog, pods) in inputs {
        let said = child(options, workload, catalog, pods)?;
        let row = Row::of(said, recorded.of(workload, catalog, pods));
        if !options.json {
            println!("{row}");
        }
        rows.push(row);
    }
    let growth: Vec<(&str, f64)> = CATALOGS
        .iter()
        .filter_map(|catalog| Some((*catalog, exponent(&rows, catalog)?)))
        .collect();
    let what_if = if "what-if".contains(&options.only) {
        Some(child(options, "what-if", "kwok144", 15_000)?)
    } else {
        None
    };
    if options.json {
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        let growth: Value = growth
            .iter()
            .map(|(catalog, of)| ((*catalog).to_owned(), json!(of)))
            .collect();
        println!(
            "{}",
            json!({ "plans": rows, "growthExponent": growth, "whatIf": what_if })
        );
        return Ok(());
    }
    for (catalog, exponent) in growth {
        println!("growth      generic on {catalog}: seconds grow with pods to the power of {exponent:.2}");
    }
    if let Some(what_if) = what_if {
        println!("what if     {}", what_if::words(&what_if));
    }
    Ok(())
}

/// What a process says of one input.
fn child(options: &Options, workload: &str, catalog: &str, pods: usize) -> anyhow::Result<Value> {
    let what = || format!("{workload}, {pods} pods, {catalog}");
    let output = Command::new(std::env::current_exe()?)
        .args(["schedule-run", "--workload", workload, "--catalog", catalog])
        .args([
            "--pods",
            &pods.to_string(),
            "--rounds",
            &options.rounds.to_string(),
        ])
        .arg("--inputs")
        .arg(&options.inputs)
        .output()
        .with_context(what)?;
    ensure!(
        output.status.success(),
        "{}: {}",
        what(),
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).with_context(what)
}

/// Plans one input and says how it went.
pub(crate) fn run_one(options: &RunOptions) -> anyhow::Result<()> {
    let said = if options.workload == "what-if" {
        what_if::measure(&options.inputs, &options.catalog)?
    } else {
        row::measure(options)?
    };
    println!("{said}");
    Ok(())
}

/// The slope of log seconds over log pods, by least squares.
#[allow(clippy::cast_precision_loss, reason = "pods are few")]
fn exponent(rows: &[Row], catalog: &str) -> Option<f64> {
    let points: Vec<(f64, f64)> = rows
        .iter()
        .filter(|row| row.is("generic", catalog) && GROWTH.contains(&row.pods()))
        .map(|row| ((row.pods() as f64).ln(), row.seconds().ln()))
        .collect();
    if points.len() < 2 {
        return None;
    }
    let count = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| {
        (x + point.0 / count, y + point.1 / count)
    });
    let covariance: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let variance: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    Some(covariance / variance)
}
