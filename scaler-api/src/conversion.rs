//! What an object in an old form comes to.

use std::fmt;

use serde_json::{Map, Value};

/// An object in its present form, and what a reader should know about how it got there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Converted {
    /// The object.
    pub object: Value,
    /// What has no counterpart, and what was put in its place.
    pub notes: Vec<Note>,
}

/// One thing that the old form said and the present one does not say in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The path of the field in the old object.
    pub field: String,
    /// What became of it.
    pub message: String,
}

impl Note {
    /// A note about a field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Takes the fields of an old object over, one by one. What nobody asks for is noted as left out.
#[derive(Debug)]
pub struct Fields<'a> {
    path: String,
    rest: Map<String, Value>,
    out: Map<String, Value>,
    notes: &'a mut Vec<Note>,
}

impl<'a> Fields<'a> {
    /// The fields of `value`, which stands at `path`.
    pub fn of(value: &Value, path: impl Into<String>, notes: &'a mut Vec<Note>) -> Self {
        Self {
            path: path.into(),
            rest: value.as_object().cloned().unwrap_or_default(),
            out: Map::new(),
            notes,
        }
    }

    /// The value of a field, which counts as taken over; none for `null`.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.rest.remove(name).filter(|value| !value.is_null())
    }

    /// Takes fields over as they stand.
    pub fn keep(&mut self, names: &[&str]) {
        for name in names {
            if let Some(value) = self.take(name) {
                self.set(name, value);
            }
        }
    }

    /// Sets a field of the new object.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.out.insert(name.to_owned(), value.into());
    }

    /// Leaves a field out and says why.
    pub fn drop(&mut self, name: &str, why: &str) {
        if let Some(value) = self.take(name) {
            self.note(name, format!("was {value}: {why}"));
        }
    }

    /// Says something about a field of the old object.
    pub fn note(&mut self, name: &str, message: impl Into<String>) {
        self.notes
            .push(Note::new(format!("{}.{name}", self.path), message));
    }

    /// What was said so far, to say more.
    pub fn notes(&mut self) -> &mut Vec<Note> {
        self.notes
    }

    /// The new object.
    #[must_use]
    pub fn finish(mut self) -> Value {
        for (name, value) in std::mem::take(&mut self.rest) {
            self.note(
                &name,
                format!("was {value}: it has no counterpart and is left out"),
            );
        }
        Value::Object(self.out)
    }
}
