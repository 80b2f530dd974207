//! Interruptions: what a cloud announces about its instances.
