//! One input: how it is measured, and the line about it.

use std::{fmt, time::Duration};

use anyhow::Context as _;
use examples::plan::{self, TimeBudget};
use provisioner::offline::{Collector, Role, default_pool};
use serde_json::{Value, json};

use super::{RunOptions, generate, recorded::Figure};
use crate::checker::{self, Given};

/// An input is planned again until so much time has passed: one plan of a small one is shorter than what disturbs it.
const LEAST: Duration = Duration::from_secs(1);
/// After so long no further round is made.
const LONG: Duration = Duration::from_secs(10);

/// The names of a row's columns.
pub(super) const HEADER: &str = "input                        pods/s  Karpenter  ratio      MB  nodes (Karpenter)        price (Karpenter)        bound    gap %  unplaced  wrong  strategy";

/// Plans an input; gives what is to be known of it.
pub(super) fn measure(options: &RunOptions) -> anyhow::Result<Value> {
    let RunOptions {
        workload,
        catalog,
        pods,
        rounds,
        inputs,
    } = options;
    let types = generate::file(&inputs.join(format!("{catalog}-instance-types.json.gz")))?;
    let pods = generate::pods(inputs, workload, *pods)?;
    let given = Given {
        pods: pods.iter().map(|document| document.object.clone()).collect(),
        node_pools: vec![serde_json::to_value(default_pool())?],
        instance_types: types.iter().map(|document| document.object.clone()).collect(),
        ..Given::default()
    };
    let mut collector = Collector::default();
    collector.add(Role::Pods, pods);
    collector.add(Role::InstanceTypes, types);
    let read = collector.build().map_err(|problems| {
        anyhow::anyhow!(
            "{}",
            problems
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n")
        )
    })?;
    let before = megabytes("VmRSS")?;
    let start = tokio::time::Instant::now();
    let mut planned = plan::plan(read.clone(), TimeBudget::Auto);
    let peak = megabytes("VmHWM")?;
    let mut seconds = planned.report.solve_seconds;
    let mut round = 1;
    while (round < *rounds || start.elapsed() < LEAST) && start.elapsed() < LONG {
        round += 1;
        planned = plan::plan(read.clone(), TimeBudget::Auto);
        seconds = seconds.min(planned.report.solve_seconds);
    }
    let report = serde_json::to_value(&planned.report)?;
    let findings = checker::check(&given, &report);
    let wrong: Vec<String> = findings
        .violations
        .iter()
        .map(|violation| format!("{}: {}", violation.rule, violation.message))
        .collect();
    Ok(json!({
        "workload": workload,
        "catalog": catalog,
        "pods": given.pods.len(),
        "solveSeconds": seconds,
        "peakMegabytes": peak,
        "megabytesBefore": before,
        "nodes": planned.report.nodes.len(),
        "unschedulable": planned.report.unschedulable.len(),
        "pricePerHour": planned.report.price_per_hour,
        "lowerBoundPerHour": planned.report.lower_bound_per_hour,
        "gapPercent": planned.report.gap_percent,
        "strategy": planned.report.strategy,
        "violations": wrong,
    }))
}

/// A figure of this process, in MB.
pub(super) fn megabytes(field: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    let kilobytes: f64 = kilobytes
        .with_context(|| format!("no {field} in /proc/self/status"))?
        .parse()?;
    Ok(kilobytes * 1024.0 / 1e6)
}

/// What was measured, and what Karpenter did.
#[derive(Debug)]
pub(super) struct Row {
    said: Value,
    karpenter: Option<Figure>,
}

impl Row {
    pub(super) fn of(said: Value, karpenter: Option<Figure>) -> Self {
        Self { said, karpenter }
    }

    pub(super) fn is(&self, workload: &str, catalog: &str) -> bool {
        self.said["workload"] == workload && self.said["catalog"] == catalog
    }

    pub(super) fn pods(&self) -> usize {
        self.said["pods"]
            .as_u64()
            .and_then(|pods| usize::try_from(pods).ok())
            .unwrap_or(0)
    }

    pub(super) fn seconds(&self) -> f64 {
        self.number("solveSeconds")
    }

    fn number(&self, name: &str) -> f64 {
        self.said[name].as_f64().unwrap_or(f64::NAN)
    }

    #[allow(clippy::cast_precision_loss, reason = "pods are few")]
    fn pods_per_second(&self) -> f64 {
        self.pods() as f64 / self.seconds()
    }

    pub(super) fn json(&self) -> Value {
        let mut row = self.said.clone();
        row["podsPerSecond"] = json!(self.pods_per_second());
        if let Some(karpenter) = &self.karpenter {
            row["karpenter"] = json!({
                "podsPerSecond": karpenter.pods_per_second,
                "nodes": karpenter.nodes,
                "pricePerHour": karpenter.price_per_hour,
            });
            row["timesAsFast"] = json!(self.pods_per_second() / karpenter.pods_per_second);
            row["priceRatio"] = json!(self.number("pricePerHour") / karpenter.price_per_hour);
        }
        row
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |name: &str| self.said[name].as_str().unwrap_or_default();
        let input = format!("{}-{}-{}", text("workload"), self.pods(), text("catalog"));
        let none = || "-".to_owned();
        let karpenter = self.karpenter.as_ref();
        let theirs = karpenter.map_or_else(none, |k| format!("{:.0}", k.pods_per_second));
        let ratio = karpenter.map_or_else(none, |k| {
            format!("{:.1}", self.pods_per_second() / k.pods_per_second)
        });
        let nodes = karpenter.map_or_else(none, |k| k.nodes.to_string());
        let price = karpenter.map_or_else(none, |k| format!("{:.4}", k.price_per_hour));
        let violations = self.said["violations"].as_array().map_or(0, Vec::len);
        write!(
            f,
            "{input:<25}{:>10.0} {theirs:>10} {ratio:>6} {:>7.0} {:>6} {:<13} {:>10.4} {:<12} {:>10.4} {:>8.2} {:>9} {violations:>6}  {}",
            self.pods_per_second(),
            self.number("peakMegabytes"),
            self.said["nodes"],
            format!("({nodes})"),
            self.number("pricePerHour"),
            format!("({price})"),
            self.number("lowerBoundPerHour"),
            self.number("gapPercent"),
            self.said["unschedulable"],
            text("strategy"),
        )
    }
}
