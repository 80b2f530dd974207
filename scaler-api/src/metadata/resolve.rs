//! First pass: which text each field has, and what is odd or missing.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
};

use super::{Kind, Problems, deserializer::ValueError, nearest};
use crate::{Field, Source, TriggerInput};

/// What stands in for a value that cannot be read, so that the rest is looked at.
const PLACEHOLDERS: [&str; 3] = ["0", "1", ""];

/// The text of every field that has one.
#[derive(Debug)]
pub(super) struct Resolved {
    fields: &'static [Field],
    pub(super) values: BTreeMap<&'static str, Value>,
    /// Fields whose absence was reported.
    missing: BTreeSet<&'static str>,
    /// Fields whose value was replaced, and how often.
    replaced: BTreeMap<&'static str, usize>,
    /// Keys that structs asked for, and those of them that turned out to be structs.
    pub(super) asked: RefCell<BTreeSet<&'static str>>,
    pub(super) nested: RefCell<BTreeSet<&'static str>>,
}

/// The text of one field.
pub(super) struct Value {
    pub(super) text: String,
    /// Whether it must not be shown.
    pub(super) hidden: bool,
    pub(super) allowed: &'static [&'static str],
    /// Whether it stands in for a value that could not be read.
    pub(super) placeholder: bool,
    /// As what the struct has read it.
    pub(super) kind: Cell<Option<Kind>>,
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.shown())
    }
}

impl Value {
    /// The text, if it may be seen.
    pub(super) fn shown(&self) -> &str {
        if self.hidden { "***" } else { &self.text }
    }
}

impl Resolved {
    pub(super) fn new(fields: &'static [Field], input: &TriggerInput, problems: &mut Problems) -> Self {
        let mut resolved = Self {
            fields,
            values: BTreeMap::new(),
            missing: BTreeSet::new(),
            replaced: BTreeMap::new(),
            asked: RefCell::default(),
            nested: RefCell::default(),
        };
        for field in fields {
            let found = find(field, input).or_else(|| default(field));
            if let Some(value) = found {
                resolved.values.insert(field.name, value);
            } else if field.required {
                resolved.report_missing(field.name, &unset_variable(field, input), problems);
            }
            warn_about_synonyms(field, input, problems);
        }
        resolved
    }

    /// A value for every field, to see as what each is read.
    pub(super) fn probe(fields: &'static [Field]) -> Self {
        let input = TriggerInput::default();
        let mut resolved = Self::new(fields, &input, &mut Problems::new());
        for field in fields {
            let value = Value {
                text: "1".to_owned(),
                hidden: false,
                allowed: &[],
                placeholder: false,
                kind: Cell::default(),
            };
            resolved.values.insert(field.name, value);
        }
        resolved
    }

    /// As what each field was read so far.
    pub(super) fn kinds(&self) -> impl Iterator<Item = (&'static str, Kind)> + '_ {
        let values = self.values.iter();
        values.filter_map(|(key, value)| Some((*key, value.kind.get()?)))
    }

    /// Whether a key is a field or another spelling of one.
    pub(super) fn knows(&self, key: &str) -> bool {
        self.field(key).is_some()
    }

    fn field(&self, key: &str) -> Option<&'static Field> {
        self.fields
            .iter()
            .find(|field| field.name == key || field.aliases.contains(&key))
    }

    /// Adds what the second pass met to the problems, once for each field.
    pub(super) fn report(&mut self, key: &'static str, error: &ValueError, problems: &mut Problems) {
        if self.replaced.contains_key(key) {
            return;
        }
        if error.missing {
            self.report_missing(key, "", problems);
            return;
        }
        let Some(value) = self.values.get(key) else {
            problems.error(key, "", format!("parameter {key:?}: {}", error.message));
            return;
        };
        let message = if value.hidden && !error.shows_no_value {
            "it cannot be read".to_owned()
        } else {
            error.message.clone()
        };
        let text = if value.hidden {
            "***".to_owned()
        } else {
            format!("{:?}", value.text)
        };
        problems.error(
            key,
            value.shown(),
            format!("parameter {key:?} is {text}: {message}"),
        );
    }

    fn report_missing(&mut self, key: &'static str, hint: &str, problems: &mut Problems) {
        if !self.missing.insert(key) {
            return;
        }
        let sources = self
            .field(key)
            .map_or(&[Source::Metadata][..], |field| field.sources);
        let sources: Vec<&str> = sources.iter().copied().map(source_word).collect();
        problems.error(
            key,
            "",
            format!(
                "missing required parameter {key:?} in [{}]{hint}",
                sources.join(" ")
            ),
        );
    }

    /// Puts something else in the place of a value that cannot be read: the default first, then placeholders.
    /// `false` if nothing is left to try.
    pub(super) fn replace(&mut self, key: &'static str) -> bool {
        let attempt = self.replaced.entry(key).or_insert(0);
        *attempt += 1;
        let attempt = *attempt;
        let default = self.field(key).and_then(default);
        let skip = usize::from(default.is_some());
        let replacement = match default {
            Some(default) if attempt == 1 => default,
            _ => {
                let Some(text) = PLACEHOLDERS.get(attempt - 1 - skip) else {
                    return false;
                };
                Value {
                    text: (*text).to_owned(),
                    hidden: false,
                    allowed: &[],
                    placeholder: true,
                    kind: Cell::default(),
                }
            }
        };
        self.values.insert(key, replacement);
        true
    }

    /// Whether rules across fields make sense: no value is made up.
    pub(super) fn is_meaningful(&self) -> bool {
        self.values.values().all(|value| !value.placeholder)
    }

    #[cfg(feature = "conformance")]
    pub(super) fn asked_keys(&self) -> BTreeSet<&'static str> {
        self.asked
            .borrow()
            .difference(&self.nested.borrow())
            .copied()
            .collect()
    }
}

fn names(field: &Field) -> impl Iterator<Item = &'static str> + use<> {
    std::iter::once(field.name).chain(field.aliases.iter().copied())
}

/// The first source with a value wins; within a source the name comes before other spellings.
fn find(field: &Field, input: &TriggerInput) -> Option<Value> {
    field.sources.iter().find_map(|source| {
        let text = names(field).find_map(|key| {
            let text = match source {
                Source::Metadata => input.metadata.get(key)?.as_str(),
                Source::Environment => input.environment.get(variable(key, input)?)?.as_str(),
                Source::Authentication => input.authentication.get(key)?.expose(),
            };
            Some(text.trim()).filter(|text| !text.is_empty())
        })?;
        let hidden = field.secret || *source != Source::Metadata;
        Some(Value {
            text: text.to_owned(),
            hidden,
            allowed: field.allowed,
            placeholder: false,
            kind: Cell::default(),
        })
    })
}

fn default(field: &Field) -> Option<Value> {
    let text = field.default?.to_owned();
    // The author's own word needs no check.
    Some(Value {
        text,
        hidden: field.secret,
        allowed: &[],
        placeholder: false,
        kind: Cell::default(),
    })
}

/// The environment variable that `<key>FromEnv` names.
fn variable<'a>(key: &str, input: &'a TriggerInput) -> Option<&'a str> {
    Some(input.metadata.get(&format!("{key}FromEnv"))?.trim()).filter(|name| !name.is_empty())
}

fn unset_variable(field: &Field, input: &TriggerInput) -> String {
    let named = names(field).find_map(|key| Some((key, variable(key, input)?)));
    match named {
        Some((key, name)) if field.sources.contains(&Source::Environment) => {
            format!(": {key}FromEnv names the environment variable {name:?}, which has no value")
        }
        _ => String::new(),
    }
}

fn source_word(source: Source) -> &'static str {
    match source {
        Source::Metadata => "triggerMetadata",
        Source::Environment => "resolvedEnv",
        Source::Authentication => "authParams",
    }
}

fn warn_about_synonyms(field: &Field, input: &TriggerInput, problems: &mut Problems) {
    if field.sources.contains(&Source::Metadata) {
        let mut given = names(field).filter(|key| {
            input
                .metadata
                .get(*key)
                .is_some_and(|text| !text.trim().is_empty())
        });
        if let Some(used) = given.next() {
            for other in given {
                problems.warn(
                    other,
                    "",
                    format!("parameter {other:?} means the same as {used:?}, which is used"),
                );
            }
        }
    }
}

pub(super) fn warn_about_unknown_keys(fields: &[Field], input: &TriggerInput, problems: &mut Problems) {
    for key in input.metadata.keys() {
        let from_environment = |key: &str| key.strip_suffix("FromEnv").map(str::to_owned);
        let reads = |source: Source, key: &str| {
            fields
                .iter()
                .any(|field| field.sources.contains(&source) && names(field).any(|name| name == key))
        };
        let is_read = reads(Source::Metadata, key)
            || from_environment(key).is_some_and(|key| reads(Source::Environment, &key));
        if is_read {
            continue;
        }
        if reads(Source::Authentication, key) {
            let message = format!(
                "parameter {key:?} is not read from the metadata, it belongs into a TriggerAuthentication"
            );
            problems.warn(key, "", message);
            continue;
        }
        let known = fields.iter().flat_map(names);
        let hint = match from_environment(key) {
            Some(base) => nearest(&base, known).map(|name| format!("{name}FromEnv")),
            None => nearest(key, known).map(str::to_owned),
        };
        let hint = hint.map_or_else(String::new, |name| format!(" (did you mean {name:?}?)"));
        problems.warn(key, "", format!("parameter {key:?} is unknown{hint}"));
    }
}
