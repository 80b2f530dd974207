//! Which trigger types a program has, and `autoscaler scalers`, which tells them.

use std::fmt::Write as _;

use clap::{Args, ValueEnum};
use scaler_api::{Problems, Reference, Registry};
use serde_json::Value;

/// The trigger types that are built in; a program that has more registers them beside these and hands all to
/// [`cli::main_with`](crate::cli::main_with).
#[must_use]
pub fn registry() -> Registry {
    let mut registry = Registry::new();
    scalers::register_all(&mut registry);
    registry
}

/// What to tell, and how.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// One type: every key with its default, where its value may come from, and an example.
    #[arg(value_name = "TYPE")]
    name: Option<String>,
    /// How it is told; json-schema describes the metadata of one type.
    #[arg(short = 'o', long = "output", value_name = "FORMAT", default_value = "text")]
    output: Format,
}

/// How types are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// A JSON Schema, draft 2020-12.
    JsonSchema,
    /// A page.
    Markdown,
}

/// What cannot be told.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unknown(String);

impl From<Problems> for Unknown {
    fn from(problems: Problems) -> Self {
        Self(problems.to_string())
    }
}

impl Arguments {
    /// Prints it.
    ///
    /// # Errors
    /// [`Unknown`] for a type that is not there, with what would help.
    pub fn run(&self, registry: &Registry) -> anyhow::Result<()> {
        print!("{}", self.text(registry)?);
        Ok(())
    }

    fn text(&self, registry: &Registry) -> Result<String, Unknown> {
        let Some(name) = &self.name else {
            return match self.output {
                Format::Text => Ok(list(registry)),
                Format::Json => Ok(pretty(&references(registry).iter().map(value).collect())),
                Format::Markdown => {
                    let pages = references(registry);
                    let pages: Vec<_> = pages.iter().map(Reference::markdown).collect();
                    Ok(pages.join("\n"))
                }
                Format::JsonSchema => Err(Unknown(
                    "a JSON Schema is of one type: autoscaler scalers TYPE -o json-schema".to_owned(),
                )),
            };
        };
        let reference = registry.reference(name)?.with_feature(scalers::feature(name));
        Ok(match self.output {
            Format::Text => reference.text(),
            Format::Json => pretty(&value(&reference)),
            Format::JsonSchema => pretty(&reference.json_schema()),
            Format::Markdown => reference.markdown(),
        })
    }
}

fn references(registry: &Registry) -> Vec<Reference> {
    registry
        .types()
        .filter_map(|name| registry.reference(name).ok())
        .map(|reference| {
            let feature = scalers::feature(reference.trigger_type());
            reference.with_feature(feature)
        })
        .collect()
}

fn value(reference: &Reference) -> Value {
    serde_json::to_value(reference).unwrap_or_default()
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// A line for each type that is there, and what the others would need.
fn list(registry: &Registry) -> String {
    let references = references(registry);
    let types = references.iter().map(|reference| reference.trigger_type().len());
    let features = references.iter().map(|reference| feature(reference).len());
    let (types, features) = (
        types.max().unwrap_or(0).max("TYPE".len()),
        features.max().unwrap_or(0).max("FEATURE".len()),
    );
    let mut text = format!("{:types$}  {:features$}  WHAT IS MEASURED\n", "TYPE", "FEATURE");
    for reference in &references {
        let line = format!(
            "{:types$}  {:features$}  {}",
            reference.trigger_type(),
            feature(reference),
            reference.summary()
        );
        text += line.trim_end();
        text.push('\n');
    }
    let mut others: Vec<(&str, Vec<&str>)> = Vec::new();
    for (name, needs) in registry.unavailable() {
        match others.iter_mut().find(|(known, _)| *known == needs) {
            Some((_, names)) => names.push(name),
            None => others.push((needs, vec![name])),
        }
    }
    // What only another build lacks comes first.
    others.sort_by_key(|(needs, _)| !needs.contains("the feature"));
    if !others.is_empty() {
        text += "\nknown, but not built in:\n";
    }
    for (needs, names) in others {
        writeln!(text, "  with {needs}: {}", names.join(", ")).ok();
    }
    text
}

fn feature(reference: &Reference) -> &'static str {
    reference.feature().unwrap_or("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: Option<&str>, output: Format) -> Result<String, Unknown> {
        let name = name.map(str::to_owned);
        Arguments { name, output }.text(&registry())
    }

    #[test]
    fn the_list_has_a_line_for_every_type_and_says_what_others_need() {
        let text = told(None, Format::Text).unwrap();
        let line = text.lines().find(|line| line.starts_with("cron ")).unwrap();
        let words: Vec<_> = line.split_whitespace().take(4).collect();
        assert_eq!(words, ["cron", "cron", "a", "number"], "{line}");
        for name in registry().types() {
            assert!(
                text.lines().any(|line| line.split(' ').next() == Some(name)),
                "{name}"
            );
        }
        assert!(
            text.contains("with a scaler that is not supported yet: activemq, "),
            "{text}"
        );
    }

    #[test]
    fn json_has_every_type_with_fields_and_an_example() {
        let all: Value = serde_json::from_str(&told(None, Format::Json).unwrap()).unwrap();
        let all = all.as_array().unwrap();
        assert_eq!(all.len(), registry().types().count());
        let queue = all.iter().find(|one| one["type"] == "aws-sqs-queue").unwrap();
        assert_eq!(queue["example"]["metadata"]["awsRegion"], "eu-west-1");
        let fields = queue["fields"].as_array().unwrap();
        let length = fields
            .iter()
            .find(|field| field["name"] == "queueLength")
            .unwrap();
        assert_eq!(length["default"], "5");
        assert_eq!(length["sources"], serde_json::json!(["metadata"]));
        assert_eq!(told(Some("aws-sqs-queue"), Format::Json).unwrap(), pretty(queue));
    }

    #[test]
    fn one_type_is_told_in_every_form() {
        let text = told(Some("cron"), Format::Text).unwrap();
        assert!(
            text.contains("timezone (text; required; from metadata)"),
            "{text}"
        );
        let page = told(Some("cron"), Format::Markdown).unwrap();
        assert!(page.starts_with("# cron\n"), "{page}");
        let schema: Value = serde_json::from_str(&told(Some("cron"), Format::JsonSchema).unwrap()).unwrap();
        assert_eq!(schema["required"][0], "timezone");
    }

    #[test]
    fn a_type_that_is_not_there_is_told_with_the_nearest_or_with_its_feature() {
        let error = told(Some("corn"), Format::Text).unwrap_err().to_string();
        assert!(error.contains("did you mean \"cron\"?"), "{error}");
        for (name, needs) in registry().unavailable().take(3) {
            let error = told(Some(name), Format::Text).unwrap_err().to_string();
            assert!(error.contains(needs), "{error}");
        }
        let error = told(None, Format::JsonSchema).unwrap_err().to_string();
        assert!(error.contains("TYPE -o json-schema"), "{error}");
    }
}
