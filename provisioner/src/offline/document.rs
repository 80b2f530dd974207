//! Texts into documents: YAML or JSON, one object, a list, an array, many documents, compressed or not.

use std::{fmt, io::Read as _};

use flate2::read::MultiGzDecoder;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Where every compressed file begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Most that a file may be, decompressed: beyond it somebody means harm.
const MOST_BYTES: u64 = 4 << 30;

/// An object as it stood in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The file, as the user named it.
    pub file: String,
    /// Which object of the file it is, from 1: documents, and the items of lists and arrays, are counted through.
    pub number: usize,
    /// The object.
    pub object: Value,
}

/// Something that is wrong with an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// Which object of the file, from 1; 0 where the problem is the file's.
    pub document: usize,
    /// `Kind namespace/name`, empty where the problem is the file's.
    pub object: String,
    /// The path of the field, empty where the problem is the object's.
    pub field: String,
    /// What is wrong, with the value and what was expected.
    pub message: String,
}

impl Problem {
    pub(super) fn of_file(file: &str, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            document: 0,
            object: String::new(),
            field: String::new(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.document > 0 {
            write!(f, ":{}", self.document)?;
        }
        for part in [&self.object, &self.field, &self.message] {
            if !part.is_empty() {
                write!(f, ": {part}")?;
            }
        }
        Ok(())
    }
}

impl Document {
    /// `kind`, empty where missing.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.object["kind"].as_str().unwrap_or_default()
    }

    /// `Kind namespace/name`, for messages; `kind` where the object does not say.
    pub(super) fn label(&self, kind: &str) -> String {
        let kind = if self.kind().is_empty() { kind } else { self.kind() };
        let metadata = &self.object["metadata"];
        let name = metadata["name"].as_str().or_else(|| self.object["name"].as_str());
        let name = name.unwrap_or("without a name");
        match metadata["namespace"].as_str() {
            Some(namespace) => format!("{kind} {namespace}/{name}"),
            None if kind == "Pod" || kind == "DaemonSet" => format!("{kind} default/{name}"),
            None => format!("{kind} {name}"),
        }
    }

    pub(super) fn problem(
        &self,
        kind: &str,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Problem {
        Problem {
            file: self.file.clone(),
            document: self.number,
            object: self.label(kind),
            field: field.into(),
            message: message.into(),
        }
    }

    /// The object as a type; the problem names the field.
    pub(super) fn typed<T: DeserializeOwned>(&self, kind: &str) -> Result<T, Problem> {
        serde_path_to_error::deserialize(&self.object).map_err(|error| {
            let path = error.path().to_string();
            let field = if path == "." { String::new() } else { path };
            self.problem(kind, field, error.into_inner().to_string())
        })
    }
}

/// The objects of a file, and what is wrong with it. A `List` (`PodList`, ...) and an array are their items.
#[must_use]
pub fn documents(file: &str, content: &[u8]) -> (Vec<Document>, Vec<Problem>) {
    let wrong = |message: String| (Vec::new(), vec![Problem::of_file(file, message)]);
    let text = match text(content) {
        Ok(text) => text,
        Err(message) => return wrong(message),
    };
    let values = match values(&text) {
        Ok(values) => values,
        Err(message) => return wrong(message),
    };
    let mut objects = Vec::new();
    for value in values {
        items(value, &mut objects);
    }
    if objects.is_empty() {
        let message = "is empty, expected at least one object ([] for none)";
        return if is_deliberately_empty(&text) {
            (Vec::new(), Vec::new())
        } else {
            wrong(message.to_owned())
        };
    }
    let mut problems = Vec::new();
    let mut documents = Vec::with_capacity(objects.len());
    for (index, object) in objects.into_iter().enumerate() {
        let number = index + 1;
        if object.is_object() {
            documents.push(Document {
                file: file.to_owned(),
                number,
                object,
            });
        } else {
            problems.push(Problem {
                document: number,
                ..Problem::of_file(file, format!("is {}, expected an object", brief(&object)))
            });
        }
    }
    (documents, problems)
}

/// An empty list that somebody wrote down, as opposed to nothing at all.
fn is_deliberately_empty(text: &str) -> bool {
    let text = text.trim();
    text.ends_with(']') || text.contains("items:") || text.contains("\"items\"")
}

/// A value for a message, cut where it is long.
pub(super) fn brief(value: &Value) -> String {
    let mut text = value.to_string();
    if let Some((end, _)) = text.char_indices().nth(80) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}

fn text(content: &[u8]) -> Result<String, String> {
    let bytes = if content.starts_with(&GZIP) {
        let mut bytes = Vec::new();
        let read = MultiGzDecoder::new(content)
            .take(MOST_BYTES)
            .read_to_end(&mut bytes);
        read.map_err(|error| format!("cannot be decompressed: {error}"))?;
        bytes
    } else {
        content.to_vec()
    };
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!(
            "is no text: the byte at {at} is not UTF-8, expected YAML or JSON, or either compressed by gzip"
        )
    })
}

fn values(text: &str) -> Result<Vec<Value>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    // Ten times as fast as YAML, and all that large inputs are.
    let is_json = text.trim_start().starts_with(['{', '[']);
    if is_json {
        let read: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(text).into_iter().collect();
        if let Ok(values) = read {
            return Ok(values);
        }
    }
    serde_saphyr::from_multiple(text).map_err(|yaml| {
        let json: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(text).into_iter().collect();
        match json {
            Err(json) if is_json => format!("is neither JSON ({json}) nor YAML"),
            _ => format!("is not YAML: {}", yaml.without_snippet()),
        }
    })
}

/// A document's objects; nothing for one that is empty.
fn items(value: Value, into: &mut Vec<Value>) {
    match value {
        Value::Null => {}
        Value::Array(values) => into.extend(values),
        Value::Object(mut object) => {
            let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
            let is_list = kind.ends_with("List") || kind.is_empty() && !object.contains_key("metadata");
            // Items of a typed list do not say what they are.
            let kind_of_items = kind.strip_suffix("List").filter(|kind| !kind.is_empty());
            let kind_of_items = kind_of_items.map(str::to_owned);
            match object.remove("items") {
                Some(Value::Array(values)) if is_list => into.extend(
                    values
                        .into_iter()
                        .map(|item| with_kind(item, kind_of_items.as_deref())),
                ),
                Some(other) => {
                    object.insert("items".to_owned(), other);
                    into.push(Value::Object(object));
                }
                None => into.push(Value::Object(object)),
            }
        }
        other => into.push(other),
    }
}

fn with_kind(mut item: Value, kind: Option<&str>) -> Value {
    if let (Some(kind), Value::Object(object)) = (kind, &mut item) {
        object.entry("kind").or_insert_with(|| kind.into());
    }
    item
}
