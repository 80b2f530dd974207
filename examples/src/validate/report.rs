//! Problems of manifests, as lines and as JSON.

use std::fmt;

use controller_runtime::admission::Severity;
use serde::Serialize;

use super::{INPUT, Manifest};
use crate::input::InputProblem;

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The file, as the user named it.
    pub file: String,
    /// Which document of it, from 1; 0 where the problem is the file's.
    pub document: usize,
    /// `Kind namespace/name`, empty where the problem is the file's.
    pub object: String,
    /// `error` or `warning`.
    pub severity: &'static str,
    /// The class of the rule, as the webhook counts refusals by it.
    pub reason: &'static str,
    /// The path of the field, empty where the problem is the object's.
    pub field: String,
    /// What is wrong, with the value and what was expected.
    pub message: String,
}

impl Problem {
    pub(super) fn of(
        manifest: &Manifest,
        severity: Severity,
        reason: &'static str,
        field: &str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            file: manifest.file.clone(),
            document: manifest.document,
            object: manifest.label(),
            severity: if severity == Severity::Warning {
                "warning"
            } else {
                "error"
            },
            reason,
            field: field.to_owned(),
            message: message.into(),
        }
    }

    pub(super) fn of_input(problem: InputProblem) -> Self {
        Self {
            file: problem.file,
            document: problem.document,
            object: problem.object,
            severity: "error",
            reason: INPUT,
            field: problem.field,
            message: problem.message,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.document > 0 {
            write!(f, ":{}", self.document)?;
        }
        if !self.object.is_empty() {
            write!(f, " {}", self.object)?;
        }
        if self.severity == "warning" {
            f.write_str(": warning")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Everything that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many objects were looked at.
    pub objects: usize,
    /// What was found, in the order of files and documents.
    pub problems: Vec<Problem>,
}

impl Report {
    fn count(&self, severity: &str) -> usize {
        self.problems
            .iter()
            .filter(|problem| problem.severity == severity)
            .count()
    }

    /// Whether the input is not good enough; warnings count where `strict` says so.
    #[must_use]
    pub fn fails(&self, strict: bool) -> bool {
        self.count("error") > 0 || (strict && !self.problems.is_empty())
    }

    /// How many there were of what, as one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let words = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
        format!(
            "{}, {}, {}",
            words(self.objects, "object"),
            words(self.count("error"), "error"),
            words(self.count("warning"), "warning")
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problems
            .iter()
            .try_for_each(|problem| writeln!(f, "{problem}"))
    }
}
