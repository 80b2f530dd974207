//! Disruption decisions: emptiness, drift, consolidation, and the budgets that bound them. Pure, synchronous,
//! deterministic: [`decide`] takes a [`Cluster`] and answers what to do next and why the rest stays as it is.
//!
//! # Methods
//! [`emptiness`] deletes nodes without pods; [`drift`] replaces the node that drifted first; [`consolidate`] deletes
//! nodes whose pods fit elsewhere, or replaces several, or one, by one cheaper node. The first that has a command wins.
//! A command is carried out some time later, so [`still_valid`] is asked again before.
//!
//! # What is not there yet
//! - Replacing m nodes by more than one; static pools' drift; capacity buffers.
//! - Pods that are about to be scaled in ([`Cluster::leaving`]) are moved like others.
//! - Reserved offerings are treated like others.

mod budgets;
mod candidate;
mod consolidate;
mod cost;
mod facts;
mod methods;
mod validate;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

pub use budgets::{BudgetBook, BudgetUsage, allowed, budget_nodes, is_active, schedule};
pub use candidate::{Candidate, Refused, RefusedKind, Urgency, candidates};
pub use consolidate::{consolidate, worst_price};
pub use cost::{eviction, is_empty, reschedule};
pub use facts::{NodeFacts, PodBudget, PoolPolicy, is_evictable, is_protected, mark_destinations};
pub use methods::{drift, emptiness};
pub use validate::still_valid;

use crate::{
    karpenter::DisruptionReason,
    schedule::{PlannedNode, PodFacts, PodKey, Prepared},
};

/// What a decision depends on.
#[derive(Clone, Debug)]
pub struct Cluster<'a> {
    /// The snapshot, with every node; see [`mark_destinations`].
    pub prepared: &'a Prepared,
    /// Pools by name.
    pub pools: &'a BTreeMap<String, PoolPolicy>,
    /// Nodes that were bought.
    pub nodes: &'a [NodeFacts],
    /// PodDisruptionBudgets.
    pub pod_budgets: &'a [PodBudget],
    /// Pods without a place, and those of nodes that are going: they take room but veto nothing.
    pub pending: &'a [Arc<PodFacts>],
    /// Pods that are about to be scaled in. Not considered yet.
    pub leaving: &'a BTreeSet<PodKey>,
    /// What is allowed beyond the pools' own settings.
    pub settings: Settings,
    /// Now.
    pub now: Timestamp,
}

/// What is allowed beyond the pools' own settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether a spot node may be replaced by another spot node.
    pub spot_to_spot: bool,
    /// How many what-if plans one decision may make.
    pub max_simulations: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            spot_to_spot: false,
            max_simulations: 500,
        }
    }
}

/// How a command came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// Nodes without pods.
    Emptiness,
    /// A node that is no longer what it should be.
    Drift,
    /// Several nodes at once.
    MultiNodeConsolidation,
    /// One node.
    SingleNodeConsolidation,
}

impl Method {
    /// The metric label `consolidation_type`.
    #[must_use]
    pub fn consolidation_type(self) -> &'static str {
        match self {
            Self::Emptiness => "empty",
            Self::Drift => "",
            Self::MultiNodeConsolidation => "multi",
            Self::SingleNodeConsolidation => "single",
        }
    }
}

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// How it came about.
    pub method: Method,
    /// The reason that budgets, conditions and metrics know.
    pub reason: DisruptionReason,
    /// The nodes that go.
    pub candidates: Vec<Candidate>,
    /// What is bought first.
    pub replacements: Vec<PlannedNode>,
    /// One line for people.
    pub text: String,
    /// Per hour; negative where drift costs money.
    pub savings_per_hour: f64,
}

impl Command {
    /// The metric label `decision`.
    #[must_use]
    pub fn decision(&self) -> &'static str {
        if self.replacements.is_empty() {
            "delete"
        } else {
            "replace"
        }
    }

    /// Whether it waits for 15 seconds and is checked again before it is carried out.
    #[must_use]
    pub fn is_validated(&self) -> bool {
        self.method != Method::Drift
    }
}

/// What a method found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What to do, if anything.
    pub command: Option<Command>,
    /// What stays, and why.
    pub refused: Vec<Refused>,
}

/// What to do next: the first command of emptiness, drift and consolidation; with every refusal on the way.
#[must_use]
pub fn decide(cluster: &Cluster<'_>) -> Outcome {
    let mut all = Outcome::default();
    for method in [emptiness, drift, consolidate] {
        let outcome = method(cluster);
        all.refused.extend(outcome.refused);
        if outcome.command.is_some() {
            all.command = outcome.command;
            break;
        }
    }
    let mut seen: Vec<Refused> = Vec::new();
    for refused in all.refused {
        if !seen.contains(&refused) {
            seen.push(refused);
        }
    }
    Outcome {
        command: all.command,
        refused: seen,
    }
}

#[cfg(test)]
mod tests;
