//! The solver: pending pods to nodes. Pure, synchronous, deterministic.
