//! Disruption decisions: emptiness, drift, consolidation, budgets. Pure, synchronous, deterministic.
