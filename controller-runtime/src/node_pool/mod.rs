//! NodePool: validation, readiness, hash, counters.
