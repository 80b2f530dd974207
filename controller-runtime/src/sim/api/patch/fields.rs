//! Sets of field paths, as `managedFields` writes them (`FieldsV1`).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A set of paths. Steps are spelled as in `FieldsV1`: `f:name`, `k:{"key":"value"}`, `v:"value"`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fields {
    /// The path to here is in the set.
    pub(crate) own: bool,
    pub(crate) children: BTreeMap<String, Fields>,
}

impl Fields {
    /// The set of the path to here alone.
    pub(crate) fn leaf() -> Self {
        Self {
            own: true,
            children: BTreeMap::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.own && self.children.values().all(Self::is_empty)
    }

    /// Adds what stands under `step`, unless it is nothing.
    pub(crate) fn add(&mut self, step: String, under: Self) {
        if !under.is_empty() {
            let merged = match self.children.remove(&step) {
                Some(known) => known.union(&under),
                None => under,
            };
            self.children.insert(step, merged);
        }
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.own |= other.own;
        for (step, theirs) in &other.children {
            let merged = out
                .children
                .get(step)
                .map_or_else(|| theirs.clone(), |ours| ours.union(theirs));
            out.children.insert(step.clone(), merged);
        }
        out
    }

    /// The paths of `self` that `other` does not have.
    pub(crate) fn difference(&self, other: &Self) -> Self {
        let mut out = Self {
            own: self.own && !other.own,
            children: BTreeMap::new(),
        };
        for (step, ours) in &self.children {
            let left = match other.children.get(step) {
                Some(theirs) => ours.difference(theirs),
                None => ours.clone(),
            };
            if !left.is_empty() {
                out.children.insert(step.clone(), left);
            }
        }
        out
    }

    /// The paths that both have.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        let mut out = Self {
            own: self.own && other.own,
            children: BTreeMap::new(),
        };
        for (step, ours) in &self.children {
            if let Some(theirs) = other.children.get(step) {
                let both = ours.intersection(theirs);
                if !both.is_empty() {
                    out.children.insert(step.clone(), both);
                }
            }
        }
        out
    }

    /// Drops the path `steps` and everything below.
    pub(crate) fn forget(&mut self, steps: &[&str]) {
        match steps {
            [] => {}
            [last] => {
                self.children.remove(*last);
            }
            [first, rest @ ..] => {
                if let Some(child) = self.children.get_mut(*first) {
                    child.forget(rest);
                    if child.is_empty() {
                        self.children.remove(*first);
                    }
                }
            }
        }
    }

    /// Every path, spelled as conflicts name it: `.spec.containers[name="a"].image`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect(String::new(), &mut out);
        out
    }

    fn collect(&self, prefix: String, out: &mut Vec<String>) {
        for (step, child) in &self.children {
            child.collect(format!("{prefix}{}", printed(step)), out);
        }
        if self.own {
            out.push(prefix);
        }
    }

    pub(crate) fn to_value(&self) -> Value {
        let mut out = Map::new();
        if self.own && !self.children.is_empty() {
            out.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (step, child) in &self.children {
            out.insert(step.clone(), child.to_value());
        }
        Value::Object(out)
    }

    /// Reads `FieldsV1`.
    pub(crate) fn from_value(value: &Value) -> Self {
        let mut out = Self::from_inner(value);
        // The root of an empty set is spelled like a leaf.
        if out.children.is_empty() {
            out.own = false;
        }
        out
    }

    fn from_inner(value: &Value) -> Self {
        let Some(map) = value.as_object().filter(|map| !map.is_empty()) else {
            return Self::leaf();
        };
        let mut out = Self::default();
        for (step, child) in map {
            if step == "." {
                out.own = true;
            } else {
                out.children.insert(step.clone(), Self::from_inner(child));
            }
        }
        out
    }
}

fn printed(step: &str) -> String {
    if let Some(name) = step.strip_prefix("f:") {
        return format!(".{name}");
    }
    if let Some(value) = step.strip_prefix("v:") {
        return format!("[={value}]");
    }
    let keys: Value = step
        .strip_prefix("k:")
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let pairs = keys
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={value}"));
    format!("[{}]", pairs.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sets_print_and_parse_as_fields_v1() {
        let text = json!({
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}}}, "f:replicas": {}},
        });
        let fields = Fields::from_value(&text);
        assert_eq!(fields.to_value(), text);
        assert_eq!(
            fields.paths(),
            [
                ".metadata.labels.app",
                ".metadata.labels",
                ".spec.containers[name=\"a\"].image",
                ".spec.containers[name=\"a\"]",
                ".spec.replicas",
            ]
        );
    }

    #[test]
    fn sets_combine() {
        let a = Fields::from_value(&json!({"f:a": {}, "f:b": {"f:c": {}}}));
        let b = Fields::from_value(&json!({"f:b": {"f:c": {}, "f:d": {}}}));
        assert_eq!(a.difference(&b).to_value(), json!({"f:a": {}}));
        assert_eq!(a.intersection(&b).to_value(), json!({"f:b": {"f:c": {}}}));
        assert_eq!(
            a.union(&b).to_value(),
            json!({"f:a": {}, "f:b": {"f:c": {}, "f:d": {}}})
        );
        assert!(a.difference(&a).is_empty());
    }
}
