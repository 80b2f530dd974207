//! Objects and lists as one client wants to read them.

use std::{borrow::Cow, sync::Arc};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    convert,
    paging::Page,
    resources::{Conversion, Resource},
    routes::{Form, Query},
    store::{Entry, Verb, members},
    table::{self, IncludeObject},
    value,
};

/// Writes objects of one resource in one version and form.
#[derive(Clone, Debug)]
pub(crate) struct Encoder {
    resource: Arc<Resource>,
    version: String,
    form: Form,
    include: IncludeObject,
    /// A watch describes the columns of its tables once.
    columns_told: bool,
}

impl Encoder {
    pub(crate) fn new(resource: Arc<Resource>, version: &str, form: Form, query: &Query) -> Self {
        let include = IncludeObject::parse(query.get("includeObject"));
        Self {
            resource,
            version: version.to_owned(),
            form,
            include,
            columns_told: false,
        }
    }

    /// Tables go without a description of their columns from now on.
    pub(crate) fn columns_told(&mut self) {
        self.columns_told = true;
    }

    /// The object in the client's version.
    fn object<'a>(&self, entry: &'a Entry) -> Cow<'a, Value> {
        convert::from_storage(&self.resource, &self.version, &entry.value)
    }

    fn is_converted(&self) -> bool {
        self.resource.conversion == Conversion::Event
            || (self.resource.conversion != Conversion::None && self.version != self.resource.storage_version)
    }

    /// Writes one object; an item of a built-in's list goes without its type, as there.
    fn write(&self, entry: &Entry, item: bool, out: &mut Vec<u8>) {
        if self.form == Form::Metadata {
            let metadata = entry.value.get("metadata").unwrap_or(&Value::Null);
            out.extend_from_slice(
                br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#,
            );
            serde_json::to_writer(&mut *out, metadata).expect("JSON values serialize into memory");
            out.push(b'}');
            return;
        }
        let converted = self.is_converted().then(|| members(&self.object(entry)));
        let rest: &[u8] = converted.as_deref().unwrap_or_else(|| entry.rest());
        if item && self.resource.extension.is_none() {
            out.push(b'{');
        } else {
            let api_version = self.resource.api_version(&self.version);
            let head = format!(
                "{{\"kind\":\"{}\",\"apiVersion\":\"{api_version}\",",
                self.resource.kind
            );
            out.extend_from_slice(head.as_bytes());
        }
        out.extend_from_slice(rest);
        out.push(b'}');
    }

    /// One object as the body of a response.
    pub(crate) fn single(&self, entry: &Entry, now: Timestamp) -> Vec<u8> {
        let mut out = Vec::with_capacity(2048);
        self.write_single(entry, now, &mut out);
        out
    }

    fn write_single(&self, entry: &Entry, now: Timestamp, out: &mut Vec<u8>) {
        if self.form == Form::Table {
            let object = self.object(entry);
            let revision = value::text(&object, &["metadata", "resourceVersion"]).to_owned();
            let metadata = json!({"resourceVersion": revision});
            let mut table = table::render(
                &self.resource,
                &self.version,
                &[object],
                now,
                self.include,
                &metadata,
            );
            if self.columns_told {
                table["columnDefinitions"] = Value::Null;
            }
            serde_json::to_writer(&mut *out, &table).expect("JSON values serialize into memory");
        } else {
            self.write(entry, false, out);
        }
    }

    /// A page of objects as the body of a response.
    pub(crate) fn list(&self, page: &Page, counted: bool, now: Timestamp) -> Vec<u8> {
        let mut metadata = json!({"resourceVersion": page.revision.to_string()});
        if let Some(next) = &page.next {
            metadata["continue"] = next.as_str().into();
            if counted {
                metadata["remainingItemCount"] = page.remaining.into();
            }
        }
        if self.form == Form::Table {
            let objects: Vec<_> = page.entries.iter().map(|entry| self.object(entry)).collect();
            let table = table::render(
                &self.resource,
                &self.version,
                &objects,
                now,
                self.include,
                &metadata,
            );
            return table.to_string().into_bytes();
        }
        let (kind, api_version) = match self.form {
            Form::Metadata => ("PartialObjectMetadataList", "meta.k8s.io/v1".to_owned()),
            _ => (
                self.resource.list_kind.as_str(),
                self.resource.api_version(&self.version),
            ),
        };
        let mut out = Vec::with_capacity(256 + 2048 * page.entries.len());
        let head = format!(
            "{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":["
        );
        out.extend_from_slice(head.as_bytes());
        for (index, entry) in page.entries.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.write(entry, true, &mut out);
        }
        out.extend_from_slice(b"]}");
        out
    }

    /// Appends a watch event.
    pub(crate) fn event(&self, verb: Verb, entry: &Entry, now: Timestamp, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(verb.as_str().as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        self.write_single(entry, now, out);
        out.extend_from_slice(b"}\n");
    }

    /// Appends a bookmark: `initial` for the one that ends the initial events.
    pub(crate) fn bookmark(&self, revision: u64, initial: bool, out: &mut Vec<u8>) {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.form {
            Form::Metadata => json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
            }),
            Form::Table => {
                let inner = json!({"kind": self.resource.kind, "apiVersion": self.resource.api_version(&self.version),
                    "metadata": metadata});
                json!({
                    "kind": "Table",
                    "apiVersion": "meta.k8s.io/v1",
                    "metadata": {"resourceVersion": revision.to_string()},
                    "columnDefinitions": null,
                    "rows": [{"cells": [], "object": inner}],
                })
            }
            Form::Full => json!({
                "kind": self.resource.kind,
                "apiVersion": self.resource.api_version(&self.version),
                "metadata": metadata,
            }),
        };
        let event = json!({"type": "BOOKMARK", "object": object});
        out.extend_from_slice(event.to_string().as_bytes());
        out.push(b'\n');
    }
}
