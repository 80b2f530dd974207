//! Sizes of ReplicaSets, and the fences of a rollout.

use k8s_openapi::{
    api::apps::v1::{DeploymentSpec, ReplicaSet},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::sim::controllers::meta::scaled_value;

/// How many pods a set is to have.
pub(super) fn replicas(set: &ReplicaSet) -> i32 {
    set.spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or_default()
}

pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status
        .as_ref()
        .and_then(|status| status.available_replicas)
        .unwrap_or_default()
}

pub(super) fn set_replicas(set: &mut ReplicaSet, replicas: i32) {
    if let Some(spec) = &mut set.spec {
        spec.replicas = Some(replicas);
    }
}

/// How many pods there may be above the wanted number.
pub(super) fn max_surge(spec: &DeploymentSpec) -> i32 {
    fences(spec).0
}

/// How many pods may be unavailable.
pub(super) fn max_unavailable(spec: &DeploymentSpec) -> i32 {
    fences(spec).1.min(spec.replicas.unwrap_or(1))
}

fn fences(spec: &DeploymentSpec) -> (i32, i32) {
    let strategy = spec.strategy.clone().unwrap_or_default();
    if strategy.type_.as_deref() == Some("Recreate") {
        return (0, 0);
    }
    let (replicas, rolling) = (
        spec.replicas.unwrap_or(1),
        strategy.rolling_update.unwrap_or_default(),
    );
    let quarter = IntOrString::String("25%".to_owned());
    let surge = scaled_value(rolling.max_surge.as_ref().unwrap_or(&quarter), replicas, true);
    let unavailable = scaled_value(
        rolling.max_unavailable.as_ref().unwrap_or(&quarter),
        replicas,
        false,
    );
    // Both at zero would never move.
    if surge == 0 && unavailable == 0 {
        (0, 1)
    } else {
        (surge, unavailable)
    }
}
