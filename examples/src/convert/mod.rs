//! `autoscaler convert`: manifests in old forms as they are written today.
//!
//! A file is a stream of documents. Those without an old object pass through as they stand, comments and all; in the
//! place of an old one stand the objects that it comes to, under comments that say what has no counterpart.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use crate::{
    input::{self, InputProblems},
    install::yaml,
    old,
};

/// What to convert.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// A folder of manifests, one file, or - for standard input; may be given several times.
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
}

impl Arguments {
    /// Prints the documents of all files as one stream.
    ///
    /// # Errors
    /// For files that cannot be read or are no YAML, all at once; and where standard output cannot be written to.
    pub fn run(&self) -> anyhow::Result<()> {
        use std::io::Write as _;
        let mut problems = InputProblems::default();
        let mut texts = Vec::new();
        for path in &self.paths {
            texts.extend(input::texts(path, &mut problems));
        }
        for (name, text) in &texts {
            if let Err(error) = serde_saphyr::from_multiple::<Value>(text) {
                problems.file(name, format!("is not YAML: {}", error.without_snippet()));
            }
        }
        let texts = problems.or(texts)?;
        let texts: Vec<&str> = texts.iter().map(|(_, text)| text.as_str()).collect();
        let mut output = std::io::stdout().lock();
        output
            .write_all(convert(&texts).as_bytes())
            .and_then(|()| output.flush())
            .context("cannot write to standard output")
    }
}

/// One document of a stream.
struct Document<'a> {
    /// As it stands, its separator included.
    text: &'a str,
    /// What is in it; nothing where it is no YAML by itself, or empty.
    object: Value,
}

/// The streams as one, everything old in today's form.
#[must_use]
pub fn convert(streams: &[&str]) -> String {
    let documents: Vec<Document<'_>> = streams
        .iter()
        .flat_map(|text| split(text))
        .map(|text| Document {
            text,
            object: serde_saphyr::from_str(text).unwrap_or_default(),
        })
        .collect();
    let objects: Vec<Value> = documents
        .iter()
        .flat_map(|document| items(&document.object))
        .cloned()
        .collect();
    let mut out = String::new();
    for document in &documents {
        let items = items(&document.object);
        let is_old = items.iter().any(|item| !old::convert(item, &objects).is_empty());
        if !is_old {
            append(document.text, &mut out);
            continue;
        }
        for (index, item) in items.into_iter().enumerate() {
            let comments = if index == 0 {
                leading_comments(document.text)
            } else {
                String::new()
            };
            append(&today(item, &objects, &comments), &mut out);
        }
    }
    out
}

/// What one object is today, as documents.
fn today(object: &Value, beside: &[Value], comments: &str) -> String {
    let converted = old::convert(object, beside);
    if converted.is_empty() {
        return yaml::documents(std::slice::from_ref(object));
    }
    let from = old::kind_in_words(object);
    let documents = converted.iter().enumerate().map(|(index, one)| {
        let kept = if index == 0 { comments } else { "" };
        let notes: String = one.notes.iter().map(|note| format!("# {note}\n")).collect();
        let text = yaml::documents(std::slice::from_ref(&one.object));
        let body = text.strip_prefix("---\n").unwrap_or(&text);
        format!("---\n{kept}# Converted from {from}.\n{notes}{body}")
    });
    documents.collect()
}

/// The objects of a document: itself, or those of a list.
fn items(document: &Value) -> Vec<&Value> {
    let list = match document {
        Value::Array(items) => Some(items),
        object if object["kind"] == "List" => object["items"].as_array(),
        _ => None,
    };
    list.map_or_else(|| vec![document], |items| items.iter().collect())
}

/// The documents of a stream, each with the line that begins it.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        let is_separator = line.trim_end() == "---" || line.starts_with("--- ");
        if is_separator && at > start {
            parts.push(&text[start..at]);
            start = at;
        }
        at += line.len();
    }
    if at > start {
        parts.push(&text[start..]);
    }
    parts
}

/// Appends documents to a stream; the first needs no separator.
fn append(text: &str, out: &mut String) {
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
    if !out.is_empty() && !text.starts_with("---") {
        out.push_str("---\n");
    }
    out.push_str(text);
}

/// The comments that stand before anything else.
fn leading_comments(text: &str) -> String {
    text.lines()
        .skip_while(|line| line.trim_end() == "---")
        .take_while(|line| line.starts_with('#') || line.trim().is_empty())
        .filter(|line| line.starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: &str = "# mine\napiVersion: v1\nkind: ConfigMap # here\nmetadata: {name: a}\n";
    const OLD: &str = "# theirs\napiVersion: keda.k8s.io/v1alpha1\nkind: TriggerAuthentication\nmetadata: {name: a}\nspec: {podIdentity: {provider: spiffe}}\n";

    #[test]
    fn what_is_not_old_passes_through_to_the_byte() {
        for text in [
            NEW.to_owned(),
            format!("{NEW}---\n{NEW}"),
            format!("---\n{NEW}--- # two\n{NEW}\n---\n"),
            "data: |\n  ---\n  x\n".to_owned(),
            String::new(),
        ] {
            assert_eq!(convert(&[&text]), text);
        }
        assert_eq!(
            convert(&[NEW, NEW.trim_end()]),
            format!("{NEW}---\n{}", NEW.trim_end())
        );
    }

    #[test]
    fn comments_say_what_has_no_counterpart() {
        assert_eq!(
            convert(&[&format!("{NEW}---\n{OLD}---\n{NEW}")]),
            format!(
                "{NEW}---\n# theirs\n# Converted from keda.k8s.io/v1alpha1 TriggerAuthentication.\n\
                 # spec.podIdentity.provider: spiffe has no counterpart and is left out\n\
                 apiVersion: keda.sh/v1alpha1\nkind: TriggerAuthentication\nmetadata:\n  name: a\nspec: {{}}\n---\n{NEW}"
            )
        );
    }

    #[test]
    fn a_list_with_something_old_in_it_comes_apart() {
        let list = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: s}}\n- {apiVersion: keda.k8s.io/v1alpha1, kind: TriggerAuthentication, metadata: {name: a}, spec: {}}\n";
        let text = convert(&[list]);
        let kinds: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        let kinds: Vec<_> = kinds.iter().map(old::kind_in_words).collect();
        assert_eq!(kinds, ["v1 Secret", "keda.sh/v1alpha1 TriggerAuthentication"]);
    }
}
