//! Amounts of resources by name.

use std::collections::BTreeMap;

use scaler_api::Quantity;

/// Amounts by resource name (`cpu`, `memory`, `pods`, ...).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResourceList(pub BTreeMap<String, Quantity>);

impl ResourceList {
    /// `self - other`, floored at zero; keys of `self` only.
    #[must_use]
    pub fn saturating_sub(&self, other: &Self) -> Self {
        let _: &Self = other;
        todo!("resources")
    }
}
