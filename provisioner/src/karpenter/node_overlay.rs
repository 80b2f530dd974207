//! NodeOverlay: corrections to prices and extended resources of instance types (alpha, off unless asked for).

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Condition, RequirementSpec, schema};
use crate::ResourceList;

/// Desired state of a NodeOverlay.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "karpenter.sh",
    version = "v1alpha1",
    kind = "NodeOverlay",
    plural = "nodeoverlays",
    category = "karpenter",
    shortname = "overlays",
    status = "NodeOverlayStatus",
    derive = "PartialEq",
    doc = "NodeOverlay corrects prices and extended resources of instance types",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Weight", type_ = "integer", json_path = ".spec.weight", priority = 1)
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.price) || !has(self.priceAdjustment)").message("cannot set both 'price' and 'priceAdjustment'"))]
pub struct NodeOverlaySpec {
    /// Which offerings it corrects.
    #[schemars(schema_with = "schema::claim_requirements")]
    pub requirements: Vec<RequirementSpec>,
    /// Added to the price: `+0.5`, `-10%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(
        pattern = r"^([+-][0-9]*\.?[0-9]+|\+[0-9]*\.?[0-9]+%|-([0-9]{1,2}(\.[0-9]+)?|100)%)$"
    ))]
    pub price_adjustment: Option<String>,
    /// The price instead of the cloud's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]+(\.[0-9]+)?$"))]
    pub price: Option<String>,
    /// Extended resources that the type has in addition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.all(x, !(x in ['cpu', 'memory', 'ephemeral-storage', 'pods']))").message("invalid resource restricted"))]
    pub capacity: Option<ResourceList>,
    /// Overlays of higher weight win.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub weight: Option<i32>,
}

/// Observed state of a NodeOverlay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeOverlayStatus {
    /// `ValidationSucceeded` (reasons `RuntimeValidation`, `Conflict`) and `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schema::conditions")]
    pub conditions: Vec<Condition>,
}
