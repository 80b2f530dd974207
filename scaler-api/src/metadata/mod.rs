//! From a map of strings to a typed trigger.

use std::fmt;

use crate::{Trigger, TriggerInput};

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
/// # Errors
/// Every problem at once.
pub fn parse<T: Trigger>(input: &TriggerInput) -> Result<(T, Problems), Problems> {
    let _: &TriggerInput = input;
    todo!("to come: resolve by source order, deserialize by target type, check")
}

/// The word of `known` that is nearest to `word`, if it is near enough to be a typo.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let _: &str = word;
    let _ = known;
    todo!("to come: edit distance")
}
