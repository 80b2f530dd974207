//! Disruption: which nodes can go, one command at a time.
