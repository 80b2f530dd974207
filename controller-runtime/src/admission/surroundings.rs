//! Every rule for a new ScaledObject, given what stands beside it. The webhook and offline validation ask here.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, LimitRange};
use scaler_api::{Registry, keda::ScaledObject};

use super::{Findings, conflicts, requests, scaled_object};
use crate::scaled_object::hpa::Autoscaler;

/// What the rules for a ScaledObject look at besides it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings<'a> {
    /// The ScaledObjects of its namespace, or those that [can matter](conflicts::Rivals); itself may be among them.
    pub scaled_objects: &'a [Arc<ScaledObject>],
    /// The HPAs of its namespace, or those that can matter.
    pub autoscalers: &'a [Arc<Autoscaler>],
    /// The containers of its target, where that is there, and the LimitRanges of its namespace.
    pub containers: Option<(&'a [Container], &'a [LimitRange])>,
    /// Whether nothing is to be written. A dry run is often made before the target is there.
    pub dry_run: bool,
}

/// Whether the rules look at the target: it is a Deployment or a StatefulSet, and this is no dry run.
#[must_use]
pub fn looks_at_target(object: &ScaledObject, dry_run: bool) -> bool {
    !dry_run && requests::has_containers(object)
}

/// Everything that speaks against `object`, or is odd about it.
#[must_use]
pub fn check(object: &ScaledObject, registry: &Registry, around: &Surroundings<'_>) -> Findings {
    let mut findings = scaled_object::check(object, registry);
    // As KEDA has it: nobody knows what else wakes a target of another kind.
    let looks_at_target = looks_at_target(object, around.dry_run);
    findings.retain(|finding| looks_at_target || finding.reason != scaled_object::SCALE_TO_ZERO);
    findings.extend(conflicts::check(
        object,
        around.scaled_objects,
        around.autoscalers,
    ));
    // What is not there yet cannot be wrong.
    if let Some((containers, limit_ranges)) = around.containers.filter(|_| looks_at_target) {
        findings.extend(requests::check(object, containers, limit_ranges));
    }
    findings
}
