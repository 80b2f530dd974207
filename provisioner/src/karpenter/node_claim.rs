//! NodeClaim: one node that is wanted, being bought, or there.

use k8s_openapi::api::core::v1::Taint;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Condition, NillableDuration, RequirementSpec, duration::finite_duration, labels,
    node_pool::default_expire_after, schema,
};
use crate::{CapacityType, ResourceList};

/// Desired state of a NodeClaim. It never changes.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "karpenter.sh",
    version = "v1",
    kind = "NodeClaim",
    plural = "nodeclaims",
    category = "karpenter",
    status = "NodeClaimStatus",
    derive = "PartialEq",
    doc = "NodeClaim is one node that is wanted, being bought, or there",
    printcolumn(
        name = "Type",
        type_ = "string",
        json_path = r".metadata.labels.node\.kubernetes\.io/instance-type"
    ),
    printcolumn(
        name = "Capacity",
        type_ = "string",
        json_path = r".metadata.labels.karpenter\.sh/capacity-type"
    ),
    printcolumn(
        name = "Zone",
        type_ = "string",
        json_path = r".metadata.labels.topology\.kubernetes\.io/zone"
    ),
    printcolumn(name = "Node", type_ = "string", json_path = ".status.nodeName"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "ImageID",
        type_ = "string",
        json_path = ".status.imageID",
        priority = 1
    ),
    printcolumn(name = "ID", type_ = "string", json_path = ".status.providerID", priority = 1),
    printcolumn(
        name = "NodePool",
        type_ = "string",
        json_path = r".metadata.labels.karpenter\.sh/nodepool",
        priority = 1
    ),
    printcolumn(
        name = "NodeClass",
        type_ = "string",
        json_path = ".spec.nodeClassRef.name",
        priority = 1
    ),
    printcolumn(
        name = "Drifted",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Drifted\")].status",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message("spec is immutable"))]
pub struct NodeClaimSpec {
    /// Taints of the node, for good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::taints")]
    pub taints: Vec<Taint>,
    /// Taints that something removes once the node is ready for pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::taints")]
    pub startup_taints: Vec<Taint>,
    /// What may be bought.
    #[schemars(schema_with = "schema::claim_requirements")]
    pub requirements: Vec<RequirementSpec>,
    /// What it must have room for.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub resources: ClaimResources,
    /// The node class.
    pub node_class_ref: NodeClassRef,
    /// How long a drain may take before pods are removed by force; absent waits for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "finite_duration")]
    pub termination_grace_period: Option<NillableDuration>,
    /// When the node is too old, `Never` for never.
    #[serde(default = "default_expire_after")]
    pub expire_after: NillableDuration,
}

/// What a claim must have room for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClaimResources {
    /// Sum over pods and daemons.
    #[serde(default, skip_serializing_if = "ResourceList::is_empty")]
    pub requests: ResourceList,
}

/// Names a node class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct NodeClassRef {
    /// API group, e.g. `karpenter.k8s.aws`.
    #[schemars(length(min = 1), regex(pattern = r"^[^/]*$"))]
    pub group: String,
    /// Kind, e.g. `EC2NodeClass`.
    #[schemars(length(min = 1))]
    pub kind: String,
    /// Name.
    #[schemars(length(min = 1))]
    pub name: String,
}

/// Observed state of a NodeClaim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeClaimStatus {
    /// The node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// The instance.
    #[serde(default, rename = "providerID", skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// Its image.
    #[serde(default, rename = "imageID", skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// What it is expected to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<ResourceList>,
    /// What of it pods are expected to get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocatable: Option<ResourceList>,
    /// See [`conditions`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "super::schema::conditions")]
    pub conditions: Vec<Condition>,
    /// When a pod last came, ended or went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_pod_event_time: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>,
}

/// Types of a NodeClaim's conditions.
pub mod conditions {
    /// The instance was bought.
    pub const LAUNCHED: &str = "Launched";
    /// Its node joined.
    pub const REGISTERED: &str = "Registered";
    /// Its node takes pods.
    pub const INITIALIZED: &str = "Initialized";
    /// Conjunction of the three above.
    pub const READY: &str = "Ready";
    /// What `Ready` depends on.
    pub const DEPENDENTS: &[&str] = &[LAUNCHED, REGISTERED, INITIALIZED];
    /// Consolidation may look at it.
    pub const CONSOLIDATABLE: &str = "Consolidatable";
    /// It is no longer what its pool or class asks for.
    pub const DRIFTED: &str = "Drifted";
    /// Its pods are gone.
    pub const DRAINED: &str = "Drained";
    /// Its volumes are detached.
    pub const VOLUMES_DETACHED: &str = "VolumesDetached";
    /// Its instance is being returned.
    pub const INSTANCE_TERMINATING: &str = "InstanceTerminating";
    /// The node is what was bought.
    pub const CONSISTENT_STATE_FOUND: &str = "ConsistentStateFound";
    /// Why it is being disrupted.
    pub const DISRUPTION_REASON: &str = "DisruptionReason";
}

impl NodeClaim {
    /// The status's conditions.
    #[must_use]
    pub fn conditions(&self) -> &[Condition] {
        self.status.as_ref().map_or(&[], |status| &status.conditions)
    }

    /// A label of the claim.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }

    /// The pool that it belongs to, if any.
    #[must_use]
    pub fn pool(&self) -> Option<&str> {
        self.label(labels::NODEPOOL)
    }

    /// The capacity type that was bought.
    #[must_use]
    pub fn capacity_type(&self) -> Option<CapacityType> {
        self.label(labels::CAPACITY_TYPE)?.parse().ok()
    }

    /// The instance that was bought.
    #[must_use]
    pub fn provider_id(&self) -> Option<&str> {
        self.status
            .as_ref()?
            .provider_id
            .as_deref()
            .filter(|id| !id.is_empty())
    }
}
