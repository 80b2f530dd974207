//! Server-side apply: merges a configuration, drops what its manager no longer applies, and finds conflicts.

use serde_json::{Map, Value};

use super::{
    fields::Fields,
    schema::{Place, Topology},
};

/// One entry of `metadata.managedFields`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Owner {
    pub(crate) identity: Identity,
    pub(crate) time: String,
    pub(crate) fields: Fields,
}

/// Who an entry belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    /// Applies sort before updates.
    pub(crate) update: bool,
    pub(crate) manager: String,
    pub(crate) api_version: String,
    pub(crate) subresource: String,
}

/// What an apply came to.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) object: Value,
    pub(crate) owners: Vec<Owner>,
}

/// The fields of another manager that an apply would change.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Conflict {
    pub(crate) identity: Identity,
    pub(crate) paths: Vec<String>,
}

/// Applies `config` to `live` on behalf of `identity`.
///
/// # Errors
/// The conflicts with other managers, unless `forced`.
pub(crate) fn apply(
    place: &Place<'_>,
    live: &Value,
    config: &Value,
    mut owners: Vec<Owner>,
    identity: &Identity,
    forced: bool,
) -> Result<Applied, Vec<Conflict>> {
    let mut object = merge(place, Some(live), config);
    let mut applied = fields_of(place, config);
    strip(&mut applied);
    // An applier is known by its name; the version in which it applies may change.
    let is_own = |owner: &Owner| {
        !owner.identity.update
            && owner.identity.manager == identity.manager
            && owner.identity.subresource == identity.subresource
    };
    let own = owners.iter().position(is_own).map(|index| owners.remove(index));
    let others = owners
        .iter()
        .fold(Fields::default(), |all, owner| all.union(&owner.fields));
    let dropped = own
        .as_ref()
        .map(|own| own.fields.difference(&applied))
        .unwrap_or_default();
    prune(place, &mut object, &dropped, &others, &applied);

    let (changed, removed) = compare(place, live, &object);
    let mut conflicts = Vec::new();
    for owner in &mut owners {
        let taken = owner.fields.intersection(&changed);
        if !taken.is_empty() {
            if forced {
                owner.fields = owner.fields.difference(&taken);
            } else {
                conflicts.push(Conflict {
                    identity: owner.identity.clone(),
                    paths: taken.paths(),
                });
            }
        }
        owner.fields = owner.fields.difference(&removed);
    }
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    owners.retain(|owner| !owner.fields.is_empty());
    if !applied.is_empty() {
        let time = own
            .filter(|own| own.fields == applied)
            .map_or_else(String::new, |own| own.time);
        owners.push(Owner {
            identity: identity.clone(),
            time,
            fields: applied,
        });
    }
    Ok(Applied { object, owners })
}

/// Fields that belong to the server, or say what the object is.
pub(crate) fn strip(fields: &mut Fields) {
    for path in [&["f:apiVersion"][..], &["f:kind"]] {
        fields.forget(path);
    }
    for field in [
        "name",
        "namespace",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "uid",
        "generation",
        "managedFields",
        "resourceVersion",
    ] {
        fields.forget(&["f:metadata", &format!("f:{field}")]);
    }
}

/// The paths that a value sets.
pub(crate) fn fields_of(place: &Place<'_>, value: &Value) -> Fields {
    let mut out = Fields::default();
    match (place.topology(value), value) {
        (Topology::Granular, Value::Object(map)) if !map.is_empty() => {
            for (key, member) in map {
                out.add(format!("f:{key}"), fields_of(&place.member(key), member));
            }
        }
        (Topology::Map(keys), Value::Array(items)) if !items.is_empty() => {
            for item in items {
                out.add(key_step(&keys, item), item_fields(place, item));
            }
        }
        (Topology::Set, Value::Array(items)) if !items.is_empty() => {
            for item in items {
                out.add(format!("v:{item}"), Fields::leaf());
            }
        }
        _ => return Fields::leaf(),
    }
    out
}

/// The fields of a value that is new as a whole: besides its leaves, the maps and lists that hold them.
pub(crate) fn whole(place: &Place<'_>, value: &Value) -> Fields {
    let mut out = Fields::default();
    match (place.topology(value), value) {
        (Topology::Granular, Value::Object(map)) if !map.is_empty() => {
            for (key, member) in map {
                out.add(format!("f:{key}"), whole(&place.member(key), member));
            }
        }
        (Topology::Map(keys), Value::Array(items)) if !items.is_empty() => {
            for item in items {
                out.add(key_step(&keys, item), whole_item(place, item));
            }
        }
        _ => return fields_of(place, value),
    }
    out.own = !place.is_always_there();
    out
}

fn whole_item(place: &Place<'_>, item: &Value) -> Fields {
    let mut fields = whole(&place.item(), item);
    fields.own = true;
    fields
}

fn item_fields(place: &Place<'_>, item: &Value) -> Fields {
    let mut fields = fields_of(&place.item(), item);
    fields.own = true;
    fields
}

/// The step to the item of a keyed list.
fn key_step(keys: &[(String, Option<Value>)], item: &Value) -> String {
    let mut map = Map::new();
    for (key, default) in keys {
        if let Some(found) = item.get(key).or(default.as_ref()) {
            map.insert(key.clone(), found.clone());
        }
    }
    format!("k:{}", Value::Object(map))
}

fn merge(place: &Place<'_>, live: Option<&Value>, config: &Value) -> Value {
    match (place.topology(config), live, config) {
        (Topology::Granular, Some(Value::Object(live)), Value::Object(config)) => {
            let mut out = live.clone();
            for (key, member) in config {
                let merged = merge(&place.member(key), live.get(key), member);
                out.insert(key.clone(), merged);
            }
            Value::Object(out)
        }
        (Topology::Map(keys), Some(Value::Array(live)), Value::Array(config)) => {
            let mut out = live.clone();
            for item in config {
                let step = key_step(&keys, item);
                match out.iter().position(|known| key_step(&keys, known) == step) {
                    Some(index) => out[index] = merge(&place.item(), Some(&out[index]), item),
                    None => out.push(item.clone()),
                }
            }
            Value::Array(out)
        }
        (Topology::Set, Some(Value::Array(live)), Value::Array(config)) => {
            let mut out = live.clone();
            out.extend(config.iter().filter(|item| !live.contains(item)).cloned());
            Value::Array(out)
        }
        _ => config.clone(),
    }
}

/// Takes out of `value` the `dropped` paths that nobody else owns.
fn prune(place: &Place<'_>, value: &mut Value, dropped: &Fields, others: &Fields, applied: &Fields) {
    let nothing = Fields::default();
    let topology = place.topology(value);
    for (step, gone) in &dropped.children {
        let theirs = others.children.get(step).unwrap_or(&nothing);
        let ours = applied.children.get(step).unwrap_or(&nothing);
        let kept = !theirs.is_empty() || !ours.is_empty();
        match (value.as_object_mut().is_some(), step.strip_prefix("f:")) {
            (true, Some(key)) => {
                let Some(map) = value.as_object_mut() else {
                    continue;
                };
                let Some(member) = map.get_mut(key) else { continue };
                if !kept && gone.own {
                    map.remove(key);
                    continue;
                }
                prune(&place.member(key), member, gone, theirs, ours);
                let emptied = member.as_object().is_some_and(Map::is_empty)
                    || member.as_array().is_some_and(Vec::is_empty);
                if emptied && !kept {
                    map.remove(key);
                }
            }
            _ => prune_item(place, &topology, value, step, gone, theirs, ours),
        }
    }
}

fn prune_item(
    place: &Place<'_>,
    topology: &Topology,
    value: &mut Value,
    step: &str,
    gone: &Fields,
    theirs: &Fields,
    ours: &Fields,
) {
    let Some(items) = value.as_array_mut() else { return };
    let kept = !theirs.is_empty() || !ours.is_empty();
    match topology {
        Topology::Map(keys) => {
            let Some(index) = items.iter().position(|item| key_step(keys, item) == step) else {
                return;
            };
            if !kept && gone.own {
                items.remove(index);
            } else {
                prune(&place.item(), &mut items[index], gone, theirs, ours);
            }
        }
        Topology::Set if !kept => items.retain(|item| format!("v:{item}") != step),
        _ => {}
    }
}

/// The paths that were added or changed, and those that were removed.
pub(crate) fn compare(place: &Place<'_>, old: &Value, new: &Value) -> (Fields, Fields) {
    if old == new {
        return (Fields::default(), Fields::default());
    }
    match (place.topology(new), old, new) {
        (Topology::Granular, Value::Object(old), Value::Object(new)) => {
            let mut out = (Fields::default(), Fields::default());
            for (key, member) in new {
                let step = || format!("f:{key}");
                match old.get(key) {
                    Some(known) if known == member => {}
                    Some(known) => {
                        let (changed, removed) = compare(&place.member(key), known, member);
                        out.0.add(step(), changed);
                        out.1.add(step(), removed);
                    }
                    None => out.0.add(step(), whole(&place.member(key), member)),
                }
            }
            for (key, member) in old.iter().filter(|(key, _)| !new.contains_key(*key)) {
                out.1.add(format!("f:{key}"), whole(&place.member(key), member));
            }
            out
        }
        (Topology::Map(keys), Value::Array(old), Value::Array(new)) => compare_keyed(place, &keys, old, new),
        (Topology::Set, Value::Array(old), Value::Array(new)) => {
            let only = |one: &[Value], other: &[Value]| {
                let mut out = Fields::default();
                for item in one.iter().filter(|item| !other.contains(item)) {
                    out.add(format!("v:{item}"), Fields::leaf());
                }
                out
            };
            (only(new, old), only(old, new))
        }
        _ => (fields_of(place, new).union(&Fields::leaf()), Fields::default()),
    }
}

fn compare_keyed(
    place: &Place<'_>,
    keys: &[(String, Option<Value>)],
    old: &[Value],
    new: &[Value],
) -> (Fields, Fields) {
    let mut out = (Fields::default(), Fields::default());
    let find = |list: &[Value], step: &str| list.iter().position(|item| key_step(keys, item) == step);
    for item in new {
        let step = key_step(keys, item);
        match find(old, &step) {
            Some(index) => {
                let (changed, removed) = compare(&place.item(), &old[index], item);
                out.0.add(step.clone(), changed);
                out.1.add(step, removed);
            }
            None => out.0.add(step, whole_item(place, item)),
        }
    }
    for item in old {
        let step = key_step(keys, item);
        if find(new, &step).is_none() {
            out.1.add(step, whole_item(place, item));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn identity(manager: &str, update: bool) -> Identity {
        Identity {
            update,
            manager: manager.to_owned(),
            api_version: "apps/v1".to_owned(),
            subresource: String::new(),
        }
    }

    fn run(
        live: &Value,
        config: &Value,
        owners: Vec<Owner>,
        manager: &str,
        forced: bool,
    ) -> Result<Applied, Vec<Conflict>> {
        apply(
            &Place::Builtin(Vec::new()),
            live,
            config,
            owners,
            &identity(manager, false),
            forced,
        )
    }

    #[test]
    fn fields_that_are_no_longer_applied_go_away() {
        let first = json!({"spec": {"replicas": 2, "template": {"spec": {"containers": [
            {"name": "a", "image": "i", "args": ["x"]}, {"name": "b", "image": "j"},
        ]}}}});
        let applied = run(
            &json!({"metadata": {"labels": {"kept": "1"}}}),
            &first,
            Vec::new(),
            "me",
            false,
        )
        .unwrap();
        let second = json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "i2"}]}}}});
        let applied = run(&applied.object, &second, applied.owners, "me", false).unwrap();
        assert_eq!(
            applied.object,
            json!({
                "metadata": {"labels": {"kept": "1"}},
                "spec": {"template": {"spec": {"containers": [{"name": "a", "image": "i2"}]}}},
            })
        );
    }

    #[test]
    fn another_managers_value_is_a_conflict_until_forced() {
        let live = json!({"spec": {"replicas": 2}});
        let owner = Owner {
            identity: identity("hpa", true),
            time: String::new(),
            fields: Fields::from_value(&json!({"f:spec": {"f:replicas": {}}})),
        };
        let config = json!({"spec": {"replicas": 5}});
        let conflicts = run(&live, &config, vec![owner.clone()], "me", false).unwrap_err();
        assert_eq!(conflicts[0].paths, [".spec.replicas"]);
        let applied = run(&live, &config, vec![owner.clone()], "me", true).unwrap();
        assert_eq!(applied.object, json!({"spec": {"replicas": 5}}));
        assert_eq!(applied.owners.len(), 1);
        assert_eq!(applied.owners[0].identity.manager, "me");

        let same = run(&live, &json!({"spec": {"replicas": 2}}), vec![owner], "me", false).unwrap();
        assert_eq!(same.owners.len(), 2, "both own an equal value");
    }

    #[test]
    fn what_somebody_else_owns_too_stays_when_one_lets_go() {
        let shared = json!({"f:metadata": {"f:labels": {"f:a": {}, "f:b": {}}}});
        let owner = |name: &str, fields: &Value| Owner {
            identity: identity(name, false),
            time: String::new(),
            fields: Fields::from_value(fields),
        };
        let live = json!({"metadata": {"labels": {"a": "1", "b": "2"}}});
        let owners = vec![
            owner("me", &shared),
            owner("you", &json!({"f:metadata": {"f:labels": {"f:a": {}}}})),
        ];
        let applied = run(&live, &json!({}), owners, "me", false).unwrap();
        assert_eq!(applied.object, json!({"metadata": {"labels": {"a": "1"}}}));
    }
}
