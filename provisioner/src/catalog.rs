//! Instance types and offerings: what a cloud sells.

use std::sync::Arc;

use jiff::Timestamp;

use crate::{Requirements, ResourceList};

/// How capacity is bought (`karpenter.sh/capacity-type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CapacityType {
    /// Paid for in advance.
    Reserved,
    /// Cheap, may be taken back.
    Spot,
    /// At list price.
    OnDemand,
}

impl CapacityType {
    /// The label's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Spot => "spot",
            Self::OnDemand => "on-demand",
        }
    }
}

impl std::fmt::Display for CapacityType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for CapacityType {
    type Err = crate::Error;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "reserved" => Ok(Self::Reserved),
            "spot" => Ok(Self::Spot),
            "on-demand" => Ok(Self::OnDemand),
            other => Err(crate::Error::new(
                crate::ErrorKind::Invalid,
                format!("capacity type {other:?} is not one of on-demand, spot, reserved"),
            )),
        }
    }
}

/// What can be bought for one pool and class: immutable and versioned, so that plans can share it.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Changes whenever anything in the catalogue does.
    pub version: u64,
    /// Every type, in a fixed order; unavailable offerings are kept and marked.
    pub instance_types: Vec<Arc<InstanceType>>,
}

/// One machine type.
#[derive(Clone, Debug)]
pub struct InstanceType {
    /// The name, e.g. `m5.xlarge`.
    pub name: String,
    /// Labels that a node of the type may carry: architecture, operating system, zones, capacity types...
    pub requirements: Requirements,
    /// What the machine has.
    pub capacity: ResourceList,
    /// What the system keeps for itself: kube-reserved, system-reserved and eviction threshold together.
    pub overhead: ResourceList,
    /// Where and how it can be bought.
    pub offerings: Vec<Offering>,
}

impl InstanceType {
    /// Capacity less overhead: what pods can use.
    #[must_use]
    pub fn allocatable(&self) -> ResourceList {
        self.capacity.saturating_sub(&self.overhead)
    }

    /// The offerings that can be bought now and satisfy `requirements`, in the type's order.
    pub fn available_offerings<'a>(
        &'a self,
        requirements: &'a Requirements,
    ) -> impl Iterator<Item = &'a Offering> {
        self.offerings
            .iter()
            .filter(move |offering| offering.available && requirements.allows_offering(offering))
    }
}

/// A type in a zone by a capacity type, at a price.
#[derive(Clone, Debug, PartialEq)]
pub struct Offering {
    /// `topology.kubernetes.io/zone`.
    pub zone: String,
    /// `karpenter.sh/capacity-type`.
    pub capacity_type: CapacityType,
    /// Price per hour, in the catalogue's currency (US dollars where nothing else is said).
    pub price: f64,
    /// Whether it can be bought now.
    pub available: bool,
    /// The capacity reservation that it draws on.
    pub reservation_id: Option<String>,
    /// How many instances that reservation still has room for; `None` where nobody counts them.
    pub reservation_capacity: Option<u32>,
    /// Since when it cannot be bought, if it was seen to be short.
    pub unavailable_since: Option<Timestamp>,
}
