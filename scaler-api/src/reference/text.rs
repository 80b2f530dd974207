//! Pages for a terminal.

use super::{Reference, absent, sources};
use crate::{Field, metadata::Kind};

/// Width of the descriptions.
const WIDTH: usize = 100;

pub(super) fn page(reference: &Reference) -> String {
    let mut text = reference.trigger_type().to_owned();
    if !reference.summary().is_empty() {
        text += &format!(": {}", reference.summary());
    }
    text.push('\n');
    if let Some(feature) = reference.feature() {
        text += &format!("built in with the feature {feature}\n");
    }
    text += &format!("\n{}\n", reference.example_yaml());
    for field in reference.fields() {
        text += &entry(field, reference.kind(field.name));
    }
    text
}

fn entry(field: &Field, kind: Kind) -> String {
    let mut names = vec![field.name];
    names.extend(field.aliases);
    let mut facts = vec![if field.allowed.is_empty() {
        kind.as_str().to_owned()
    } else {
        let list = if kind == Kind::List { "list of " } else { "" };
        format!("{list}{}", field.allowed.join("|"))
    }];
    facts.extend(match absent(field) {
        "" => None,
        _ if field.required => Some("required".to_owned()),
        default => Some(format!("default {default}")),
    });
    facts.push(format!("from {}", sources(field)));
    if field.secret {
        facts.push("credential".to_owned());
    }
    let mut text = format!("{} ({})\n", names.join(", "), facts.join("; "));
    for line in wrapped(field.doc) {
        text += &format!("    {line}\n");
    }
    text
}

fn wrapped(sentence: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in sentence.split_whitespace() {
        let count = lines.len();
        let line = &mut lines[count - 1];
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(word.to_owned());
        } else {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines
}
