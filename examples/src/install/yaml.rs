//! Objects as YAML that every reader takes the same way: whatever YAML 1.1 could take for something else is quoted.

use std::{fmt::Write as _, io::Write as _};

use anyhow::Context as _;
use serde_json::{Map, Value};

/// Words that some reader takes for a boolean or for nothing.
const WORDS: [&str; 9] = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
/// What stands first in an object.
const FIRST: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Writes objects to standard output.
///
/// # Errors
/// Where it cannot be written to.
pub fn print(objects: &[Value]) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    output
        .write_all(documents(objects).as_bytes())
        .and_then(|()| output.flush())
        .context("cannot write to standard output")
}

/// Objects as one stream of documents.
#[must_use]
pub fn documents(objects: &[Value]) -> String {
    let mut text = String::new();
    for object in objects {
        text.push_str("---\n");
        match object {
            Value::Object(fields) if !fields.is_empty() => mapping(fields, 0, true, &mut text),
            other => text.push_str(&format!("{}\n", scalar(other, 0))),
        }
    }
    text
}

fn mapping(fields: &Map<String, Value>, indent: usize, top: bool, out: &mut String) {
    let first = FIRST
        .iter()
        .filter(|_| top)
        .filter_map(|&name| fields.get_key_value(name));
    let rest = fields
        .iter()
        .filter(|(name, _)| !(top && FIRST.contains(&name.as_str())));
    for (index, (name, value)) in first.chain(rest).enumerate() {
        // The first field of a list's item follows its dash.
        let after_dash = index == 0 && out.ends_with("- ");
        let margin = if after_dash { 0 } else { indent };
        let _written = write!(out, "{:margin$}{}:", "", string(name, 0));
        below(value, indent, out);
    }
}

/// A field's value, after its name.
fn below(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            out.push('\n');
            mapping(fields, indent + 2, false, out);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            sequence(items, indent, out);
        }
        other => {
            let _written = writeln!(out, " {}", scalar(other, indent + 2));
        }
    }
}

fn sequence(items: &[Value], indent: usize, out: &mut String) {
    for item in items {
        let after_dash = out.ends_with("- ");
        let margin = if after_dash { 0 } else { indent };
        let _written = write!(out, "{:margin$}- ", "");
        match item {
            Value::Object(fields) if !fields.is_empty() => mapping(fields, indent + 2, false, out),
            Value::Array(items) if !items.is_empty() => sequence(items, indent + 2, out),
            other => {
                let _written = writeln!(out, "{}", scalar(other, indent + 2));
            }
        }
    }
}

fn scalar(value: &Value, indent: usize) -> String {
    match value {
        Value::String(text) => string(text, indent),
        other => other.to_string(),
    }
}

fn string(text: &str, indent: usize) -> String {
    if is_plain(text) {
        text.to_owned()
    } else if indent > 0 && is_block(text) {
        block(text, indent)
    } else {
        Value::from(text).to_string()
    }
}

/// Whether no reader takes the text for anything else without quotes.
fn is_plain(text: &str) -> bool {
    let starts = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/');
    let inside = |c: char| c.is_ascii_alphanumeric() || " _-./+=,()'".contains(c);
    starts
        && !text.ends_with(' ')
        && text.chars().all(inside)
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

/// Whether the text can stand as a literal block.
fn is_block(text: &str) -> bool {
    text.trim_end_matches('\n').contains('\n')
        && !text.starts_with([' ', '\n'])
        && !text.ends_with("\n\n")
        && text.chars().all(|c| c == '\n' || !c.is_control())
}

fn block(text: &str, indent: usize) -> String {
    let mut out = if text.ends_with('\n') { "|" } else { "|-" }.to_owned();
    for line in text.trim_end_matches('\n').lines() {
        out.push('\n');
        if !line.is_empty() {
            let _written = write!(out, "{:indent$}{line}", "");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        let object = json!({
            "kind": "Example", "apiVersion": "v1", "metadata": {"name": "x", "labels": {}},
            "words": ["yes", "No", "on", "y", "null", "~", "true", "1e3", "0x10", "12:30:45", "2026-01-01", "1_000", "=", "", " x", "x ", "-", "a: b", "a #b", "*", "&a", "{", "@x", "%"],
            "plain": ["autoscaler.keda.sh/name", "IfNotPresent", "/healthz", "a-b_c", "it's (fine), so"],
            "numbers": [0, -1, 1.5, true, null],
            "nested": [[1, [2, "x"]], [{"a": [{"b": {"c": []}}], "d": {}}], []],
            "lines": {"block": "one\n  two\n\nthree\n", "open": "one\ntwo", "odd": " one\ntwo", "tail": "one\n\n", "tab": "one\n\ttwo", "in": ["a\nb"]},
            "yes": 1, "a b": 2, "": 3, "-": 4,
        });
        let text = documents(&[object.clone(), json!({})]);
        let read: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        assert_eq!(read[0], object, "{text}");
        assert_eq!(read[1], json!({}));
    }

    #[test]
    fn objects_begin_with_what_they_are() {
        let text = documents(&[json!({"data": {"on": "1"}, "kind": "ConfigMap", "apiVersion": "v1"})]);
        assert_eq!(
            text,
            "---\napiVersion: v1\nkind: ConfigMap\ndata:\n  \"on\": \"1\"\n"
        );
    }
}
