//! One object of many: one that cannot be read must not hide the others.

use std::{borrow::Cow, fmt};

use kube::{
    Api, Resource,
    api::ListParams,
    core::{DynamicObject, DynamicResourceScope, ObjectMeta, PartialObjectMeta},
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

use super::ObjectKey;

/// An object that is not what its type says: a field is missing or has another type.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{problem}")]
pub struct Unreadable {
    /// Whose it is.
    pub metadata: ObjectMeta,
    /// The field, and what is wrong with it.
    pub problem: String,
}

impl Unreadable {
    /// Its namespace and name.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        ObjectKey::new(text(&self.metadata.namespace), text(&self.metadata.name))
    }
}

/// An object, or why it cannot be read.
#[derive(Clone, Debug)]
pub(super) struct Item<K>(pub(super) Result<K, Box<Unreadable>>);

impl<'de, K: DeserializeOwned> Deserialize<'de> for Item<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let error = match K::deserialize(&value) {
            Ok(object) => return Ok(Self(Ok(object))),
            Err(error) => error.to_string(),
        };
        let PartialObjectMeta::<DynamicObject> { metadata, .. } =
            PartialObjectMeta::deserialize(&value).map_err(serde::de::Error::custom)?;
        let problem = match locate::<K>(&value, &error).as_str() {
            "" => error,
            field => format!("{field}: {error}"),
        };
        Ok(Self(Err(Box::new(Unreadable { metadata, problem }))))
    }
}

impl<K: Resource> Resource for Item<K> {
    type DynamicType = K::DynamicType;
    type Scope = DynamicResourceScope;

    fn kind(of: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(of)
    }

    fn group(of: &Self::DynamicType) -> Cow<'_, str> {
        K::group(of)
    }

    fn version(of: &Self::DynamicType) -> Cow<'_, str> {
        K::version(of)
    }

    fn plural(of: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(of)
    }

    fn api_version(of: &Self::DynamicType) -> Cow<'_, str> {
        K::api_version(of)
    }

    fn meta(&self) -> &ObjectMeta {
        match &self.0 {
            Ok(object) => object.meta(),
            Err(unreadable) => &unreadable.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(object) => object.meta_mut(),
            Err(unreadable) => &mut unreadable.metadata,
        }
    }
}

/// The same objects, read one by one.
pub(super) fn one_by_one<K>(api: &Api<K>) -> Api<Item<K>>
where
    K: Resource + Clone,
    K::DynamicType: Default,
{
    let (client, types) = (api.clone().into_client(), K::DynamicType::default());
    match api.namespace() {
        Some(namespace) => Api::namespaced_with(client, namespace, &types),
        None => Api::all_with(client, &types),
    }
}

/// Every object that can be read, and what is wrong with the others.
///
/// # Errors
/// If the API server does not list them.
pub async fn list_readable<K>(api: &Api<K>) -> kube::Result<(Vec<K>, Vec<Unreadable>)>
where
    K: Resource + Clone + DeserializeOwned + fmt::Debug,
    K::DynamicType: Default,
{
    let list = one_by_one(api).list(&ListParams::default()).await?;
    let (mut readable, mut unreadable) = (Vec::with_capacity(list.items.len()), Vec::new());
    for item in list.items {
        match item.0 {
            Ok(object) => readable.push(object),
            Err(problem) => unreadable.push(*problem),
        }
    }
    Ok((readable, unreadable))
}

/// The field that makes `value` fail with `error`, empty where that is the whole object or cannot be said.
///
/// Types that keep unknown fields lose the place of an error, so it is looked for: without the field at fault, or with
/// the one that is missing, the error is another one, or none.
fn locate<K: DeserializeOwned>(value: &Value, error: &str) -> String {
    let fails_so = |value: &Value| K::deserialize(value).is_err_and(|other| other.to_string() == error);
    let missing = error
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split('`').next());
    let mut path = Vec::new();
    if let Some(missing) = missing {
        path = place_for(missing, value, &mut Vec::new(), value, &fails_so).unwrap_or_default();
    } else {
        while let Some(step) = culprit(value, &path, &fails_so) {
            path.push(step);
        }
    }
    path.iter()
        .fold(String::new(), |words, step| match step.parse::<usize>() {
            Ok(index) => format!("{words}[{index}]"),
            Err(_) if words.is_empty() => step.clone(),
            Err(_) => format!("{words}.{step}"),
        })
}

/// The fields of an object, the indices of a list.
fn steps(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => fields.keys().cloned().collect(),
        Value::Array(items) => (0..items.len()).map(|index| index.to_string()).collect(),
        _ => Vec::new(),
    }
}

/// What below `path` fails: without it there is another error, or none.
fn culprit(value: &Value, path: &[String], fails_so: &impl Fn(&Value) -> bool) -> Option<String> {
    let mut whole = value.clone();
    let names = steps(below(&mut whole, path)?);
    names.into_iter().find(|name| {
        let mut without = value.clone();
        if let Some(part) = below(&mut without, path) {
            remove(part, name);
        }
        !fails_so(&without)
    })
}

/// The object within `part` that `field` is missing in: with it there is another error, or none.
fn place_for(
    field: &str,
    part: &Value,
    path: &mut Vec<String>,
    value: &Value,
    fails_so: &impl Fn(&Value) -> bool,
) -> Option<Vec<String>> {
    if part.as_object().is_some_and(|fields| !fields.contains_key(field)) {
        let mut with = value.clone();
        if let Some(Value::Object(fields)) = below(&mut with, path) {
            fields.insert(field.to_owned(), Value::Null);
        }
        if !fails_so(&with) {
            return Some(path.clone());
        }
    }
    for step in steps(part) {
        let inner = match part {
            Value::Array(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
            part => part.get(&step),
        };
        path.push(step);
        if let Some(found) = inner.and_then(|inner| place_for(field, inner, path, value, fails_so)) {
            return Some(found);
        }
        path.pop();
    }
    None
}

fn below<'a>(value: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |value, step| match value {
        Value::Object(fields) => fields.get_mut(step),
        Value::Array(items) => items.get_mut(step.parse::<usize>().ok()?),
        _ => None,
    })
}

fn remove(from: &mut Value, name: &str) {
    match from {
        Value::Object(fields) => {
            fields.remove(name);
        }
        Value::Array(items) => {
            if let Ok(index) = name.parse::<usize>() {
                items.remove(index);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use scaler_api::keda::{ScaledJob, ScaledObject};
    use serde_json::json;

    use super::*;

    fn problem<K: DeserializeOwned + fmt::Debug>(object: Value) -> String {
        let item: Item<K> = serde_json::from_value(object).unwrap();
        let unreadable = item.0.unwrap_err();
        assert_eq!(unreadable.key(), ObjectKey::new("shop", "odd"));
        unreadable.problem
    }

    #[test]
    fn the_field_at_fault_is_named() {
        let metadata = json!({"namespace": "shop", "name": "odd"});
        let trigger = json!({"type": "cron", "metadata": {"start": "0 1 * * *"}});
        let spec = json!({"scaleTargetRef": {"name": "web"}, "triggers": [trigger, trigger]});
        let with = |pointer: &str, value: Value| {
            let mut object = json!({"metadata": metadata, "spec": spec});
            *object.pointer_mut(pointer).unwrap() = value;
            object
        };
        let mut late = with("", json!({"metadata": metadata, "spec": spec}));
        late["spec"]["pollingInterval"] = json!("often");
        let cases = [
            (json!({"metadata": metadata}), "missing field `spec`"),
            (
                with("/spec/triggers", json!(3)),
                "spec.triggers: invalid type: integer `3`, expected a sequence",
            ),
            (
                with("/spec/scaleTargetRef", json!({})),
                "spec.scaleTargetRef: missing field `name`",
            ),
            (
                late,
                "spec.pollingInterval: invalid type: string \"often\", expected i32",
            ),
            (
                with("/spec/triggers/1/metadata/start", json!(7)),
                "spec.triggers[1].metadata.start: invalid type: integer `7`, expected a string",
            ),
        ];
        for (object, expected) in cases {
            assert_eq!(problem::<ScaledObject>(object.clone()), expected, "{object}");
        }
        assert_eq!(
            problem::<ScaledJob>(json!({"metadata": metadata})),
            "missing field `spec`"
        );
    }

    #[test]
    fn what_can_be_read_is_read() {
        let object = json!({"metadata": {"name": "fine"}, "spec": {"scaleTargetRef": {"name": "web"}, "triggers": []}});
        let item: Item<ScaledObject> = serde_json::from_value(object).unwrap();
        assert_eq!(item.meta().name.as_deref(), Some("fine"));
        assert_eq!(item.0.unwrap().spec.scale_target_ref.name, "web");
    }
}
