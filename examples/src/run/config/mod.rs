//! What `autoscaler run` is told: by flag, environment variable and file, in this order of precedence.
//!
//! One table ([`settings`]) holds every setting with its names and its default; the flags of the command line, the
//! check of the file, `--print-config` and `docs/configuration.md` all come from it. What KEDA's and Karpenter's own
//! flags and variables mean here is in the same table; those that mean nothing are in [`foreign`].

pub mod documentation;
pub mod foreign;
mod print;
mod setting;
mod sources;
mod typed;
mod value;

use std::{collections::BTreeMap, fmt};

pub use self::{
    print::print,
    setting::{Alias, Name, Owner, Setting, setting, settings},
    typed::{Election, Provider, Settings},
    value::{Kind, Reads, Value, go_duration},
};
use crate::input::InputProblems;

/// Everything that was said, before it is understood.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Flags without their dashes, in the order of the command line.
    pub flags: Vec<(String, String)>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// The file's name and content.
    pub file: Option<(String, String)>,
    /// The namespace of the pod's service account, where this is a pod.
    pub pod_namespace: Option<String>,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The table.
    Default,
    /// Found out, as it says.
    Found(&'static str),
    /// The file of this name.
    File(String),
    /// The environment variable of this name.
    Environment(String),
    /// The flag of this name, without dashes.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Found(how) => f.write_str(how),
            Self::File(name) => write!(f, "file {name}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// A setting as it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What holds.
    pub value: Value,
    /// Where it was said.
    pub origin: Origin,
}

/// Every setting as it holds, by its place in the file.
#[derive(Clone, Debug, Default)]
pub struct Effective(BTreeMap<&'static str, Held>);

impl Effective {
    /// The setting at this place of the file.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Held> {
        self.0.get(path)
    }
}

/// A configuration that can be run.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// Every setting with its origin.
    pub effective: Effective,
    /// The same as values to work with.
    pub settings: Settings,
    /// What was accepted and changes nothing, and why; worth a line in the log.
    pub notes: Vec<String>,
}

/// Reads a configuration.
///
/// # Errors
/// Everything that is wrong, each with where it was said, the value and what was expected.
pub fn load(given: &Given) -> Result<Configuration, InputProblems> {
    let mut problems = InputProblems::default();
    let mut notes = Vec::new();
    let mut effective = sources::collect(given, &mut problems, &mut notes);
    let settings = typed::settle(&mut effective, given, &mut problems, &mut notes);
    problems.or(Configuration {
        effective,
        settings,
        notes,
    })
}

#[cfg(test)]
mod tests;
