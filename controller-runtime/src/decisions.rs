//! Why: the decisions that were made, kept in order.
