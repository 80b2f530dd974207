//! `metadata.managedFields`: who set which field.

use serde_json::{Map, Value};

use super::{
    patch::{
        apply::{Conflict, Identity, Owner, compare, fields_of, strip, whole},
        fields::Fields,
        schema::Place,
    },
    state::State,
    status::ApiError,
    value,
    verbs::{Call, Manager},
};

/// Where ownership of a call's objects is looked up.
pub(crate) fn schema(call: &Call) -> Place<'_> {
    match &call.resource.extension {
        Some(extension) => Place::CustomRoot(extension.schema(&call.version.name)),
        None => Place::Builtin(Vec::new()),
    }
}

/// The entry that a manager's writes through this call go to.
pub(crate) fn identity(call: &Call, manager: &Manager) -> Identity {
    Identity {
        update: !manager.apply,
        manager: manager.name.clone(),
        api_version: call.api_version(),
        subresource: manager.subresource.clone(),
    }
}

/// The entries of an object.
pub(crate) fn read(object: &Value) -> Vec<Owner> {
    let entries = value::items(object, &["metadata", "managedFields"]);
    let owner = |entry: &Value| Owner {
        identity: Identity {
            update: value::text(entry, &["operation"]) != "Apply",
            manager: value::text(entry, &["manager"]).to_owned(),
            api_version: value::text(entry, &["apiVersion"]).to_owned(),
            subresource: value::text(entry, &["subresource"]).to_owned(),
        },
        time: value::text(entry, &["time"]).to_owned(),
        fields: Fields::from_value(value::at(entry, &["fieldsV1"]).unwrap_or(&Value::Null)),
    };
    entries.iter().map(owner).collect()
}

/// Writes the entries; those without a time get `now`.
pub(crate) fn write(object: &mut Value, mut owners: Vec<Owner>, now: &str) {
    for owner in &mut owners {
        if owner.time.is_empty() {
            now.clone_into(&mut owner.time);
        }
    }
    owners.retain(|owner| !owner.fields.is_empty());
    owners.sort_by(|a, b| {
        let rank = |owner: &Owner| (owner.identity.update, owner.time.clone(), owner.identity.clone());
        rank(a).cmp(&rank(b))
    });
    if owners.is_empty() {
        value::remove(object, &["metadata", "managedFields"]);
    } else {
        let entries: Vec<Value> = owners.iter().map(entry).collect();
        value::set(object, &["metadata", "managedFields"], entries);
    }
}

fn entry(owner: &Owner) -> Value {
    let mut out = Map::new();
    out.insert("manager".to_owned(), owner.identity.manager.as_str().into());
    out.insert(
        "operation".to_owned(),
        if owner.identity.update { "Update" } else { "Apply" }.into(),
    );
    out.insert(
        "apiVersion".to_owned(),
        owner.identity.api_version.as_str().into(),
    );
    out.insert("time".to_owned(), owner.time.as_str().into());
    out.insert("fieldsType".to_owned(), "FieldsV1".into());
    out.insert("fieldsV1".to_owned(), owner.fields.to_value());
    if !owner.identity.subresource.is_empty() {
        out.insert(
            "subresource".to_owned(),
            owner.identity.subresource.as_str().into(),
        );
    }
    Value::Object(out)
}

/// An object that was never tracked and is applied now belonged, all of it, to whoever came before.
pub(crate) fn before_first_apply(call: &Call, object: &Value, owners: Vec<Owner>) -> Vec<Owner> {
    if !owners.is_empty() {
        return owners;
    }
    let mut fields = whole(&schema(call), object);
    strip(&mut fields);
    if call.version.status {
        fields.forget(&["f:status"]);
    }
    let identity = Identity {
        update: true,
        manager: "before-first-apply".to_owned(),
        api_version: call.api_version(),
        subresource: String::new(),
    };
    vec![Owner {
        identity,
        time: value::text(object, &["metadata", "creationTimestamp"]).to_owned(),
        fields,
    }]
}

/// Tracks a creation.
pub(crate) fn created(state: &State, call: &Call, manager: &Manager, object: &mut Value) {
    value::remove(object, &["metadata", "managedFields"]);
    if !manager.apply && !state.track_updates {
        return;
    }
    let mut fields = match &manager.applied {
        Some(config) => fields_of(&schema(call), config),
        None => whole(&schema(call), object),
    };
    strip(&mut fields);
    if call.version.status {
        fields.forget(&["f:status"]);
    }
    let owner = Owner {
        identity: identity(call, manager),
        time: String::new(),
        fields,
    };
    write(object, vec![owner], &state.timestamp());
}

/// Tracks a plain update; an apply has tracked itself.
pub(crate) fn updated(state: &State, call: &Call, manager: &Manager, old: &Value, object: &mut Value) {
    if manager.apply {
        return;
    }
    // An entry that says nothing asks for all to be forgotten.
    let entries = value::items(object, &["metadata", "managedFields"]);
    if entries
        .iter()
        .any(|entry| value::text(entry, &["manager"]).is_empty() && entry.get("fieldsV1").is_none())
    {
        value::remove(object, &["metadata", "managedFields"]);
    }
    let tracked = value::at(old, &["metadata", "managedFields"]).is_some();
    if !tracked && !state.track_updates {
        value::remove(object, &["metadata", "managedFields"]);
        return;
    }
    let place = schema(call);
    let (mut changed, removed) = compare(&place, old, object);
    strip(&mut changed);
    if changed.is_empty() && removed.is_empty() {
        return;
    }
    let identity = identity(call, manager);
    let mut owners = read(object);
    // A scale is tracked only where somebody owns the replicas.
    let owned = |owner: &Owner| !owner.fields.intersection(&changed).is_empty();
    if manager.subresource == "scale" && !owners.iter().any(owned) {
        return;
    }
    let gone = changed.union(&removed);
    let mut own = None;
    for owner in &mut owners {
        if owner.identity == identity {
            owner.fields = owner.fields.difference(&removed).union(&changed);
            owner.time = String::new();
            own = Some(());
        } else {
            owner.fields = owner.fields.difference(&gone);
        }
    }
    if own.is_none() && !changed.is_empty() {
        owners.push(Owner {
            identity,
            time: String::new(),
            fields: changed,
        });
    }
    write(object, owners, &state.timestamp());
}

/// The 409 that names every conflict.
pub(crate) fn conflict(conflicts: &[Conflict]) -> ApiError {
    let total: usize = conflicts.iter().map(|conflict| conflict.paths.len()).sum();
    let who = |conflict: &Conflict| {
        let Identity {
            manager,
            api_version,
            subresource,
            update,
        } = &conflict.identity;
        let mut text = format!("conflict with {manager:?}");
        if !subresource.is_empty() {
            text.push_str(&format!(" with subresource {subresource:?}"));
        }
        if *update {
            text.push_str(&format!(" using {api_version}"));
        }
        text
    };
    let message = match conflicts {
        [only] if only.paths.len() == 1 => format!("{}: {}", who(only), only.paths[0]),
        _ => {
            let listed = conflicts.iter().map(|conflict| {
                let paths: Vec<String> = conflict.paths.iter().map(|path| format!("- {path}")).collect();
                let who = who(conflict).replacen("conflict", "conflicts", 1);
                format!("{who}:\n{}", paths.join("\n"))
            });
            listed.collect::<Vec<_>>().join("\n")
        }
    };
    let plural = if total == 1 { "conflict" } else { "conflicts" };
    let mut error = ApiError::new(
        409,
        "Conflict",
        format!("Apply failed with {total} {plural}: {message}"),
    );
    for conflict in conflicts {
        for path in &conflict.paths {
            error = error.with_cause("FieldManagerConflict", who(conflict), path);
        }
    }
    error
}
