//! Reading and writing nested JSON by path.

use serde_json::{Map, Value};

/// The value at `path`, if every step is an object that has it.
pub(crate) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter()
        .try_fold(value, |value, step| value.as_object()?.get(*step))
}

/// The value at `path`, mutable.
pub(crate) fn at_mut<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Value> {
    path.iter()
        .try_fold(value, |value, step| value.as_object_mut()?.get_mut(*step))
}

/// The string at `path`, or an empty one.
pub(crate) fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or("")
}

/// The integer at `path`.
pub(crate) fn int(value: &Value, path: &[&str]) -> Option<i64> {
    at(value, path).and_then(Value::as_i64)
}

/// The items of the array at `path`, or none.
pub(crate) fn items<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    at(value, path)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The object at `path`, made (with everything above it) if it is missing or no object.
pub(crate) fn object_at<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut Map<String, Value> {
    let mut current = value;
    for step in path {
        current = ensure(current).entry(*step).or_insert(Value::Null);
    }
    ensure(current)
}

fn ensure(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("made an object just above"),
    }
}

/// Writes `new` at `path`, making the objects above it.
pub(crate) fn set(value: &mut Value, path: &[&str], new: impl Into<Value>) {
    if let Some((last, parents)) = path.split_last() {
        object_at(value, parents).insert((*last).to_owned(), new.into());
    }
}

/// Writes `new` at `path` unless something other than null stands there.
pub(crate) fn default(value: &mut Value, path: &[&str], new: impl Into<Value>) {
    if let Some((last, parents)) = path.split_last() {
        let parent = object_at(value, parents);
        match parent.get(*last) {
            None | Some(Value::Null) => {
                parent.insert((*last).to_owned(), new.into());
            }
            Some(_) => {}
        }
    }
}

/// Takes out what stands at `path`.
pub(crate) fn remove(value: &mut Value, path: &[&str]) -> Option<Value> {
    let (last, parents) = path.split_last()?;
    at_mut(value, parents)?.as_object_mut()?.remove(*last)
}

/// Copies `path` of `from` over the one of `to`, unless they are equal; removes it there if `from` has none.
pub(crate) fn copy(from: &Value, to: &mut Value, path: &[&str]) {
    match at(from, path) {
        // Most writes change little, and a comparison allocates nothing.
        Some(found) if at(to, path) == Some(found) => {}
        Some(found) => set(to, path, found.clone()),
        None => {
            remove(to, path);
        }
    }
}

/// The object's name.
pub(crate) fn name(value: &Value) -> &str {
    text(value, &["metadata", "name"])
}

/// The object's namespace; empty for cluster-scoped ones.
pub(crate) fn namespace(value: &Value) -> &str {
    text(value, &["metadata", "namespace"])
}

/// The object's uid.
pub(crate) fn uid(value: &Value) -> &str {
    text(value, &["metadata", "uid"])
}

/// Whether the object's deletion has begun.
pub(crate) fn is_deleting(value: &Value) -> bool {
    at(value, &["metadata", "deletionTimestamp"]).is_some_and(|value| !value.is_null())
}

/// The object's finalizers.
pub(crate) fn finalizers(value: &Value) -> impl Iterator<Item = &str> {
    items(value, &["metadata", "finalizers"])
        .iter()
        .filter_map(Value::as_str)
}
