use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use super::*;
use crate::{
    Context, Error, MetricSpec, Registry, Sample, Scaler, Secret, SourceKey, TriggerInput,
    metadata::GoDuration,
};

/// One key of every kind.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "only as what the keys are read matters")]
struct Everything {
    name: String,
    password: Option<Secret>,
    count: i64,
    ratio: Option<f64>,
    is_odd: bool,
    #[serde(default)]
    words: Vec<String>,
    labels: BTreeMap<String, String>,
    timeout: Option<GoDuration>,
    mode: Mode,
    inner: Inner,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Fast,
    Slow,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "only as what the keys are read matters")]
struct Inner {
    depth: u8,
}

const FIELDS: &[Field] = &[
    Field::new("name", "What it is called.")
        .required()
        .aliases(&["title"])
        .from(&[Source::Metadata, Source::Environment]),
    Field::new("password", "Who may.")
        .required()
        .secret()
        .from(&[Source::Authentication]),
    Field::new("count", "How many.").required(),
    Field::new("ratio", "How much | of it."),
    Field::new("isOdd", "Whether it is odd.").default("false"),
    Field::new("words", "Which words.").allowed(&["a.b", "c"]),
    Field::new("labels", "Which labels."),
    Field::new("timeout", "How long."),
    Field::new("mode", "How fast.")
        .allowed(&["fast", "slow"])
        .default("slow"),
    Field::new("depth", "How deep.").default("1"),
];

#[derive(Debug)]
struct Nothing;

#[async_trait]
impl Scaler for Nothing {
    async fn sample(&self) -> Result<Sample, Error> {
        Ok(Sample::single("everything", 0.0, false))
    }
}

impl Trigger for Everything {
    const TYPE: &'static str = "everything";
    type Scaler = Nothing;

    fn fields() -> &'static [Field] {
        FIELDS
    }

    fn example() -> &'static str {
        "nameFromEnv: NAME\ncount: \"3\"\n"
    }

    fn summary() -> &'static str {
        "one of each"
    }

    fn metrics(&self) -> Vec<MetricSpec> {
        Vec::new()
    }

    fn source_key(&self) -> SourceKey {
        SourceKey::new(Self::TYPE)
    }

    async fn connect(self, _: &Context) -> Result<Nothing, Error> {
        Ok(Nothing)
    }
}

fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.register::<Everything>();
    registry.register_unavailable("kafka", "the feature `kafka`");
    registry
}

fn reference() -> Reference {
    registry()
        .reference("everything")
        .unwrap()
        .with_feature(Some("all"))
}

#[test]
fn the_kind_of_a_key_is_what_the_struct_reads_it_as() {
    let kinds: Vec<_> = FIELDS
        .iter()
        .map(|field| reference().kind(field.name).as_str())
        .collect();
    assert_eq!(
        kinds,
        [
            "text", "text", "integer", "number", "boolean", "list", "map", "duration", "text", "integer"
        ]
    );
}

#[test]
fn it_is_told_as_json() {
    let value = serde_json::to_value(reference()).unwrap();
    assert_eq!(
        value["fields"][0],
        json!({"name": "name", "aliases": ["title"], "sources": ["metadata", "environment"], "required": true,
            "default": null, "allowed": [], "secret": false, "doc": "What it is called.", "kind": "text"})
    );
    assert_eq!(value["type"], "everything");
    assert_eq!(value["feature"], "all");
    assert_eq!(
        value["example"],
        json!({"type": "everything", "metadata": {"nameFromEnv": "NAME", "count": "3"},
            "authenticationRef": {"name": "everything-authentication"}})
    );
}

#[test]
fn the_yaml_of_the_example_is_its_value() {
    let read: serde_json::Value = serde_saphyr::from_str(&reference().example_yaml()).unwrap();
    assert_eq!(read, json!({"triggers": [reference().example_value()]}));
}

#[test]
fn the_page_has_a_row_for_every_key() {
    let page = reference().markdown();
    for row in [
        "| `name`, `title` | text | required | metadata, nameFromEnv | What it is called. |",
        "| `password` | text | required | authentication | Who may. A credential. |",
        "| `ratio` | number |  | metadata | How much \\| of it. |",
        "| `words` | list of `a.b`, `c` |  | metadata | Which words. |",
        "| `mode` | `fast`, `slow` | `slow` | metadata | How fast. |",
    ] {
        assert!(page.contains(row), "{row}\n{page}");
    }
    assert!(page.starts_with("# everything\n\nOne of each.\n\nBuilt in with the feature `all`.\n"));
}

#[test]
fn a_terminal_gets_the_same() {
    let text = reference().text();
    assert!(text.starts_with("everything: one of each\n"), "{text}");
    let entry = "mode (fast|slow; default slow; from metadata)\n    How fast.\n";
    assert!(text.contains(entry), "{text}");
}

#[test]
fn the_schema_asks_for_what_the_metadata_alone_must_have() {
    let schema = reference().json_schema();
    assert_eq!(schema["required"], json!(["count"]));
    assert_eq!(
        schema["allOf"],
        json!([{"anyOf": [{"required": ["name"]}, {"required": ["nameFromEnv"]}, {"required": ["title"]},
            {"required": ["titleFromEnv"]}]}])
    );
    assert!(schema["properties"].get("password").is_none());
    assert_eq!(schema["properties"]["mode"]["pattern"], "^\\s*(fast|slow)?\\s*$");
    assert_eq!(
        schema["properties"]["words"]["pattern"],
        "^\\s*(a\\.b|c)?(\\s*,\\s*(a\\.b|c)?)*\\s*$"
    );
}

#[test]
fn a_type_that_is_not_there_is_told_with_what_would_help() {
    let registry = registry();
    let of = |name: &str| registry.reference(name).unwrap_err().to_string();
    assert!(of("everythin").contains("did you mean \"everything\"?"));
    assert!(of("kafka").contains("it needs the feature `kafka`"));
    assert_eq!(
        registry.unavailable().collect::<Vec<_>>(),
        [("kafka", "the feature `kafka`")]
    );
}

#[test]
fn the_example_lacks_only_what_the_authentication_brings() {
    let metadata = reference().example_value()["metadata"].clone();
    let input = TriggerInput {
        metadata: serde_json::from_value(metadata).unwrap(),
        authentication: [("password".to_owned(), Secret::new("x"))].into(),
        environment: [("NAME".to_owned(), "it".to_owned())].into(),
        ..TriggerInput::default()
    };
    let problems = crate::metadata::parse::<Everything>(&input).unwrap_err();
    // `labels` has no default in the struct, and the fields do not say that it is required.
    assert_eq!(problems.errors().len(), 1, "{problems}");
    assert_eq!(problems.errors()[0].field, "labels");
}
