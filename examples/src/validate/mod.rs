//! `autoscaler validate`: what an API server, the webhook and the controllers would say of manifests, without any of
//! them.

mod report;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use controller_runtime::{
    admission::{
        Severity,
        offline::{self, UNREADABLE},
    },
    sim::api::Definitions,
};
use scaler_api::Registry;
use serde_json::Value;

pub use self::report::{Problem, Report};
use crate::{
    input::{self, InputProblems, Manifest},
    old,
};

/// The class of what a schema says.
const SCHEMA: &str = "schema";
/// The class of what cannot be read at all.
const INPUT: &str = "input";
/// The class of objects in old forms.
const OLD_FORM: &str = "old-form";

/// What to validate, and how to say it.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// A folder of manifests, one file, or - for standard input; may be given several times.
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// How problems are printed.
    #[arg(short = 'o', long = "output", value_name = "FORMAT", default_value = "text")]
    output: Format,
    /// Warnings fail as well.
    #[arg(long)]
    strict: bool,
}

/// How problems are printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// A line for each.
    Text,
    /// One list.
    Json,
}

/// Something in the input is wrong, and was said.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the input is not valid")]
pub struct Invalid;

impl Arguments {
    /// Prints every problem; `registry` has the trigger types that there are.
    ///
    /// # Errors
    /// [`Invalid`] where there is an error, or a warning where those count.
    pub fn run(&self, registry: &Registry) -> anyhow::Result<()> {
        let mut problems = InputProblems::default();
        let mut manifests = Vec::new();
        for path in &self.paths {
            for (name, text) in input::texts(path, &mut problems) {
                manifests.extend(input::read(&name, &text, &mut problems));
            }
        }
        let report = validate(manifests, problems, registry)?;
        match self.output {
            Format::Text => {
                print!("{report}");
                eprintln!("{}", report.summary());
            }
            Format::Json => println!("{}", serde_json::to_string_pretty(&report.problems)?),
        }
        if report.fails(self.strict) {
            return Err(Invalid.into());
        }
        Ok(())
    }
}

/// Everything that is wrong or odd with `manifests`, after what is already known to be wrong with their files.
///
/// # Errors
/// If a definition cannot be written down.
pub fn validate(
    manifests: Vec<Manifest>,
    input: InputProblems,
    registry: &Registry,
) -> serde_json::Result<Report> {
    let definitions = definitions()?;
    let mut report = Report {
        objects: manifests.len(),
        problems: input.0.into_iter().map(Problem::of_input).collect(),
    };
    let manifests = old::current(manifests);
    let objects: Vec<Value> = manifests.iter().map(|one| one.manifest.object.clone()).collect();
    let findings = offline::check(&objects, registry);
    for (index, current) in manifests.iter().enumerate() {
        let manifest = &current.manifest;
        if let Some(words) = &current.converted {
            let message = format!("{words}; no API server takes it, autoscaler convert rewrites it");
            report.problems.push(Problem::of(
                manifest,
                Severity::Warning,
                OLD_FORM,
                "apiVersion",
                message,
            ));
        }
        let violations = definitions.check(&manifest.object);
        let is_malformed = violations.iter().any(|violation| !violation.is_dropped);
        for violation in &violations {
            let severity = if violation.is_dropped {
                Severity::Warning
            } else {
                Severity::Error
            };
            let (field, message) = (violation.field.as_str(), violation.message.as_str());
            report
                .problems
                .push(Problem::of(manifest, severity, SCHEMA, field, message));
        }
        for (_, finding) in findings.iter().filter(|(of, _)| *of == index) {
            // The schema has said why.
            let is_said = is_malformed && finding.reason == UNREADABLE
                || violations
                    .iter()
                    .any(|violation| violation.field == finding.field);
            if !is_said {
                let (field, message) = (finding.field.as_str(), finding.message.as_str());
                report.problems.push(Problem::of(
                    manifest,
                    finding.severity,
                    finding.reason,
                    field,
                    message,
                ));
            }
        }
    }
    Ok(report)
}

fn definitions() -> serde_json::Result<Definitions> {
    let all = scaler_api::keda::crds()
        .into_iter()
        .chain(provisioner::karpenter::crds())
        .map(serde_json::to_value)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Definitions::new(all))
}
