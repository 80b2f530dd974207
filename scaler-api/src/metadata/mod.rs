//! From a map of strings to a typed trigger.

mod deserializer;
mod duration;
pub mod go;
mod nearest;
mod resolve;

use std::{collections::BTreeMap, fmt};

use serde::{Serialize, de::DeserializeOwned};

use self::{deserializer::ValueError, resolve::Resolved};
pub use self::{duration::GoDuration, nearest::nearest};
use crate::{Trigger, TriggerInput};

/// What the text of a key stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Kind {
    /// Itself.
    #[default]
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// One of Go's words for true and false.
    Boolean,
    /// A Go duration, or milliseconds.
    Duration,
    /// Texts with commas between.
    List,
    /// Pairs `key=value` with commas between.
    Map,
}

impl Kind {
    /// The word for it in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Duration => "duration",
            Self::List => "list",
            Self::Map => "map",
        }
    }
}

/// Everything that is wrong, or odd, with one trigger's metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

/// One problem: which key, which value, what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key.
    pub field: String,
    /// The value as given; `***` for credentials, empty where it is missing.
    pub value: String,
    /// What is wrong and what was expected.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Problems {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an error. `message` stands by itself: it names key and value where that helps.
    pub fn error(&mut self, field: impl Into<String>, value: impl Into<String>, message: impl Into<String>) {
        self.errors.push(Problem {
            field: field.into(),
            value: value.into(),
            message: message.into(),
        });
    }

    /// Adds a warning.
    pub fn warn(&mut self, field: impl Into<String>, value: impl Into<String>, message: impl Into<String>) {
        self.warnings.push(Problem {
            field: field.into(),
            value: value.into(),
            message: message.into(),
        });
    }

    /// What is wrong.
    #[must_use]
    pub fn errors(&self) -> &[Problem] {
        &self.errors
    }

    /// What is odd.
    #[must_use]
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Whether there is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Takes over what another check found.
    pub fn extend(&mut self, other: Problems) {
        self.errors.extend(other.errors);
        self.warnings.extend(other.warnings);
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.errors.iter().chain(&self.warnings).enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Parses metadata into a trigger; the second value holds warnings only.
///
/// Three passes. *Resolve*: each [field](crate::Field) gets its value from the first of its sources that has one.
/// *Deserialize*: text becomes what the struct's field is: numbers, Go's words for booleans, [durations](GoDuration),
/// lists `a,b`, maps `k=v,k=v`, enums by word, [`Secret`](crate::Secret)s; a struct in the struct reads the same keys.
/// *Check*: [`Trigger::settings`] and [`Trigger::input`], then [`Trigger::check`].
///
/// A value that cannot be read is reported and replaced, so that the rest is looked at too. Rules across fields are
/// checked if every replaced value has a default to stand in for it.
///
/// # Errors
/// Every problem at once, warnings included. No value that came from a TriggerAuthentication or from the environment,
/// and none of a field that is marked as a credential, is shown.
pub fn parse<T: Trigger>(input: &TriggerInput) -> Result<(T, Problems), Problems> {
    let mut problems = Problems::new();
    let mut resolved = Resolved::new(T::fields(), input, &mut problems);
    if !T::takes_any_key() {
        resolve::warn_about_unknown_keys(T::fields(), input, &mut problems);
    }
    let Some(mut trigger) = deserialize::<T>(&mut resolved, &mut problems) else {
        return Err(problems);
    };
    trigger.settings(&input.settings);
    trigger.input(input);
    if resolved.is_meaningful() {
        trigger.check(&mut problems);
    }
    if problems.has_errors() {
        Err(problems)
    } else {
        Ok((trigger, problems))
    }
}

/// Deserializes, replacing what cannot be read until the rest can.
fn deserialize<T: DeserializeOwned>(resolved: &mut Resolved, problems: &mut Problems) -> Option<T> {
    loop {
        let error = match T::deserialize(resolved.deserializer()) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let Some(key) = error.key else {
            problems.error("", "", error.message);
            return None;
        };
        resolved.report(key, &error, problems);
        if !resolved.replace(key) {
            return None;
        }
    }
}

/// As what a struct reads its keys, where that is anything else than text.
pub(crate) fn kinds<T: Trigger>() -> BTreeMap<&'static str, Kind> {
    let mut resolved = Resolved::probe(T::fields());
    let mut kinds = BTreeMap::new();
    loop {
        let result = T::deserialize(resolved.deserializer());
        kinds.extend(resolved.kinds());
        match result {
            Err(ValueError { key: Some(key), .. }) if resolved.replace(key) => {}
            _ => return kinds,
        }
    }
}

/// The keys that a struct asks for, those of structs inside included.
#[cfg(feature = "conformance")]
pub(crate) fn serde_keys<T: Trigger>(input: &TriggerInput) -> std::collections::BTreeSet<&'static str> {
    let mut problems = Problems::new();
    let mut resolved = Resolved::new(T::fields(), input, &mut problems);
    if !T::takes_any_key() {
        resolve::warn_about_unknown_keys(T::fields(), input, &mut problems);
    }
    let _trigger: Option<T> = deserialize(&mut resolved, &mut problems);
    resolved.asked_keys()
}

#[cfg(test)]
mod tests;
