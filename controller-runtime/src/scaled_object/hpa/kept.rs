//! HPAs as a watch keeps them: thousands, and nearly all of them are never looked at.

use kube::{Resource, core::ObjectMeta};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;

use super::Autoscaler;

/// An [`Autoscaler`] of which most is text until it is [read](Self::read): a sixth of what a tree of values takes.
#[derive(Clone, Debug, Default, Resource, Deserialize)]
#[resource(inherit = "HorizontalPodAutoscaler")]
#[serde(from = "Autoscaler")]
pub struct KeptAutoscaler {
    /// Name, version and times; nothing of what is among [`tags`](Self::tags).
    pub metadata: ObjectMeta,
    /// Labels, annotations, owners and finalizers.
    pub tags: Text,
    /// What is wanted.
    pub spec: Text,
    /// What the HPA controller found.
    pub status: Text,
}

/// A JSON value as text, its keys in order: equal texts are equal values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(Box<str>);

impl KeptAutoscaler {
    /// Labels, annotations, owners and finalizers, and nothing else.
    #[must_use]
    pub fn tags(&self) -> ObjectMeta {
        serde_json::from_value(self.tags.value()).unwrap_or_default()
    }

    /// What it says.
    #[must_use]
    pub fn read(&self) -> Autoscaler {
        let tags = self.tags();
        Autoscaler {
            metadata: ObjectMeta {
                labels: tags.labels,
                annotations: tags.annotations,
                owner_references: tags.owner_references,
                finalizers: tags.finalizers,
                ..self.metadata.clone()
            },
            spec: self.spec.value(),
            status: self.status.value(),
        }
    }
}

impl From<Autoscaler> for KeptAutoscaler {
    fn from(said: Autoscaler) -> Self {
        let mut metadata = said.metadata;
        let tags = ObjectMeta {
            labels: metadata.labels.take(),
            annotations: metadata.annotations.take(),
            owner_references: metadata.owner_references.take(),
            finalizers: metadata.finalizers.take(),
            ..ObjectMeta::default()
        };
        Self {
            metadata,
            tags: Text::of(&tags),
            spec: Text::from(&said.spec),
            status: Text::from(&said.status),
        }
    }
}

impl Text {
    /// The text of whatever can be JSON.
    #[must_use]
    pub fn of(value: &impl Serialize) -> Self {
        Self::from(&serde_json::to_value(value).unwrap_or_default())
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_default()
    }
}

impl From<&Value> for Text {
    fn from(value: &Value) -> Self {
        Self(value.to_string().into())
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::from(&Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_read_is_what_the_api_server_said() {
        let said = json!({
            "metadata": {
                "name": "keda-hpa-web", "namespace": "shop", "uid": "7", "labels": {"a": "b"}, "annotations": {"c": "d"},
                "finalizers": ["e"],
                "ownerReferences": [{"apiVersion": "v1", "kind": "ScaledObject", "name": "web", "uid": "8"}],
            },
            "spec": {"maxReplicas": 7, "behavior": {"scaleDown": {"tolerance": 0.1}}},
            "status": {"conditions": [{"type": "ScalingActive", "status": "True"}]},
        });
        let kept: KeptAutoscaler = serde_json::from_value(said.clone()).unwrap();
        assert_eq!(serde_json::to_value(kept.read()).unwrap(), said);
        let empty: KeptAutoscaler = serde_json::from_value(json!({"metadata": {}})).unwrap();
        assert_eq!(
            (empty.read().spec, empty.read().status),
            (Value::Null, Value::Null)
        );
    }

    #[test]
    fn equal_values_are_equal_whatever_the_order_of_their_keys() {
        let read = |text| Text::from(&serde_json::from_str(text).unwrap());
        assert_eq!(read(r#"{"a": 1, "b": [2]}"#), read(r#"{"b":[2],"a":1}"#));
        assert_ne!(read(r#"{"a": 1}"#), read(r#"{"a": 2}"#));
    }
}
