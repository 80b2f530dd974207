//! `docs/scalers`, and the JSON Schemas of metadata against real triggers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "what tests share fails them")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use boon::{Compiler, SchemaIndex, Schemas};
use scaler_api::{Reference, Registry, Secret, TriggerInput};
use serde_json::{Value, json};

/// Set, the pages are written anew.
const UPDATE: &str = "UPDATE_DOCS";

fn registry() -> Registry {
    let mut registry = Registry::new();
    scalers::register_all(&mut registry);
    registry
}

fn references() -> Vec<Reference> {
    let registry = registry();
    let all = registry.types().map(|name| registry.reference(name).unwrap());
    all.map(|reference| {
        let feature = scalers::feature(reference.trigger_type());
        reference.with_feature(feature)
    })
    .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A page, with the way to what only a person can tell.
fn page(reference: &Reference) -> String {
    let folder = reference
        .feature()
        .map_or_else(|| "resource".to_owned(), |feature| feature.replace('-', "_"));
    let more = format!("scalers/src/{folder}/docs.md");
    let mut page = reference.markdown();
    if root().join(&more).exists() {
        page += &format!(
            "\nWhat is read how, what differs from KEDA and against which servers it is tested: [{more}](../../{more}).\n"
        );
    }
    page
}

fn index(references: &[Reference]) -> String {
    let mut text = String::from(
        "# Trigger types\n\n\
         Every type that can be built in, by the name that stands in a ScaledObject. `autoscaler scalers` prints this \
         list for the program at hand, `autoscaler scalers TYPE` one page, `-o json` and `-o json-schema` the same for \
         programs. All of it, and what `autoscaler validate` says of a trigger, comes from one list of keys in the code \
         of each scaler; [Write a scaler](../writing-a-scaler.md) shows how to add one.\n\n\
         | Type | Feature of `scalers` | What is measured |\n|---|---|---|\n",
    );
    for reference in references {
        let name = reference.trigger_type();
        let feature = reference
            .feature()
            .map_or_else(|| "always there".to_owned(), |feature| format!("`{feature}`"));
        text += &format!(
            "| [`{name}`]({name}.md) | {feature} | {} |\n",
            reference.summary()
        );
    }
    text
}

#[test]
fn the_pages_are_up_to_date() {
    let references = references();
    let mut pages: BTreeMap<String, String> = references
        .iter()
        .map(|reference| (format!("{}.md", reference.trigger_type()), page(reference)))
        .collect();
    pages.insert("README.md".to_owned(), index(&references));
    let folder = root().join("docs/scalers");
    let there = || -> BTreeSet<String> {
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect()
    };
    if std::env::var_os(UPDATE).is_some() {
        fs::create_dir_all(&folder).unwrap();
        for (name, page) in &pages {
            fs::write(folder.join(name), page).unwrap();
        }
        for stale in there().iter().filter(|name| !pages.contains_key(*name)) {
            fs::remove_file(folder.join(stale)).unwrap();
        }
    }
    for (name, page) in &pages {
        let written = fs::read_to_string(folder.join(name)).unwrap_or_default();
        assert!(
            written == *page,
            "docs/scalers/{name} differs from what the scaler says: run the test with {UPDATE}=1"
        );
    }
    assert_eq!(
        there(),
        pages.into_keys().collect(),
        "pages of types that are gone"
    );
}

#[test]
fn every_type_says_what_it_measures_and_every_key_what_it_is() {
    for reference in references() {
        let name = reference.trigger_type();
        assert!(!reference.summary().is_empty(), "{name} has no summary");
        assert!(
            !reference.summary().ends_with('.'),
            "{name}: {}",
            reference.summary()
        );
        for field in reference.fields() {
            assert!(
                field.doc.ends_with('.'),
                "{name}: {:?} says {:?}",
                field.name,
                field.doc
            );
        }
    }
}

/// What credentials and addresses may look like, for examples that take them from elsewhere.
const ELSEWHERE: [&str; 3] = [
    "http://there",
    "AccountName=there;AccountKey=a2V5;EndpointSuffix=core.windows.net",
    "Endpoint=sb://there.servicebus.windows.net/;SharedAccessKeyName=there;SharedAccessKey=a2V5",
];

/// The example, with this where it takes something from elsewhere.
fn input_of(reference: &Reference, elsewhere: &str) -> TriggerInput {
    let example = reference.example_value();
    let metadata: BTreeMap<String, String> = serde_json::from_value(example["metadata"].clone()).unwrap();
    let variables = metadata.iter().filter(|(key, _)| key.ends_with("FromEnv"));
    let mut input = TriggerInput {
        environment: variables
            .map(|(_, name)| (name.clone(), elsewhere.to_owned()))
            .collect(),
        ..TriggerInput::default()
    };
    input.metadata = metadata;
    if let Some(metric_type) = example["metricType"].as_str() {
        input.settings.metric_type = metric_type.parse().unwrap();
    }
    if example.get("authenticationRef").is_some() {
        let required = reference.fields().iter().filter(|field| field.required);
        input.authentication = required
            .map(|field| (field.name.to_owned(), Secret::new(elsewhere)))
            .collect();
    }
    input
}

#[test]
fn examples_are_triggers_as_they_stand() {
    let registry = registry();
    for reference in references() {
        let name = reference.trigger_type();
        let read: Value = serde_saphyr::from_str(&reference.example_yaml()).unwrap();
        assert_eq!(read, json!({"triggers": [reference.example_value()]}), "{name}");
        let problems = ELSEWHERE.map(|elsewhere| {
            let parsed = registry.parse(name, &input_of(&reference, elsewhere));
            let mut problems = parsed.err().unwrap_or_default().errors().to_vec();
            // Such as the key of an account, which would have to be a real one.
            problems.retain(|problem| problem.value != "***");
            problems
        });
        assert!(problems.iter().any(Vec::is_empty), "{name}: {problems:?}");
    }
}

struct Checker {
    schemas: Schemas,
    indices: BTreeMap<&'static str, SchemaIndex>,
}

impl Checker {
    fn new() -> Self {
        let mut schemas = Schemas::new();
        let mut compiler = Compiler::new();
        let mut indices = BTreeMap::new();
        for reference in references() {
            let name = reference.trigger_type();
            let location = format!("https://schemas.example/{name}.json");
            compiler.add_resource(&location, reference.json_schema()).unwrap();
            // Compiling checks the schema against the meta-schema of its draft.
            let index = compiler.compile(&location, &mut schemas);
            indices.insert(name, index.unwrap_or_else(|error| panic!("{name}: {error:#}")));
        }
        Self { schemas, indices }
    }

    fn check(&self, trigger_type: &str, metadata: &Value) -> Result<(), String> {
        let index = self.indices[trigger_type];
        self.schemas
            .validate(metadata, index)
            .map_err(|error| format!("{error:#}"))
    }
}

/// Every trigger of a registered type in a value.
fn triggers<'a>(value: &'a Value, found: &mut Vec<(&'a str, &'a Value)>) {
    match value {
        Value::Object(map) => {
            if let (Some(Value::String(name)), Some(metadata @ Value::Object(_))) =
                (map.get("type"), map.get("metadata"))
            {
                found.push((name, metadata));
            }
            map.values().for_each(|value| triggers(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| triggers(value, found)),
        _ => {}
    }
}

/// The YAML of the repository in which triggers stand: manifests, and what the documentation shows.
fn documents() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let ends_with = |extension: &str| path.extension().is_some_and(|found| found == extension);
            if path.is_dir() {
                walk(&path, found);
            } else if ends_with("yaml") {
                let text = fs::read_to_string(&path).unwrap();
                found.extend(text.split("\n---").map(|text| (path.clone(), text.to_owned())));
            } else if ends_with("md") {
                let text = fs::read_to_string(&path).unwrap();
                let blocks = text.split("```yaml\n").skip(1);
                let blocks = blocks.filter_map(|rest| rest.split_once("```"));
                found.extend(blocks.map(|(block, _)| (path.clone(), block.to_owned())));
            }
        }
    }
    let mut found = Vec::new();
    for folder in [
        "examples/manifests/corpus/keda/valid",
        "examples/manifests/sqs-consumer",
        "examples/manifests/tutorial",
        "docs",
        "scalers/src",
    ] {
        walk(&root().join(folder), &mut found);
    }
    found
}

#[test]
fn the_json_schemas_accept_every_trigger_of_the_repository() {
    let checker = Checker::new();
    let mut seen = BTreeSet::new();
    for (path, text) in documents() {
        let Ok(value) = serde_saphyr::from_str::<Value>(&text) else {
            continue;
        };
        let mut found = Vec::new();
        triggers(&value, &mut found);
        for (name, metadata) in found {
            let Some(known) = checker.indices.get_key_value(name).map(|(name, _)| *name) else {
                continue;
            };
            if let Err(error) = checker.check(name, metadata) {
                panic!("{}: {name}: {error}\n{metadata:#}", path.display());
            }
            seen.insert(known);
        }
    }
    assert_eq!(
        seen,
        checker.indices.keys().copied().collect(),
        "every type was met"
    );
}

#[test]
fn the_json_schemas_refuse_what_is_refused() {
    let checker = Checker::new();
    let queue = "https://sqs.eu-west-1.amazonaws.com/1/orders";
    let redis = |key: &str, value: &str| json!({"address": "a:1", "listName": "l", key: value});
    let rabbitmq = |key: &str, value: &str| json!({"host": "http://a", "queueName": "q", key: value});
    for (trigger_type, metadata, word) in [
        ("aws-sqs-queue", json!({"awsRegion": "eu-west-1"}), "queueURL"),
        (
            "aws-sqs-queue",
            json!({"queueURL": queue, "queueLength": "many"}),
            "queueLength",
        ),
        (
            "aws-sqs-queue",
            json!({"queueURL": queue, "queueLength": 5}),
            "queueLength",
        ),
        (
            "aws-sqs-queue",
            json!({"queueURL": queue, "scaleOnInFlight": "yes"}),
            "scaleOnInFlight",
        ),
        ("rabbitmq", rabbitmq("operation", "median"), "operation"),
        ("redis", redis("listLength", "5.5"), "listLength"),
        ("cron", json!({"timezone": "UTC", "start": "0 8 * * *"}), "end"),
    ] {
        let error = checker.check(trigger_type, &metadata).unwrap_err();
        assert!(error.contains(word), "{trigger_type} {metadata}: {error}");
    }
    checker
        .check(
            "aws-sqs-queue",
            &json!({"queueURLFromEnv": "QUEUE", "nobodysKey": "x"}),
        )
        .unwrap();
}
