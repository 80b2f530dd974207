//! KWOKNodeClass: nodes that exist in the API only.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::{Condition, NillableDuration, condition, hash};
use crate::{ClassStatus, NodeClass};

/// Desired state of a KWOKNodeClass.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize)]
#[kube(
    group = "karpenter.kwok.sh",
    version = "v1alpha1",
    kind = "KWOKNodeClass",
    root = "KwokNodeClass",
    plural = "kwoknodeclasses",
    category = "karpenter",
    shortname = "kwoknc",
    shortname = "kwokncs",
    status = "KwokNodeClassStatus",
    derive = "PartialEq",
    doc = "KWOKNodeClass holds the settings of nodes that exist in the API only",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct KwokNodeClassSpec {
    /// How long a node takes to register; absent for at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::duration::finite_duration")]
    pub node_registration_delay: Option<NillableDuration>,
}

/// A class may do without a spec, as Karpenter's own examples do.
impl<'de> Deserialize<'de> for KwokNodeClassSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Fields {
            node_registration_delay: Option<NillableDuration>,
        }
        let fields = Option::<Fields>::deserialize(deserializer)?.unwrap_or_default();
        Ok(Self {
            node_registration_delay: fields.node_registration_delay,
        })
    }
}

/// Observed state of a KWOKNodeClass.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KwokNodeClassStatus {
    /// `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schema::conditions")]
    pub conditions: Vec<Condition>,
}

impl NodeClass for KwokNodeClass {
    fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }

    fn status_json(&self, status: &ClassStatus) -> Value {
        json!({ "conditions": condition::merge(self.conditions(), &status.conditions, self.metadata.generation) })
    }

    fn drift_hash(&self) -> (String, &'static str) {
        (hash::structural(&json!(self.spec)), "v1")
    }
}
