//! ScaledObject: events to replicas.
