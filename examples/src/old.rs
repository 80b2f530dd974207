//! Objects in the old forms of KEDA and Karpenter, which every command that reads manifests takes.

use provisioner::karpenter;
use scaler_api::{Converted, keda};
use serde_json::Value;

use crate::input::Manifest;

/// What an object is today, given those beside it; empty for an object that is not old.
#[must_use]
pub fn convert(object: &Value, beside: &[Value]) -> Vec<Converted> {
    match keda::old::convert(object) {
        Some(converted) => vec![converted],
        None => karpenter::old::convert(object, beside),
    }
}

/// The kind of an object in words.
#[must_use]
pub fn kind_in_words(object: &Value) -> String {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    format!("{} {}", text("apiVersion"), text("kind"))
}

/// An object in its form of today.
#[derive(Clone, Debug)]
pub struct Current {
    /// The object, in the place of the old one.
    pub manifest: Manifest,
    /// What it was, and what came of it, if it was old.
    pub converted: Option<String>,
}

/// All of `manifests` as they are today.
#[must_use]
pub fn current(manifests: Vec<Manifest>) -> Vec<Current> {
    let objects: Vec<Value> = manifests.iter().map(|manifest| manifest.object.clone()).collect();
    let mut all = Vec::new();
    for manifest in manifests {
        let converted = convert(&manifest.object, &objects);
        if converted.is_empty() {
            all.push(Current {
                manifest,
                converted: None,
            });
            continue;
        }
        let from = kind_in_words(&manifest.object);
        for one in converted {
            let notes: String = one.notes.iter().map(|note| format!("; {note}")).collect();
            all.push(Current {
                converted: Some(format!(
                    "{from} is an old form, taken as {}{notes}",
                    kind_in_words(&one.object)
                )),
                manifest: Manifest {
                    object: one.object,
                    ..manifest.clone()
                },
            });
        }
    }
    all
}
