//! Strategic merge patch: lists merge by key, and directives delete or replace.

use serde_json::{Map, Value};

use super::schema;

const DIRECTIVE: &str = "$patch";
const DELETE_PRIMITIVES: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";
const RETAIN: &str = "$retainKeys";

/// Applies `patch` to `object` in place.
///
/// # Errors
/// Names a malformed directive, or an item of a keyed list that lacks its key.
pub(crate) fn merge(object: &mut Value, patch: &Value) -> Result<(), String> {
    let Value::Object(patch) = patch else {
        return Err("a strategic merge patch must be an object".to_owned());
    };
    merge_map(object, patch, &mut Vec::new())
}

fn merge_map(object: &mut Value, patch: &Map<String, Value>, path: &mut Vec<String>) -> Result<(), String> {
    match patch.get(DIRECTIVE).and_then(Value::as_str) {
        Some("replace") => {
            let mut replacement = patch.clone();
            replacement.remove(DIRECTIVE);
            *object = Value::Object(replacement);
            return Ok(());
        }
        Some("delete") => {
            *object = Value::Object(Map::new());
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => return Err(format!("unknown patch type found: {other}")),
    }
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    if let Some(keep) = patch.get(RETAIN).and_then(Value::as_array)
        && let Some(map) = object.as_object_mut()
    {
        map.retain(|key, _| keep.iter().any(|kept| kept == key));
    }
    let orders = patch.keys().any(|key| key.starts_with(ORDER));
    let before = if orders { object.clone() } else { Value::Null };
    for (key, member) in patch {
        if key == DIRECTIVE || key == RETAIN || key.starts_with(ORDER) {
            continue;
        }
        let Some(map) = object.as_object_mut() else {
            return Ok(());
        };
        if let Some(list) = key.strip_prefix(DELETE_PRIMITIVES) {
            if let (Some(Value::Array(items)), Value::Array(gone)) = (map.get_mut(list), member) {
                items.retain(|item| !gone.contains(item));
            }
            continue;
        }
        path.push(key.clone());
        merge_member(map, key, member, path)?;
        path.pop();
    }
    for (key, order) in patch {
        if let (Some(list), Some(map)) = (key.strip_prefix(ORDER), object.as_object_mut()) {
            path.push(list.to_owned());
            let before = before.get(list).and_then(Value::as_array);
            reorder(map.get_mut(list), before.map_or(&[], Vec::as_slice), order, path);
            path.pop();
        }
    }
    Ok(())
}

fn merge_member(
    map: &mut Map<String, Value>,
    key: &str,
    member: &Value,
    path: &mut Vec<String>,
) -> Result<(), String> {
    match member {
        Value::Null => {
            map.remove(key);
        }
        Value::Object(inner) => {
            if inner.get(DIRECTIVE).and_then(Value::as_str) == Some("delete") {
                map.remove(key);
                return Ok(());
            }
            merge_map(map.entry(key).or_insert(Value::Null), inner, path)?;
        }
        Value::Array(items) => match schema::strategic_key(path) {
            Some(schema::Merge::Key(by)) => {
                merge_list(
                    map.entry(key).or_insert_with(|| Value::Array(Vec::new())),
                    items,
                    by,
                    path,
                )?;
            }
            Some(schema::Merge::Set) => {
                let list = map.entry(key).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(list) = list {
                    let before = list.clone();
                    for item in items {
                        if !list.contains(item) {
                            list.push(item.clone());
                        }
                    }
                    interleave(list, &before, items, |one, other| one == other);
                }
            }
            None => {
                map.insert(key.to_owned(), member.clone());
            }
        },
        scalar => {
            map.insert(key.to_owned(), scalar.clone());
        }
    }
    Ok(())
}

/// Orders a merged list as Kubernetes does: what the patch names keeps the patch's order, the rest the server's, and
/// a rest that stood before an item of the patch comes before it.
fn interleave(
    list: &mut Vec<Value>,
    before: &[Value],
    patch: &[Value],
    same: impl Fn(&Value, &Value) -> bool,
) {
    let index = |all: &[Value], item: &Value| all.iter().position(|known| same(known, item));
    let (mut named, rest): (Vec<Value>, Vec<Value>) = std::mem::take(list)
        .into_iter()
        .partition(|item| index(patch, item).is_some());
    named.sort_by_key(|item| index(patch, item));
    let mut rest = rest.into_iter().peekable();
    for item in named {
        let place = index(before, &item);
        while let Some(other) = rest.next_if(|other| place > index(before, other) && place.is_some()) {
            list.push(other);
        }
        list.push(item);
    }
    list.extend(rest);
}

/// Merges a keyed list.
fn merge_list(list: &mut Value, patch: &[Value], by: &str, path: &mut Vec<String>) -> Result<(), String> {
    if !list.is_array() {
        *list = Value::Array(Vec::new());
    }
    let Some(list) = list.as_array_mut() else {
        return Ok(());
    };
    if patch
        .iter()
        .any(|item| item.get(DIRECTIVE).and_then(Value::as_str) == Some("replace"))
    {
        *list = patch
            .iter()
            .filter(|item| item.get(DIRECTIVE).is_none())
            .cloned()
            .collect();
        return Ok(());
    }
    let before = list.clone();
    for item in patch {
        let Some(fields) = item.as_object() else {
            return Err(format!(
                "{}: expected an object in a list that merges by {by}",
                path.join(".")
            ));
        };
        let Some(wanted) = fields.get(by) else {
            return Err(format!("map: {item} does not contain declared merge key: {by}"));
        };
        let found = list.iter().position(|known| known.get(by) == Some(wanted));
        if fields.get(DIRECTIVE).and_then(Value::as_str) == Some("delete") {
            list.retain(|known| known.get(by) != Some(wanted));
            continue;
        }
        match found {
            Some(index) => merge_map(&mut list[index], fields, path)?,
            None => {
                let mut fresh = Value::Object(Map::new());
                merge_map(&mut fresh, fields, path)?;
                list.push(fresh);
            }
        }
    }
    interleave(list, &before, patch, |one, other| one.get(by) == other.get(by));
    Ok(())
}

/// Puts the named items in the order that the patch wants, where the list has them.
fn reorder(list: Option<&mut Value>, before: &[Value], order: &Value, path: &[String]) {
    let (Some(Value::Array(list)), Value::Array(order)) = (list, order) else {
        return;
    };
    match schema::strategic_key(path) {
        Some(schema::Merge::Key(by)) => {
            interleave(list, before, order, |one, other| one.get(by) == other.get(by))
        }
        _ => interleave(list, before, order, |one, other| one == other),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(mut object: Value, patch: &Value) -> Value {
        merge(&mut object, patch).unwrap();
        object
    }

    #[test]
    fn containers_merge_by_name() {
        let object = json!({"spec": {"template": {"spec": {"containers": [
            {"name": "a", "image": "x:1", "env": [{"name": "E", "value": "1"}]},
            {"name": "b", "image": "y:1"},
        ]}}}});
        let patch = json!({"spec": {"template": {"spec": {"containers": [
            {"name": "a", "image": "x:2", "env": [{"name": "F", "value": "2"}]},
            {"name": "c", "image": "z:1"},
            {"name": "b", "$patch": "delete"},
        ]}}}});
        let containers = merged(object, &patch)["spec"]["template"]["spec"]["containers"].clone();
        assert_eq!(
            containers,
            json!([
                {"name": "a", "image": "x:2", "env": [{"name": "F", "value": "2"}, {"name": "E", "value": "1"}]},
                {"name": "c", "image": "z:1"},
            ])
        );
    }

    #[test]
    fn lists_without_a_key_are_replaced_and_null_removes() {
        let object = json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "args": ["1"], "image": "i"}]}}}});
        let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "args": ["2"], "image": null}]}}}});
        assert_eq!(
            merged(object, &patch)["spec"]["template"]["spec"]["containers"],
            json!([{"name": "a", "args": ["2"]}])
        );
    }

    #[test]
    fn directives_replace_delete_and_order() {
        assert_eq!(
            merged(
                json!({"metadata": {"labels": {"a": "1"}}}),
                &json!({"metadata": {"labels": {"$patch": "replace", "b": "2"}}})
            ),
            json!({"metadata": {"labels": {"b": "2"}}})
        );
        assert_eq!(
            merged(
                json!({"metadata": {"finalizers": ["a", "b"]}}),
                &json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]}})
            ),
            json!({"metadata": {"finalizers": ["c", "b"]}})
        );
        assert_eq!(
            merged(
                json!({"status": {"conditions": [{"type": "A", "status": "False"}, {"type": "B"}]}}),
                &json!({"status": {
                    "$setElementOrder/conditions": [{"type": "B"}, {"type": "A"}],
                    "conditions": [{"type": "A", "status": "True"}],
                }})
            ),
            json!({"status": {"conditions": [{"type": "B"}, {"type": "A", "status": "True"}]}})
        );
    }
}
