//! Pages in Markdown.

use std::fmt::Write as _;

use super::{Reference, absent, sources};
use crate::{Field, metadata::Kind};

pub(super) fn page(reference: &Reference) -> String {
    let mut text = format!("# {}\n\n", reference.trigger_type());
    if !reference.summary().is_empty() {
        text += &format!("{}.\n\n", capitalized(reference.summary()));
    }
    if let Some(feature) = reference.feature() {
        text += &format!("Built in with the feature `{feature}`.\n\n");
    }
    text += &format!("```yaml\n{}```\n\n", reference.example_yaml());
    text += "## Keys\n\n| Key | Value | Default | From | What it is |\n|---|---|---|---|---|\n";
    for field in reference.fields() {
        row(&mut text, field, reference.kind(field.name));
    }
    text += "\nA value is taken from the first place of its row that has one: `metadata` of the trigger, the environment \
             variable\nof the target's container that `<key>FromEnv` names, or the parameter of this name of the \
             TriggerAuthentication. Values are\nstrings; empty ones count as missing.\n";
    text
}

fn row(text: &mut String, field: &Field, kind: Kind) {
    let quoted = |word: &str| match word {
        "" => String::new(),
        "required" if field.required => "required".to_owned(),
        word => format!("`{}`", cell(word)),
    };
    writeln!(
        text,
        "| {} | {} | {} | {} | {} |",
        names(field),
        value(field, kind),
        quoted(absent(field)),
        sources(field),
        description(field),
    )
    .ok();
}

fn names(field: &Field) -> String {
    let mut names = format!("`{}`", field.name);
    for alias in field.aliases {
        names += &format!(", `{alias}`");
    }
    names
}

fn value(field: &Field, kind: Kind) -> String {
    if field.allowed.is_empty() {
        return kind.as_str().to_owned();
    }
    let words = field
        .allowed
        .iter()
        .map(|word| format!("`{}`", cell(word)))
        .collect::<Vec<_>>();
    let words = words.join(", ");
    if kind == Kind::List {
        format!("list of {words}")
    } else {
        words
    }
}

fn description(field: &Field) -> String {
    let mark = if field.secret { " A credential." } else { "" };
    format!("{}{mark}", cell(field.doc))
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn capitalized(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
