//! The solver: which nodes to buy for pending pods, which pods go where, and why the rest cannot.
//!
//! Pure, synchronous, deterministic: no client, no clock, no logger. Make a [`Prepared`] of a [`World`] once, then ask any
//! number of questions by [`Overlay`]:
//!
//! ```
//! # use std::sync::Arc;
//! use provisioner::schedule::{Budget, Overlay, PodFacts, PodKey, Prepared, Reason, World};
//! let pod = Arc::new(PodFacts { key: PodKey::new("default", "web"), ..PodFacts::default() });
//! let plan = Prepared::new(World::default()).solve(&[pod], &Overlay::default(), Budget::default());
//! assert_eq!(plan.unschedulable[0].1, Reason::NoPools);
//! ```
//!
//! # Order
//! Pods by cpu, then memory, greatest first, then age, then uid. For each: nodes that are there, initialised first,
//! then by name; nodes already planned, fewest pods first; a new node of the first pool, by weight, that can take it.
//! A pod that finds no place gives up one wish after the other (alternatives of required node affinity, preferred pod
//! affinity, preferred pod anti-affinity, preferred node affinity, `ScheduleAnyway`, `PreferNoSchedule`) and comes
//! back at the end of the queue as long as others make progress. A planned node commits to the cheapest offering of the
//! types that it may still be.
//!
//! # Price
//! That is first fit. With [`Budget::price_units`] it competes with others, which place every pod where it adds least to
//! the price or follow the fleets of [`price`]; the cheapest wins, unless it places fewer pods or gives up more wishes.
//! A part of the budget goes into fleets at first; the rest only where these fail or stay far from the bound.
//!
//! # Bit by bit
//! A [`Session`] answers a question in slices, so that it can be given a deadline, and takes in pods that come later.
//!
//! # What counts
//! Resources with what daemons take, taints, node selectors, required and preferred node affinity, host ports, spread,
//! pod affinity and anti-affinity of pods placed and to be placed over any label, pool weights and limits (`nodes` too),
//! `minValues`, reserved offerings whose reservations are counted, volume requirements and attachments that the caller looked up, default spreads ([`World::default_spreads`]).
//!
//! # What does not yet
//! - Persistent volume claims that the caller did not look up ([`VolumeNeeds::Unresolved`]) and Dynamic Resource
//!   Allocation: such pods are reported, not placed.
//! - Of the domains that the spreads of a pod leave, only the least filled one is tried, as Karpenter does it.

// From the outside in: what is given (world, pods, templates, keys, groups, all worked out once in `prepared`); what a
// question makes of it (classes, asks, topology, states); the search for places (wishes, claims, solve); the answer
// (finish, explain).
mod amounts;
mod asks;
mod bits;
mod claims;
mod classes;
mod cost;
mod existing;
mod explain;
mod finish;
mod groups;
mod guided;
mod keys;
mod map;
mod market;
mod plan;
mod planned;
mod pod;
mod pods;
mod prepared;
pub mod price;
mod reason;
mod relax;
mod reserved;
mod session;
mod settings;
mod solve;
mod states;
mod strategy;
mod template;
mod topology;
mod trial;
mod wishes;
mod world;

use std::{collections::BTreeSet, sync::Arc};

pub use plan::{InstanceTypeOption, MAX_INSTANCE_TYPES, OfferingChoice, Place, Plan, PlannedNode};
pub(crate) use pod::selects as pod_selects;
pub use pod::{HostPort, PodFacts, PodKey, PodOwner, PodTerm, Spread, VolumeNeeds, Weighted, pinned};
pub use prepared::Prepared;
pub use reason::{Reason, Refusal, TopologyRefusal, TypeTests, TypesRefusal};
pub use session::{Batch, Session};
pub use settings::{PreferencePolicy, Workload};
pub use world::{ClusterNode, MinValuesPolicy, Pool, World};

/// What would be different in a question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlay {
    /// Nodes that are gone, by name.
    pub removed: BTreeSet<String>,
    /// Whether their pods are moved to save money, so that they may only go to nodes that are initialised and take moved
    /// pods ([`ClusterNode::takes_moved_pods`]).
    pub consolidating: bool,
}

impl Overlay {
    /// Without these nodes, to save money.
    pub fn consolidating<N: Into<String>>(nodes: impl IntoIterator<Item = N>) -> Self {
        Self {
            removed: nodes.into_iter().map(Into::into).collect(),
            consolidating: true,
        }
    }

    /// Without these nodes, because they must go.
    pub fn without<N: Into<String>>(nodes: impl IntoIterator<Item = N>) -> Self {
        Self {
            removed: nodes.into_iter().map(Into::into).collect(),
            consolidating: false,
        }
    }
}

/// How much work a plan may take. Work, not time: the same question has the same answer everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Budget {
    /// How many pods are tried at most, those that come round again counted again; `None` for no end.
    pub attempts: Option<u64>,
    /// How many units of about a nanosecond go into a lower price and its bound; `None` for first fit alone.
    pub price_units: Option<u64>,
}

impl Budget {
    /// At most this many tries.
    #[must_use]
    pub fn attempts(most: u64) -> Self {
        Self {
            attempts: Some(most),
            ..Self::default()
        }
    }

    /// Every pod, and 20 ms and 10 µs a pod for a lower price.
    #[must_use]
    pub fn auto(pods: usize) -> Self {
        Self {
            price_units: Some(price::Budget::auto(pods as u64).left()),
            ..Self::default()
        }
    }
}

impl Prepared {
    /// Places `pods` in the world as `overlay` has it.
    #[must_use]
    pub fn solve(&self, pods: &[Arc<PodFacts>], overlay: &Overlay, budget: Budget) -> Plan {
        strategy::solve(self, &settings::settled(self.world(), pods), overlay, budget)
    }
}

#[cfg(test)]
mod tests;
