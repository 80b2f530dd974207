//! The cloud of a scenario.

use std::sync::Arc;

use provisioner::{
    fake::Fake,
    karpenter::Ec2NodeClass,
};
use scaler_api::SharedClock;

use crate::scenario::Scenario;

/// Builds the in-process cloud that a scenario describes, if it has one.
pub(super) fn build(scenario: &Scenario, seed: u64, clock: &SharedClock) -> anyhow::Result<Option<Arc<Fake<Ec2NodeClass>>>> {
    let _ = (scenario, seed, clock);
    Ok(None)
}
