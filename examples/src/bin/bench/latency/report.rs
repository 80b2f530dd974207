//! The rounds as a table and as JSON, beside KEDA's.

use serde_json::{Value, json};

use super::{checks::Check, rounds::Round};

/// KEDA 2.20 on the same kind of machine and control plane, with the same trigger and intervals; seconds.
struct Published {
    what: &'static str,
    of_round: fn(&Round) -> f64,
    /// The rounds that were published; none where nothing was.
    keda: &'static [f64],
}

const COLUMNS: [Published; 4] = [
    Published {
        what: "first replica",
        of_round: |round| round.first_replica,
        keda: &[1.8, 0.1, 3.5, 1.9],
    },
    Published {
        what: "10 replicas",
        of_round: |round| round.ten_replicas,
        keda: &[37.0, 30.0, 44.0, 32.0],
    },
    Published {
        what: "10 ready",
        of_round: |round| round.ten_ready,
        keda: &[],
    },
    Published {
        what: "back to 0",
        of_round: |round| round.back_to_zero,
        keda: &[10.0],
    },
];
/// The operator and the metrics adapter, at rest with one object.
const KEDA_MEGABYTES: f64 = 116.0 + 108.0;

/// What the process has cost from its start to the end of the rounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) processor_seconds: f64,
    pub(super) peak_megabytes: f64,
}

/// Everything that was seen.
#[derive(Debug)]
pub(super) struct Report {
    checks: Vec<Check>,
    pub(super) rounds: Vec<Round>,
    pub(super) cost: Option<Cost>,
}

/// The least, the median and the most of some numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Summary {
    min: f64,
    median: f64,
    max: f64,
}

impl Summary {
    fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut numbers: Vec<f64> = numbers.into_iter().collect();
        numbers.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*numbers.first()?, *numbers.last()?);
        let middle = numbers.len() / 2;
        let median = if numbers.len() % 2 == 1 {
            numbers[middle]
        } else {
            f64::midpoint(numbers[middle - 1], numbers[middle])
        };
        Some(Self { min, median, max })
    }

    fn parts(self) -> [(&'static str, f64); 3] {
        [("min", self.min), ("median", self.median), ("max", self.max)]
    }
}

pub(super) fn print_head() {
    let columns = COLUMNS.map(|column| column.what.to_owned());
    println!("{}  replicas asked for (after seconds)", line("round", columns));
}

pub(super) fn print_round(number: usize, round: &Round) {
    let columns = COLUMNS.map(|column| figure(Some((column.of_round)(round))));
    let steps = round.steps.iter();
    let steps: Vec<_> = steps
        .map(|(replicas, at)| format!("{replicas} ({at:.1})"))
        .collect();
    println!("{}  {}", line(&number.to_string(), columns), steps.join(", "));
}

fn print_parts(whose: &str, summaries: &[Option<Summary>; 4]) {
    println!();
    for (index, what) in ["min", "median", "max"].into_iter().enumerate() {
        let columns = summaries.map(|summary| figure(summary.map(|summary| summary.parts()[index].1)));
        println!("{}", line(&format!("{whose}{what}"), columns));
    }
}

fn figure(number: Option<f64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| format!("{number:.1} s"))
}

fn line(head: &str, columns: [String; 4]) -> String {
    let columns = columns.map(|column| format!("{column:>15}"));
    format!("{head:<12}{}", columns.concat())
}

impl Report {
    pub(super) fn new(checks: Vec<Check>) -> Self {
        Self {
            checks,
            rounds: Vec::new(),
            cost: None,
        }
    }

    pub(super) fn print_checks(&self) {
        for Check { command, output } in &self.checks {
            println!("$ {command}\n{output}\n");
        }
    }

    fn summary(&self, column: &Published) -> Option<Summary> {
        Summary::of(self.rounds.iter().map(column.of_round))
    }

    /// What comes after the last round.
    pub(super) fn print_summary(&self) {
        print_parts("", &COLUMNS.map(|column| self.summary(&column)));
        print_parts(
            "KEDA ",
            &COLUMNS.map(|column| Summary::of(column.keda.iter().copied())),
        );
        if let Some(cost) = self.cost {
            println!(
                "\nautoscaler: {:.0} MB at most, {:.1} s of processor time (KEDA: {KEDA_MEGABYTES:.0} MB)",
                cost.peak_megabytes, cost.processor_seconds
            );
        }
    }

    pub(super) fn json(&self) -> Value {
        let summaries = COLUMNS.iter().map(|column| {
            let parts = |summary: Option<Summary>| {
                let parts = summary.into_iter().flat_map(Summary::parts);
                let parts = parts.map(|(name, value)| (name.to_owned(), json!(value)));
                Value::Object(parts.collect())
            };
            let here = parts(self.summary(column));
            let keda = parts(Summary::of(column.keda.iter().copied()));
            (column.what.to_owned(), json!({ "here": here, "keda": keda }))
        });
        json!({
            "checks": self.checks,
            "rounds": self.rounds,
            "summary": Value::Object(summaries.collect()),
            "peakMegabytes": self.cost.map(|cost| cost.peak_megabytes),
            "processorSeconds": self.cost.map(|cost| cost.processor_seconds),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_the_least_the_middle_and_the_most() {
        let summary = |numbers: &[f64]| Summary::of(numbers.iter().copied());
        assert_eq!(summary(&[]), None);
        let odd = summary(&[3.0, 1.0, 2.0]).expect("there are numbers");
        assert_eq!(odd.parts().map(|(_, value)| value), [1.0, 2.0, 3.0]);
        let even = summary(&[4.0, 1.0, 2.0, 3.0]).expect("there are numbers");
        assert_eq!(even.median.total_cmp(&2.5), std::cmp::Ordering::Equal);
    }

    #[test]
    fn the_table_stands_beside_what_was_published() {
        let keda =
            COLUMNS.map(|column| Summary::of(column.keda.iter().copied()).map(|summary| summary.median));
        assert_eq!(keda, [Some(1.85), Some(34.5), None, Some(10.0)]);
    }
}
