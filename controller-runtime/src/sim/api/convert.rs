//! Between the stored form of an object and the version that a client speaks.

mod autoscaler;

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{
    resources::{Conversion, Resource},
    value,
};

/// The object in `version` of `resource`.
pub(crate) fn from_storage<'a>(resource: &Resource, version: &str, stored: &'a Value) -> Cow<'a, Value> {
    let api_version = resource.api_version(version);
    match resource.conversion {
        Conversion::Event => Cow::Owned(event_from_core(stored)),
        Conversion::HorizontalPodAutoscaler if version == "v1" => Cow::Owned(autoscaler::to_v1(stored)),
        _ if value::text(stored, &["apiVersion"]) == api_version => Cow::Borrowed(stored),
        _ => {
            let mut object = stored.clone();
            value::set(&mut object, &["apiVersion"], api_version);
            Cow::Owned(object)
        }
    }
}

/// The stored form of an object that a client wrote in `version`.
pub(crate) fn to_storage(resource: &Resource, version: &str, mut object: Value) -> Value {
    match resource.conversion {
        Conversion::Event => event_to_core(&object),
        Conversion::HorizontalPodAutoscaler if version == "v1" => autoscaler::from_v1(object),
        _ => {
            if version != resource.storage_version {
                value::set(
                    &mut object,
                    &["apiVersion"],
                    resource.api_version(&resource.storage_version),
                );
            }
            object
        }
    }
}

/// Members whose names differ: events.k8s.io, then core.
const EVENT_NAMES: [(&str, &str); 7] = [
    ("note", "message"),
    ("regarding", "involvedObject"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

fn renamed(object: &Value, api_version: &str, rename: impl Fn(&str) -> Option<&'static str>) -> Value {
    let mut out = Map::new();
    for (key, member) in object.as_object().into_iter().flatten() {
        let name = rename(key).unwrap_or(key);
        out.insert(name.to_owned(), member.clone());
    }
    out.insert("apiVersion".to_owned(), api_version.into());
    Value::Object(out)
}

fn event_from_core(stored: &Value) -> Value {
    let name = |key: &str| {
        EVENT_NAMES
            .iter()
            .find(|(_, core)| *core == key)
            .map(|(new, _)| *new)
    };
    renamed(stored, "events.k8s.io/v1", name)
}

fn event_to_core(object: &Value) -> Value {
    let name = |key: &str| {
        EVENT_NAMES
            .iter()
            .find(|(new, _)| *new == key)
            .map(|(_, core)| *core)
    };
    renamed(object, "v1", name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_convert_there_and_back() {
        let core = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "message": "m",
            "involvedObject": {"kind": "Pod"},
            "reportingComponent": "c",
            "count": 2,
            "reason": "R",
        });
        let new = event_from_core(&core);
        assert_eq!(new["note"], "m");
        assert_eq!(new["regarding"]["kind"], "Pod");
        assert_eq!(new["apiVersion"], "events.k8s.io/v1");
        assert_eq!(event_to_core(&new), core);
    }
}
