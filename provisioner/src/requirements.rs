//! Requirements on labels, as sets.

use crate::Offering;

/// Requirements by label key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Requirements {}

impl Requirements {
    /// Whether the offering's zone, capacity type and reservation are allowed.
    #[must_use]
    pub fn allows_offering(&self, offering: &Offering) -> bool {
        let _: &Offering = offering;
        todo!("algebra of karpenter.md §2.5")
    }
}
