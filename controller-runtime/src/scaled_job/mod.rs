//! ScaledJob: events to Jobs.
