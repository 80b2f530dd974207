//! Reading a user's files: every problem at once, each with file, object, field, value and what was expected.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// A Kubernetes object as it stood in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The file, as the user named it.
    pub file: String,
    /// Which document of the file it is, from 1.
    pub document: usize,
    /// The object.
    pub object: Value,
}

impl Manifest {
    /// `apiVersion`, empty where missing.
    #[must_use]
    pub fn api_version(&self) -> &str {
        self.object["apiVersion"].as_str().unwrap_or_default()
    }

    /// `kind`, empty where missing.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.object["kind"].as_str().unwrap_or_default()
    }

    /// `Kind namespace/name`, for messages.
    #[must_use]
    pub fn label(&self) -> String {
        let name = self.object["metadata"]["name"]
            .as_str()
            .unwrap_or("without a name");
        let kind = if self.kind().is_empty() {
            "object"
        } else {
            self.kind()
        };
        match self.object["metadata"]["namespace"].as_str() {
            Some(namespace) => format!("{kind} {namespace}/{name}"),
            None => format!("{kind} {name}"),
        }
    }
}

/// One thing that is wrong with the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputProblem {
    /// The file.
    pub file: String,
    /// Which document of the file, from 1; 0 where the problem is the file's.
    pub document: usize,
    /// The object, empty where the problem is the file's.
    pub object: String,
    /// The path of the field, empty where the problem is the object's.
    pub field: String,
    /// What is wrong, with the value and what was expected.
    pub message: String,
}

impl fmt::Display for InputProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        for part in [&self.object, &self.field, &self.message] {
            if !part.is_empty() {
                write!(f, ": {part}")?;
            }
        }
        Ok(())
    }
}

/// Everything that is wrong with the input; never empty when returned as an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputProblems(pub Vec<InputProblem>);

impl InputProblems {
    /// Adds a problem of a file.
    pub fn file(&mut self, file: &str, message: impl Into<String>) {
        self.0.push(InputProblem {
            file: file.to_owned(),
            document: 0,
            object: String::new(),
            field: String::new(),
            message: message.into(),
        });
    }

    /// Adds a problem of an object's field.
    pub fn field(&mut self, manifest: &Manifest, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(InputProblem {
            file: manifest.file.clone(),
            document: manifest.document,
            object: manifest.label(),
            field: field.into(),
            message: message.into(),
        });
    }

    /// `value` if there is no problem.
    ///
    /// # Errors
    /// The problems.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl fmt::Display for InputProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for InputProblems {}

/// Standard input, as a path.
const STANDARD_INPUT: &str = "-";

/// Reads every `.yaml`, `.yml` and `.json` file under `path` (a folder, a file, or `-` for standard input), in the order
/// of their names.
///
/// # Errors
/// Files that cannot be read, documents that are not YAML, and documents that are no Kubernetes object.
pub fn load(path: &Path) -> Result<Vec<Manifest>, InputProblems> {
    let mut problems = InputProblems::default();
    let mut manifests = Vec::new();
    for (name, text) in texts(path, &mut problems) {
        manifests.extend(read(&name, &text, &mut problems));
    }
    problems.or(manifests)
}

/// The names and contents of the files under `path`; what cannot be read is among the problems.
pub fn texts(path: &Path, problems: &mut InputProblems) -> Vec<(String, String)> {
    if path == Path::new(STANDARD_INPUT) {
        return match std::io::read_to_string(std::io::stdin()) {
            Ok(text) => vec![(STANDARD_INPUT.to_owned(), text)],
            Err(error) => {
                problems.file(STANDARD_INPUT, format!("cannot be read: {error}"));
                Vec::new()
            }
        };
    }
    let before = problems.0.len();
    let mut files = Vec::new();
    find_files(path, &mut files, problems);
    if files.is_empty() && problems.0.len() == before {
        problems.file(&path.display().to_string(), "no .yaml, .yml or .json file here");
    }
    let mut texts = Vec::new();
    for file in files {
        let name = file.display().to_string();
        match std::fs::read_to_string(&file) {
            Ok(text) => texts.push((name, text)),
            Err(error) => problems.file(&name, format!("cannot be read: {error}")),
        }
    }
    texts
}

fn find_files(path: &Path, files: &mut Vec<PathBuf>, problems: &mut InputProblems) {
    if !path.is_dir() {
        files.push(path.to_owned());
        return;
    }
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => return problems.file(&path.display().to_string(), format!("cannot be read: {error}")),
    };
    let mut found: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    found.sort();
    for entry in found {
        let manifest = entry
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml" || extension == "json");
        if entry.is_dir() {
            find_files(&entry, files, problems);
        } else if manifest {
            files.push(entry);
        }
    }
}

/// Parses the documents of one file; a `List` is its items.
///
/// # Errors
/// If the text is no YAML, or a document is no Kubernetes object.
pub fn parse(file: &str, text: &str) -> Result<Vec<Manifest>, InputProblems> {
    let mut problems = InputProblems::default();
    let manifests = read(file, text, &mut problems);
    problems.or(manifests)
}

/// The objects of one file, and what is wrong with it.
pub fn read(file: &str, text: &str, problems: &mut InputProblems) -> Vec<Manifest> {
    let documents: Vec<Value> = match serde_saphyr::from_multiple(text) {
        Ok(documents) => documents,
        Err(error) => {
            problems.file(file, format!("is not YAML: {}", error.without_snippet()));
            return Vec::new();
        }
    };
    let mut manifests = Vec::new();
    for (index, document) in documents.into_iter().enumerate() {
        let items = match document {
            Value::Object(ref object) if object.get("kind") == Some(&Value::from("List")) => object
                .get("items")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default(),
            Value::Array(items) => items,
            other => vec![other],
        };
        for object in items {
            let manifest = Manifest {
                file: file.to_owned(),
                document: index + 1,
                object,
            };
            check_object(&manifest, index + 1, problems);
            manifests.push(manifest);
        }
    }
    manifests
}

fn check_object(manifest: &Manifest, document: usize, problems: &mut InputProblems) {
    let Value::Object(object) = &manifest.object else {
        let kind = match &manifest.object {
            Value::String(text) => format!("the text {text:?}"),
            other => format!("{other}"),
        };
        return problems.file(
            &manifest.file,
            format!("document {document} is no Kubernetes object: it is {kind}, expected a map with apiVersion, kind and metadata"),
        );
    };
    // Some other file of the folder, such as a record of an earlier run: said once.
    if ["apiVersion", "kind", "metadata"]
        .iter()
        .all(|field| !object.contains_key(*field))
    {
        return problems.file(
            &manifest.file,
            format!(
                "document {document} is no Kubernetes object: it has neither apiVersion nor kind nor metadata"
            ),
        );
    }
    for field in ["apiVersion", "kind"] {
        match object.get(field) {
            Some(Value::String(text)) if !text.is_empty() => {}
            Some(other) => problems.field(
                manifest,
                field,
                format!("is {other}, expected a non-empty string"),
            ),
            None => problems.field(manifest, field, format!("is missing in document {document}")),
        }
    }
    let metadata = &manifest.object["metadata"];
    let named = ["name", "generateName"]
        .iter()
        .any(|key| metadata[*key].as_str().is_some_and(|name| !name.is_empty()));
    if !named {
        problems.field(
            manifest,
            "metadata.name",
            format!("is {}, expected a non-empty string", metadata["name"]),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<String> {
        parse("a.yaml", text)
            .unwrap_err()
            .0
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_map_that_is_something_else_is_said_once() {
        assert_eq!(
            messages("{scenario: x, seed: 1}"),
            ["a.yaml: document 1 is no Kubernetes object: it has neither apiVersion nor kind nor metadata"]
        );
    }

    #[test]
    fn every_document_of_a_file_is_an_object_and_lists_are_their_items() {
        let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: b, namespace: x}}\n---\n";
        let labels: Vec<_> = parse("a.yaml", text)
            .unwrap()
            .iter()
            .map(Manifest::label)
            .collect();
        assert_eq!(labels, ["Secret a", "ConfigMap x/b"]);
    }

    #[test]
    fn a_document_that_is_no_object_is_refused_with_file_and_value() {
        assert_eq!(
            messages("just text"),
            [
                "a.yaml: document 1 is no Kubernetes object: it is the text \"just text\", expected a map with apiVersion, kind and metadata"
            ]
        );
    }

    #[test]
    fn every_missing_field_is_reported_at_once() {
        assert_eq!(
            messages("metadata: {name: x}\n---\napiVersion: v1\nkind: 7\n"),
            [
                "a.yaml: object x: apiVersion: is missing in document 1",
                "a.yaml: object x: kind: is missing in document 1",
                "a.yaml: object without a name: kind: is 7, expected a non-empty string",
                "a.yaml: object without a name: metadata.name: is null, expected a non-empty string",
            ]
        );
    }

    #[test]
    fn broken_yaml_is_refused_with_its_place() {
        let message = messages("a: [1\nb: 2").remove(0);
        assert!(message.starts_with("a.yaml: is not YAML: "), "{message}");
        assert!(message.contains("line"), "{message}");
    }
}
