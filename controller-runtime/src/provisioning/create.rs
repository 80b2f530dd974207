//! Claims from planned nodes.

use std::sync::Arc;

use kube::{ResourceExt as _, api::PostParams};
use provisioner::{Provisioner, karpenter::labels, schedule::PlannedNode};

use super::plural;
use crate::{cluster::may_buy, node_autoscaler::Context};

/// Creates the claim of a planned node, if its pool still allows it; answers with its name.
pub(crate) async fn create<P: Provisioner>(cx: &Context<P>, node: &PlannedNode, why: &str) -> Option<String> {
    let (pool, usage) = cx
        .cluster
        .with(|state| (state.pool(&node.pool), state.usage(&node.pool)));
    let pool = pool.filter(|pool| may_buy(pool))?;
    let over = pool
        .spec
        .limits
        .as_ref()
        .and_then(|limits| usage.over_limit(limits));
    if let Some(resource) = over {
        let object = format!("NodePool/{}", node.pool);
        let reason = format!("{resource} resource usage exceeds limit");
        cx.runtime
            .decisions
            .record("provisioning", object, "", "nothing bought", reason);
        return None;
    }
    let mut claim = node.to_claim(&pool);
    // From the start, so that there is no moment in which it could go without its instance.
    claim.metadata.finalizers = Some(vec![labels::TERMINATION_FINALIZER.to_owned()]);
    let written = match cx.claims().create(&PostParams::default(), &claim).await {
        Ok(written) => Arc::new(written),
        Err(error) => {
            tracing::warn!(pool = node.pool, %error, "claim was not created, trying again");
            return None;
        }
    };
    cx.cluster.with(|state| state.apply_claim(&written));
    let choice = &node.choice;
    let what = format!(
        "{} {} in {}",
        choice.instance_type, choice.capacity_type, choice.zone
    );
    let reason = format!(
        "{why}; cheapest of {}, ${:.4}/h",
        plural(node.options.len(), "instance type"),
        choice.price
    );
    cx.runtime.decisions.record(
        "provisioning",
        format!("NodeClaim/{}", written.name_any()),
        "",
        what,
        reason,
    );
    Some(written.name_any())
}
