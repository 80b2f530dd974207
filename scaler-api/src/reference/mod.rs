//! What can be said of a trigger type, from what its author wrote down once: [`Trigger::fields`],
//! [`Trigger::example`] and [`Trigger::summary`].
//!
//! Lists, pages, JSON and JSON Schemas all come from a [`Reference`]:
//!
//! ```
//! # use scaler_api::{Context, Error, Field, MetricSpec, MetricTarget, Quantity, Registry, Sample, Scaler, SourceKey, Trigger};
//! # #[derive(Debug, serde::Deserialize)]
//! # struct Directory { path: String }
//! # #[derive(Debug)]
//! # struct FileCount;
//! # #[async_trait::async_trait]
//! # impl Scaler for FileCount {
//! #     async fn sample(&self) -> Result<Sample, Error> { Ok(Sample::single("directory", 0.0, false)) }
//! # }
//! # impl Trigger for Directory {
//! #     const TYPE: &'static str = "directory";
//! #     type Scaler = FileCount;
//! #     fn fields() -> &'static [Field] {
//! #         const { &[Field::new("path", "The directory whose files are counted.").required()] }
//! #     }
//! #     fn example() -> &'static str { "path: /var/spool/work\n" }
//! #     fn metrics(&self) -> Vec<MetricSpec> { vec![] }
//! #     fn source_key(&self) -> SourceKey { SourceKey::new(Self::TYPE).with("path", &self.path) }
//! #     async fn connect(self, _: &Context) -> Result<FileCount, Error> { Ok(FileCount) }
//! # }
//! let mut registry = Registry::new();
//! registry.register::<Directory>();
//! let reference = registry.reference("directory")?;
//! assert_eq!(
//!     reference.example_yaml(),
//!     "triggers:\n- type: directory\n  metadata:\n    path: /var/spool/work\n"
//! );
//! assert_eq!(reference.json_schema()["required"][0], "path");
//! assert!(reference.markdown().contains("| `path` |"));
//! # Ok::<(), scaler_api::Problems>(())
//! ```

mod example;
mod markdown;
mod schema;
mod text;

use std::collections::BTreeMap;

use serde::{Serialize, Serializer, ser::SerializeStruct as _};

use self::example::Example;
use crate::{Field, Source, Trigger, metadata, metadata::Kind};

/// A trigger type in full.
#[derive(Clone, Debug)]
pub struct Reference {
    trigger_type: &'static str,
    summary: &'static str,
    feature: Option<&'static str>,
    fields: &'static [Field],
    kinds: BTreeMap<&'static str, Kind>,
    example: Example,
}

impl Reference {
    /// What `T` says of itself.
    #[must_use]
    pub fn of<T: Trigger>() -> Self {
        Self {
            trigger_type: T::TYPE,
            summary: T::summary(),
            feature: None,
            fields: T::fields(),
            kinds: metadata::kinds::<T>(),
            example: Example::of::<T>(),
        }
    }

    /// Says which feature of its crate has the type built in.
    #[must_use]
    pub fn with_feature(mut self, feature: Option<&'static str>) -> Self {
        self.feature = feature;
        self
    }

    /// The `type` of the trigger.
    #[must_use]
    pub fn trigger_type(&self) -> &'static str {
        self.trigger_type
    }

    /// What is measured, in one line.
    #[must_use]
    pub fn summary(&self) -> &'static str {
        self.summary
    }

    /// The feature that has it built in.
    #[must_use]
    pub fn feature(&self) -> Option<&'static str> {
        self.feature
    }

    /// Every key.
    #[must_use]
    pub fn fields(&self) -> &'static [Field] {
        self.fields
    }

    /// What the text of a key stands for.
    #[must_use]
    pub fn kind(&self, field: &str) -> Kind {
        self.kinds.get(field).copied().unwrap_or_default()
    }

    /// An example as it stands in a ScaledObject.
    #[must_use]
    pub fn example_yaml(&self) -> String {
        self.example.yaml(self.trigger_type)
    }

    /// The same example as a value: one element of `spec.triggers`.
    #[must_use]
    pub fn example_value(&self) -> serde_json::Value {
        self.example.value(self.trigger_type)
    }

    /// A page on the type for people: what it measures, an example, and every key.
    #[must_use]
    pub fn markdown(&self) -> String {
        markdown::page(self)
    }

    /// The same for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        text::page(self)
    }

    /// The JSON Schema (draft 2020-12) of `metadata`.
    ///
    /// It says what must be there, and what numbers, booleans and words look like. Keys that nobody reads are allowed,
    /// since they are no error either; rules across keys are the trigger's own and are not told.
    #[must_use]
    pub fn json_schema(&self) -> serde_json::Value {
        schema::of(self)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields: Vec<_> = self
            .fields
            .iter()
            .map(|field| DescribedField {
                field,
                kind: self.kind(field.name),
            })
            .collect();
        let mut object = serializer.serialize_struct("Reference", 5)?;
        object.serialize_field("type", self.trigger_type)?;
        object.serialize_field("feature", &self.feature)?;
        object.serialize_field("summary", self.summary)?;
        object.serialize_field("fields", &fields)?;
        object.serialize_field("example", &self.example_value())?;
        object.end()
    }
}

#[derive(Serialize)]
struct DescribedField {
    #[serde(flatten)]
    field: &'static Field,
    kind: Kind,
}

/// Where a value is looked for, in order, as a person says it.
fn sources(field: &Field) -> String {
    let words = field.sources.iter().map(|source| match source {
        Source::Metadata => "metadata".to_owned(),
        Source::Environment => format!("{}FromEnv", field.name),
        Source::Authentication => "authentication".to_owned(),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// What stands in for a missing value.
fn absent(field: &Field) -> &'static str {
    match field.default {
        _ if field.required => "required",
        Some(default) => default,
        None => "",
    }
}

#[cfg(test)]
mod tests;
