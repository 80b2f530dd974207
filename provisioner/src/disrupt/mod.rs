//! Disruption decisions: emptiness, drift, consolidation, budgets. Pure, synchronous, deterministic.

mod budgets;

pub use budgets::{BudgetUsage, allowed, budget_nodes, is_active, schedule};
