//! Karpenter's custom resources, as they stand on a cluster: existing YAML parses unchanged.
//!
//! | kind | group and version | short names |
//! |---|---|---|
//! | [`NodePool`] | `karpenter.sh/v1` | |
//! | [`NodeClaim`] | `karpenter.sh/v1` | |
//! | [`NodeOverlay`] | `karpenter.sh/v1alpha1` | `overlays` |
//! | [`Ec2NodeClass`] | `karpenter.k8s.aws/v1` | `ec2nc`, `ec2ncs` |
//! | [`KwokNodeClass`] | `karpenter.kwok.sh/v1alpha1` | `kwoknc` |
//!
//! [`crds`] has their definitions; [`labels`] the names that are written on other objects; [`validate`] the checks that
//! a controller makes beyond the schema; [`hash`] what drift compares.

#![allow(
    unreachable_pub,
    reason = "KubeSchema derives private structs with the visibility of the public ones"
)]

pub mod condition;
mod duration;
pub mod ec2_node_class;
pub mod hash;
mod kwok_node_class;
pub mod labels;
pub mod node_claim;
mod node_overlay;
pub mod node_pool;
pub mod old;
mod requirement_spec;
mod schema;
pub mod validate;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

pub use condition::{Condition, ConditionValue, set_condition};
pub use duration::{NillableDuration, parse_go_duration};
pub use ec2_node_class::{Ec2NodeClass, Ec2NodeClassSpec, Ec2NodeClassStatus};
pub use kwok_node_class::{KwokNodeClass, KwokNodeClassSpec, KwokNodeClassStatus};
pub use node_claim::{ClaimResources, NodeClaim, NodeClaimSpec, NodeClaimStatus, NodeClassRef};
pub use node_overlay::{NodeOverlay, NodeOverlaySpec, NodeOverlayStatus};
pub use node_pool::{
    Budget, ConsolidationPolicy, Disruption, DisruptionReason, NodeClaimTemplate, NodeClaimTemplateSpec,
    NodePool, NodePoolSpec, NodePoolStatus, TemplateMetadata,
};
pub use requirement_spec::{Operator, RequirementSpec};

/// The definitions of all kinds, in a fixed order.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        NodePool::crd(),
        NodeClaim::crd(),
        NodeOverlay::crd(),
        Ec2NodeClass::crd(),
        without_required_spec(KwokNodeClass::crd()),
    ]
}

/// A definition whose objects may do without a spec.
fn without_required_spec(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let schema = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut());
        // An empty list would be a change whenever the definition is applied: the API server keeps none.
        if let Some(schema) = schema {
            let required = schema.required.take().unwrap_or_default();
            let left: Vec<String> = required.into_iter().filter(|field| field != "spec").collect();
            schema.required = Some(left).filter(|left| !left.is_empty());
        }
    }
    crd
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests;
