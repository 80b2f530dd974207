//! HPAs as a watch keeps them: thousands, and nearly all of them are never looked at.

use kube::{Resource, core::ObjectMeta};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;

use super::Autoscaler;

/// An [`Autoscaler`] whose specification and status are text until they are [read](Self::read): a sixth of what a tree of
/// values takes.
#[derive(Clone, Debug, Default, Resource, Deserialize)]
#[resource(inherit = "HorizontalPodAutoscaler")]
pub struct KeptAutoscaler {
    /// Name, labels, owners.
    pub metadata: ObjectMeta,
    /// What is wanted.
    #[serde(default)]
    pub spec: Text,
    /// What the HPA controller found.
    #[serde(default)]
    pub status: Text,
}

/// A JSON value as text, its keys in order: equal texts are equal values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(Box<str>);

impl KeptAutoscaler {
    /// What it says.
    #[must_use]
    pub fn read(&self) -> Autoscaler {
        Autoscaler {
            metadata: self.metadata.clone(),
            spec: self.spec.value(),
            status: self.status.value(),
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

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from(&Value::deserialize(deserializer)?))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_read_is_what_the_api_server_said() {
        let said = json!({
            "metadata": {"name": "keda-hpa-web", "labels": {"a": "b"}},
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
        let read = |text| serde_json::from_str::<Text>(text).unwrap();
        assert_eq!(read(r#"{"a": 1, "b": [2]}"#), read(r#"{"b":[2],"a":1}"#));
        assert_ne!(read(r#"{"a": 1}"#), read(r#"{"a": 2}"#));
    }
}
