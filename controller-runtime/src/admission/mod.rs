//! What is wrong with an object, said all at once.
//!
//! The rules are pure functions on values. The controllers refuse what they cannot run (`Ready=False` and an event); the
//! admission webhook and offline validation refuse in addition what is surely a mistake in a new object.

pub mod cloud_event_source;
pub mod conflicts;
#[cfg(feature = "server")]
pub mod offline;
pub mod requests;
#[cfg(feature = "server")]
mod review;
pub mod scaled_job;
pub mod scaled_object;
pub mod surroundings;
pub mod trigger_authentication;
mod triggers;
#[cfg(feature = "server")]
pub mod webhook;

#[cfg(test)]
#[cfg(feature = "server")]
mod tests;

use std::fmt;

#[cfg(feature = "server")]
use kube::Resource;
#[cfg(feature = "server")]
use serde::Deserialize;
#[cfg(feature = "server")]
use serde_json::Value;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Odd, but it runs.
    Warning,
    /// A new object is refused; one that is there already runs.
    AdmissionError,
    /// It cannot run.
    Error,
}

/// One thing that is wrong or odd: where, what was met, what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The class of the rule, as KEDA's webhook counts refusals by it.
    pub reason: &'static str,
    /// The object, as `Kind namespace/name`.
    pub object: String,
    /// The path of the field.
    pub field: String,
    /// What was met; `***` for credentials, empty where it is missing.
    pub value: String,
    /// What is wrong and what was expected.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Everything that was found about one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    object: String,
    findings: Vec<Finding>,
}

impl Findings {
    /// None yet about `object` (`Kind namespace/name`).
    #[must_use]
    pub fn about(object: impl Into<String>) -> Self {
        Self {
            object: object.into(),
            findings: Vec::new(),
        }
    }

    /// Adds a finding.
    #[allow(clippy::needless_pass_by_value, reason = "values are numbers and texts alike")]
    pub fn add(
        &mut self,
        severity: Severity,
        reason: &'static str,
        field: impl Into<String>,
        value: impl fmt::Display,
        message: impl Into<String>,
    ) {
        self.findings.push(Finding {
            severity,
            reason,
            object: self.object.clone(),
            field: field.into(),
            value: value.to_string(),
            message: message.into(),
        });
    }

    /// All of them, in the order of the rules.
    #[must_use]
    pub fn all(&self) -> &[Finding] {
        &self.findings
    }

    /// Those of at least this severity.
    pub fn at_least(&self, severity: Severity) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(move |finding| finding.severity >= severity)
    }

    /// Whether the object can run.
    #[must_use]
    pub fn allow_running(&self) -> bool {
        self.at_least(Severity::Error).next().is_none()
    }

    /// Those of at least this severity as one line.
    #[must_use]
    pub fn in_words(&self, severity: Severity) -> String {
        self.at_least(severity)
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// Keeps those for which `keep` holds.
    pub fn retain(&mut self, keep: impl FnMut(&Finding) -> bool) {
        self.findings.retain(keep);
    }

    /// Takes over others.
    pub fn extend(&mut self, others: Findings) {
        self.findings.extend(others.findings);
    }
}

#[cfg(feature = "server")]
/// An object as `Kind namespace/name`, or `Kind name` where the namespace is empty.
fn label<T: Resource<DynamicType = ()>>(object: &T, namespace: &str) -> String {
    let name = object.meta().name.as_deref().unwrap_or_default();
    match namespace {
        "" => format!("{} {name}", T::kind(&())),
        namespace => format!("{} {namespace}/{name}", T::kind(&())),
    }
}

#[cfg(feature = "server")]
/// The object, or which field cannot be read and why.
fn parse<'de, T: Deserialize<'de>>(object: &'de Value) -> Result<T, String> {
    serde_path_to_error::deserialize(object).map_err(|error| {
        let path = error.path().to_string();
        format!("{path}: {}", error.into_inner())
    })
}
